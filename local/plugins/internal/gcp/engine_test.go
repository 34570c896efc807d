package gcp

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/bigquery"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/iam"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/organizations"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/projects"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/serviceaccount"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp/storage"
	"github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/sluice-data/sluice/local/plugins/internal/native"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const project = "sluice-plugin"

// world is what the program declares; tests change it between deployments.
type world struct {
	location    string
	schema      string
	description string
	protected   bool
	roles       []string
}

func (w *world) deploy(ctx *pulumi.Context) error {
	provider, err := gcp.NewProvider(ctx, "google", &gcp.ProviderArgs{Project: pulumi.String(project)})
	if err != nil {
		return err
	}
	opt := pulumi.Provider(provider)
	number, err := organizations.LookupProject(ctx, &organizations.LookupProjectArgs{ProjectId: pulumi.StringRef(project)}, opt)
	if err != nil {
		return err
	}
	suffix, err := random.NewRandomId(ctx, "suffix", &random.RandomIdArgs{ByteLength: pulumi.Int(4)})
	if err != nil {
		return err
	}
	pool, err := iam.NewWorkloadIdentityPool(ctx, "pool", &iam.WorkloadIdentityPoolArgs{
		WorkloadIdentityPoolId: pulumi.Sprintf("sluice-%s", suffix.Hex),
	}, opt)
	if err != nil {
		return err
	}
	trust, err := iam.NewWorkloadIdentityPoolProvider(ctx, "aws", &iam.WorkloadIdentityPoolProviderArgs{
		WorkloadIdentityPoolId:         pool.WorkloadIdentityPoolId,
		WorkloadIdentityPoolProviderId: pulumi.String("aws-1"),
		Aws:                            iam.WorkloadIdentityPoolProviderAwsArgs{AccountId: pulumi.String("000000000000")},
		AttributeMapping:               pulumi.StringMap{"google.subject": pulumi.String("assertion.arn")},
	}, opt)
	if err != nil {
		return err
	}
	account, err := serviceaccount.NewAccount(ctx, "exporter", &serviceaccount.AccountArgs{
		AccountId: pulumi.String("exporter"), Description: pulumi.String(w.description),
	}, opt)
	if err != nil {
		return err
	}
	if _, err := serviceaccount.NewIAMMember(ctx, "impersonate", &serviceaccount.IAMMemberArgs{
		ServiceAccountId: account.Name,
		Role:             pulumi.String("roles/iam.workloadIdentityUser"),
		Member:           pulumi.Sprintf("principalSet://iam.googleapis.com/%s/*", pool.Name),
	}, opt); err != nil {
		return err
	}
	if _, err := projects.NewIAMMember(ctx, "jobs", &projects.IAMMemberArgs{
		Project: pulumi.String(project), Role: pulumi.String("roles/bigquery.jobUser"), Member: account.Member,
	}, opt); err != nil {
		return err
	}
	bucket, err := storage.NewBucket(ctx, "load", &storage.BucketArgs{
		Location:                 pulumi.String(w.location),
		UniformBucketLevelAccess: pulumi.Bool(true),
		ForceDestroy:             pulumi.Bool(true),
		Labels:                   pulumi.StringMap{"note": pulumi.String(w.description)},
		LifecycleRules: storage.BucketLifecycleRuleArray{storage.BucketLifecycleRuleArgs{
			Action:    storage.BucketLifecycleRuleActionArgs{Type: pulumi.String("Delete")},
			Condition: storage.BucketLifecycleRuleConditionArgs{Age: pulumi.Int(1), MatchesPrefixes: pulumi.StringArray{pulumi.String("x/")}},
		}},
		SoftDeletePolicy: storage.BucketSoftDeletePolicyArgs{RetentionDurationSeconds: pulumi.Int(0)},
	}, opt)
	if err != nil {
		return err
	}
	if _, err := storage.NewBucketIAMMember(ctx, "objects", &storage.BucketIAMMemberArgs{
		Bucket: bucket.Name, Role: pulumi.String("roles/storage.objectAdmin"), Member: account.Member,
	}, opt); err != nil {
		return err
	}
	dataset, err := bigquery.NewDataset(ctx, "dataset", &bigquery.DatasetArgs{
		DatasetId: pulumi.String("us"), Location: pulumi.String(w.location), Description: pulumi.String(w.description),
		DefaultTableExpirationMs: pulumi.Int(86400000), Labels: pulumi.StringMap{"country": pulumi.String("us")},
		MaxTimeTravelHours: pulumi.String("48"),
	}, opt)
	if err != nil {
		return err
	}
	for _, role := range w.roles {
		if _, err := bigquery.NewDatasetIamMember(ctx, role, &bigquery.DatasetIamMemberArgs{
			DatasetId: dataset.DatasetId, Role: pulumi.String("roles/bigquery." + role), Member: account.Member,
		}, opt); err != nil {
			return err
		}
	}
	table, err := bigquery.NewTable(ctx, "flights", &bigquery.TableArgs{
		DatasetId: dataset.DatasetId, TableId: pulumi.String("flights"), Schema: pulumi.String(w.schema),
		TimePartitioning:   bigquery.TableTimePartitioningArgs{Type: pulumi.String("DAY"), Field: pulumi.String("_day")},
		DeletionProtection: pulumi.Bool(w.protected), Clusterings: pulumi.StringArray{pulumi.String("flight")},
		Description: pulumi.String(w.description), RequirePartitionFilter: pulumi.Bool(true),
	}, opt)
	if err != nil {
		return err
	}
	ctx.Export("number", pulumi.String(number.Number))
	ctx.Export("pool", pool.Name)
	ctx.Export("provider", trust.Name)
	ctx.Export("email", account.Email)
	ctx.Export("bucket", bucket.Url)
	ctx.Export("table", table.SelfLink)
	ctx.Export("created", table.CreationTime)
	return nil
}

const (
	firstSchema  = `[{"name":"_day","type":"DATE"},{"name":"flight","type":"INT64"}]`
	longerSchema = `[{"name":"_day","type":"DATE"},{"name":"flight","type":"INT64"},{"name":"carrier","type":"STRING","mode":"NULLABLE"}]`
	otherSchema  = `[{"name":"_day","type":"DATE"},{"name":"flight","type":"STRING"}]`
)

// TestDeploymentFromPreviewToDestroy runs the real engine with the official SDK against the local Google.
func TestDeploymentFromPreviewToDestroy(t *testing.T) {
	root := checkout(t)
	google := &client{endpoint: start(t, root), project: project}
	w := &world{location: "europe-west1", schema: firstSchema, description: "one", protected: true, roles: []string{"dataEditor", "metadataViewer"}}
	stack := newStack(t, root, google.endpoint, w.deploy)
	ctx := t.Context()

	_, err := stack.Preview(ctx)
	require.NoError(t, err)
	up, err := stack.Up(ctx)
	require.NoError(t, err)
	first := up.Outputs
	number := first["number"].Value.(string)
	assert.Regexp(t, "^projects/"+number+"/locations/global/workloadIdentityPools/sluice-[0-9a-f]{8}$", first["pool"].Value)
	assert.Equal(t, first["pool"].Value.(string)+"/providers/aws-1", first["provider"].Value)
	assert.Equal(t, "exporter@"+project+".iam.gserviceaccount.com", first["email"].Value)
	assert.Regexp(t, "^gs://load-[0-9a-f]{7}$", first["bucket"].Value)
	unchanged(t, stack)
	_, err = stack.Refresh(ctx, optrefresh.ExpectNoChanges())
	require.NoError(t, err)

	// What can change in place does.
	w.description, w.schema = "two", longerSchema
	w.roles = []string{"dataEditor"}
	up, err = stack.Up(ctx)
	require.NoError(t, err)
	assert.Equal(t, first["created"], up.Outputs["created"])
	unchanged(t, stack)
	dataset, err := google.do(ctx, "GET", "bigquery.googleapis.com/bigquery/v2/projects/"+project+"/datasets/us", nil)
	require.NoError(t, err)
	assert.Equal(t, "two", dataset["description"])
	assert.Equal(t, "48", dataset["maxTimeTravelHours"])
	assert.Equal(t, []any{
		entry("OWNER", "specialGroup", "projectOwners"), entry("READER", "specialGroup", "projectReaders"),
		entry("WRITER", "specialGroup", "projectWriters"), entry("WRITER", "userByEmail", first["email"].Value),
	}, sortedAccess(dataset["access"].([]any)))

	// What somebody changed by hand is found and put right.
	_, err = google.do(ctx, "PATCH", "bigquery.googleapis.com/bigquery/v2/projects/"+project+"/datasets/us", native.Object{"description": "by hand"})
	require.NoError(t, err)
	preview, err := stack.Preview(ctx, optpreview.Refresh())
	require.NoError(t, err)
	assert.Equal(t, 1, preview.ChangeSummary["update"])

	// A table whose column changes its type is replaced, but not while it is protected.
	w.schema = otherSchema
	_, err = stack.Up(ctx)
	assert.ErrorContains(t, err, "the table is protected: set deletionProtection to false and update, then delete")
	w.schema, w.protected = longerSchema, false
	_, err = stack.Up(ctx)
	require.NoError(t, err)
	w.schema = otherSchema
	up, err = stack.Up(ctx)
	require.NoError(t, err)
	assert.NotEqual(t, first["created"], up.Outputs["created"])
	unchanged(t, stack)

	// Destroy empties the bucket, which may be emptied by force.
	bucket := strings.TrimPrefix(first["bucket"].Value.(string), "gs://")
	upload := "storage.googleapis.com/upload/storage/v1/b/" + bucket + "/o?uploadType=media&name=flights/2013-01-01/a.parquet"
	_, err = google.do(ctx, "POST", upload, native.Object{"not": "parquet"})
	require.NoError(t, err)
	_, err = stack.Destroy(ctx, optdestroy.ProgressStreams(io.Discard))
	require.NoError(t, err)
	policy, err := google.do(ctx, "POST", "cloudresourcemanager.googleapis.com/v1/projects/"+project+":getIamPolicy", native.Object{})
	require.NoError(t, err)
	assert.Empty(t, policy["bindings"])
}

func TestFullDatasetIsKeptUnlessItsContentsMayGo(t *testing.T) {
	types := Provider(start(t, checkout(t))).Types
	dataset, table := types["gcp:bigquery/dataset:Dataset"], types["gcp:bigquery/table:Table"]
	id, _, err := dataset.Create(t.Context(), native.Object{"project": project, "datasetId": "full", "location": "EU"})
	require.NoError(t, err)
	_, _, err = table.Create(t.Context(), native.Object{"project": project, "datasetId": "full", "tableId": "t", "schema": firstSchema})
	require.NoError(t, err)
	require.ErrorContains(t, dataset.Delete(t.Context(), id, native.Object{"deleteContentsOnDestroy": false}), "google answered 400: Dataset sluice-plugin:full is still in use")
	require.NoError(t, dataset.Delete(t.Context(), id, native.Object{"deleteContentsOnDestroy": true}))
	_, err = dataset.Read(t.Context(), id, nil)
	require.ErrorIs(t, err, native.ErrNotFound)
}

func TestWithoutLocalGoogleTheErrorSaysWhatToStart(t *testing.T) {
	_, _, err := Provider("").Types["gcp:storage/bucket:Bucket"].Create(t.Context(), native.Object{"name": "b", "location": "EU"})
	require.ErrorContains(t, err, "start the local cloud, and set SLUICE_GOOGLE_ENDPOINT")
}

// unchanged asserts that a second deployment would do nothing.
func unchanged(t *testing.T, stack auto.Stack) {
	t.Helper()
	_, err := stack.Preview(t.Context(), optpreview.ExpectNoChanges(), optpreview.Diff())
	require.NoError(t, err)
}

func entry(role, key string, value any) any {
	return map[string]any{"role": role, key: value}
}

// sortedAccess orders an access list, which is a set.
func sortedAccess(access []any) []any {
	byText := map[string]any{}
	for _, e := range access {
		text, _ := json.Marshal(e)
		byText[string(text)] = e
	}
	var out []any
	for _, key := range slices.Sorted(maps.Keys(byText)) {
		out = append(out, byText[key])
	}
	return out
}

// newStack makes a stack on a file backend of its own, with our plugins first on the path.
func newStack(t *testing.T, root, endpoint string, program pulumi.RunFunc) auto.Stack {
	t.Helper()
	home := t.TempDir()
	tools := filepath.Join(home, "bin")
	require.NoError(t, os.MkdirAll(tools, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(root, "bin", "pulumi-cli"), filepath.Join(tools, "pulumi")))
	build := exec.Command("go", "build", "-o", tools, "./cmd/pulumi-resource-gcp", "./cmd/pulumi-resource-random")
	build.Dir = filepath.Join(root, "local", "plugins")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	require.NoError(t, os.MkdirAll(filepath.Join(home, "state"), 0o755))
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	stack, err := auto.UpsertStackInlineSource(t.Context(), "test", "plugin", program, auto.PulumiHome(home), auto.EnvVars(map[string]string{
		"PULUMI_BACKEND_URL":                          "file://" + filepath.Join(home, "state"),
		"PULUMI_CONFIG_PASSPHRASE":                    "test",
		"PULUMI_SKIP_UPDATE_CHECK":                    "true",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
		EndpointVar: endpoint,
	}))
	require.NoError(t, err)
	return stack
}

// start runs the local Google and returns the endpoint of its operator port.
func start(t *testing.T, root string) string {
	t.Helper()
	google := exec.Command(filepath.Join(root, ".venv", "bin", "python"), "-m", "local.cloud.google", "--home", t.TempDir())
	google.Dir = root
	google.Stderr = os.Stderr
	stdin, err := google.StdinPipe()
	require.NoError(t, err)
	stdout, err := google.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, google.Start(), "make deps installs what the local Google needs")
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = google.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var announced struct{ Endpoints map[string]string }
	require.NoError(t, json.Unmarshal(line, &announced))
	return announced.Endpoints["google"]
}

// checkout is the folder of the whole repository.
func checkout(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs(".")
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(folder, "local", "requirements.txt")); err == nil {
			return folder
		}
		require.NotEqual(t, "/", folder, "not inside the checkout")
		folder = filepath.Dir(folder)
	}
}
