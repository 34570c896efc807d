package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// install puts an executable where a mirror at folder would have it.
func install(t *testing.T, folder string) string {
	t.Helper()
	path := filepath.Join(folder, AWS.folder(), "terraform-provider-aws_v5.100.0_x5")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	return path
}

func machine(t *testing.T, env map[string]string) Machine {
	return Machine{Getenv: func(name string) string { return env[name] }, Home: t.TempDir()}
}

func TestVariableNamesTheProviderBeforeAllElse(t *testing.T) {
	named := install(t, t.TempDir())
	m := machine(t, map[string]string{"SLUICE_TERRAFORM_AWS": named})
	install(t, filepath.Join(m.Home, ".terraform.d/plugins"))

	path, err := m.Find(AWS)

	require.NoError(t, err)
	assert.Equal(t, named, path)
}

func TestVariableThatNamesNothingIsAnError(t *testing.T) {
	m := machine(t, map[string]string{"SLUICE_TERRAFORM_AWS": "/nowhere/provider"})

	_, err := m.Find(AWS)

	assert.EqualError(t, err, "$SLUICE_TERRAFORM_AWS: stat /nowhere/provider: no such file or directory")
}

func TestMirrorOfTerraformsConfigurationIsUsed(t *testing.T) {
	mirror, config := t.TempDir(), filepath.Join(t.TempDir(), "cli.tfrc")
	want := install(t, mirror)
	require.NoError(t, os.WriteFile(config, []byte(`
disable_checkpoint = true
provider_installation {
  dev_overrides {
    "hashicorp/null" = "/home/developer/null"
  }
  filesystem_mirror {
    path    = "`+mirror+`"
    include = ["registry.terraform.io/*/*"]
  }
  direct {}
}`), 0o600))

	path, err := machine(t, map[string]string{"TF_CLI_CONFIG_FILE": config}).Find(AWS)

	require.NoError(t, err)
	assert.Equal(t, want, path)
}

func TestConfigurationThatIsMissingIsNoError(t *testing.T) {
	m := machine(t, map[string]string{"TF_CLI_CONFIG_FILE": "/nowhere/cli.tfrc"})
	want := install(t, filepath.Join(m.Home, ".terraform.d/plugins"))

	path, err := m.Find(AWS)

	require.NoError(t, err)
	assert.Equal(t, want, path)
}

func TestInstallationBelowASharedFolderIsFound(t *testing.T) {
	m := machine(t, nil)
	m.Shared = []string{t.TempDir()}
	want := install(t, filepath.Join(m.Shared[0], "terraform", "plugins"))

	path, err := m.Find(AWS)

	require.NoError(t, err)
	assert.Equal(t, want, path)
}

func TestMissingProviderSaysWhatToInstall(t *testing.T) {
	_, err := machine(t, nil).Find(AWS)

	require.Error(t, err)
	for _, part := range []string{"hashicorp/aws 5.100.0", "terraform providers mirror", "$SLUICE_TERRAFORM_AWS"} {
		assert.True(t, strings.Contains(err.Error(), part), "%q lacks %q", err, part)
	}
}
