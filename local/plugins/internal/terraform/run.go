// Package terraform runs a Terraform provider's binary and presents it as the provider server that the Pulumi bridge
// works with. It knows nothing of Pulumi.
package terraform

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	tfplugin "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/opentofu/plugin"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/vendored/tfplugin5"
)

// Run starts the provider binary at path, which must speak version 5 of Terraform's plugin protocol. The returned
// function stops it; it also ends with this process. The environment is passed on, so that the provider finds
// credentials and endpoints as it would under Terraform.
func Run(ctx context.Context, path string) (tfprotov6.ProviderServer, func(), error) {
	cmd := exec.Command(path)
	cmd.SysProcAttr = dieWithParent()
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  tfplugin.Handshake,
		VersionedPlugins: tfplugin.VersionedPlugins,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		Cmd:              cmd,
		// A provider that panics says so at this level; what it answers need not be said twice.
		Logger: hclog.New(&hclog.LoggerOptions{
			Output: os.Stderr, Level: hclog.Error, Exclude: hclog.ExcludeByPrefix("Response contains error diagnostic").Exclude,
		}),
	})
	protocol, err := client.Client()
	if err != nil {
		client.Kill()
		return nil, nil, fmt.Errorf("start terraform provider %s: %w", path, err)
	}
	connection, ok := protocol.(*plugin.GRPCClient)
	if v := client.NegotiatedVersion(); !ok || v != 5 {
		client.Kill()
		return nil, nil, fmt.Errorf("terraform provider %s speaks plugin protocol %d, not 5", path, v)
	}
	return &server{provider: tfplugin5.NewProviderClient(connection.Conn)}, client.Kill, nil
}
