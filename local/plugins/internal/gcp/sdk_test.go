package gcp

import (
	"reflect"
	"testing"

	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/bigquery"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/iam"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/projects"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/serviceaccount"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/storage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// official are the SDK's arguments and resource of each type.
var official = map[string]struct{ args, resource any }{
	"gcp:bigquery/dataset:Dataset":                   {bigquery.DatasetArgs{}, bigquery.Dataset{}},
	"gcp:bigquery/datasetIamMember:DatasetIamMember": {bigquery.DatasetIamMemberArgs{}, bigquery.DatasetIamMember{}},
	"gcp:bigquery/table:Table":                       {bigquery.TableArgs{}, bigquery.Table{}},
	"gcp:iam/workloadIdentityPool:WorkloadIdentityPool": {
		iam.WorkloadIdentityPoolArgs{}, iam.WorkloadIdentityPool{},
	},
	"gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": {
		iam.WorkloadIdentityPoolProviderArgs{}, iam.WorkloadIdentityPoolProvider{},
	},
	"gcp:projects/iAMMember:IAMMember":            {projects.IAMMemberArgs{}, projects.IAMMember{}},
	"gcp:serviceaccount/account:Account":          {serviceaccount.AccountArgs{}, serviceaccount.Account{}},
	"gcp:serviceaccount/iAMMember:IAMMember":      {serviceaccount.IAMMemberArgs{}, serviceaccount.IAMMember{}},
	"gcp:storage/bucket:Bucket":                   {storage.BucketArgs{}, storage.Bucket{}},
	"gcp:storage/bucketIAMMember:BucketIAMMember": {storage.BucketIAMMemberArgs{}, storage.BucketIAMMember{}},
}

// tags are the property names of a struct of the SDK, and whether a program must set them.
func tags(t reflect.Type) map[string]bool {
	names := map[string]bool{}
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("pulumi"); ok {
			kind := t.Field(i).Type.Kind()
			names[name] = kind != reflect.Pointer && kind != reflect.Map && kind != reflect.Slice
		}
	}
	return names
}

func TestEveryTypeIsTheOfficialOne(t *testing.T) {
	types := Provider("").Types
	assert.Len(t, types, len(official))
	for token, sdk := range official {
		typ, ok := types[token]
		require.True(t, ok, token)
		elements, ok := sdk.args.(interface{ ElementType() reflect.Type })
		require.True(t, ok, token)
		arguments := tags(elements.ElementType())
		for name, input := range typ.Inputs {
			required, known := arguments[name]
			assert.True(t, known, "%s has no input %s", token, name)
			assert.Equal(t, required, input.Required, "%s: whether %s is required", token, name)
		}
		for name, required := range arguments {
			_, ok := typ.Inputs[name]
			assert.True(t, ok || !required, "%s: the required input %s is missing", token, name)
		}
		outputs := tags(reflect.TypeOf(sdk.resource))
		for _, name := range typ.Outputs {
			assert.Contains(t, outputs, name, token)
		}
		for name := range outputs {
			_, input := arguments[name]
			assert.True(t, input || contains(typ.Outputs, name), "%s: output %s is missing", token, name)
		}
	}
}

func contains(list []string, want string) bool {
	for _, s := range list {
		if s == want {
			return true
		}
	}
	return false
}
