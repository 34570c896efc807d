package infra

import (
	"fmt"
	"slices"
	"strings"
)

// Processors that clusters are made of.
const (
	ARM64  = "arm64"
	X86_64 = "x86_64"
)

// families lists the instance families that stand for each other: of one row, two types of the same size have the same processor
// architecture, cores and memory. All of them are EMR 7's. A family alone runs out, on spot above all.
var families = []struct {
	processor string
	names     []string
	sizes     []string
}{
	{ARM64, []string{"m6g", "m6gd", "m7g", "m7gd"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
	{ARM64, []string{"r6g", "r6gd", "r7g", "r7gd"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
	{ARM64, []string{"c6g", "c6gd", "c7g", "c7gd"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
	{X86_64, []string{"m5", "m5d", "m6i", "m6id", "m6a"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
	{X86_64, []string{"r5", "r5d", "r6i", "r6id", "r6a"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
	{X86_64, []string{"c6i", "c6id", "c6a"}, []string{"xlarge", "2xlarge", "4xlarge", "8xlarge"}},
}

// InstanceTypes are the types that an instance fleet may take for this one, which comes first, and their processor.
func InstanceTypes(first string) (types []string, processor string, err error) {
	family, size, _ := strings.Cut(first, ".")
	for _, row := range families {
		if !slices.Contains(row.names, family) || !slices.Contains(row.sizes, size) {
			continue
		}
		types = []string{first}
		for _, other := range row.names {
			if other != family {
				types = append(types, other+"."+size)
			}
		}
		return types, row.processor, nil
	}
	var known []string
	for _, row := range families {
		known = append(known, row.names...)
	}
	return nil, "", fmt.Errorf("%q is no instance type that clusters are made of; take one of the families %s in size %s", first, strings.Join(known, ", "), strings.Join(families[0].sizes, ", "))
}
