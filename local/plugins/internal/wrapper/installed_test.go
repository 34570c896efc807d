package wrapper

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script copies a script of local/ to a checkout of the test's own.
func script(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", name))
	require.NoError(t, err)
	path := filepath.Join(root, "local", name)
	write(t, path, string(text))
	return path
}

func TestInstalledPulumiIsUsedWhereItsVersionFits(t *testing.T) {
	cases := map[string]bool{
		"v3.190.0": true, "v3.190.1": true, "v3.260.0": true, "v3.200.0-alpha.1": true,
		"v3.189.9": false, "v3.9.300": false, "v2.260.0": false, "v4.0.0": false, "unknown": false, "": false,
	}
	for version, fits := range cases {
		t.Run(version, func(t *testing.T) {
			root := t.TempDir()
			bin := filepath.Join(root, "usr", "bin")
			write(t, filepath.Join(bin, "pulumi"), "#!/bin/sh\n[ \"$1\" = version ] && echo "+version+" || echo \"installed $*\"\n")
			write(t, filepath.Join(bin, "pulumi-language-go"), "#!/bin/sh\n")
			cli := filepath.Join(root, "bin", "pulumi-cli")
			require.NoError(t, os.MkdirAll(filepath.Dir(cli), 0o755))

			c := exec.Command(script(t, root, "installed-pulumi"), "v3.190.0", cli)
			c.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
			out, err := c.CombinedOutput()

			if !fits {
				require.Error(t, err, "%s", out)
				assert.NoFileExists(t, cli)
				return
			}
			require.NoError(t, err, "%s", out)
			said, err := exec.Command(cli, "up", "--stack", "a b").CombinedOutput()
			require.NoError(t, err, "%s", said)
			assert.Equal(t, "installed up --stack a b\n", string(said))
		})
	}
}

func TestPulumiWithoutItsLanguageHostAndTheCheckoutsOwnWrapperAreNotUsed(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	const pulumi = "#!/bin/sh\necho v3.190.0\n"
	write(t, filepath.Join(root, "usr", "bin", "pulumi"), pulumi)
	write(t, filepath.Join(root, "bin", "pulumi"), pulumi)
	write(t, filepath.Join(root, "bin", "pulumi-language-go"), "#!/bin/sh\n")
	cli := filepath.Join(root, "bin", "pulumi-cli")

	c := exec.Command(script(t, root, "installed-pulumi"), "v3.190.0", cli)
	c.Env = []string{"PATH=" + filepath.Join(root, "usr", "bin") + ":" + filepath.Join(root, "bin") + ":/usr/bin:/bin"}
	out, err := c.CombinedOutput()

	require.Error(t, err, "%s", out)
	assert.Equal(t, "pulumi v3.190.0: no CLI on PATH fits, building it\n", string(out))
	assert.NoFileExists(t, cli)
}

const findsProvider, findsNone = "#!/bin/sh\necho /opt/provider\n", "#!/bin/sh\necho 'no terraform provider: install it' >&2\necho 'exit status 1' >&2\nexit 1\n"

// acquire runs aws-plugin in a checkout with the real CLI, on a machine whose Go finds a Terraform provider or does not. Plugins come from
// the given server.
func acquire(t *testing.T, home, server, goScript string, arguments ...string) (string, error) {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "require github.com/pulumi/pulumi-aws/sdk/v6 v6.83.2\n")
	write(t, filepath.Join(root, "path", "go"), goScript)
	cli, err := filepath.Abs("../../../../bin/pulumi-cli")
	require.NoError(t, err)
	require.FileExists(t, cli, "the CLI is not built: run make build")
	write(t, filepath.Join(root, "bin", "pulumi-cli"), "#!/bin/sh\nexec "+cli+" \"$@\"\n")
	c := exec.Command(script(t, root, "aws-plugin"), arguments...)
	c.Env = []string{"PATH=" + filepath.Join(root, "path") + ":" + os.Getenv("PATH"), "HOME=" + home, "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES=.*=" + server}
	out, err := c.CombinedOutput()
	return string(out), err
}

// pluginServer serves a plugin as the server of official ones does, and counts what is asked for.
func pluginServer(t *testing.T) (address string, asked *[]string) {
	t.Helper()
	var archive bytes.Buffer
	packed := gzip.NewWriter(&archive)
	files := tar.NewWriter(packed)
	content := []byte("#!/bin/sh\necho official\n")
	require.NoError(t, files.WriteHeader(&tar.Header{Name: "pulumi-resource-aws", Mode: 0o755, Size: int64(len(content))}))
	_, err := files.Write(content)
	require.NoError(t, err)
	require.NoError(t, files.Close())
	require.NoError(t, packed.Close())
	asked = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/pulumi-resource-aws-v6.83.2-") {
			_, _ = w.Write(archive.Bytes())
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestOfficialPluginIsDownloadedByTheCLIItself(t *testing.T) {
	home := t.TempDir()
	address, asked := pluginServer(t)

	out, err := acquire(t, home, address, findsNone)

	require.NoError(t, err, out)
	plugin := filepath.Join(home, ".pulumi", "plugins", "resource-aws-v6.83.2", "pulumi-resource-aws")
	said, err := exec.Command(plugin).Output()
	require.NoError(t, err)
	assert.Equal(t, "official\n", string(said))
	assert.Len(t, *asked, 1)

	out, err = acquire(t, home, address, findsNone)
	require.NoError(t, err, out)
	assert.Empty(t, out)
	assert.Len(t, *asked, 1, "what is there is not downloaded again")
}

func TestTerraformProviderServesWhereTheOfficialPluginCannotBeHad(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)

	out, err := acquire(t, t.TempDir(), empty.URL, findsProvider)

	require.NoError(t, err, out)
	assert.Contains(t, out, "the official AWS plugin 6.83.2 could not be downloaded, looking for the Terraform provider: ")
}

func TestWithoutPluginAndProviderItIsSaidWhatToDo(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)

	out, err := acquire(t, t.TempDir(), empty.URL, findsNone)

	require.Error(t, err)
	assert.Contains(t, out, "AWS resources need the official Pulumi plugin or the Terraform provider, and there is neither.\npulumi-aws 6.83.2: ")
	assert.True(t, strings.HasSuffix(out, "\nno terraform provider: install it\n"), out)
}

func TestWhatCanBeDownloadedIsNotMissingBeforeTheBuild(t *testing.T) {
	home := t.TempDir()
	address, asked := pluginServer(t)

	out, err := acquire(t, home, address, findsNone, "--possible")

	require.NoError(t, err, out)
	assert.Empty(t, *asked)
	assert.NoDirExists(t, filepath.Join(home, ".pulumi"))
}
