// Package aws serves the resource types of pulumi-aws over the binary of the Terraform AWS provider, by means of
// the official Pulumi bridge for Terraform providers. The Terraform provider does all the work in AWS; the bridge
// translates the engine's calls; this package tells the bridge how pulumi-aws names things and does what the
// bridge leaves out for providers that it knows by protocol only (see server.go).
package aws

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/proto"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/info"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	"github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// Version is the version of pulumi-aws whose types and names the plugin serves.
const Version = "6.83.2"

// NewServer serves upstream, a running Terraform AWS provider, to the engine behind host.
func NewServer(ctx context.Context, host *provider.HostClient, upstream tfprotov6.ProviderServer) (pulumirpc.ResourceProviderServer, error) {
	described, err := describe(ctx, upstream)
	if err != nil {
		return nil, err
	}
	// The engine asks for a schema only to generate code, which is the official plugin's business.
	metadata := pfbridge.ProviderMetadata{PackageSchema: fmt.Appendf(nil, `{"name":"aws","version":%q}`, Version)}
	bridged, err := pfbridge.NewProviderServer(ctx, host, described, metadata)
	if err != nil {
		return nil, err
	}
	return newServer(bridged, described.Resources)
}

// describe tells the bridge which types there are and what they are called.
func describe(ctx context.Context, upstream tfprotov6.ProviderServer) (info.Provider, error) {
	shimmed := proto.New(ctx, upstream)
	types, err := readTypes(typesList)
	if err != nil {
		return info.Provider{}, err
	}
	names, err := readNames(namesList)
	if err != nil {
		return info.Provider{}, err
	}

	p := info.Provider{
		P: shimmed, Name: "aws", Version: Version, ResourcePrefix: "aws",
		Resources: map[string]*info.Resource{}, DataSources: map[string]*info.DataSource{},
		MetadataInfo:                  &info.Metadata{Data: tfbridge.ProviderMetadata(nil)},
		EnableAccuratePFBridgePreview: true,
	}
	if p.Config, err = names.fields(providerPath, shimmed.Schema()); err != nil {
		return info.Provider{}, err
	}
	for _, t := range types {
		in := shimmed.ResourcesMap()
		if t.isFunction() {
			in = shimmed.DataSourcesMap()
		}
		described, ok := in.GetOk(t.terraform)
		if !ok {
			return info.Provider{}, fmt.Errorf("type %s: the terraform provider has no %s", t.token, t.terraform)
		}
		fields, err := names.fields(t.path(), described.Schema())
		if err != nil {
			return info.Provider{}, fmt.Errorf("type %s: %w", t.token, err)
		}
		if t.isFunction() {
			p.DataSources[t.terraform] = &info.DataSource{Tok: tokens.ModuleMember(t.token), Fields: fields}
			continue
		}
		nameAutomatically(t.terraform, described.Schema(), fields)
		p.Resources[t.terraform] = &info.Resource{Tok: tokens.Type(t.token), Fields: fields, DeleteBeforeReplace: deletedFirst[t.terraform]}
	}
	return p, nil
}

//go:embed types.txt
var typesList string

// servedType is a line of types.txt.
type servedType struct{ token, terraform string }

func (t servedType) isFunction() bool {
	return strings.HasPrefix(t.token[strings.LastIndex(t.token, ":")+1:], "get")
}

// path is where the type's names begin in names.json. A function may have the Terraform name of a resource.
func (t servedType) path() string {
	if t.isFunction() {
		return "data." + t.terraform
	}
	return t.terraform
}

func readTypes(list string) ([]servedType, error) {
	var types []servedType
	for lines := bufio.NewScanner(strings.NewReader(list)); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		token, name, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("types.txt: %q is not a token and a terraform type", line)
		}
		types = append(types, servedType{token, name})
	}
	return types, nil
}

// names.json holds what pulumi-aws calls differently from what the bridge would choose, by Terraform path. It is
// derived from the published SDK, see names_test.go.
//
//go:generate go test -run TestNamesAreThoseOfTheSDK . -update
//go:embed names.json
var namesList []byte

// providerPath is where the names of the provider's own configuration begin in names.json.
const providerPath = "provider"

// name is how the SDK presents a field, where it differs from the bridge's rules.
type name struct {
	// Name is the property's name.
	Name string `json:"name,omitempty"`
	// One says whether a list is presented as a single value.
	One *bool `json:"one,omitempty"`
}

type names map[string]name

func readNames(list []byte) (names, error) {
	var n names
	if err := json.Unmarshal(list, &n); err != nil {
		return nil, fmt.Errorf("names.json: %w", err)
	}
	return n, nil
}

// fields renders the names below path in the bridge's form.
func (n names) fields(path string, schema shim.SchemaMap) (map[string]*info.Schema, error) {
	fields := map[string]*info.Schema{}
	for key, name := range n {
		steps, ok := strings.CutPrefix(key, path+".")
		if !ok {
			continue
		}
		field, err := fieldAt(fields, schema, strings.Split(steps, "."))
		if err != nil {
			return nil, fmt.Errorf("names.json: %s: %w", key, err)
		}
		field.Name, field.MaxItemsOne = name.Name, name.One
	}
	return fields, nil
}

// fieldAt returns the bridge's description of the field at the end of path, and makes what is missing on the way.
func fieldAt(fields map[string]*info.Schema, schema shim.SchemaMap, path []string) (*info.Schema, error) {
	s, ok := schema.GetOk(path[0])
	if !ok {
		return nil, fmt.Errorf("the terraform provider has no field %s", path[0])
	}
	field := fields[path[0]]
	if field == nil {
		field = &info.Schema{}
		fields[path[0]] = field
	}
	if len(path) == 1 {
		return field, nil
	}
	// Through lists and maps to the object that they hold. The bridge looks for the fields of a list's objects
	// one step further in than for those of a lone object.
	holder := field
	for {
		if s.Type() != shim.TypeMap {
			if holder.Elem == nil {
				holder.Elem = &info.Schema{}
			}
			holder = holder.Elem
		}
		switch inner := s.Elem().(type) {
		case shim.Resource:
			if holder.Fields == nil {
				holder.Fields = map[string]*info.Schema{}
			}
			return fieldAt(holder.Fields, inner.Schema(), path[1:])
		case shim.Schema:
			s = inner
		default:
			return nil, fmt.Errorf("%s has no fields", path[0])
		}
	}
}
