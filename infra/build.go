package infra

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/modfile"
)

// BuildArgs is what functions are built from.
type BuildArgs struct {
	Root         string   // Root is the folder of the module, which has go.mod.
	Folder       string   // Folder has a main package for each function, below Root, with slashes: "lambdas".
	Names        []string // Names are the functions: folders below Folder.
	Architecture string   // Architecture is Lambda's: "arm64" or "x86_64".
	Out          string   // Out is the folder that the packages are written to.
}

// BuildFunctions compiles functions with the Go toolchain, as many at once as there are processors, and packs each for the runtime
// provided.al2023. It returns the path of each function's package.
//
// The same source gives the same package on any machine: no paths, times, version control or build ids are in it, settings of the
// environment that change code are left out, and the toolchain is the one that go.mod names. Every function that does not compile is
// reported, with what the compiler said.
func BuildFunctions(ctx context.Context, args BuildArgs) (map[string]string, error) {
	environment, err := args.environment()
	if err != nil {
		return nil, err
	}
	var (
		packages = make(map[string]string, len(args.Names))
		faults   = make([]error, len(args.Names))
		lock     sync.Mutex
		wait     sync.WaitGroup
		slots    = make(chan struct{}, runtime.NumCPU())
	)
	for i, name := range args.Names {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			file, err := args.build(ctx, name, environment)
			lock.Lock()
			defer lock.Unlock()
			packages[name], faults[i] = file, err
		})
	}
	wait.Wait()
	return packages, errors.Join(faults...)
}

// compilerFlags decide what the compiler makes of a package. The Makefile builds the command with the same, so that what command and
// functions have in common is compiled once. A fifth of a package goes with inlined calls, Lambda's former way to call a function, and
// HTTP/2, which neither AWS's nor Google's REST interfaces need: functions wait for the network, not for the processor.
var compilerFlags = []string{"-trimpath", "-buildvcs=false", "-gcflags", "all=-l", "-tags", "lambda.norpc,nethttpomithttp2"}

// build compiles and packs one function.
func (args BuildArgs) build(ctx context.Context, name string, environment []string) (string, error) {
	work, err := os.MkdirTemp("", "sluice-build-")
	if err != nil {
		return "", fmt.Errorf("function %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	binary := filepath.Join(work, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, compilerFlags, []string{"-ldflags", "-s -w -buildid=", "-o", binary, "./" + args.Folder + "/" + name})...)
	cmd.Dir, cmd.Env = args.Root, environment
	if said, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("function %s: the Go toolchain was not found; install Go as go.mod asks for: %w", name, err)
		}
		return "", fmt.Errorf("function %s does not compile (%w):\n%s", name, err, strings.TrimSpace(string(said)))
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("function %s: %w", name, err)
	}
	zipped, err := zipFiles([]archived{{name: "bootstrap", content: content, executable: true}})
	if err != nil {
		return "", fmt.Errorf("function %s: %w", name, err)
	}
	file := filepath.Join(args.Out, args.Architecture, name+".zip")
	if err := replaceFile(file, zipped); err != nil {
		return "", fmt.Errorf("function %s: %w", name, err)
	}
	return file, nil
}

// environment is the caller's, without what would make the code differ from machine to machine.
func (args BuildArgs) environment() ([]string, error) {
	architectures := map[string]string{"arm64": "arm64", "x86_64": "amd64"}
	goarch, ok := architectures[args.Architecture]
	if !ok {
		return nil, fmt.Errorf("architecture %q: take arm64 or x86_64", args.Architecture)
	}
	text, err := os.ReadFile(filepath.Join(args.Root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	module, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	changing := []string{"CGO_ENABLED", "GOAMD64", "GOARCH", "GOARM64", "GODEBUG", "GOEXPERIMENT", "GOFIPS140", "GOFLAGS", "GOOS", "GOWORK"}
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(changing, name)
	})
	environment = append(environment, "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch, "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if module.Toolchain != nil {
		environment = append(environment, "GOTOOLCHAIN="+module.Toolchain.Name)
	}
	return environment, nil
}
