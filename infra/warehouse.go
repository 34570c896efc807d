package infra

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/bigquery"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/iam"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/projects"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/serviceaccount"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/storage"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Column is a column of a table in BigQuery.
type Column struct {
	Name        string `json:"name"`
	Type        string `json:"type"`                  // Type is BigQuery's, as its API spells it: STRING, INTEGER, FLOAT, NUMERIC, BOOLEAN, DATE, TIMESTAMP.
	Mode        string `json:"mode"`                  // Mode is NULLABLE: what must not be missing was checked before.
	Description string `json:"description,omitempty"` // Description is the contract's.
}

// WarehouseArgs is what a Warehouse is made of.
type WarehouseArgs struct {
	Project    string              // Project is the Google Cloud project.
	Location   string              // Location is where the dataset and its loads are, for example "US" or "europe-west1".
	Dataset    string              // Dataset is the dataset's id, for example "sluice_prod_us".
	Prefix     string              // Prefix begins the names that are unique in the world or the project, for example "sluice-prod-us".
	Suffix     pulumi.StringInput  // Suffix ends those names: Google keeps deleted ones for a month.
	AWSAccount string              // AWSAccount is the account whose role is let in.
	AWSRole    string              // AWSRole is the name of the role that is let in, and no other.
	Tables     map[string][]Column // Tables are the business columns of each feed's table.
	Protect    bool                // Protect refuses to delete dataset and tables; without it they are deleted with their rows.
	Labels     map[string]string   // Labels go on everything that takes labels.
}

// Warehouse is a country's place at Google: the dataset with a table a feed, the bucket that loads come through, and the identity
// that one AWS role takes without any key.
type Warehouse struct {
	pulumi.ResourceState

	Dataset        pulumi.StringOutput
	LoadBucket     pulumi.StringOutput
	Audience       pulumi.StringOutput // Audience is what the AWS role asks a token for.
	ServiceAccount pulumi.StringOutput // ServiceAccount is the e-mail of the account that the AWS role becomes.
}

// NewWarehouse creates a Warehouse.
func NewWarehouse(ctx *pulumi.Context, name string, args *WarehouseArgs, opts ...pulumi.ResourceOption) (*Warehouse, error) {
	w := &Warehouse{}
	if err := register(ctx, "sluice:analytics:Warehouse", name, w, opts); err != nil {
		return nil, err
	}
	if err := w.dataset(ctx, name, args); err != nil {
		return nil, err
	}
	if err := w.loadBucket(ctx, name, args); err != nil {
		return nil, err
	}
	if err := w.identity(ctx, name, args); err != nil {
		return nil, err
	}
	if err := w.grants(ctx, name, args); err != nil {
		return nil, err
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{"dataset": w.Dataset, "loadBucket": w.LoadBucket, "audience": w.Audience, "serviceAccount": w.ServiceAccount})
}

// dataset creates the dataset and a table a feed, a partition a day.
func (w *Warehouse) dataset(ctx *pulumi.Context, name string, args *WarehouseArgs) error {
	dataset, err := bigquery.NewDataset(ctx, name, &bigquery.DatasetArgs{
		Project: pulumi.String(args.Project), DatasetId: pulumi.String(args.Dataset), Location: pulumi.String(args.Location),
		DeleteContentsOnDestroy: pulumi.Bool(!args.Protect), Labels: pulumi.ToStringMap(args.Labels),
	}, pulumi.Parent(w), pulumi.Protect(args.Protect))
	if err != nil {
		return err
	}
	w.Dataset = dataset.DatasetId
	for _, feed := range sortedNames(args.Tables) {
		schema, err := json.Marshal(append(append([]Column{}, args.Tables[feed]...),
			Column{Name: "_day", Type: "DATE", Mode: "NULLABLE", Description: "Day of the job that brought the row."},
			Column{Name: "_change", Type: "STRING", Mode: "NULLABLE", Description: "new, changed or unchanged since the day before."}))
		if err != nil {
			return fmt.Errorf("table %q: %w", feed, err)
		}
		if _, err := bigquery.NewTable(ctx, name+"-"+feed, &bigquery.TableArgs{
			Project: pulumi.String(args.Project), DatasetId: dataset.DatasetId, TableId: pulumi.String(feed),
			Schema:             pulumi.String(string(schema)),
			TimePartitioning:   &bigquery.TableTimePartitioningArgs{Type: pulumi.String("DAY"), Field: pulumi.String("_day")},
			DeletionProtection: pulumi.Bool(args.Protect),
			Labels:             pulumi.ToStringMap(args.Labels),
		}, pulumi.Parent(w), pulumi.Protect(args.Protect)); err != nil {
			return err
		}
	}
	return nil
}

// loadBucket creates the bucket that a day's files wait in while BigQuery loads them; what is forgotten goes after a week.
func (w *Warehouse) loadBucket(ctx *pulumi.Context, name string, args *WarehouseArgs) error {
	bucket, err := storage.NewBucket(ctx, name, &storage.BucketArgs{
		Project: pulumi.String(args.Project), Name: pulumi.Sprintf("%s-load-%s", args.Prefix, args.Suffix), Location: pulumi.String(args.Location),
		ForceDestroy: pulumi.Bool(true), UniformBucketLevelAccess: pulumi.Bool(true), PublicAccessPrevention: pulumi.String("enforced"),
		LifecycleRules: storage.BucketLifecycleRuleArray{&storage.BucketLifecycleRuleArgs{
			Action: &storage.BucketLifecycleRuleActionArgs{Type: pulumi.String("Delete")}, Condition: &storage.BucketLifecycleRuleConditionArgs{Age: pulumi.Int(7)}}},
		// Otherwise Google keeps what is deleted for a week, and charges for it: https://cloud.google.com/storage/docs/soft-delete
		SoftDeletePolicy: &storage.BucketSoftDeletePolicyArgs{RetentionDurationSeconds: pulumi.Int(0)},
		Labels:           pulumi.ToStringMap(args.Labels),
	}, pulumi.Parent(w))
	if err != nil {
		return err
	}
	w.LoadBucket = bucket.Name
	return nil
}

// identity creates the service account, and the pool through which the AWS role becomes it: AWS signs who the caller is, Google asks
// AWS whether that is true. No key exists that could be lost.
func (w *Warehouse) identity(ctx *pulumi.Context, name string, args *WarehouseArgs) error {
	account, err := serviceaccount.NewAccount(ctx, name, &serviceaccount.AccountArgs{Project: pulumi.String(args.Project),
		AccountId: pulumi.Sprintf("%s-%s", args.Prefix, args.Suffix), DisplayName: pulumi.String("Loads " + args.Dataset)}, pulumi.Parent(w))
	if err != nil {
		return err
	}
	pool, err := iam.NewWorkloadIdentityPool(ctx, name, &iam.WorkloadIdentityPoolArgs{Project: pulumi.String(args.Project),
		WorkloadIdentityPoolId: pulumi.Sprintf("%s-%s", args.Prefix, args.Suffix), DisplayName: pulumi.String("AWS for " + args.Dataset)}, pulumi.Parent(w))
	if err != nil {
		return err
	}
	role := fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s", args.AWSAccount, args.AWSRole)
	provider, err := iam.NewWorkloadIdentityPoolProvider(ctx, name, &iam.WorkloadIdentityPoolProviderArgs{
		Project: pulumi.String(args.Project), WorkloadIdentityPoolId: pool.WorkloadIdentityPoolId, WorkloadIdentityPoolProviderId: pulumi.String("aws-role"),
		Aws:                &iam.WorkloadIdentityPoolProviderAwsArgs{AccountId: pulumi.String(args.AWSAccount)},
		AttributeCondition: pulumi.String(fmt.Sprintf("assertion.arn.startsWith('%s/')", role)),
		AttributeMapping: pulumi.StringMap{
			"google.subject":     pulumi.String("assertion.arn"),
			"attribute.aws_role": pulumi.String("assertion.arn.extract('{account}assumed-role/') + 'assumed-role/' + assertion.arn.extract('assumed-role/{role}/')"),
		},
	}, pulumi.Parent(w))
	if err != nil {
		return err
	}
	w.ServiceAccount = account.Email
	w.Audience = pulumi.Sprintf("//iam.googleapis.com/%s", provider.Name)
	_, err = serviceaccount.NewIAMMember(ctx, name, &serviceaccount.IAMMemberArgs{ServiceAccountId: account.Name, Role: pulumi.String("roles/iam.workloadIdentityUser"),
		Member: pulumi.Sprintf("principalSet://iam.googleapis.com/%s/attribute.aws_role/%s", pool.Name, role)}, pulumi.Parent(w))
	return err
}

// grants lets the service account load the dataset from the bucket, and no more.
func (w *Warehouse) grants(ctx *pulumi.Context, name string, args *WarehouseArgs) error {
	member := pulumi.Sprintf("serviceAccount:%s", w.ServiceAccount)
	if _, err := projects.NewIAMMember(ctx, name, &projects.IAMMemberArgs{Project: pulumi.String(args.Project), Role: pulumi.String("roles/bigquery.jobUser"), Member: member}, pulumi.Parent(w)); err != nil {
		return err
	}
	if _, err := bigquery.NewDatasetIamMember(ctx, name, &bigquery.DatasetIamMemberArgs{Project: pulumi.String(args.Project), DatasetId: w.Dataset,
		Role: pulumi.String("roles/bigquery.dataEditor"), Member: member}, pulumi.Parent(w)); err != nil {
		return err
	}
	if _, err := storage.NewBucketIAMMember(ctx, name, &storage.BucketIAMMemberArgs{Bucket: w.LoadBucket, Role: pulumi.String("roles/storage.objectAdmin"), Member: member}, pulumi.Parent(w)); err != nil {
		return err
	}
	// A load wants storage.buckets.get on its bucket, which the role for objects lacks; this one adds nothing else to it.
	// https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#required_permissions
	_, err := storage.NewBucketIAMMember(ctx, name+"-load", &storage.BucketIAMMemberArgs{Bucket: w.LoadBucket, Role: pulumi.String("roles/storage.legacyBucketReader"), Member: member}, pulumi.Parent(w))
	return err
}

var decimal = regexp.MustCompile(`^(?:decimal|numeric)\((\d+), ?(\d+)\)$`)

// BigQueryType is BigQuery's type for a contract's: logical is ODCS's logicalType, physical its physicalType, which only decides
// what decimal(precision, scale) is.
func BigQueryType(logical, physical string) (Column, error) {
	if exact := decimal.FindStringSubmatch(strings.ToLower(physical)); exact != nil && logical == "number" {
		precision, _ := strconv.Atoi(exact[1]) // digits, by the expression
		scale, _ := strconv.Atoi(exact[2])
		kind := "NUMERIC"
		if scale > 9 || precision-scale > 29 {
			kind = "BIGNUMERIC"
		}
		// Without precision and scale: a load from Parquet takes them away from a column, and they cannot be put back.
		// https://github.com/GoogleCloudDataproc/spark-bigquery-connector/issues/550
		return Column{Type: kind, Mode: "NULLABLE"}, nil
	}
	kinds := map[string]string{"string": "STRING", "integer": "INTEGER", "number": "FLOAT", "boolean": "BOOLEAN", "date": "DATE", "timestamp": "TIMESTAMP"}
	kind, ok := kinds[logical]
	if !ok {
		return Column{}, fmt.Errorf("logicalType %q: take one of %s", logical, strings.Join(sortedNames(kinds), ", "))
	}
	return Column{Type: kind, Mode: "NULLABLE"}, nil
}
