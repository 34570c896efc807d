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

// AllInstanceTypes are the types that clusters can be made of.
func AllInstanceTypes() (all []string) {
	for _, row := range families {
		for _, family := range row.names {
			for _, size := range row.sizes {
				all = append(all, family+"."+size)
			}
		}
	}
	return all
}

// Offering is a type that a zone has.
type Offering struct{ InstanceType, Zone string }

// MissingTypes says which of the types that clusters can be made of are missing in which of the zones. EMR ends or refuses a cluster for one
// type of a fleet that its zone has not, and which of a network's zones it takes is its own choice.
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html
func MissingTypes(offered []Offering, zones []string) map[string][]string {
	there := map[Offering]bool{}
	for _, o := range offered {
		there[o] = true
	}
	missing := map[string][]string{}
	for _, name := range AllInstanceTypes() {
		for _, zone := range zones {
			if !there[Offering{name, zone}] {
				missing[name] = append(missing[name], zone)
			}
		}
	}
	return missing
}

// offeredTypes are the types that a fleet may take for this one, without those that one of the network's zones has not, and their processor.
func offeredTypes(first string, missing map[string][]string) (types []string, processor string, err error) {
	all, processor, err := InstanceTypes(first)
	if err != nil {
		return nil, "", err
	}
	var lacking []string
	for _, name := range all {
		if zones := missing[name]; len(zones) > 0 {
			lacking = append(lacking, name+" ("+strings.Join(zones, ", ")+")")
		} else {
			types = append(types, name)
		}
	}
	if len(types) == 0 {
		return nil, "", fmt.Errorf("%s: neither it nor a type that stands for it is in every zone of the network; missing are %s: take another type, or name a zone's id in sluice:network.avoidZones", first, strings.Join(lacking, ", "))
	}
	return types, processor, nil
}
