// Package wrapper tests the shell scripts that stand before the Pulumi CLI and before a build.
package wrapper

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cli stands for the CLI: it tells how it was called, without the log of events that every deployment gets.
const cli = "#!/bin/sh\necho \"cli $*\" | sed 's/ --event-log [^ ]*//'\nenv | grep -E '^(AWS|PULUMI|SLUICE)_' | grep -v PULUMI_DEBUG_COMMANDS | sort\n"

// checkout makes a folder with the wrapper and, instead of the CLI, a script that tells how it was called.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	script, err := os.ReadFile("../../../pulumi")
	require.NoError(t, err)
	write(t, filepath.Join(root, "bin", "pulumi"), string(script))
	write(t, filepath.Join(root, "bin", "pulumi-cli"), cli)
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
				"PULUMI_SKIP_CHECKPOINTS=true",
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

const devYAML = "config:\n  sluice:aws: {region: us-east-1, accountId: \"111111111111\"}\n"

func TestPreviewOfAnotherStackWithoutLoginAndCredentialsIsRehearsed(t *testing.T) {
	root := checkout(t)
	home := filepath.Join(root, ".sluice")
	cloudAlive(t, home)
	write(t, filepath.Join(root, "Pulumi.yaml"), "name: sluice\n")
	write(t, filepath.Join(root, "Pulumi.dev.yaml"), devYAML)

	out, err := pulumi(t, root, nil, "preview", "--stack", "dev")

	require.NoError(t, err, out)
	project := home + "/rehearsal/project"
	assert.Equal(t, "pulumi: no Pulumi login and no AWS credentials: stack dev is rehearsed on the local cloud, as account 111111111111\n"+
		"cli preview --stack dev --config-file "+project+"/Pulumi.dev.yaml\n", out[:strings.Index(out, "AWS_")])
	for _, line := range []string{"AWS_ACCESS_KEY_ID=111111111111", "AWS_ENDPOINT_URL=http://127.0.0.1:4566", "PULUMI_BACKEND_URL=file://" + home + "/rehearsal", "PULUMI_STACK=dev"} {
		assert.Contains(t, out, line+"\n")
	}
	kept, err := os.ReadFile(filepath.Join(root, "Pulumi.dev.yaml"))
	require.NoError(t, err)
	assert.Equal(t, devYAML, string(kept))
	copied, err := os.ReadFile(project + "/Pulumi.dev.yaml")
	require.NoError(t, err)
	assert.Equal(t, devYAML, string(copied))
}

func TestOnlyAPreviewWithNothingConfiguredIsRehearsed(t *testing.T) {
	login := t.TempDir()
	write(t, filepath.Join(login, "credentials.json"), `{"current": "https://api.pulumi.com"}`)
	for name, c := range map[string]struct {
		env  []string
		args []string
	}{
		"up":               {nil, []string{"up", "--stack", "dev"}},
		"destroy":          {nil, []string{"destroy", "--stack", "dev"}},
		"a backend":        {[]string{"PULUMI_BACKEND_URL=s3://state"}, []string{"preview", "--stack", "dev"}},
		"a token":          {[]string{"PULUMI_ACCESS_TOKEN=pul-1"}, []string{"preview", "--stack", "dev"}},
		"a login":          {[]string{"PULUMI_HOME=" + login}, []string{"preview", "--stack", "dev"}},
		"a key":            {[]string{"AWS_ACCESS_KEY_ID=AKIA"}, []string{"preview", "--stack", "dev"}},
		"a profile":        {[]string{"AWS_PROFILE=dev"}, []string{"preview", "--stack", "dev"}},
		"own config":       {nil, []string{"preview", "--stack", "dev", "--config-file=mine.yaml"}},
		"no file of stack": {nil, []string{"preview", "--stack", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := checkout(t)
			cloudAlive(t, filepath.Join(root, ".sluice"))
			write(t, filepath.Join(root, "Pulumi.dev.yaml"), devYAML)

			out, err := pulumi(t, root, c.env, c.args...)

			require.NoError(t, err, out)
			assert.True(t, strings.HasPrefix(out, "cli "+strings.Join(c.args, " ")+"\n"), out)
			assert.NotContains(t, out, "AWS_ENDPOINT_URL")
		})
	}
}

func TestRehearsalWithoutTheLocalCloudSaysWhatIsMissing(t *testing.T) {
	root := checkout(t)
	write(t, filepath.Join(root, "Pulumi.dev.yaml"), devYAML)

	out, err := pulumi(t, root, nil, "preview", "--stack", "dev")

	require.Error(t, err)
	assert.Equal(t, "pulumi: stack dev: no Pulumi login and no AWS credentials were found. Configure them (docs/deploy.md), or start the local cloud to rehearse on it: ./bin/sluice local up\n", out)
}

func TestRefusalToDeleteWhatIsProtectedExitsWith3(t *testing.T) {
	for name, c := range map[string]struct {
		event string
		exit  int
		want  int
	}{
		"refused":          {"resource cannot be deleted because it is protected", 255, 3},
		"failed otherwise": {"access denied", 255, 255},
		"done":             {"because it is protected", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := checkout(t)
			write(t, filepath.Join(root, "bin", "pulumi-cli"), fmt.Sprintf("#!/bin/sh\nread -r typed\necho \"typed $typed\"\nwhile [ $# -gt 0 ]; do [ \"$1\" != --event-log ] || echo '%s' > \"$2\"; shift; done\nexit %d\n", c.event, c.exit))
			cmd := exec.Command(filepath.Join(root, "bin", "pulumi"), "up", "--stack", "dev")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
			cmd.Stdin = strings.NewReader("yes\n")

			out, _ := cmd.CombinedOutput()

			assert.Equal(t, c.want, cmd.ProcessState.ExitCode())
			assert.True(t, strings.HasPrefix(string(out), "typed yes\n"), string(out))
			assert.Equal(t, c.want == 3, strings.Contains(string(out), "pulumi: refused: data is protected."), string(out))
			left, err := os.ReadDir(cmd.Env[2][len("TMPDIR="):])
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestRequestToEndReachesTheCLIAsOneInterruptAndItsExitCodeComesBack(t *testing.T) {
	root := checkout(t)
	// The stand-in waits a moment after the first interrupt: a second one, which must not come, would come then.
	write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/usr/bin/env bash\n"+
		"exec python3 -c 'import signal, sys, time\nn = 0\ndef told(*_):\n    global n\n    n += 1\nsignal.signal(signal.SIGINT, told)\nprint(\"ready\", flush=True)\nwhile not n: time.sleep(0.01)\ntime.sleep(0.3)\nprint(n, flush=True)\nsys.exit(7)'\n")
	cmd := exec.Command(filepath.Join(root, "bin", "pulumi"), "up", "--stack", "dev")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))

	require.True(t, lines.Scan())
	assert.Equal(t, "1", lines.Text())
	_ = cmd.Wait()
	assert.Equal(t, 7, cmd.ProcessState.ExitCode())
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
	write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/bin/sh\necho \"cli $*\" | sed 's/ --event-log [^ ]*//' >> "+root+"/calls\n")

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

func TestDeploymentThatWasKilledIsRememberedUntilOneSucceeds(t *testing.T) {
	root := checkout(t)
	home := filepath.Join(root, ".sluice")
	cloudAlive(t, home)
	mark := filepath.Join(home, "state", "unfinished")
	const (
		hint    = "pulumi: the last %s was killed, and the state does not tell what it did. Where that is in the way: make down, then make demo\n"
		refusal = "pulumi: the last destroy was killed, and the state does not tell what is left: run make down\n"
	)
	for _, step := range []struct{ cli, verb, said, mark string }{
		{"exit 255\n", "up", "", ""},
		{"kill -9 $$\n", "up", "", "up\n"},
		{"", "preview", "", "up\n"},
		{"exit 255\n", "up", fmt.Sprintf(hint, "up"), "up\n"},
		{"", "up", fmt.Sprintf(hint, "up"), ""},
		{"kill -9 $$\n", "destroy", "", "destroy\n"},
		{"exit 1\n", "up", refusal, "destroy\n"},
		{"", "destroy", fmt.Sprintf(hint, "destroy"), ""},
	} {
		write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/bin/sh\n"+step.cli)
		out, err := pulumi(t, root, nil, step.verb)
		assert.Equal(t, step.cli == "", err == nil, "%v: %s", step, out)
		_, own, _ := strings.Cut("\n"+out, "\npulumi: ") // the shell has its own words for a kill
		assert.Equal(t, strings.TrimPrefix(step.said, "pulumi: "), own, "%v", step)
		text, err := os.ReadFile(mark)
		assert.Equal(t, step.mark, string(text), "%v: %v", step, err)
	}
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
