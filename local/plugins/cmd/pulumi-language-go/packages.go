package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"golang.org/x/mod/modfile"
)

// GetRequiredPackages lists the resource plugins that belong to the SDKs which the program's module requires, so
// that the engine can look for all of them before it starts.
func (h *host) GetRequiredPackages(ctx context.Context, r *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	folders, err := requiredModules(ctx, r.GetInfo().GetProgramDirectory())
	if err != nil {
		return nil, err
	}
	var packages []*pulumirpc.PackageDependency
	for _, folder := range folders {
		p, err := pluginOf(folder)
		if err != nil {
			return nil, err
		}
		if p != nil {
			packages = append(packages, p)
		}
	}
	return &pulumirpc.GetRequiredPackagesResponse{Packages: packages}, nil
}

// requiredModules returns the folders of the modules that the program's go.mod requires directly. The others,
// whose names it does not say, cannot be imported by the program.
func requiredModules(ctx context.Context, programDir string) ([]string, error) {
	out, err := output(ctx, programDir, "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	path := strings.TrimSpace(string(out))
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("module of the program in %s: %w", programDir, err)
	}
	file, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, require := range file.Require {
		if !require.Indirect {
			paths = append(paths, require.Mod.Path)
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}

	// Says where the modules are; what is already there is not downloaded again.
	out, err = output(ctx, programDir, "go", append([]string{"mod", "download", "-json"}, paths...)...)
	if err != nil {
		return nil, err
	}
	var folders []string
	for modules := json.NewDecoder(bytes.NewReader(out)); ; {
		var module struct{ Dir string }
		if err := modules.Decode(&module); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, fmt.Errorf("output of go mod download: %w", err)
		}
		folders = append(folders, module.Dir)
	}
}

// pluginOf reads the description that a Pulumi SDK carries of its plugin; nil for any other module.
func pluginOf(moduleDir string) (*pulumirpc.PackageDependency, error) {
	for _, pattern := range []string{".", "go", "go/*"} {
		found, err := filepath.Glob(filepath.Join(moduleDir, pattern, "pulumi-plugin.json"))
		if err != nil || len(found) == 0 {
			continue
		}
		p, err := plugin.LoadPulumiPluginJSON(found[0])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("plugin of module %s: %w", moduleDir, err)
		case !p.Resource:
			return nil, nil
		}
		return &pulumirpc.PackageDependency{Kind: "resource", Name: p.Name, Version: p.Version, Server: p.Server}, nil
	}
	return nil, nil
}
