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
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
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
	if h.engine != "" {
		if err := rpcutil.Healthcheck(ctx, h.engine, 5*time.Minute, stop); err != nil {
			return fmt.Errorf("watch the engine at %s: %w", h.engine, err)
		}
	}

	cancel := make(chan bool)
	go func() {
		<-ctx.Done()
		close(cancel)
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
