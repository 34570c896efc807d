// Command pulumi-language-go lets the Pulumi CLI run this repository's Go programs where the official language
// host is not installed and cannot be downloaded. It does what running a program needs and nothing else: it
// generates no code and converts no programs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"

	"github.com/sluice-data/sluice/local/plugins/internal/parent"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-go:", err)
		os.Exit(1)
	}
}

// serve answers the engine until the engine goes away. The engine starts the host with flags that concern
// tracing, and with its own address as the last argument.
func serve(args []string) error {
	logging.InitLogging(false, 0, false)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	h := &host{programOutput: os.Stdout, programErrors: os.Stderr}
	for _, arg := range args {
		if arg != "" && arg[0] != '-' {
			h.engine = arg
		}
	}

	cancel := make(chan bool)
	gone := parent.Gone()
	go func() {
		select {
		case <-ctx.Done():
			close(cancel)
		case <-gone:
			os.Exit(1) // and the program with it
		}
	}()
	server, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: cancel,
		Init: func(s *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(s, h)
			return nil
		},
		Options: rpcutil.OpenTracingServerInterceptorOptions(nil),
	})
	if err != nil {
		return err
	}
	fmt.Println(server.Port) // tells the engine where to connect
	return <-server.Done
}
