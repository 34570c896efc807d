package aws

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/proto"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/info"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/pulumi/pulumi-aws/sdk/v6/go/aws/config" // keeps the SDK, whose source the test reads, in go.mod
)

var update = flag.Bool("update", false, "write names.json")

// renamed lists the fields that the SDK calls something that no rule yields, by Terraform path. The test fails
// when the SDK has no such property.
var renamed = map[string]string{
	"aws_cloudwatch_metric_alarm.alarm_name":    "name",
	"aws_dynamodb_table.global_secondary_index": "globalSecondaryIndexes",
	"aws_dynamodb_table.local_secondary_index":  "localSecondaryIndexes",
	"aws_lambda_function.filename":              "code",
	"aws_lambda_function.function_name":         "name",
	"aws_lambda_layer_version.filename":         "code",
	"aws_lambda_permission.function_name":       "function",
	"aws_sns_topic_subscription.topic_arn":      "topic",
}

// withoutField lists the properties of the SDK that no field of this provider is behind.
var withoutField = map[string]bool{
	"aws_db_instance.name": true, // an old name of dbName
}

// isAbsent tells whether the SDK has no property for a field by design: ids are not properties, timeouts are a
// resource option, and there are no write-only values.
func isAbsent(path, key string) bool {
	atTop := strings.Count(strings.TrimPrefix(path, "data."), ".") == 1
	return atTop && (key == "id" || key == "timeouts") || strings.HasSuffix(key, "_wo") || strings.HasSuffix(key, "_wo_version")
}

// TestNamesAreThoseOfTheSDK derives names.json from the published SDK, whose struct tags and types say how each
// property is called and whether a list is presented as one value.
func TestNamesAreThoseOfTheSDK(t *testing.T) {
	shimmed := proto.New(t.Context(), upstream(t))
	d := deriver{t: t, sdk: sdkSource(t), names: names{}}

	d.object(providerPath, shimmed.Schema(), "", "providerArgs")
	types, err := readTypes(typesList)
	require.NoError(t, err)
	for _, served := range types {
		parts := strings.Split(served.token, ":")
		module, typeName := strings.Split(parts[1], "/")[0], parts[2]
		if module == "index" {
			module = ""
		}
		if !served.isFunction() {
			schema := shimmed.ResourcesMap().Get(served.terraform).Schema()
			d.object(served.path(), schema, module, lowerFirst(typeName)+"State", lowerFirst(typeName)+"Args")
			continue
		}
		// Functions are called Lookup where Get is taken by a resource's own getter.
		schema, noun := shimmed.DataSourcesMap().Get(served.terraform).Schema(), strings.TrimPrefix(typeName, "get")
		d.object(served.path(), schema, module, "Get"+noun+"Args", "Get"+noun+"Result", "Lookup"+noun+"Args", "Lookup"+noun+"Result")
	}

	if *update {
		data, err := json.MarshalIndent(d.names, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("names.json", append(data, '\n'), 0o644))
		return
	}
	committed, err := readNames(namesList)
	require.NoError(t, err)
	assert.Equal(t, d.names, committed, "run `go generate ./internal/aws`")
	t.Logf("%d fields, %d of them not named by the bridge's rules", d.fields, len(d.names))
}

// deriver compares the provider's schema with the SDK's structs.
type deriver struct {
	t      *testing.T
	sdk    *sdk
	names  names
	fields int
}

// object derives the names of an object's fields from the SDK's structs that together have its properties.
func (d *deriver) object(path string, schema shim.SchemaMap, module string, structs ...string) {
	properties, ok := d.sdk.properties(d.t, module, structs...)
	if !ok {
		d.t.Errorf("%s: the SDK has none of %v in module %q", path, structs, module)
		return
	}
	served := map[string]bool{}
	for _, key := range keys(schema) {
		at := path + "." + key
		s := schema.Get(key)
		property, want := d.property(at, key, schema, properties)
		if property == "" && isAbsent(at, key) {
			continue
		}
		d.fields++
		if property == "" {
			d.t.Errorf("%s: no property of the SDK; there are %v", at, slices.Sorted(maps.Keys(properties)))
			continue
		}
		served[property] = true

		var n name
		if isList := s.Type() == shim.TypeList || s.Type() == shim.TypeSet; isList && want.list == tfbridge.IsMaxItemsOne(s, nil) {
			one := !want.list
			n.One = &one
		}
		if rule := tfbridge.TerraformToPulumiNameV2(key, schema, map[string]*info.Schema{key: {MaxItemsOne: n.One}}); rule != property {
			n.Name = property
		}
		if n != (name{}) {
			d.names[at] = n
		}
		if inner := objectWithin(s); inner != nil {
			d.object(at, inner, module, want.structName)
		}
	}
	for property := range properties {
		if !served[property] && !withoutField[path+"."+property] {
			d.t.Errorf("%s: nothing of Terraform is behind property %s of the SDK", path, property)
		}
	}
}

// property finds what the SDK calls a field.
func (d *deriver) property(at, key string, schema shim.SchemaMap, properties map[string]property) (string, property) {
	yes, no := true, false
	candidates := []string{renamed[at]}
	for _, one := range []*bool{nil, &yes, &no} {
		candidates = append(candidates, tfbridge.TerraformToPulumiNameV2(key, schema, map[string]*info.Schema{key: {MaxItemsOne: one}}))
	}
	for _, c := range candidates {
		if p, ok := properties[c]; ok {
			return c, p
		}
	}
	return "", property{}
}

// objectWithin returns the fields of the objects that a list, a map or a field itself holds; nil for plain values.
func objectWithin(s shim.Schema) shim.SchemaMap {
	for {
		switch inner := s.Elem().(type) {
		case shim.Resource:
			return inner.Schema()
		case shim.Schema:
			s = inner
		default:
			return nil
		}
	}
}

// property is what a struct of the SDK says of one.
type property struct {
	list       bool
	structName string // of the objects it holds
}

// sdk is the source of the SDK's packages, each once.
type sdk struct {
	folder  string
	modules map[string]map[string]map[string]property
}

func sdkSource(t *testing.T) *sdk {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", "github.com/pulumi/pulumi-aws/sdk/v6").Output()
	require.NoError(t, err)
	version, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	require.Equal(t, "v"+Version, version, "version of the SDK in go.mod")
	return &sdk{folder: filepath.Join(dir, "go", "aws"), modules: map[string]map[string]map[string]property{}}
}

func (s *sdk) properties(t *testing.T, module string, structs ...string) (all map[string]property, ok bool) {
	t.Helper()
	if s.modules[module] == nil {
		s.modules[module] = readStructs(t, filepath.Join(s.folder, module))
	}
	all = map[string]property{}
	for _, name := range structs {
		if found, isThere := s.modules[module][name]; isThere {
			maps.Copy(all, found)
			ok = true
		}
	}
	return all, ok
}

var tag = regexp.MustCompile(`pulumi:"([^",]+)`)

// readStructs returns the tagged fields of every struct in a package.
func readStructs(t *testing.T, dir string) map[string]map[string]property {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	structs := map[string]map[string]property{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(parsed, func(node ast.Node) bool {
			declared, ok := node.(*ast.TypeSpec)
			if !ok {
				return true
			}
			body, ok := declared.Type.(*ast.StructType)
			if !ok {
				return false
			}
			properties := map[string]property{}
			for _, field := range body.Fields.List {
				if field.Tag == nil {
					continue
				}
				if found := tag.FindStringSubmatch(field.Tag.Value); found != nil {
					properties[found[1]] = describeType(field.Type)
				}
			}
			structs[declared.Name.Name] = properties
			return false
		})
	}
	return structs
}

func describeType(e ast.Expr) property {
	var p property
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.ArrayType:
			p.list, e = true, x.Elt
		case *ast.MapType:
			e = x.Value
		case *ast.Ident:
			p.structName = x.Name
			return p
		default:
			return p
		}
	}
}

func keys(schema shim.SchemaMap) []string {
	var all []string
	schema.Range(func(key string, _ shim.Schema) bool {
		all = append(all, key)
		return true
	})
	slices.Sort(all)
	return all
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
