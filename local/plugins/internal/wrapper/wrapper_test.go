// Package wrapper tests the shell script that stands before the Pulumi CLI.
package wrapper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkout makes a folder with the wrapper and, instead of the CLI, a script that tells how it was called.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	script, err := os.ReadFile("../../../pulumi")
	require.NoError(t, err)
	write(t, filepath.Join(root, "bin", "pulumi"), string(script))
	write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/bin/sh\necho \"cli $*\"\nenv | grep -E '^(AWS|PULUMI|SLUICE)_' | sort\n")
	for _, plugin := range []string{"language-go", "resource-aws", "resource-gcp", "resource-random"} {
		write(t, filepath.Join(root, "bin", "plugins", "pulumi-"+plugin), "#!/bin/sh\n")
	}
	write(t, filepath.Join(root, "go.mod"), "require (\n\tgithub.com/pulumi/pulumi-aws/sdk/v6 v6.83.2\n\tgithub.com/pulumi/pulumi-gcp/sdk/v7 v7.38.0\n\tgithub.com/pulumi/pulumi-random/sdk/v4 v4.18.4\n)\n")
	return root
}

// cloudAlive says that the local cloud of home is this process.
func cloudAlive(t *testing.T, home string) {
	t.Helper()
	write(t, filepath.Join(home, "cloud.json"), fmt.Sprintf(`{
  "pid": %d,
  "endpoints": {"aws": "http://127.0.0.1:4566", "bigquery": "http://127.0.0.1:9050", "google": "http://127.0.0.1:9999"},
  "pids": {"aws": 1},
  "region": "eu-central-1"
}`, os.Getpid()))
	// The stack is there already.
	write(t, filepath.Join(home, "state", ".pulumi", "stacks", "sluice", "local.json"), "{}")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
}

// pulumi runs the wrapper in a subfolder of the checkout.
func pulumi(t *testing.T, root string, env []string, args ...string) (out string, err error) {
	t.Helper()
	sub := filepath.Join(root, "docs")
	require.NoError(t, os.MkdirAll(sub, 0o755))
	c := exec.Command(filepath.Join(root, "bin", "pulumi"), args...)
	c.Dir = sub
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	data, err := c.CombinedOutput()
	return string(data), err
}

func TestLocalStackWorksOnTheLocalCloudAndNothingElse(t *testing.T) {
	for name, args := range map[string][]string{
		"by default":       {"preview"},
		"by option":        {"preview", "--stack", "local"},
		"by joined option": {"preview", "--stack=local"},
		"by short option":  {"preview", "-s", "local"},
	} {
		t.Run(name, func(t *testing.T) {
			root := checkout(t)
			home := filepath.Join(root, ".sluice")
			cloudAlive(t, home)

			out, err := pulumi(t, root, []string{"AWS_PROFILE=production", "AWS_SESSION_TOKEN=real"}, args...)

			require.NoError(t, err, out)
			assert.Equal(t, strings.Join([]string{
				"cli " + strings.Join(args, " "),
				"AWS_ACCESS_KEY_ID=000000000000",
				"AWS_CONFIG_FILE=/dev/null",
				"AWS_DEFAULT_REGION=eu-central-1",
				"AWS_EC2_METADATA_DISABLED=true",
				"AWS_ENDPOINT_URL=http://127.0.0.1:4566",
				"AWS_REGION=eu-central-1",
				"AWS_SECRET_ACCESS_KEY=local",
				"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
				"PULUMI_BACKEND_URL=file://" + home + "/state",
				"PULUMI_CONFIG_PASSPHRASE=local",
				"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
				"PULUMI_HOME=" + home + "/pulumi",
				"PULUMI_SKIP_UPDATE_CHECK=true",
				"PULUMI_STACK=local",
				"SLUICE_GOOGLE_ENDPOINT=http://127.0.0.1:9999",
				"SLUICE_HOME=" + home,
				"",
			}, "\n"), out)
		})
	}
}

func TestOtherStacksGetThePlainCLI(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--stack", "dev"}, {"up", "--stack=dev"}, {"-s", "dev", "up"}, {"stack", "select", "dev"}, {"stack", "init", "dev"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			out, err := pulumi(t, checkout(t), []string{"AWS_PROFILE=production"}, args...)

			require.NoError(t, err, out)
			assert.Equal(t, "cli "+strings.Join(args, " ")+"\nAWS_PROFILE=production\n", out)
		})
	}
	t.Run("PULUMI_STACK", func(t *testing.T) {
		out, err := pulumi(t, checkout(t), []string{"PULUMI_STACK=dev"}, "up")

		require.NoError(t, err, out)
		assert.Equal(t, "cli up\nPULUMI_STACK=dev\n", out)
	})
}

func TestDeploymentWithoutTheLocalCloudSaysHowToStartIt(t *testing.T) {
	for _, verb := range []string{"up", "preview", "refresh", "destroy"} {
		out, err := pulumi(t, checkout(t), nil, verb)

		require.Error(t, err)
		assert.Equal(t, "pulumi: the local cloud is not running: start it with ./bin/sluice local up\n", out)
	}
}

func TestStateCanBeReadWithoutTheLocalCloudAndReachesNoOther(t *testing.T) {
	out, err := pulumi(t, checkout(t), nil, "stack", "output", "--json")

	require.NoError(t, err, out)
	assert.Contains(t, out, "cli stack output --json\n")
	assert.Contains(t, out, "AWS_ENDPOINT_URL=http://127.0.0.1:1\n")
}

func TestHomeIsTakenRelativeToTheCheckout(t *testing.T) {
	root := checkout(t)

	out, err := pulumi(t, root, []string{"SLUICE_HOME=tmp/home"}, "stack", "ls")

	require.NoError(t, err, out)
	assert.Contains(t, out, "SLUICE_HOME="+root+"/tmp/home\n")
}

func TestFirstDeploymentMakesTheStack(t *testing.T) {
	root := checkout(t)
	home := filepath.Join(root, ".sluice")
	cloudAlive(t, home)
	require.NoError(t, os.RemoveAll(filepath.Join(home, "state")))
	write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/bin/sh\necho \"cli $*\" >> "+root+"/calls\n")

	out, err := pulumi(t, root, nil, "up", "--yes")

	require.NoError(t, err, out)
	calls, err := os.ReadFile(filepath.Join(root, "calls"))
	require.NoError(t, err)
	assert.Equal(t, "cli stack init local\ncli up --yes\n", string(calls))
}

func TestLockOfAKilledCLIIsRemovedAndThatOfALivingOneIsNot(t *testing.T) {
	root := checkout(t)
	locks := filepath.Join(root, ".sluice", "state", ".pulumi", "locks", "organization", "sluice", "local")
	ended := exec.Command("true")
	require.NoError(t, ended.Run())
	write(t, filepath.Join(locks, "dead.json"), fmt.Sprintf(`{"pid":%d,"username":"me"}`, ended.Process.Pid))
	write(t, filepath.Join(locks, "dead.json.attrs"), "{}")
	write(t, filepath.Join(locks, "living.json"), fmt.Sprintf(`{"pid":%d,"username":"me"}`, os.Getpid()))

	out, err := pulumi(t, root, nil, "stack", "ls")

	require.NoError(t, err, out)
	left, err := os.ReadDir(locks)
	require.NoError(t, err)
	require.Len(t, left, 1)
	assert.Equal(t, "living.json", left[0].Name())
}

func TestEngineFindsThePluginsUnderTheVersionsOfTheSDKs(t *testing.T) {
	root := checkout(t)

	out, err := pulumi(t, root, nil, "stack", "ls")

	require.NoError(t, err, out)
	for link, plugin := range map[string]string{
		".sluice/pulumi/plugins/resource-aws-v6.83.2/pulumi-resource-aws":       "bin/plugins/pulumi-resource-aws",
		".sluice/pulumi/plugins/resource-gcp-v7.38.0/pulumi-resource-gcp":       "bin/plugins/pulumi-resource-gcp",
		".sluice/pulumi/plugins/resource-random-v4.18.4/pulumi-resource-random": "bin/plugins/pulumi-resource-random",
		"bin/pulumi-language-go": "bin/plugins/pulumi-language-go",
	} {
		target, err := filepath.EvalSymlinks(filepath.Join(root, link))
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(root, plugin), target)
	}
}

func TestCLIThatIsNotBuiltIsAClearError(t *testing.T) {
	root := checkout(t)
	require.NoError(t, os.Remove(filepath.Join(root, "bin", "pulumi-cli")))

	out, err := pulumi(t, root, nil, "version")

	require.Error(t, err)
	assert.Equal(t, "pulumi: the CLI is not built: run make build\n", out)
}
