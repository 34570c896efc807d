// Command planned writes what a stack's program would create, in the form of `terraform show -json` of a plan, for scanners that read
// that form. It needs no account, no state and no engine: it runs the program, answers each resource as a cloud would, and lets the
// real Terraform AWS provider plan it, so that names, defaults and checks are the provider's own.
//
// What differs from a plan of Terraform's: a document that mentions something which does not exist yet, such as a policy with a
// bucket's ARN, is unknown there and cannot be judged; here it is given with a likely ARN.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/local/plugins/internal/machine"
	"github.com/sluice-data/sluice/local/plugins/internal/terraform"
)

func main() {
	root := flag.String("root", ".", "folder with Pulumi.yaml")
	program := flag.String("program", "", "the compiled program, default: built from the folder that Pulumi.yaml names")
	out := flag.String("out", "", "folder to write <stack>.json to")
	variants := map[string]variant{}
	flag.Func("variant", "NAME=STACK,KEY=VALUE: also plan a stack with another value, into NAME.json", func(text string) error {
		name, rest, _ := strings.Cut(text, "=")
		stack, setting, _ := strings.Cut(rest, ",")
		key, value, found := strings.Cut(setting, "=")
		if !found {
			return errors.New("not of the form NAME=STACK,KEY=VALUE")
		}
		variants[name] = variant{stack, key, value}
		return nil
	})
	flag.Parse()
	for _, stack := range flag.Args() {
		variants[stack] = variant{stack: stack}
	}
	if *out == "" || len(variants) == 0 {
		fmt.Fprintln(os.Stderr, "usage: planned -out FOLDER [-root FOLDER] [-program FILE] [-variant NAME=STACK,KEY=VALUE] STACK...")
		os.Exit(2)
	}
	if err := run(context.Background(), *root, *program, *out, variants); err != nil {
		fmt.Fprintln(os.Stderr, "planned:", err)
		os.Exit(1)
	}
}

// variant is a stack, and a value of its configuration that is another one; key is empty when all are as they are.
type variant struct{ stack, key, value string }

func run(ctx context.Context, root, program, out string, variants map[string]variant) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "sluice-planned-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	// The plugin keeps copies of packages in Pulumi's folder, and so would Pulumi's own commands: not in that of the user.
	if err := os.Setenv("PULUMI_HOME", scratch); err != nil {
		return err
	}
	// The provider asks Step Functions whether a definition is right; only a cloud can tell.
	unasked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprint(w, `{"result": "OK", "diagnostics": []}`)
	}))
	defer unasked.Close()
	if err := os.Setenv("AWS_ENDPOINT_URL_SFN", unasked.URL); err != nil {
		return err
	}
	if program == "" {
		program = filepath.Join(scratch, "program")
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "./stacks")
		build.Dir, build.Stderr = root, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build the program: %w", err)
		}
	}
	path, err := machine.ThisMachine().Find(machine.AWS)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(variants)) {
		if err := plan(ctx, path, root, program, variants[name], filepath.Join(out, name+".json")); err != nil {
			return fmt.Errorf("stack %q: %w", name, err)
		}
	}
	return nil
}

// plan writes the plan of one stack to a file.
func plan(ctx context.Context, provider, root, program string, v variant, file string) error {
	stack := v.stack
	config, err := readConfig(filepath.Join(root, "Pulumi."+stack+".yaml"))
	if err != nil {
		return err
	}
	if v.key != "" {
		config[v.key] = v.value
	}
	upstream, stop, err := terraform.Run(ctx, provider)
	if err != nil {
		return err
	}
	defer stop()
	served, err := serve(ctx, stack, upstream)
	if err != nil {
		return err
	}
	defer served.stop()
	rendered, err := json.Marshal(config)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, program)
	command.Dir, command.Stdout, command.Stderr = root, os.Stderr, os.Stderr
	command.Env = append(os.Environ(),
		pulumi.EnvOrganization+"=organization", pulumi.EnvProject+"=sluice", pulumi.EnvStack+"="+stack, pulumi.EnvPulumiRootDirectory+"="+root,
		pulumi.EnvConfig+"="+string(rendered), pulumi.EnvConfigSecretKeys+"=[]", pulumi.EnvDryRun+"=false", pulumi.EnvParallel+"=4",
		pulumi.EnvMonitor+"="+served.address, pulumi.EnvEngine+"="+served.address)
	if err := command.Run(); err != nil {
		return fmt.Errorf("the program: %w", err)
	}
	text, err := json.MarshalIndent(served.plan.document(), "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// readConfig reads a stack's file as the engine passes it on: structures as JSON.
func readConfig(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct{ Config map[string]any }
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[string]string{}
	for key, value := range file.Config {
		if plain, ok := value.(string); ok {
			out[key] = plain
			continue
		}
		rendered, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		out[key] = string(rendered)
	}
	return out, nil
}
