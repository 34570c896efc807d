// Package compute is the switch of what costs money while nobody works: its parts, where their state is kept, and what each declared
// resource type costs.
//
// A part is off when a parameter of AWS Systems Manager says so, one a stack, country and part, in the country's account and region.
// It is kept there and not in the stack's YAML, so that no merge switches anything, and so that what ends by itself can say so. The
// deployment reads the parameters and leaves out what is off; the functions read them and start nothing on it. This package knows
// no SDK: reading and writing is left to those who have a client.
package compute

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-data/sluice/internal/sizing"
)

// Class says when something costs money.
type Class string

// The classes of cost, the dearest last.
const (
	Free    Class = "free"    // Free costs nothing by itself.
	PerUse  Class = "per-use" // PerUse costs by what is done with it or stored in it, and nothing while it is idle and empty.
	Monthly Class = "monthly" // Monthly costs a small fixed sum by being there: keys and alarms, which stay because data and people rely on them.
	Hourly  Class = "hourly"  // Hourly costs by the hour, used or not: only a part of the switch may declare it.
)

// The parts of the switch.
const (
	EMR        = "emr"
	Standing   = "standing"
	Serverless = "serverless"
	Glue       = "glue"
	NAT        = "nat"
	Endpoints  = "endpoints"
)

// Part is one thing that can be switched off.
type Part struct {
	Name  string   `json:"part"`
	Cost  Class    `json:"costClass"` // Cost is how it costs while it is on.
	About string   `json:"about"`     // About says in one sentence what goes when it is off.
	Needs []string `json:"-"`         // Needs are the parts without which it cannot work.
}

// Parts are all parts, in the order in which people read them.
var Parts = []Part{
	{Name: EMR, Cost: Hourly, About: "EMR clusters, the standing one and those that jobs start; jobs on EMR wait.", Needs: []string{NAT, Endpoints}},
	{Name: Standing, Cost: Hourly, About: "The standing EMR cluster; jobs start clusters of their own.", Needs: []string{EMR}},
	{Name: Serverless, Cost: PerUse, About: "Warm workers of EMR Serverless, whose application is stopped; jobs on it wait."},
	{Name: Glue, Cost: PerUse, About: "Glue's schedules; jobs on Glue wait."},
	{Name: NAT, Cost: Hourly, About: "NAT gateways with their addresses; private subnets lose the internet."},
	{Name: Endpoints, Cost: Hourly, About: "Interface endpoints; private subnets lose the services behind them."},
}

// Find is the part of this name.
func Find(name string) (Part, bool) {
	i := slices.IndexFunc(Parts, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return Part{}, false
	}
	return Parts[i], true
}

// EngineParts are the parts that runs on each engine need, by the engine's name.
var EngineParts = map[string]string{sizing.EMR: EMR, sizing.EMRServerless: Serverless, sizing.Glue: Glue}

// What a parameter says.
const (
	On  = "on"
	Off = "off"
)

// Path is the path below which the parameters of a country are.
func Path(stack, country string) string { return "/sluice/" + stack + "/compute/" + country }

// ParameterName is the name of the parameter that says whether a part of a country is on.
func ParameterName(stack, country, part string) string { return Path(stack, country) + "/" + part }

// EndedName is the name of the parameter with the id of the standing cluster that ended by itself last. It is below the standing cluster's
// own parameter.
func EndedName(stack, country string) string {
	return ParameterName(stack, country, Standing) + "/ended"
}

// Switches are the parts of a country that are off, by name; none is off by default.
type Switches struct{ off map[string]bool }

// Read reads what the parameters of a country say; names and values are in the same order.
func Read(names, values []string) (Switches, error) {
	s := Switches{off: map[string]bool{}}
	if len(names) != len(values) {
		return s, fmt.Errorf("%d parameters with %d values", len(names), len(values))
	}
	for i, name := range names {
		switch values[i] {
		case On:
		case Off:
			s.off[name[strings.LastIndex(name, "/")+1:]] = true
		default:
			return s, fmt.Errorf("parameter %s is %q; it can be %q or %q", name, values[i], On, Off)
		}
	}
	return s, nil
}

// On tells whether a part is on, and with it every part that it needs.
func (s Switches) On(part string) bool { return s.Blocker(part) == "" }

// Blocker is the part that keeps this one off: the part itself, or one that it needs; empty when it is on.
func (s Switches) Blocker(part string) string {
	if s.off[part] {
		return part
	}
	p, _ := Find(part)
	for _, needed := range p.Needs {
		if blocker := s.Blocker(needed); blocker != "" {
			return blocker
		}
	}
	return ""
}
