package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
)

// program writes a Go program and returns its folder as the engine would name it.
func program(t *testing.T, source string) *pulumirpc.ProgramInfo {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/program\n\ngo 1.25\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	return &pulumirpc.ProgramInfo{RootDirectory: "/project", ProgramDirectory: dir}
}

func run(t *testing.T, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, string) {
	t.Helper()
	var out bytes.Buffer
	h := &host{engine: "127.0.0.1:1", programOutput: &out, programErrors: &out}
	r.Pwd = r.GetInfo().GetProgramDirectory()
	answer, err := h.Run(t.Context(), r)
	require.NoError(t, err)
	return answer, out.String()
}

func TestProgramLearnsWhatItRunsFor(t *testing.T) {
	answer, out := run(t, &pulumirpc.RunRequest{
		Info: program(t, `package main

import (
	"fmt"
	"os"
)

func main() {
	for _, name := range []string{"ORGANIZATION", "PROJECT", "STACK", "ROOT_DIRECTORY", "CONFIG", "CONFIG_SECRET_KEYS", "DRY_RUN", "PARALLEL", "MONITOR", "ENGINE"} {
		fmt.Println(name, os.Getenv("PULUMI_"+name))
	}
	fmt.Fprintln(os.Stderr, "arguments", os.Args[1:])
}
`),
		Organization: "organization", Project: "sluice", Stack: "local", Args: []string{"a"}, DryRun: true, Parallel: 8, MonitorAddress: "127.0.0.1:2",
		Config: map[string]string{"sluice:parallel": "5"}, ConfigSecretKeys: []string{"sluice:token"},
	})

	assert.Equal(t, &pulumirpc.RunResponse{}, answer)
	assert.Equal(t, `ORGANIZATION organization
PROJECT sluice
STACK local
ROOT_DIRECTORY /project
CONFIG {"sluice:parallel":"5"}
CONFIG_SECRET_KEYS ["sluice:token"]
DRY_RUN true
PARALLEL 8
MONITOR 127.0.0.1:2
ENGINE 127.0.0.1:1
arguments [a]
`, out)
}

func TestCompileErrorShowsTheCompilersMessage(t *testing.T) {
	answer, _ := run(t, &pulumirpc.RunRequest{Info: program(t, "package main\n\nfunc main() { undefined() }\n")})

	assert.Contains(t, answer.GetError(), "go build in ")
	assert.Contains(t, answer.GetError(), "main.go:3:15: undefined: undefined")
}

func TestProgramThatFailsSaysHow(t *testing.T) {
	answer, _ := run(t, &pulumirpc.RunRequest{Info: program(t, "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(3) }\n")})

	assert.Equal(t, "program ended with exit status 3", answer.GetError())
	assert.False(t, answer.GetBail())
}

func TestProgramWhoseErrorTheEngineKnowsBails(t *testing.T) {
	answer, _ := run(t, &pulumirpc.RunRequest{Info: program(t, "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(32) }\n")})

	assert.True(t, answer.GetBail())
	assert.Empty(t, answer.GetError())
}

func TestRuntimeOptionsAreRefusedRatherThanIgnored(t *testing.T) {
	info := program(t, "package main\n\nfunc main() {}\n")
	options, err := structpb.NewStruct(map[string]any{"binary": "bin/program"})
	require.NoError(t, err)
	info.Options = options

	_, err = (&host{}).Run(t.Context(), &pulumirpc.RunRequest{Info: info})

	assert.ErrorContains(t, err, "`runtime: go`")
}

func TestRequiredPackagesAreThePluginsOfTheModulesSDKs(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(`module example.com/program

go 1.25

require (
	github.com/pulumi/pulumi-aws/sdk/v6 v6.83.2
	golang.org/x/mod v0.27.0
)

require golang.org/x/sync v0.17.0 // indirect
`), 0o600))
	sums, err := os.ReadFile("../../go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600))

	r, err := (&host{}).GetRequiredPackages(t.Context(), &pulumirpc.GetRequiredPackagesRequest{Info: &pulumirpc.ProgramInfo{ProgramDirectory: dir}})

	require.NoError(t, err)
	require.Len(t, r.GetPackages(), 1)
	assert.Equal(t, "resource aws 6.83.2", r.GetPackages()[0].GetKind()+" "+r.GetPackages()[0].GetName()+" "+r.GetPackages()[0].GetVersion())
}

func TestModuleWithoutRequirementsNeedsNoPackages(t *testing.T) {
	r, err := (&host{}).GetRequiredPackages(t.Context(), &pulumirpc.GetRequiredPackagesRequest{Info: program(t, "package main\n\nfunc main() {}\n")})

	require.NoError(t, err)
	assert.Empty(t, r.GetPackages())
}
