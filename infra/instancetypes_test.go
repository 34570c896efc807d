package infra

import (
	"slices"
	"strings"
	"testing"
)

func TestInstanceTypesHaveTheSameProcessorAndSize(t *testing.T) {
	for first, want := range map[string][]string{
		"m6g.xlarge":  {ARM64, "m6g.xlarge", "m6gd.xlarge", "m7g.xlarge", "m7gd.xlarge"},
		"r7g.2xlarge": {ARM64, "r7g.2xlarge", "r6g.2xlarge", "r6gd.2xlarge", "r7gd.2xlarge"},
		"m6i.4xlarge": {X86_64, "m6i.4xlarge", "m5.4xlarge", "m5d.4xlarge", "m6id.4xlarge", "m6a.4xlarge"},
	} {
		types, processor, err := InstanceTypes(first)
		if err != nil || processor != want[0] || !slices.Equal(types, want[1:]) {
			t.Errorf("%s: %v %s, %v", first, types, processor, err)
		}
	}
}

func TestUnknownInstanceTypeIsRefusedWithWhatThereIs(t *testing.T) {
	for _, first := range []string{"t3.micro", "m6g", "m6g.metal", "c5.8xlarge", ""} {
		if _, _, err := InstanceTypes(first); err == nil || !strings.Contains(err.Error(), "take one of the families m6g, m6gd, m7g") {
			t.Errorf("%s: %v", first, err)
		}
	}
}

func TestFleetsDoWithoutTypesThatAZoneHasNot(t *testing.T) {
	var offered []Offering
	for _, zone := range []string{"a", "b", "c"} { // c is no zone of the network
		for _, name := range AllInstanceTypes() {
			if zone == "b" && (name == "m6g.xlarge" || strings.HasPrefix(name, "r")) || zone == "c" && strings.HasPrefix(name, "m7g") {
				continue
			}
			offered = append(offered, Offering{name, zone})
		}
	}
	missing := MissingTypes(offered, []string{"a", "b"})
	types, processor, err := offeredTypes("m6g.xlarge", missing)
	if want := []string{"m6gd.xlarge", "m7g.xlarge", "m7gd.xlarge"}; err != nil || processor != ARM64 || !slices.Equal(types, want) {
		t.Errorf("%v, %s, %v", types, processor, err)
	}
	_, _, err = offeredTypes("r6g.2xlarge", missing)
	if want := "r6g.2xlarge: neither it nor a type that stands for it is in every zone of the network; missing are r6g.2xlarge (b), r6gd.2xlarge (b), r7g.2xlarge (b), r7gd.2xlarge (b): take another type, or name a zone's id in sluice:network.avoidZones"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if len(MissingTypes(offered, []string{"a"})) != 0 {
		t.Error("types are missing where all are there")
	}
}
