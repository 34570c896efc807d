package terraform

import (
	"context"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	pb "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// wireProvider answers what the tests need of a provider.
type wireProvider struct {
	pb.ProviderClient
	schema   *pb.GetProviderSchema_Response
	plan     *pb.PlanResourceChange_Response
	apply    *pb.ApplyResourceChange_Response
	prepared int
	config   *pb.DynamicValue
	private  []byte
}

func (p *wireProvider) GetSchema(context.Context, *pb.GetProviderSchema_Request, ...grpc.CallOption) (*pb.GetProviderSchema_Response, error) {
	return p.schema, nil
}

func (p *wireProvider) PlanResourceChange(context.Context, *pb.PlanResourceChange_Request, ...grpc.CallOption) (*pb.PlanResourceChange_Response, error) {
	return p.plan, nil
}

func (p *wireProvider) ApplyResourceChange(_ context.Context, r *pb.ApplyResourceChange_Request, _ ...grpc.CallOption) (*pb.ApplyResourceChange_Response, error) {
	p.private = r.GetPlannedPrivate()
	return p.apply, nil
}

func (p *wireProvider) PrepareProviderConfig(_ context.Context, r *pb.PrepareProviderConfig_Request, _ ...grpc.CallOption) (*pb.PrepareProviderConfig_Response, error) {
	p.prepared++
	return &pb.PrepareProviderConfig_Response{PreparedConfig: &pb.DynamicValue{Msgpack: append([]byte("prepared "), r.GetConfig().GetMsgpack()...)}}, nil
}

func (p *wireProvider) Configure(_ context.Context, r *pb.Configure_Request, _ ...grpc.CallOption) (*pb.Configure_Response, error) {
	p.config = r.GetConfig()
	return &pb.Configure_Response{}, nil
}

func TestSchemaKeepsTypesBlocksAndSensitivity(t *testing.T) {
	provider := &wireProvider{schema: &pb.GetProviderSchema_Response{
		Provider: &pb.Schema{Block: &pb.Schema_Block{}},
		ResourceSchemas: map[string]*pb.Schema{"aws_thing": {Version: 2, Block: &pb.Schema_Block{
			Attributes: []*pb.Schema_Attribute{
				{Name: "id", Type: []byte(`"string"`), Optional: true, Computed: true},
				{Name: "password", Type: []byte(`"string"`), Required: true, Sensitive: true},
			},
			BlockTypes: []*pb.Schema_NestedBlock{{
				TypeName: "rule", Nesting: pb.Schema_NestedBlock_SET, MinItems: 1, MaxItems: 3,
				Block: &pb.Schema_Block{Attributes: []*pb.Schema_Attribute{{Name: "ports", Type: []byte(`["list","number"]`), Optional: true}}},
			}},
		}}},
	}}

	r, err := (&server{provider: provider}).GetProviderSchema(t.Context(), nil)

	require.NoError(t, err)
	assert.Equal(t, &tfprotov6.Schema{Version: 2, Block: &tfprotov6.SchemaBlock{
		Attributes: []*tfprotov6.SchemaAttribute{
			{Name: "id", Type: tftypes.String, Computed: true}, // not to be configured
			{Name: "password", Type: tftypes.String, Required: true, Sensitive: true},
		},
		BlockTypes: []*tfprotov6.SchemaNestedBlock{{
			TypeName: "rule", Nesting: tfprotov6.SchemaNestedBlockNestingModeSet, MinItems: 1, MaxItems: 3,
			Block: &tfprotov6.SchemaBlock{Attributes: []*tfprotov6.SchemaAttribute{
				{Name: "ports", Type: tftypes.List{ElementType: tftypes.Number}, Optional: true},
			}},
		}},
	}}, r.ResourceSchemas["aws_thing"])
}

func TestPlanKeepsThePathsThatReplace(t *testing.T) {
	provider := &wireProvider{plan: &pb.PlanResourceChange_Response{RequiresReplace: []*pb.AttributePath{{Steps: []*pb.AttributePath_Step{
		{Selector: &pb.AttributePath_Step_AttributeName{AttributeName: "rule"}},
		{Selector: &pb.AttributePath_Step_ElementKeyInt{ElementKeyInt: 1}},
		{Selector: &pb.AttributePath_Step_AttributeName{AttributeName: "tags"}},
		{Selector: &pb.AttributePath_Step_ElementKeyString{ElementKeyString: "country"}},
	}}}}}

	r, err := (&server{provider: provider}).PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{})

	require.NoError(t, err)
	want := tftypes.NewAttributePath().WithAttributeName("rule").WithElementKeyInt(1).WithAttributeName("tags").WithElementKeyString("country")
	assert.Equal(t, []*tftypes.AttributePath{want}, r.RequiresReplace)
}

func TestProviderIsConfiguredWithWhatItPreparedOnce(t *testing.T) {
	provider := &wireProvider{}
	s := &server{provider: provider}
	config := &tfprotov6.DynamicValue{MsgPack: []byte("config")}

	_, err := s.ValidateProviderConfig(t.Context(), &tfprotov6.ValidateProviderConfigRequest{Config: config})
	require.NoError(t, err)
	_, err = s.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{Config: config})
	require.NoError(t, err)

	assert.Equal(t, 1, provider.prepared)
	assert.Equal(t, "prepared config", string(provider.config.GetMsgpack()))
}

func TestFailedApplyIsKeptOnlyWhenSomethingIsThere(t *testing.T) {
	something, nothing := []byte{0x81, 0xa2, 'i', 'd', 0xa1, 'x'}, []byte{0xc0} // MessagePack: {"id": "x"} and nil
	failed := []*pb.Diagnostic{
		{Severity: pb.Diagnostic_WARNING, Summary: "slow"},
		{Severity: pb.Diagnostic_ERROR, Summary: "tagging", Detail: "access denied"},
	}
	for name, c := range map[string]struct {
		state       []byte
		diagnostics int
		kept        string
	}{
		"something was made": {state: something, diagnostics: 0, kept: "tagging: access denied"},
		"nothing was made":   {state: nothing, diagnostics: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{provider: &wireProvider{apply: &pb.ApplyResourceChange_Response{NewState: &pb.DynamicValue{Msgpack: c.state}, Diagnostics: failed}}}
			var kept error

			r, err := s.ApplyResourceChange(KeepFailed(t.Context(), &kept), &tfprotov6.ApplyResourceChangeRequest{})

			require.NoError(t, err)
			assert.Equal(t, c.state, r.NewState.MsgPack)
			assert.Len(t, r.Diagnostics, c.diagnostics)
			if c.kept == "" {
				assert.NoError(t, kept)
			} else {
				assert.EqualError(t, kept, c.kept)
			}
		})
	}
}
