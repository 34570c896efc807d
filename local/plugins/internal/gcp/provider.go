// Package gcp is the part of the gcp provider that programs here use, on the local Google. Names of types, inputs and outputs are those
// of the official SDK; a test holds them to it.
package gcp

import (
	"context"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

// Version is the SDK that the types follow.
const Version = "7.38.0"

// The hosts of Google that the types speak to.
const (
	bigqueryAPI = "bigquery.googleapis.com/bigquery/v2"
	storageAPI  = "storage.googleapis.com/storage/v1"
	iamAPI      = "iam.googleapis.com/v1"
	projectsAPI = "cloudresourcemanager.googleapis.com/v1"
)

// Provider is the gcp provider on the local Google at endpoint.
func Provider(endpoint string) native.Provider {
	c := &client{endpoint: endpoint}
	return native.Provider{
		Name:    "gcp",
		Version: Version,
		Configure: func(config map[string]string) error {
			c.project = config["project"]
			return nil
		},
		Types: map[string]native.Type{
			"gcp:bigquery/dataset:Dataset":                                      c.dataset(),
			"gcp:bigquery/datasetIamMember:DatasetIamMember":                    c.datasetMember(),
			"gcp:bigquery/table:Table":                                          c.table(),
			"gcp:iam/workloadIdentityPool:WorkloadIdentityPool":                 c.pool(),
			"gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": c.poolProvider(),
			"gcp:projects/iAMMember:IAMMember":                                  c.projectMember(),
			"gcp:serviceaccount/account:Account":                                c.account(),
			"gcp:serviceaccount/iAMMember:IAMMember":                            c.accountMember(),
			"gcp:storage/bucket:Bucket":                                         c.bucket(),
			"gcp:storage/bucketIAMMember:BucketIAMMember":                       c.bucketMember(),
		},
		Functions: map[string]native.Function{"gcp:organizations/getProject:getProject": c.getProject},
	}
}

// getProject answers what programs ask of a project: mostly its number.
func (c *client) getProject(ctx context.Context, args native.Object) (native.Object, error) {
	id, _ := args["projectId"].(string)
	if id == "" {
		id = c.project
	}
	project, err := c.do(ctx, "GET", projectsAPI+"/projects/"+id, nil)
	if err != nil {
		return nil, err
	}
	return native.Object{
		"id":                "projects/" + id,
		"projectId":         project["projectId"],
		"name":              project["name"],
		"number":            project["projectNumber"],
		"autoCreateNetwork": true,
		"billingAccount":    "",
		"deletionPolicy":    "PREVENT",
		"effectiveLabels":   native.Object{},
		"folderId":          "",
		"labels":            native.Object{},
		"orgId":             "",
		"pulumiLabels":      native.Object{},
		"skipDelete":        true,
	}, nil
}

// projectInput is the project of a resource, the provider's by default.
func (c *client) projectInput() native.Input {
	return native.Input{Immutable: true, Names: true, Default: func() any {
		if c.project == "" {
			return nil
		}
		return c.project
	}}
}
