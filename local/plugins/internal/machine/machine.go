// Package machine finds the binary of a Terraform provider that is installed on this machine. It imports next to
// nothing, so that it can be asked before anything else is downloaded or built.
package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hashicorp/hcl"
)

// Provider names a provider of the public registry, in one version.
type Provider struct {
	Namespace, Name, Version string
	Variable                 string // Variable is the environment variable that may name its binary.
}

// AWS is the provider that pulumi-aws, in the version that the AWS plugin serves, is made from.
var AWS = Provider{Namespace: "hashicorp", Name: "aws", Version: "5.100.0", Variable: "SLUICE_TERRAFORM_AWS"}

// String is the address as Terraform writes it, with the version.
func (p Provider) String() string { return p.Namespace + "/" + p.Name + " " + p.Version }

// folder is where the provider's binary lies below a mirror or plugin folder.
func (p Provider) folder() string {
	return filepath.Join("registry.terraform.io", p.Namespace, p.Name, p.Version, runtime.GOOS+"_"+runtime.GOARCH)
}

// Machine is where to look. Its fields exist for tests; ThisMachine fills them.
type Machine struct {
	Getenv func(string) string
	Home   string
	// Shared are folders that system-wide software is usually installed below.
	Shared []string
}

// ThisMachine looks at the process's environment and the real file system.
func ThisMachine() Machine {
	home, _ := os.UserHomeDir() // without one, only the shared folders count
	return Machine{
		Getenv: os.Getenv,
		Home:   home,
		Shared: []string{"/opt", "/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib", "/var/lib", "/srv"},
	}
}

// Find returns the path of the provider's binary. Its environment variable wins; then come the folders that
// Terraform's own configuration names, the folders where Terraform looks by itself, and installations below the
// shared folders.
func (m Machine) Find(p Provider) (string, error) {
	if path := m.Getenv(p.Variable); path != "" {
		if err := executable(path); err != nil {
			return "", fmt.Errorf("$%s: %w", p.Variable, err)
		}
		return path, nil
	}
	folders, err := m.configured()
	if err != nil {
		return "", err
	}
	folders = append(folders, m.standard()...)
	for _, shared := range m.Shared {
		// Whoever installs a mirror by hand puts it a level or two below.
		folders = append(folders, shared, filepath.Join(shared, "*"), filepath.Join(shared, "*", "*"))
	}
	for _, folder := range folders {
		found, _ := filepath.Glob(filepath.Join(folder, p.folder(), "terraform-provider-"+p.Name+"*")) // fails on bad patterns only
		for _, path := range found {
			if executable(path) == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("no terraform provider %s for %s/%s on this machine: run `terraform providers mirror` where the registry can be "+
		"reached (or unzip the release of terraform-provider-%s) and put the binary at /opt/terraform/%s/, or name it in $%s",
		p, runtime.GOOS, runtime.GOARCH, p.Name, p.folder(), p.Variable)
}

// cliConfig is the part of Terraform's CLI configuration that says where providers lie.
type cliConfig struct {
	PluginCacheDir string `hcl:"plugin_cache_dir"`
	// Installation holds blocks by their kind; HCL cannot decode repeated blocks into structs.
	Installation []map[string][]map[string]any `hcl:"provider_installation"`
}

// configured returns the folders that Terraform's CLI configuration and environment name. A configuration that
// does not exist names none, as for Terraform itself.
func (m Machine) configured() ([]string, error) {
	var folders []string
	if cache := m.Getenv("TF_PLUGIN_CACHE_DIR"); cache != "" {
		folders = append(folders, cache)
	}
	path := m.Getenv("TF_CLI_CONFIG_FILE")
	if path == "" {
		path = filepath.Join(m.Home, ".terraformrc")
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return folders, nil
	}
	if err != nil {
		return nil, fmt.Errorf("terraform's configuration: %w", err)
	}
	var config cliConfig
	if err := hcl.Decode(&config, string(data)); err != nil {
		return nil, fmt.Errorf("terraform's configuration %s: %w", path, err)
	}
	for _, installation := range config.Installation {
		for _, mirror := range installation["filesystem_mirror"] {
			if path, ok := mirror["path"].(string); ok {
				folders = append(folders, m.expand(path))
			}
		}
	}
	if config.PluginCacheDir != "" {
		folders = append(folders, m.expand(config.PluginCacheDir))
	}
	return folders, nil
}

// standard returns the folders where Terraform looks without being told.
func (m Machine) standard() []string {
	data := m.Getenv("XDG_DATA_HOME")
	if data == "" {
		data = filepath.Join(m.Home, ".local", "share")
	}
	return []string{
		filepath.Join(m.Home, ".terraform.d", "plugins"),
		filepath.Join(m.Home, ".terraform.d", "plugin-cache"),
		filepath.Join(data, "terraform", "plugins"),
	}
}

func (m Machine) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(m.Home, rest)
	}
	return os.Expand(path, m.Getenv)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}
