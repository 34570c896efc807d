package terraform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	pb "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
)

// server presents a provider that speaks protocol 5 over the wire as one of protocol 6, which is a superset.
type server struct {
	tfprotov6.ProviderServer // what the bridge never calls
	provider                 pb.ProviderClient

	mu       sync.Mutex
	prepared map[string]*pb.PrepareProviderConfig_Response
}

func (s *server) GetProviderSchema(ctx context.Context, _ *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	r, err := s.provider.GetSchema(ctx, &pb.GetProviderSchema_Request{})
	if err != nil {
		return nil, err
	}
	if err := failure(r.GetDiagnostics()); err != nil {
		return nil, err
	}
	out := &tfprotov6.GetProviderSchemaResponse{
		ResourceSchemas:   map[string]*tfprotov6.Schema{},
		DataSourceSchemas: map[string]*tfprotov6.Schema{},
	}
	if out.Provider, err = schema(r.GetProvider()); err != nil {
		return nil, fmt.Errorf("schema of the provider: %w", err)
	}
	for name, in := range r.GetResourceSchemas() {
		if out.ResourceSchemas[name], err = schema(in); err != nil {
			return nil, fmt.Errorf("schema of resource %s: %w", name, err)
		}
		onlyComputed(out.ResourceSchemas[name], "id")
	}
	for name, in := range r.GetDataSourceSchemas() {
		if out.DataSourceSchemas[name], err = schema(in); err != nil {
			return nil, fmt.Errorf("schema of data source %s: %w", name, err)
		}
	}
	return out, nil
}

// ValidateProviderConfig asks once per configuration: the AWS provider takes more than a second to answer, and
// the configuration is validated several times in one deployment.
func (s *server) ValidateProviderConfig(ctx context.Context, in *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	r, err := s.prepare(ctx, in.Config)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: value(r.GetPreparedConfig()), Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

// ConfigureProvider configures with the prepared configuration, which has the provider's own defaults.
func (s *server) ConfigureProvider(ctx context.Context, in *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	config := wire(in.Config)
	prepared, err := s.prepare(ctx, in.Config)
	if err != nil {
		return nil, err
	}
	if prepared.GetPreparedConfig() != nil {
		config = prepared.GetPreparedConfig()
	}
	r, err := s.provider.Configure(ctx, &pb.Configure_Request{TerraformVersion: in.TerraformVersion, Config: config})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ConfigureProviderResponse{Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

func (s *server) prepare(ctx context.Context, config *tfprotov6.DynamicValue) (*pb.PrepareProviderConfig_Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(config.MsgPack)
	if r, ok := s.prepared[key]; ok {
		return r, nil
	}
	r, err := s.provider.PrepareProviderConfig(ctx, &pb.PrepareProviderConfig_Request{Config: wire(config)})
	if err != nil {
		return nil, err
	}
	if s.prepared == nil {
		s.prepared = map[string]*pb.PrepareProviderConfig_Response{}
	}
	s.prepared[key] = r
	return r, nil
}

func (s *server) StopProvider(ctx context.Context, _ *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	r, err := s.provider.Stop(ctx, &pb.Stop_Request{})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.StopProviderResponse{Error: r.GetError()}, nil
}

func (s *server) ValidateResourceConfig(ctx context.Context, in *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	r, err := s.provider.ValidateResourceTypeConfig(ctx, &pb.ValidateResourceTypeConfig_Request{TypeName: in.TypeName, Config: wire(in.Config)})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateResourceConfigResponse{Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

func (s *server) UpgradeResourceState(ctx context.Context, in *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	q := &pb.UpgradeResourceState_Request{TypeName: in.TypeName, Version: in.Version}
	if in.RawState != nil {
		q.RawState = &pb.RawState{Json: in.RawState.JSON, Flatmap: in.RawState.Flatmap}
	}
	r, err := s.provider.UpgradeResourceState(ctx, q)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: value(r.GetUpgradedState()), Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

func (s *server) ReadResource(ctx context.Context, in *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	r, err := s.provider.ReadResource(ctx, &pb.ReadResource_Request{
		TypeName: in.TypeName, CurrentState: wire(in.CurrentState), Private: in.Private, ProviderMeta: wire(in.ProviderMeta),
	})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ReadResourceResponse{NewState: value(r.GetNewState()), Private: r.GetPrivate(), Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

func (s *server) PlanResourceChange(ctx context.Context, in *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	r, err := s.provider.PlanResourceChange(ctx, &pb.PlanResourceChange_Request{
		TypeName: in.TypeName, PriorState: wire(in.PriorState), ProposedNewState: wire(in.ProposedNewState), Config: wire(in.Config),
		PriorPrivate: in.PriorPrivate, ProviderMeta: wire(in.ProviderMeta),
	})
	if err != nil {
		return nil, err
	}
	out := &tfprotov6.PlanResourceChangeResponse{
		PlannedState: value(r.GetPlannedState()), PlannedPrivate: r.GetPlannedPrivate(), Diagnostics: diagnostics(r.GetDiagnostics()),
		UnsafeToUseLegacyTypeSystem: r.GetLegacyTypeSystem(),
	}
	for _, p := range r.GetRequiresReplace() {
		out.RequiresReplace = append(out.RequiresReplace, path(p))
	}
	return out, nil
}

func (s *server) ApplyResourceChange(ctx context.Context, in *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	private, err := limited(ctx, in)
	if err != nil {
		return nil, err
	}
	r, err := s.provider.ApplyResourceChange(ctx, &pb.ApplyResourceChange_Request{
		TypeName: in.TypeName, PriorState: wire(in.PriorState), PlannedState: wire(in.PlannedState), Config: wire(in.Config),
		PlannedPrivate: private, ProviderMeta: wire(in.ProviderMeta),
	})
	if err != nil {
		return nil, err
	}
	out := &tfprotov6.ApplyResourceChangeResponse{
		NewState: value(r.GetNewState()), Private: r.GetPrivate(), Diagnostics: diagnostics(r.GetDiagnostics()),
		UnsafeToUseLegacyTypeSystem: r.GetLegacyTypeSystem(),
	}
	if failed := failure(r.GetDiagnostics()); failed != nil {
		nothing, err := isNull(out.NewState)
		if err != nil {
			return nil, errors.Join(failed, err)
		}
		if !nothing && Fail(ctx, failed) {
			out.Diagnostics = nil
		}
	}
	return out, nil
}

func (s *server) ImportResourceState(ctx context.Context, in *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	r, err := s.provider.ImportResourceState(ctx, &pb.ImportResourceState_Request{TypeName: in.TypeName, Id: in.ID})
	if err != nil {
		return nil, err
	}
	out := &tfprotov6.ImportResourceStateResponse{Diagnostics: diagnostics(r.GetDiagnostics())}
	for _, i := range r.GetImportedResources() {
		out.ImportedResources = append(out.ImportedResources, &tfprotov6.ImportedResource{
			TypeName: i.GetTypeName(), State: value(i.GetState()), Private: i.GetPrivate(),
		})
	}
	return out, nil
}

func (s *server) ValidateDataResourceConfig(ctx context.Context, in *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	r, err := s.provider.ValidateDataSourceConfig(ctx, &pb.ValidateDataSourceConfig_Request{TypeName: in.TypeName, Config: wire(in.Config)})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ValidateDataResourceConfigResponse{Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

func (s *server) ReadDataSource(ctx context.Context, in *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	r, err := s.provider.ReadDataSource(ctx, &pb.ReadDataSource_Request{TypeName: in.TypeName, Config: wire(in.Config), ProviderMeta: wire(in.ProviderMeta)})
	if err != nil {
		return nil, err
	}
	return &tfprotov6.ReadDataSourceResponse{State: value(r.GetState()), Diagnostics: diagnostics(r.GetDiagnostics())}, nil
}

type keptFailure struct{}

// KeepFailed lets an apply that failed but left something behind succeed with the state of what is there, and
// stores its error in failed. Without it the caller would forget a resource that exists.
func KeepFailed(ctx context.Context, failed *error) context.Context {
	return context.WithValue(ctx, keptFailure{}, failed)
}

// Fail stores the error of an apply that left something behind where KeepFailed asked for it, if it did.
func Fail(ctx context.Context, err error) (kept bool) {
	failed, kept := ctx.Value(keptFailure{}).(*error)
	if kept {
		*failed = err
	}
	return kept
}

func isNull(v *tfprotov6.DynamicValue) (bool, error) {
	if v == nil {
		return true, nil
	}
	return v.IsNull()
}

// failure joins the errors among the diagnostics; nil when there is none.
func failure(in []*pb.Diagnostic) error {
	var all []string
	for _, d := range in {
		if d.GetSeverity() == pb.Diagnostic_ERROR {
			all = append(all, strings.TrimSuffix(d.GetSummary()+": "+d.GetDetail(), ": "))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "\n"))
}

func diagnostics(in []*pb.Diagnostic) []*tfprotov6.Diagnostic {
	var out []*tfprotov6.Diagnostic
	for _, d := range in {
		out = append(out, &tfprotov6.Diagnostic{
			Severity: tfprotov6.DiagnosticSeverity(d.GetSeverity()), Summary: d.GetSummary(), Detail: d.GetDetail(), Attribute: path(d.GetAttribute()),
		})
	}
	return out
}

func path(in *pb.AttributePath) *tftypes.AttributePath {
	if in == nil {
		return nil
	}
	var steps []tftypes.AttributePathStep
	for _, step := range in.GetSteps() {
		switch s := step.GetSelector().(type) {
		case *pb.AttributePath_Step_AttributeName:
			steps = append(steps, tftypes.AttributeName(s.AttributeName))
		case *pb.AttributePath_Step_ElementKeyString:
			steps = append(steps, tftypes.ElementKeyString(s.ElementKeyString))
		case *pb.AttributePath_Step_ElementKeyInt:
			steps = append(steps, tftypes.ElementKeyInt(s.ElementKeyInt))
		}
	}
	return tftypes.NewAttributePathWithSteps(steps)
}

func value(in *pb.DynamicValue) *tfprotov6.DynamicValue {
	if in == nil {
		return nil
	}
	return &tfprotov6.DynamicValue{MsgPack: in.GetMsgpack(), JSON: in.GetJson()}
}

func wire(in *tfprotov6.DynamicValue) *pb.DynamicValue {
	if in == nil {
		return nil
	}
	return &pb.DynamicValue{Msgpack: in.MsgPack, Json: in.JSON}
}

func schema(in *pb.Schema) (*tfprotov6.Schema, error) {
	b, err := block(in.GetBlock())
	if err != nil {
		return nil, err
	}
	return &tfprotov6.Schema{Version: in.GetVersion(), Block: b}, nil
}

func block(in *pb.Schema_Block) (*tfprotov6.SchemaBlock, error) {
	out := &tfprotov6.SchemaBlock{Version: in.GetVersion(), Deprecated: in.GetDeprecated()}
	for _, a := range in.GetAttributes() {
		//lint:ignore SA1019 the only parser of what the wire carries
		t, err := tftypes.ParseJSONType(a.GetType())
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.GetName(), err)
		}
		out.Attributes = append(out.Attributes, &tfprotov6.SchemaAttribute{
			Name: a.GetName(), Type: t, Required: a.GetRequired(), Optional: a.GetOptional(), Computed: a.GetComputed(),
			Sensitive: a.GetSensitive(), Deprecated: a.GetDeprecated(),
		})
	}
	for _, n := range in.GetBlockTypes() {
		b, err := block(n.GetBlock())
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", n.GetTypeName(), err)
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov6.SchemaNestedBlock{
			TypeName: n.GetTypeName(), Block: b, Nesting: tfprotov6.SchemaNestedBlockNestingMode(n.GetNesting()),
			MinItems: n.GetMinItems(), MaxItems: n.GetMaxItems(),
		})
	}
	return out, nil
}

// onlyComputed marks an attribute as decided by the provider. Terraform's older SDK says of every id that it may
// also be configured, which would make ids inputs of resources that are read back.
func onlyComputed(s *tfprotov6.Schema, name string) {
	for _, a := range s.Block.Attributes {
		if a.Name == name && a.Computed {
			a.Optional = false
		}
	}
}
