package infra

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

var update = flag.Bool("update", false, "write the inventories in testdata anew")

// registration is one resource as the engine would get it.
type registration struct {
	Type     string         `json:"type"`
	Name     string         `json:"name"`
	Parent   string         `json:"parent"`
	Protect  bool           `json:"protect,omitempty"`
	Provider string         `json:"-"`
	After    []string       `json:"-"` // After are the names of what has to be there before, and goes after.
	Replaced []string       `json:"-"` // Replaced are the inputs whose change makes another one of it, besides those of the provider.
	Retained bool           `json:"-"` // Retained: it is forgotten rather than deleted.
	Inputs   map[string]any `json:"inputs,omitempty"`
}

// recorder stands for the engine: it records what is registered, and answers as a cloud would.
type recorder struct {
	lock sync.Mutex
	list []registration
}

func (r *recorder) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, errors.New("components look nothing up")
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	parent := args.RegisterRPC.GetParent()
	r.list = append(r.list, registration{Type: args.TypeToken, Name: args.Name, Parent: parent[strings.LastIndex(parent, ":")+1:],
		Protect: args.RegisterRPC.GetProtect(), Provider: args.RegisterRPC.GetProvider(), Inputs: plain(args.Inputs), After: ends(args.RegisterRPC.GetDependencies()), Replaced: args.RegisterRPC.GetReplaceOnChanges(),
		Retained: args.RegisterRPC.GetRetainOnDelete()})
	state := args.Inputs.Copy()
	kind := args.TypeToken[strings.LastIndex(args.TypeToken, ":")+1:]
	for _, computed := range []string{"allocationId", "arn", "defaultRouteTableId", "email", "hex", "keyId", "name", "prefixListId", "url", "bucket", "datasetId"} {
		if _, given := state[resource.PropertyKey(computed)]; !given {
			state[resource.PropertyKey(computed)] = resource.NewStringProperty(computed + ":" + kind + ":" + args.Name)
		}
	}
	if kind == "Parameter" {
		state["version"] = resource.NewNumberProperty(7)
	}
	return "id:" + kind + ":" + args.Name, state, nil
}

// ends are the names that end URNs.
func ends(urns []string) []string {
	var all []string
	for _, urn := range urns {
		all = append(all, urn[strings.LastIndex(urn, ":")+1:])
	}
	return all
}

// plain renders inputs for reading; documents inside of strings are opened, and packages left out, whose hash is in them.
func plain(inputs resource.PropertyMap) map[string]any {
	out := map[string]any{}
	inputs = inputs.Copy()
	for key, value := range inputs {
		if value.IsSecret() { // as the SDK takes every parameter's value
			inputs[key] = value.SecretValue().Element
		}
	}
	for key, value := range inputs.Mappable() {
		if text, ok := value.(string); ok && strings.HasPrefix(text, "{") {
			var document any
			if json.Unmarshal([]byte(text), &document) == nil {
				value = document
			}
		}
		if key == "code" || key == "source" || key == "sourceCodeHash" {
			value = "(file)"
		}
		out[string(key)] = value
	}
	return out
}

// record runs a program against a recorder and returns what it registered, in a fixed order.
func record(t *testing.T, program func(ctx *pulumi.Context) error) []registration {
	t.Helper()
	r := &recorder{}
	if err := pulumi.RunErr(program, pulumi.WithMocks("sluice", "prod", r)); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(r.list, func(a, b registration) int {
		return strings.Compare(a.Type+" "+a.Name, b.Type+" "+b.Name)
	})
	return r.list
}

// matchesInventory compares what was registered with testdata/<name>.json, exactly.
func matchesInventory(t *testing.T, name string, registered []registration) {
	t.Helper()
	text, err := json.MarshalIndent(registered, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(golden, text) {
		return
	}
	before, after := strings.Split(string(golden), "\n"), strings.Split(string(text), "\n")
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			t.Fatalf("%s differs at line %d:\n- %s\n+ %s\nif that is meant: go test ./infra -update", path, i+1, before[i], after[i])
		}
	}
	t.Fatalf("%s has %d lines, registered were %d; if that is meant: go test ./infra -update", path, len(before), len(after))
}

// only are the registrations of a type.
func only(registered []registration, kind string) []registration {
	return slices.DeleteFunc(slices.Clone(registered), func(r registration) bool { return r.Type != kind })
}
