package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// host is the language runtime that the engine talks to. What it does not implement, the engine hears as
// "unimplemented".
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	engine                       string // address of the engine
	programOutput, programErrors io.Writer
}

// Handshake learns the engine's address from engines that do not pass it as an argument.
func (h *host) Handshake(_ context.Context, r *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = r.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo reports no version: the host is built with the checkout and has none of its own.
func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{}, nil
}

// About says which Go toolchain builds the programs.
func (h *host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, errNoGo
	}
	goVersion, err := output(ctx, "", path, "env", "GOVERSION")
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{Executable: path, Version: strings.TrimSpace(string(goVersion))}, nil
}

// RuntimeOptionsPrompts has nothing to ask.
func (h *host) RuntimeOptionsPrompts(context.Context, *pulumirpc.RuntimeOptionsRequest) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// InstallDependencies downloads the program's modules.
func (h *host) InstallDependencies(r *pulumirpc.InstallDependenciesRequest, s pulumirpc.LanguageRuntime_InstallDependenciesServer) error {
	_, err := output(s.Context(), r.GetInfo().GetProgramDirectory(), "go", "mod", "download")
	return err
}

// Run builds the program and runs it to its end. A program that fails is an answer, not an error of the host.
func (h *host) Run(ctx context.Context, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if len(r.GetInfo().GetOptions().GetFields()) > 0 {
		return nil, errors.New("runtime options are not supported by this language host: write `runtime: go` in Pulumi.yaml")
	}
	dir, err := os.MkdirTemp("", "pulumi-program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	program := filepath.Join(dir, "program")
	if _, err := output(ctx, r.GetInfo().GetProgramDirectory(), "go", "build", "-o", program, "."); err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}
	env, err := h.environment(r)
	if err != nil {
		return nil, err
	}

	c := command(ctx, r.GetPwd(), program, r.GetArgs()...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = h.programOutput, h.programErrors
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case !errors.As(err, &exit):
		return nil, fmt.Errorf("run the program in %s: %w", r.GetInfo().GetProgramDirectory(), err)
	case exit.ExitCode() == constant.ExitStatusLoggedError: // the SDK has told the engine already
		return &pulumirpc.RunResponse{Bail: true}, nil
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("program ended with %s", exit)}, nil
	}
}

// environment is how the Pulumi SDK inside the program learns what it runs for.
func (h *host) environment(r *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(r.GetConfig())
	if err != nil {
		return nil, err
	}
	secretKeys, err := json.Marshal(r.GetConfigSecretKeys())
	if err != nil {
		return nil, err
	}
	return []string{
		pulumi.EnvOrganization + "=" + r.GetOrganization(),
		pulumi.EnvProject + "=" + r.GetProject(),
		pulumi.EnvStack + "=" + r.GetStack(),
		pulumi.EnvPulumiRootDirectory + "=" + r.GetInfo().GetRootDirectory(),
		pulumi.EnvConfig + "=" + string(config),
		pulumi.EnvConfigSecretKeys + "=" + string(secretKeys),
		pulumi.EnvDryRun + "=" + strconv.FormatBool(r.GetDryRun()),
		pulumi.EnvParallel + "=" + strconv.Itoa(int(r.GetParallel())),
		pulumi.EnvMonitor + "=" + r.GetMonitorAddress(),
		pulumi.EnvEngine + "=" + h.engine,
	}, nil
}

var errNoGo = errors.New("no `go` on PATH: install Go (https://go.dev/dl) to run Pulumi programs in Go")

// output runs a command and returns what it printed; an error carries what the command had to say.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	c := command(ctx, dir, name, args...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errNoGo
	case err != nil:
		return nil, fmt.Errorf("%s %s in %s: %w\n%s", filepath.Base(name), args[0], dir, err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

// command is interrupted, not killed, when the engine gives up, and dies with the host in any case.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.SysProcAttr = dieWithHost()
	return c
}
