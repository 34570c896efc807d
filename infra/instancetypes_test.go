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
