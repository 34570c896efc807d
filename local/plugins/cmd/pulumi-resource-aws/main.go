// Command pulumi-resource-aws is a Pulumi plugin for AWS for networks in which the official one cannot be
// downloaded. It runs the binary of the Terraform AWS provider that it finds on this machine.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/pkg/v3/resource/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"github.com/sluice-data/sluice/local/plugins/internal/aws"
	"github.com/sluice-data/sluice/local/plugins/internal/machine"
	"github.com/sluice-data/sluice/local/plugins/internal/parent"
	"github.com/sluice-data/sluice/local/plugins/internal/terraform"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-aws:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	path, err := machine.ThisMachine().Find(machine.AWS)
	if err != nil {
		return err
	}
	upstream, stop, err := terraform.Run(ctx, path)
	if err != nil {
		return err
	}
	defer stop()
	go func() {
		<-parent.Gone()
		stop()
		os.Exit(1)
	}()
	return provider.Main("aws", func(host *provider.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return aws.NewServer(ctx, host, upstream)
	})
}
