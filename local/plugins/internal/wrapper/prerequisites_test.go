package wrapper

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// machine makes a checkout with its Makefile, on a machine that has these programs and what a shell brings.
func machine(t *testing.T, programs map[string]string) (root string, env []string) {
	t.Helper()
	root = t.TempDir()
	for _, name := range []string{"Makefile", "local/prerequisites", "local/aws-plugin"} {
		text, err := os.ReadFile(filepath.Join("../../../..", name))
		require.NoError(t, err)
		write(t, filepath.Join(root, name), string(text))
	}
	for _, name := range []string{"go.sum", "tools/go.mod", "tools/go.sum", "local/requirements.txt", "local/jars.txt", "local/jars.py", "local/pulumi", "local/installed-pulumi", "local/plugins/go.mod", "cmd/main.go", "internal/a.go"} {
		write(t, filepath.Join(root, name), "")
	}
	write(t, filepath.Join(root, "go.mod"), "require github.com/pulumi/pulumi-aws/sdk/v6 v6.83.2\n")
	path := filepath.Join(root, "path")
	for name, script := range programs {
		write(t, filepath.Join(path, name), "#!/bin/sh\necho \""+name+" $*\" >> "+root+"/calls\n"+script)
	}
	for _, name := range []string{"sh", "make", "awk", "sed", "grep", "find", "dirname", "tail", "uname", "tr"} {
		found, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(found, filepath.Join(path, name)))
	}
	return root, []string{"PATH=" + path, "HOME=" + filepath.Join(root, "home")}
}

// makeGoal runs make and returns what it said, and the programs that it called.
func makeGoal(t *testing.T, root string, env []string, args ...string) (said []string, calls []string) {
	t.Helper()
	c := exec.Command(filepath.Join(root, "path", "make"), args...)
	c.Dir, c.Env = root, env
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "%s", out)
	text, err := os.ReadFile(filepath.Join(root, "calls"))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(out)), "\n"), strings.Split(strings.TrimSpace(string(text)), "\n")
}

const (
	goThere   = "case $1 in env) echo go1.26.8 ;; run) echo 'no terraform provider: install it' >&2; echo 'exit status 1' >&2; exit 1 ;; esac\n"
	pythonOld = "case $1 in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac\n"
)

func TestAllThatIsMissingIsToldBeforeAnythingIsBuilt(t *testing.T) {
	root, env := machine(t, map[string]string{"go": goThere, "python3": pythonOld})

	said, calls := makeGoal(t, root, env, "test")

	require.Len(t, said, 4)
	assert.Equal(t, []string{
		"Python 3.11 or later with venv is needed, found: Python 3.9.2. Install python3.11 and python3.11-venv, or name another one: make PYTHON=python3.12",
		"The Terraform AWS provider is needed: no terraform provider: install it",
		"Terraform 1.5 or later is needed: the local AWS plugin is tested against its plans. Install it from https://developer.hashicorp.com/terraform/install",
	}, said[:3])
	assert.Equal(t, []string{
		"go env GOVERSION", "python3 -c import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))", "python3 --version",
		"go run -C local/plugins ./find",
	}, calls)
}

func TestOfficialPluginNeedsNoProviderBesideIt(t *testing.T) {
	root, env := machine(t, map[string]string{"go": goThere, "python3": pythonOld})
	write(t, filepath.Join(root, "home", ".pulumi", "plugins", "resource-aws-v6.83.2", "pulumi-resource-aws"), "")

	_, calls := makeGoal(t, root, env, "demo")

	assert.NotContains(t, calls, "go run -C local/plugins ./find")
}

func TestRealEnvironmentNeedsGoOnly(t *testing.T) {
	for _, goal := range [][]string{{"up", "STACK=dev"}, {"commands"}} {
		root, env := machine(t, map[string]string{"go": "case $1 in env) echo go1.24.1 ;; esac\n", "python3": pythonOld})

		said, calls := makeGoal(t, root, env, goal...)

		assert.Equal(t, "Go 1.25 or later is needed, found: go1.24.1. Install it from https://go.dev/dl/", said[0])
		assert.Equal(t, []string{"go env GOVERSION"}, calls)
	}
}
