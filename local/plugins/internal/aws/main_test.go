package aws

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/pulumi/pulumi/pkg/v3/resource/provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-data/sluice/local/plugins/internal/machine"
	"github.com/sluice-data/sluice/local/plugins/internal/terraform"
)

func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "pulumi-home-")
	if err == nil {
		stops = append(stops, func() { os.RemoveAll(home) })
		err = os.Setenv("PULUMI_HOME", home)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	for _, stop := range stops {
		stop()
	}
	os.Exit(code)
}

var stops []func() // for what all tests share

// upstream is the Terraform AWS provider, which all tests share because it takes seconds to start.
func upstream(t *testing.T) tfprotov6.ProviderServer {
	t.Helper()
	server, err := startUpstream()
	require.NoError(t, err)
	return server
}

var startUpstream = sync.OnceValues(func() (tfprotov6.ProviderServer, error) {
	path, err := machine.ThisMachine().Find(machine.AWS)
	if err != nil {
		return nil, err
	}
	server, stop, err := terraform.Run(context.Background(), path)
	if err == nil {
		stops = append(stops, stop)
	}
	return server, err
})

// configured is the plugin's server with its provider configured, which can be done once.
func configured(t *testing.T) pulumirpc.ResourceProviderServer {
	t.Helper()
	server, err := startServer()
	require.NoError(t, err)
	return server
}

// The same configuration in both languages; it needs no AWS to plan with.
var (
	pulumiConfig = map[string]any{
		"region": "eu-central-1", "accessKey": "000000000000", "secretKey": "local",
		"skipCredentialsValidation": "true", "skipRequestingAccountId": "true", "skipMetadataApiCheck": "true",
		"defaultTags": `{"tags":{"project":"sluice"}}`,
	}
	terraformConfig = map[string]any{
		"region": "eu-central-1", "access_key": "000000000000", "secret_key": "local",
		"skip_credentials_validation": true, "skip_requesting_account_id": true, "skip_metadata_api_check": "true",
		"default_tags": map[string]any{"tags": map[string]any{"project": "sluice"}},
	}
)

var startServer = sync.OnceValues(func() (pulumirpc.ResourceProviderServer, error) {
	upstream, err := startUpstream()
	if err != nil {
		return nil, err
	}
	host, err := engine()
	if err != nil {
		return nil, err
	}
	server, err := NewServer(context.Background(), host, upstream)
	if err != nil {
		return nil, err
	}
	config, err := structpb.NewStruct(pulumiConfig)
	if err != nil {
		return nil, err
	}
	_, err = server.Configure(context.Background(), &pulumirpc.ConfigureRequest{Args: config, AcceptSecrets: true})
	return server, err
})

// engine is one that hears of errors and keeps them to itself.
func engine() (*provider.HostClient, error) {
	stop := make(chan bool)
	served, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{Cancel: stop, Init: func(s *grpc.Server) error {
		pulumirpc.RegisterEngineServer(s, &pulumirpc.UnimplementedEngineServer{})
		return nil
	}})
	if err != nil {
		return nil, err
	}
	stops = append(stops, func() { close(stop) })
	return provider.NewHostClient(fmt.Sprintf("127.0.0.1:%d", served.Port))
}
