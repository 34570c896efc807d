package aws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sluice-data/sluice/local/plugins/internal/machine"
)

// planned is a resource written twice: for Pulumi and for Terraform.
type planned struct {
	Type      string         // Pulumi's
	Inputs    map[string]any // Pulumi's; "<unknown>" is a value that is not known before the deployment
	Terraform map[string]any // the same in Terraform's JSON syntax; references stand for what is not known
}

// TestPlanIsTerraformsOwn plans each resource of testdata/plan.json through the plugin and by the terraform
// command with the same provider, and compares every planned value.
func TestPlanIsTerraformsOwn(t *testing.T) {
	data, err := os.ReadFile("testdata/plan.json")
	require.NoError(t, err)
	resources := map[string]planned{}
	require.NoError(t, json.Unmarshal(data, &resources))

	theirs := terraformPlan(t, resources)
	server := configured(t)
	for name, r := range resources {
		t.Run(name, func(t *testing.T) {
			ours := pulumiPlan(t, server, name, r)
			assert.Equal(t, theirs[name], ours)
		})
	}
}

const unknown = "<unknown>"

// pulumiPlan returns what the engine would show of the resource before it is created.
func pulumiPlan(t *testing.T, s pulumirpc.ResourceProviderServer, name string, r planned) map[string]any {
	t.Helper()
	urn := "urn:pulumi:local::sluice::" + r.Type + "::" + name
	inputs := resource.NewPropertyMapFromMapRepl(r.Inputs, nil, func(v any) (resource.PropertyValue, bool) {
		return resource.MakeComputed(resource.NewStringProperty("")), v == unknown
	})
	checked, err := s.Check(t.Context(), &pulumirpc.CheckRequest{Urn: urn, News: properties(t, inputs), RandomSeed: []byte(name)})
	require.NoError(t, err)
	require.Empty(t, checked.GetFailures())
	created, err := s.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urn, Properties: checked.GetInputs(), Preview: true})
	require.NoError(t, err)
	out, err := plugin.UnmarshalProperties(created.GetProperties(), plugin.MarshalOptions{KeepUnknowns: true})
	require.NoError(t, err)
	return reduced(out.MapRepl(nil, func(v resource.PropertyValue) (any, bool) {
		return unknown, v.IsComputed() || v.IsOutput() && !v.OutputValue().Known
	}), r.Type).(map[string]any)
}

// terraformPlan returns what `terraform plan` says of all resources, by name.
func terraformPlan(t *testing.T, resources map[string]planned) map[string]map[string]any {
	t.Helper()
	types, err := readTypes(typesList)
	require.NoError(t, err)
	terraformTypes, config := map[string]string{}, map[string]any{}
	for _, served := range types {
		terraformTypes[served.token] = served.terraform
	}
	for name, r := range resources {
		ofType, _ := config[terraformTypes[r.Type]].(map[string]any)
		if ofType == nil {
			ofType = map[string]any{}
			config[terraformTypes[r.Type]] = ofType
		}
		ofType[name] = r.Terraform
	}
	data, err := json.Marshal(map[string]any{
		"terraform": map[string]any{"required_providers": map[string]any{"aws": map[string]any{"source": "hashicorp/aws", "version": machine.AWS.Version}}},
		"provider":  map[string]any{"aws": terraformConfig},
		"resource":  config,
	})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.tf.json"), data, 0o600))

	runTerraform(t, dir, "init", "-backend=false", "-plugin-dir="+mirror(t))
	runTerraform(t, dir, "plan", "-refresh=false", "-lock=false", "-out=plan")
	var plan struct {
		Changes []struct {
			Name, Type string
			Change     struct {
				After   map[string]any
				Unknown map[string]any `json:"after_unknown"`
			}
		} `json:"resource_changes"`
	}
	require.NoError(t, json.Unmarshal(runTerraform(t, dir, "show", "-json", "plan"), &plan))
	out := map[string]map[string]any{}
	for _, c := range plan.Changes {
		out[c.Name] = reduced(withUnknown(c.Change.After, c.Change.Unknown), resources[c.Name].Type).(map[string]any)
	}
	return out
}

// mirror is a folder from which terraform installs the very binary that the plugin runs.
func mirror(t *testing.T) string {
	t.Helper()
	path, err := machine.ThisMachine().Find(machine.AWS)
	require.NoError(t, err)
	root := t.TempDir()
	platform := strings.TrimSpace(string(run(t, root, "go", "env", "GOOS"))) + "_" + strings.TrimSpace(string(run(t, root, "go", "env", "GOARCH")))
	dir := filepath.Join(root, "registry.terraform.io", machine.AWS.Namespace, machine.AWS.Name, machine.AWS.Version, platform)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Symlink(path, filepath.Join(dir, "terraform-provider-aws_v"+machine.AWS.Version+"_x5")))
	return root
}

func runTerraform(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	return run(t, dir, "terraform", append(args, "-no-color")...)
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null", "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	require.NoError(t, err, "%s %v: %s%s", name, args, said.String(), out)
	return out
}

// withUnknown puts the mark of the unknown where Terraform says that a value is not known yet.
func withUnknown(value, unknowns any) any {
	switch u := unknowns.(type) {
	case bool:
		if u {
			return unknown
		}
	case map[string]any:
		m, _ := value.(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		for key := range u {
			m[key] = withUnknown(m[key], u[key])
		}
		return m
	case []any:
		l, _ := value.([]any)
		for i := range u {
			if i < len(l) {
				l[i] = withUnknown(l[i], u[i])
			}
		}
		return l
	}
	return value
}

// otherNames are the properties that Pulumi calls something else than Terraform, in reduced form.
var otherNames = map[string]string{
	"aws:cloudwatch/metricAlarm:MetricAlarm alarmname":     "name",
	"aws:lambda/function:Function functionname":            "name",
	"aws:lambda/permission:Permission functionname":        "function",
	"aws:sns/topicSubscription:TopicSubscription topicarn": "topic",
}

// reduced brings values of either side into a form of its own, by rules that are not those of the plugin:
// names without case, underscores and plural; a list of one as its element; no nulls and nothing empty.
func reduced(value any, pulumiType string) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			if isOwn(key) {
				continue
			}
			key = singular(strings.ToLower(strings.ReplaceAll(key, "_", "")))
			if other, ok := otherNames[pulumiType+" "+key]; ok {
				key = other
			}
			if c := reduced(inner, ""); c != nil {
				out[key] = c
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case []any:
		var out []any
		for _, inner := range v {
			if c := reduced(inner, ""); c != nil {
				out = append(out, c)
			}
		}
		switch len(out) {
		case 0:
			return nil
		case 1:
			return out[0]
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) // sets have no order
		return out
	case string:
		if v == "" {
			return nil
		}
		return v
	default:
		return v
	}
}

// isOwn tells the keys that one side alone has: the engine's own, and what the plugin does for assets.
func isOwn(key string) bool {
	switch key {
	case "timeouts":
		return true
	}
	return strings.HasPrefix(key, "__")
}

var plurals = strings.NewReplacer("ies ", "y", "xes ", "x", "s ", "", " ", "")

func singular(key string) string { return plurals.Replace(key + " ") }
