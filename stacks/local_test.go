package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPageOfTheLocalCloudNamesWhatItsStackLeavesOut compares the types that the program can declare with those that the stack local does.
func TestPageOfTheLocalCloudNamesWhatItsStackLeavesOut(t *testing.T) {
	root := ownContracts(t)
	types := func(stack, text string) map[string]bool {
		t.Helper()
		registered, err := deployed(t, stack, text, root, &recorder{zones: 3})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for id := range registered {
			if kind, _, _ := strings.Cut(id, " "); !strings.HasPrefix(kind, "sluice:") {
				found[kind] = true
			}
		}
		return found
	}
	text, err := os.ReadFile("../Pulumi.local.yaml")
	if err != nil {
		t.Fatal(err)
	}
	local := types("local", string(text))
	shared := "sluice:network: {shared: {vpcId: vpc-12345678, cidr: 10.0.0.0/20, routeTableIds: [rtb-12345678]}, "
	all := types("prod", strings.Replace(everything(t), "sluice:network: {", shared, 1)+"\n  sluice:driver: polling\n")
	var left []string
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		if !local[kind] {
			left = append(left, kind)
		}
	}
	page, err := os.ReadFile("../docs/local-cloud.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`aws:[a-z0-9]+/\w+:\w+`).FindAllString(string(page), -1)
	if slices.Sort(named); len(left) < 5 || !slices.Equal(named, left) {
		t.Errorf("the page names\n%q\nthe stack local leaves out\n%q", named, left)
	}
}
