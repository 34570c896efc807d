package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/compute"
)

// everything is a stack that declares every type that the program can declare: prod's file, with what it leaves out.
func everything(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../Pulumi.prod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more := string(text)
	for key, option := range map[string]string{"sluice:network": "nat: perZone", "sluice:compute": "standing: true"} {
		if name, _, _ := strings.Cut(option, ":"); !strings.Contains(more, name+":") {
			more = strings.Replace(more, key+": {", key+": {"+option+", ", 1)
		}
	}
	return more
}

// inputsOf reads back the inputs that the recorder wrote.
func inputsOf(t *testing.T, registration string) map[string]any {
	t.Helper()
	inputs := map[string]any{}
	if err := json.Unmarshal([]byte(registration[strings.Index(registration, "{"):]), &inputs); err != nil {
		t.Fatal(err)
	}
	return inputs
}

// switchedOff are the parameters that say that parts of a country are off.
func switchedOff(country string, parts ...string) map[string]string {
	parameters := map[string]string{}
	for _, part := range parts {
		parameters[compute.ParameterName("prod", country, part)] = compute.Off
	}
	return parameters
}

// ownContracts is a project folder with the contracts of this one, where what is built may be made up.
func ownContracts(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	contracts, err := filepath.Abs("../contracts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(contracts, filepath.Join(root, "contracts")); err != nil {
		t.Fatal(err)
	}
	return root
}

// program is what the whole program registers with these parameters, components and providers left out.
func program(t *testing.T, root string, parameters map[string]string) map[string]string {
	t.Helper()
	registered, err := deployed(t, "prod", everything(t), root, &recorder{zones: 3, parameters: parameters})
	if err != nil {
		t.Fatal(err)
	}
	return maps.Collect(func(yield func(string, string) bool) {
		for id, text := range registered {
			if !strings.HasPrefix(id, "pulumi:") && !strings.HasPrefix(id, "sluice:") && !yield(id, text) {
				return
			}
		}
	})
}

// hourly are the resources that cost by the hour, by id, each with its parts.
func hourly(t *testing.T, registered map[string]string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for id, text := range registered {
		kind, _, _ := strings.Cut(id, " ")
		cost, known := compute.CostOf(kind, inputsOf(t, text))
		if !known {
			t.Errorf("%s: how does it cost? Say so in internal/compute/costs.go", id)
		}
		if cost.Class == compute.Hourly {
			found[id] = cost.Parts
		}
	}
	return found
}

func TestEveryDeclaredTypeHasACostClass(t *testing.T) {
	root := ownContracts(t)
	on := program(t, root, nil)
	if len(on) < 300 {
		t.Fatalf("only %d resources: this is not the whole program", len(on))
	}
	seen := map[string]bool{}
	for id, parts := range hourly(t, on) {
		if len(parts) == 0 {
			t.Errorf("%s costs by the hour, and no part of the switch takes it away", id)
		}
		for _, part := range parts {
			seen[part] = true
		}
	}
	for _, part := range []string{compute.Standing, compute.NAT, compute.Endpoints} {
		if !seen[part] {
			t.Errorf("nothing of %s is declared: this is not the whole program", part)
		}
	}
}

func TestNothingThatCostsByTheHourIsLeftWhenAllIsOffAndNothingElseChanges(t *testing.T) {
	root := ownContracts(t)
	on := program(t, root, nil)
	off := program(t, root, switchedOff("us", partNames()...))
	wasHourly := hourly(t, on)
	if len(wasHourly) == 0 {
		t.Fatal("nothing costs by the hour: this is not the whole program")
	}
	for id := range hourly(t, off) {
		if country(id) == "us" {
			t.Errorf("%s is left", id)
		}
	}
	for id, before := range on {
		after, there := off[id]
		switch {
		case country(id) != "us" && after != before:
			t.Errorf("%s of another country changed", id)
		case there && after != before && (!strings.HasPrefix(id, "aws:glue/trigger:Trigger ") || after != strings.Replace(before, `"enabled":true`, `"enabled":false`, 1)):
			t.Errorf("%s is no schedule that is paused, and changed:\n- %s\n+ %s", id, before, after)
		case !there && len(wasHourly[id]) == 0 && !goesAlong(id):
			t.Errorf("%s costs nothing by the hour, and is gone", id)
		}
	}
	for id := range off {
		if _, there := on[id]; !there {
			t.Errorf("%s is there only while all is off", id)
		}
	}
}

func TestOnlyTheStandingClusterOfACountryKnowsWhichOneEndedBefore(t *testing.T) {
	root := ownContracts(t)
	on := program(t, root, nil)
	again := program(t, root, map[string]string{compute.EndedName("prod", "us"): "j-1"})
	for id, before := range on {
		if want := strings.HasPrefix(id, "aws:emr/cluster:Cluster us-"); (again[id] != before) != want {
			t.Errorf("%s differs: %v, want %v", id, again[id] != before, want)
		}
	}
}

func TestEachPartTakesItsOwn(t *testing.T) {
	root := ownContracts(t)
	on := program(t, root, nil)
	for _, part := range compute.Parts {
		switches, err := compute.Read([]string{part.Name}, []string{compute.Off})
		if err != nil {
			t.Fatal(err)
		}
		off := program(t, root, switchedOff("us", part.Name))
		for id, parts := range hourly(t, on) {
			_, there := off[id]
			want := country(id) != "us" || slices.ContainsFunc(parts, switches.On)
			if there != want {
				t.Errorf("%s off: %s there: %v, want %v", part.Name, id, there, want)
			}
		}
	}
}

func partNames() []string {
	var names []string
	for _, p := range compute.Parts {
		names = append(names, p.Name)
	}
	return names
}

// country is whose resource it is: names begin with the country's code.
func country(id string) string {
	_, name, _ := strings.Cut(id, " ")
	code, _, _ := strings.Cut(name, "-")
	return code
}

// goesAlong tells whether a resource is a part of one that costs by the hour, and cannot be without it.
func goesAlong(id string) bool {
	kind, _, _ := strings.Cut(id, " ")
	return slices.Contains([]string{"aws:ec2/route:Route", "aws:emr/managedScalingPolicy:ManagedScalingPolicy"}, kind) ||
		strings.HasPrefix(id, "aws:lambda/invocation:Invocation ") && strings.HasSuffix(id, "-standing") // it closes the standing cluster before that goes
}
