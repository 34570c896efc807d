package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sort"

	"github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-data/sluice/local/plugins/internal/parent"
)

// Serve runs the provider as a plugin until its engine is gone.
func Serve(p Provider) error {
	go func() {
		<-parent.Gone()
		os.Exit(1)
	}()
	return provider.Main(p.Name, func(*provider.HostClient) (rpc.ResourceProviderServer, error) {
		return NewServer(p), nil
	})
}

// NewServer returns the provider protocol over p.
func NewServer(p Provider) rpc.ResourceProviderServer {
	return &server{provider: p}
}

type server struct {
	rpc.UnimplementedResourceProviderServer
	provider Provider
}

func (s *server) GetPluginInfo(context.Context, *emptypb.Empty) (*rpc.PluginInfo, error) {
	return &rpc.PluginInfo{Version: s.provider.Version}, nil
}

func (s *server) GetSchema(context.Context, *rpc.GetSchemaRequest) (*rpc.GetSchemaResponse, error) {
	return &rpc.GetSchemaResponse{Schema: fmt.Sprintf(`{"name":%q,"version":%q}`, s.provider.Name, s.provider.Version)}, nil
}

func (s *server) Attach(context.Context, *rpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) CheckConfig(_ context.Context, r *rpc.CheckRequest) (*rpc.CheckResponse, error) {
	return &rpc.CheckResponse{Inputs: r.News}, nil
}

func (s *server) DiffConfig(context.Context, *rpc.DiffRequest) (*rpc.DiffResponse, error) {
	return &rpc.DiffResponse{}, nil
}

func (s *server) Configure(_ context.Context, r *rpc.ConfigureRequest) (*rpc.ConfigureResponse, error) {
	args, err := properties(r.Args)
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	for key, value := range args {
		if value.IsString() {
			config[string(key)] = value.StringValue()
		}
	}
	if s.provider.Configure != nil {
		if err := s.provider.Configure(config); err != nil {
			return nil, err
		}
	}
	return &rpc.ConfigureResponse{SupportsPreview: true}, nil
}

func (s *server) Invoke(ctx context.Context, r *rpc.InvokeRequest) (*rpc.InvokeResponse, error) {
	function, ok := s.provider.Functions[r.Tok]
	if !ok {
		return nil, s.unknown("function", r.Tok)
	}
	args, err := properties(r.Args)
	if err != nil {
		return nil, err
	}
	result, err := function(ctx, args.Mappable())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Tok, err)
	}
	out, err := message(resource.NewPropertyMapFromMap(result))
	return &rpc.InvokeResponse{Return: out}, err
}

func (s *server) Check(_ context.Context, r *rpc.CheckRequest) (*rpc.CheckResponse, error) {
	typ, name, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	olds, err := properties(r.Olds)
	if err != nil {
		return nil, err
	}
	news, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	var failures []*rpc.CheckFailure
	fail := func(property, reason string) {
		failures = append(failures, &rpc.CheckFailure{Property: property, Reason: reason})
	}
	for key, value := range news {
		if _, ok := typ.Inputs[string(key)]; !ok && key != "__defaults" {
			fail(string(key), fmt.Sprintf("the local %s plugin does not support %q; use the official plugin, or add it to the table of types", s.provider.Name, key))
		}
		if value.IsNull() {
			delete(news, key)
		}
	}
	for _, key := range sorted(typ.Inputs) {
		input, property := typ.Inputs[key], resource.PropertyKey(key)
		if news.HasValue(property) {
			continue
		}
		switch {
		case input.AutoName && olds.HasValue(property):
			news[property] = olds[property]
		case input.AutoName:
			unique, err := resource.NewUniqueHex(name+"-", 7, 63)
			if err != nil {
				return nil, err
			}
			news[property] = resource.NewProperty(unique)
		case input.Default != nil && !empty(input.Default()) || input.Default != nil && input.Local:
			news[property] = resource.NewPropertyValue(input.Default())
		case input.Required:
			fail(key, fmt.Sprintf("missing required property %q", key))
		}
	}
	inputs, err := message(news)
	return &rpc.CheckResponse{Inputs: inputs, Failures: failures}, err
}

func (s *server) Diff(_ context.Context, r *rpc.DiffRequest) (*rpc.DiffResponse, error) {
	typ, _, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	olds, err := properties(r.OldInputs)
	if err != nil {
		return nil, err
	}
	news, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	response := &rpc.DiffResponse{Changes: rpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true, DetailedDiff: map[string]*rpc.PropertyDiff{}}
	renamed := false
	for _, key := range sorted(typ.Inputs) {
		input, property := typ.Inputs[key], resource.PropertyKey(key)
		if slices.Contains(r.IgnoreChanges, key) {
			continue
		}
		old, new := olds[property], news[property]
		change := Same
		switch {
		case new.ContainsUnknowns():
			change = input.change()
		case !news.HasValue(property) && input.Computed:
		default:
			change = input.compare(old.Mappable(), new.Mappable())
		}
		if change == Same {
			continue
		}
		kind := rpc.PropertyDiff_UPDATE
		switch {
		case !olds.HasValue(property):
			kind = rpc.PropertyDiff_ADD
		case !news.HasValue(property):
			kind = rpc.PropertyDiff_DELETE
		}
		if change == Replace {
			kind++ // each kind is followed by the same one that replaces
			response.Replaces = append(response.Replaces, key)
			renamed = renamed || input.Names
		}
		response.Changes = rpc.DiffResponse_DIFF_SOME
		response.Diffs = append(response.Diffs, key)
		response.DetailedDiff[key] = &rpc.PropertyDiff{Kind: kind, InputDiff: true}
	}
	// A successor of the same name cannot stand beside its predecessor.
	response.DeleteBeforeReplace = len(response.Replaces) > 0 && !renamed
	return response, nil
}

func (s *server) Create(ctx context.Context, r *rpc.CreateRequest) (*rpc.CreateResponse, error) {
	typ, _, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	inputs, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	if r.Preview {
		state := inputs.Copy()
		unknown := resource.MakeComputed(resource.NewProperty(""))
		for _, key := range typ.Outputs {
			state[resource.PropertyKey(key)] = unknown
		}
		for key, input := range typ.Inputs {
			if property := resource.PropertyKey(key); input.Computed && !state.HasValue(property) {
				state[property] = unknown
			}
		}
		out, err := message(state)
		return &rpc.CreateResponse{Properties: out}, err
	}
	id, live, err := typ.Create(ctx, inputs.Mappable())
	if err != nil {
		return nil, failed(r.Urn, err)
	}
	out, err := message(state(typ, inputs.Mappable(), live))
	return &rpc.CreateResponse{Id: id, Properties: out}, err
}

func (s *server) Read(ctx context.Context, r *rpc.ReadRequest) (*rpc.ReadResponse, error) {
	typ, _, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	known, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	olds, err := properties(r.Inputs)
	if err != nil {
		return nil, err
	}
	live, err := typ.Read(ctx, r.Id, known.Mappable())
	if errors.Is(err, ErrNotFound) {
		return &rpc.ReadResponse{}, nil
	}
	if err != nil {
		return nil, failed(r.Urn, err)
	}
	before, inputs := olds.Mappable(), Object{}
	for key, input := range typ.Inputs {
		if value, ok := input.live(before[key], live[key], len(known) > 0); ok {
			inputs[key] = value
		}
	}
	in, err := message(resource.NewPropertyMapFromMap(inputs))
	if err != nil {
		return nil, err
	}
	out, err := message(state(typ, inputs, live))
	return &rpc.ReadResponse{Id: r.Id, Properties: out, Inputs: in}, err
}

func (s *server) Update(ctx context.Context, r *rpc.UpdateRequest) (*rpc.UpdateResponse, error) {
	typ, _, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	olds, err := properties(r.Olds)
	if err != nil {
		return nil, err
	}
	oldInputs, err := properties(r.OldInputs)
	if err != nil {
		return nil, err
	}
	news, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	if r.Preview {
		planned := news.Copy()
		for _, key := range typ.Outputs {
			planned[resource.PropertyKey(key)] = olds[resource.PropertyKey(key)]
		}
		out, err := message(planned)
		return &rpc.UpdateResponse{Properties: out}, err
	}
	live, before, after := olds.Mappable(), oldInputs.Mappable(), news.Mappable()
	for key, input := range typ.Inputs {
		if !input.Local && !reflect.DeepEqual(before[key], after[key]) {
			if live, err = typ.Update(ctx, r.Id, before, after); err != nil {
				return nil, failed(r.Urn, err)
			}
			break
		}
	}
	out, err := message(state(typ, news.Mappable(), live))
	return &rpc.UpdateResponse{Properties: out}, err
}

func (s *server) Delete(ctx context.Context, r *rpc.DeleteRequest) (*emptypb.Empty, error) {
	typ, _, err := s.typ(r.Urn)
	if err != nil {
		return nil, err
	}
	known, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	if err := typ.Delete(ctx, r.Id, known.Mappable()); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, failed(r.Urn, err)
	}
	return &emptypb.Empty{}, nil
}

// typ finds the type and the name of a resource.
func (s *server) typ(urn string) (Type, string, error) {
	parsed := resource.URN(urn)
	typ, ok := s.provider.Types[string(parsed.Type())]
	if !ok {
		return Type{}, "", s.unknown("resource type", string(parsed.Type()))
	}
	return typ, parsed.Name(), nil
}

// unknown is the error for what is not in the tables.
func (s *server) unknown(kind, token string) error {
	return status.Errorf(codes.Unimplemented,
		"the local %s plugin does not have %s %s; use the official plugin, or add it to the table of types", s.provider.Name, kind, token)
}

// state is what the engine keeps: what the service answered, and the inputs where it answered nothing.
func state(typ Type, inputs, live Object) resource.PropertyMap {
	all := Object{}
	for key, input := range typ.Inputs {
		value, ok := live[key]
		if given, set := inputs[key]; set && (!ok || input.Local || input.means(given, value)) {
			value, ok = given, true
		}
		if ok && value != nil {
			all[key] = value
		}
	}
	for _, key := range typ.Outputs {
		if value, ok := live[key]; ok && value != nil {
			all[key] = value
		}
	}
	return resource.NewPropertyMapFromMap(all)
}

// failed names the resource that an error is about.
func failed(urn string, err error) error {
	return fmt.Errorf("%s %q: %w", resource.URN(urn).Type().Name(), resource.URN(urn).Name(), err)
}

// properties reads a message; unknown values stay unknown, secrets are not marked.
func properties(s *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
}

// message writes properties.
func message(m resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
}

// sorted are the names of inputs, in order.
func sorted(inputs map[string]Input) []string {
	keys := make([]string, 0, len(inputs))
	for key := range inputs {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
