package main

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-data/sluice/local/plugins/internal/aws"
)

// engine is what a program takes for Pulumi's engine: it lets every resource be planned and answers as if it had been created.
type engine struct {
	pulumirpc.UnimplementedResourceMonitorServer
	pulumirpc.UnimplementedEngineServer

	address string
	stop    func()

	stack    string
	upstream tfprotov6.ProviderServer
	aws      func() (pulumirpc.ResourceProviderServer, error) // aws is started for the first resource that needs it.
	plan     *planned

	lock   sync.Mutex
	root   string           // root is the URN of the stack.
	places map[string]place // places are the accounts and regions of the providers, by URN.
}

// place is the account and region that a provider works in.
type place struct{ account, region string }

// serve starts an engine for one run of a stack's program.
func serve(ctx context.Context, stack string, upstream tfprotov6.ProviderServer) (*engine, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 28))
	e := &engine{address: listener.Addr().String(), stop: server.Stop, stack: stack, plan: newPlan(), places: map[string]place{}}
	recorded, err := record(ctx, upstream)
	if err != nil {
		return nil, err
	}
	e.upstream = recorded
	e.aws = sync.OnceValues(func() (pulumirpc.ResourceProviderServer, error) { return e.startAWS(ctx) })
	pulumirpc.RegisterResourceMonitorServer(server, e)
	pulumirpc.RegisterEngineServer(server, e)
	go func() { _ = server.Serve(listener) }() // ends with stop
	return e, nil
}

// startAWS configures the provider without an account: planning needs none.
func (e *engine) startAWS(ctx context.Context) (pulumirpc.ResourceProviderServer, error) {
	host, err := provider.NewHostClient(e.address)
	if err != nil {
		return nil, err
	}
	server, err := aws.NewServer(ctx, host, e.upstream)
	if err != nil {
		return nil, err
	}
	config, err := structpb.NewStruct(map[string]any{
		"region": "us-east-1", "accessKey": "000000000000", "secretKey": "none",
		"skipCredentialsValidation": "true", "skipRequestingAccountId": "true", "skipMetadataApiCheck": "true"})
	if err != nil {
		return nil, err
	}
	_, err = server.Configure(ctx, &pulumirpc.ConfigureRequest{Args: config, AcceptSecrets: true})
	return server, err
}

// SupportsFeature keeps the program to plain values: no secrets, references or output values on the wire.
func (e *engine) SupportsFeature(context.Context, *pulumirpc.SupportsFeatureRequest) (*pulumirpc.SupportsFeatureResponse, error) {
	return &pulumirpc.SupportsFeatureResponse{}, nil
}

// SetRootResource and GetRootResource keep the stack's URN.
func (e *engine) SetRootResource(_ context.Context, r *pulumirpc.SetRootResourceRequest) (*pulumirpc.SetRootResourceResponse, error) {
	e.lock.Lock()
	defer e.lock.Unlock()
	e.root = r.GetUrn()
	return &pulumirpc.SetRootResourceResponse{}, nil
}

// GetRootResource answers the stack's URN.
func (e *engine) GetRootResource(context.Context, *pulumirpc.GetRootResourceRequest) (*pulumirpc.GetRootResourceResponse, error) {
	e.lock.Lock()
	defer e.lock.Unlock()
	return &pulumirpc.GetRootResourceResponse{Urn: e.root}, nil
}

// Log passes on what the program has to say, but for details.
func (e *engine) Log(_ context.Context, r *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	if r.GetSeverity() >= pulumirpc.LogSeverity_WARNING {
		fmt.Printf("%s: %s\n", strings.ToLower(r.GetSeverity().String()), strings.TrimSpace(r.GetMessage()))
	}
	return &emptypb.Empty{}, nil
}

// RegisterResourceOutputs has nothing to keep.
func (e *engine) RegisterResourceOutputs(context.Context, *pulumirpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// SignalAndWaitForShutdown lets the program end.
func (e *engine) SignalAndWaitForShutdown(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// Invoke answers look-ups as an account would in which everything is fresh.
func (e *engine) Invoke(_ context.Context, r *pulumirpc.ResourceInvokeRequest) (*pulumirpc.InvokeResponse, error) {
	e.lock.Lock()
	at := e.places[providerURN(r.GetProvider())]
	e.lock.Unlock()
	found, err := lookUp(r.GetTok(), r.GetArgs().AsMap(), at)
	if err != nil {
		return nil, err
	}
	out, err := structpb.NewStruct(found)
	return &pulumirpc.InvokeResponse{Return: out}, err
}

// RegisterResource plans a resource and answers what it would be once it exists.
func (e *engine) RegisterResource(ctx context.Context, r *pulumirpc.RegisterResourceRequest) (*pulumirpc.RegisterResourceResponse, error) {
	urn := e.urn(r)
	out := &pulumirpc.RegisterResourceResponse{Urn: urn, Object: r.GetObject()}
	if !r.GetCustom() {
		return out, nil
	}
	switch module, _, _ := strings.Cut(r.GetType(), ":"); module {
	case "pulumi":
		e.addPlace(urn, r)
		out.Id = "provider"
		return out, nil
	case "random":
		out.Id, out.Object = likelyRandom(r)
		return out, nil
	case "gcp":
		inputs, err := plugin.UnmarshalProperties(r.GetObject(), plugin.MarshalOptions{})
		if err != nil {
			return nil, err
		}
		created, err := e.plan.addGoogle(r.GetType(), r.GetName(), urn, inputs.Mappable(), dependencies(r))
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", r.GetType(), r.GetName(), err)
		}
		out.Id, _ = created["id"].(string)
		out.Object, err = structpb.NewStruct(created)
		return out, err
	case "aws":
		if err := e.createAWS(ctx, urn, r, out); err != nil {
			return nil, fmt.Errorf("%s %q: %w", r.GetType(), r.GetName(), err)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("%s %q: no plan can be made of resources of %s", r.GetType(), r.GetName(), module)
	}
}

// createAWS lets the bridge check and create a resource; the provider under it only plans.
func (e *engine) createAWS(ctx context.Context, urn string, r *pulumirpc.RegisterResourceRequest, out *pulumirpc.RegisterResourceResponse) error {
	server, err := e.aws()
	if err != nil {
		return err
	}
	e.lock.Lock()
	at := e.places[providerURN(r.GetProvider())]
	e.lock.Unlock()
	checked, err := server.Check(ctx, &pulumirpc.CheckRequest{Urn: urn, News: r.GetObject(), RandomSeed: []byte(urn)})
	if err != nil {
		return err
	}
	for _, failure := range checked.GetFailures() {
		return fmt.Errorf("%s: %s", failure.GetProperty(), failure.GetReason())
	}
	seen := &change{name: r.GetName(), at: at}
	created, err := server.Create(context.WithValue(ctx, changeKey{}, seen), &pulumirpc.CreateRequest{Urn: urn, Properties: checked.GetInputs()})
	if err != nil {
		return err
	}
	out.Id, out.Object = created.GetId(), created.GetProperties()
	return e.plan.addAWS(urn, seen, dependencies(r))
}

var twelveDigits = regexp.MustCompile(`[0-9]{12}`)

func (e *engine) addPlace(urn string, r *pulumirpc.RegisterResourceRequest) {
	fields := r.GetObject().GetFields()
	// A list travels as JSON among a provider's settings.
	at := place{region: fields["region"].GetStringValue(), account: twelveDigits.FindString(fields["allowedAccountIds"].String())}
	e.lock.Lock()
	defer e.lock.Unlock()
	e.places[urn] = at
}

// urn is a resource's address in Pulumi's form; what it is the child of does not matter here.
func (e *engine) urn(r *pulumirpc.RegisterResourceRequest) string {
	return "urn:pulumi:" + e.stack + "::sluice::" + r.GetType() + "::" + r.GetName()
}

// providerURN is the URN of a provider that is given with its id.
func providerURN(reference string) string {
	return strings.TrimSuffix(reference, "::provider")
}

// dependencies are the resources that the program took values from for any property of a resource.
func dependencies(r *pulumirpc.RegisterResourceRequest) sources {
	from := sources{urns: map[string]bool{}, own: map[string]bool{}}
	for _, of := range r.GetPropertyDependencies() {
		for _, urn := range of.GetUrns() {
			from.urns[urn] = true
		}
	}
	for property, value := range r.GetObject().GetFields() {
		if len(r.GetPropertyDependencies()[property].GetUrns()) == 0 {
			from.own[value.GetStringValue()] = true
		}
	}
	return from
}
