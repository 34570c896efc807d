package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/info"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-data/sluice/local/plugins/internal/terraform"
)

// server stands before the bridge's server and does what that one leaves out: it turns assets into files, keeps
// the state of resources that were made but then failed, deletes first what cannot exist twice, and passes on time
// limits.
type server struct {
	pulumirpc.ResourceProviderServer
	assets assetFolder
	// nameKeys are the properties that hold the name of a resource, by type.
	nameKeys map[string]resource.PropertyKey
}

func newServer(bridged pulumirpc.ResourceProviderServer, resources map[string]*info.Resource) (*server, error) {
	assets, err := newAssetFolder()
	if err != nil {
		return nil, err
	}
	s := &server{ResourceProviderServer: bridged, assets: assets, nameKeys: map[string]resource.PropertyKey{}}
	for _, r := range resources {
		for _, field := range r.Fields {
			if field.Default != nil && field.Default.AutoNamed {
				s.nameKeys[string(r.Tok)] = resource.PropertyKey(field.Name)
			}
		}
	}
	return s, nil
}

func (s *server) Check(ctx context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	replaced, err := s.toFiles(r.GetUrn(), &r.News)
	if err != nil {
		return nil, err
	}
	if _, err := s.toFiles(r.GetUrn(), &r.Olds); err != nil {
		return nil, err
	}
	out, err := s.ResourceProviderServer.Check(ctx, r)
	if err != nil {
		return nil, err
	}
	if failure := s.checkNamed(resource.URN(r.GetUrn()), out.GetInputs()); failure != nil {
		out.Failures = append(out.Failures, failure)
	}
	return out, toAssets(replaced, &out.Inputs)
}

// checkNamed refuses a resource that should have been given a name but was not. The bridge only logs it.
func (s *server) checkNamed(urn resource.URN, inputs *structpb.Struct) *pulumirpc.CheckFailure {
	key, ok := s.nameKeys[string(urn.Type())]
	if !ok || inputs.GetFields()[string(key)] != nil || inputs.GetFields()[string(prefixKey(key))] != nil {
		return nil
	}
	return &pulumirpc.CheckFailure{
		Property: string(key),
		Reason:   fmt.Sprintf("no %s was given and none could be made from %q: shorten that, or set %s", key, urn.Name(), key),
	}
}

func (s *server) Diff(ctx context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	for _, properties := range []**structpb.Struct{&r.News, &r.Olds, &r.OldInputs} {
		if _, err := s.toFiles(r.GetUrn(), properties); err != nil {
			return nil, err
		}
	}
	out, err := s.ResourceProviderServer.Diff(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(out.GetReplaces()) > 0 && s.keepsName(resource.URN(r.GetUrn()), r.GetOlds(), r.GetNews()) {
		out.DeleteBeforeReplace = true
	}
	return out, nil
}

// keepsName tells whether a replacement would have the name of the resource that it replaces, because the
// program fixed it.
func (s *server) keepsName(urn resource.URN, olds, news *structpb.Struct) bool {
	key, ok := s.nameKeys[string(urn.Type())]
	if !ok {
		return false
	}
	name, ok := news.GetFields()[string(key)].GetKind().(*structpb.Value_StringValue)
	return ok && name.StringValue == olds.GetFields()[string(key)].GetStringValue() && !isGenerated(urn, name.StringValue)
}

func (s *server) Create(ctx context.Context, r *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	inputs := r.GetProperties()
	replaced, err := s.toFiles(r.GetUrn(), &r.Properties)
	if err != nil {
		return nil, err
	}
	var failed error
	ctx = terraform.KeepFailed(withTimeout(ctx, r.GetTimeout(), nil), &failed)
	out, err := s.ResourceProviderServer.Create(ctx, r)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	if err := toAssets(replaced, &out.Properties); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, incomplete(out.GetId(), out.GetProperties(), inputs, failed)
	}
	return out, nil
}

func (s *server) Update(ctx context.Context, r *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	inputs := r.GetNews()
	replaced, err := s.toFiles(r.GetUrn(), &r.News)
	if err != nil {
		return nil, err
	}
	for _, properties := range []**structpb.Struct{&r.Olds, &r.OldInputs} {
		if _, err := s.toFiles(r.GetUrn(), properties); err != nil {
			return nil, err
		}
	}
	var failed error
	ctx = terraform.KeepFailed(withTimeout(ctx, r.GetTimeout(), nil), &failed)
	out, err := s.ResourceProviderServer.Update(ctx, r)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	if err := toAssets(replaced, &out.Properties); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, incomplete(r.GetId(), out.GetProperties(), inputs, failed)
	}
	return out, nil
}

func (s *server) Read(ctx context.Context, r *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	state, err := s.toFiles(r.GetUrn(), &r.Properties)
	if err != nil {
		return nil, err
	}
	inputs, err := s.toFiles(r.GetUrn(), &r.Inputs)
	if err != nil {
		return nil, err
	}
	out, err := s.ResourceProviderServer.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	return out, errors.Join(toAssets(state, &out.Properties), toAssets(inputs, &out.Inputs))
}

func (s *server) Delete(ctx context.Context, r *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	if _, err := s.toFiles(r.GetUrn(), &r.Properties); err != nil {
		return nil, err
	}
	return s.ResourceProviderServer.Delete(withTimeout(ctx, r.GetTimeout(), r.GetProperties()), r)
}

// withTimeout passes on the option customTimeouts, which the bridge does not. Zero is no option.
func withTimeout(ctx context.Context, seconds float64, state *structpb.Struct) context.Context {
	if seconds == 0 {
		return ctx
	}
	var meta struct {
		Private []byte `json:"private_state"`
	}
	// Not every resource has it; one whose private data cannot be read keeps its own limits.
	_ = json.Unmarshal([]byte(state.GetFields()["__meta"].GetStringValue()), &meta)
	return terraform.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)), meta.Private)
}

var marshalling = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepOutputValues: true, KeepResources: true}

// toFiles replaces assets by files in what goes to the bridge, and returns the assets.
func (s *server) toFiles(urn string, in **structpb.Struct) (resource.PropertyMap, error) {
	if *in == nil || contentHashes[string(resource.URN(urn).Type())] == "" {
		return nil, nil
	}
	properties, err := plugin.UnmarshalProperties(*in, marshalling)
	if err != nil {
		return nil, err
	}
	replaced, err := s.assets.replace(resource.URN(urn), properties)
	if err != nil {
		return nil, err
	}
	*in, err = plugin.MarshalProperties(properties, marshalling)
	return replaced, err
}

// toAssets undoes toFiles in what comes from the bridge.
func toAssets(replaced resource.PropertyMap, out **structpb.Struct) error {
	if len(replaced) == 0 || *out == nil {
		return nil
	}
	properties, err := plugin.UnmarshalProperties(*out, marshalling)
	if err != nil {
		return err
	}
	restore(replaced, properties)
	*out, err = plugin.MarshalProperties(properties, marshalling)
	return err
}

// incomplete tells the engine that a resource exists but is not as wanted, so that it is kept in the state and
// the next deployment goes on with it.
func incomplete(id string, state, inputs *structpb.Struct, failed error) error {
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, failed.Error()), &pulumirpc.ErrorResourceInitFailed{
		Id: id, Properties: state, Inputs: inputs, Reasons: []string{failed.Error()},
	})
}
