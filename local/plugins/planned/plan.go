package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// planned is the plan of a stack.
type planned struct {
	lock      sync.Mutex
	resources []planResource
	// origins are the resources that have a value, by the value: what a program passed on from one to another is a reference.
	origins map[string][]origin
}

type planResource struct {
	kind, name  string
	values      map[string]any
	unknown     map[string]any
	expressions map[string]any
}

// origin is an attribute of a resource.
type origin struct{ urn, address, attribute string }

func newPlan() *planned { return &planned{origins: map[string][]origin{}} }

// addAWS adds a resource that the AWS provider planned.
func (p *planned) addAWS(urn string, c *change, from sources) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	r := &reading{plan: p, from: from}
	values, unknown, expressions, err := r.attributes(c.planned)
	if err != nil {
		return err
	}
	p.resources = append(p.resources, planResource{kind: c.kind, name: c.name, values: values, unknown: unknown, expressions: expressions})
	var created map[string]tftypes.Value
	if err := c.created.As(&created); err != nil {
		return err
	}
	for attribute, value := range created {
		var text string
		if value.Type().Is(tftypes.String) && !value.IsNull() && value.As(&text) == nil {
			p.addOrigin(text, origin{urn, c.kind + "." + c.name, attribute})
		}
	}
	return nil
}

// addOrigin notes where a value comes from. Short values say nothing.
func (p *planned) addOrigin(value string, o origin) {
	if len(value) > 3 {
		p.origins[value] = append(p.origins[value], o)
	}
}

// reading renders the planned values of one resource.
type reading struct {
	plan *planned
	from sources
}

// sources are the resources that a resource's values can come from, and the texts that are the program's own: a function may have
// the name of its role without having it from there.
type sources struct{ urns, own map[string]bool }

// references are the attributes that a value was taken from, as Terraform lists them: the attribute, then its resource.
func (r *reading) references(text string) []string {
	origins := slices.DeleteFunc(slices.Clone(r.plan.origins[text]), func(o origin) bool { return !r.from.urns[o.urn] || r.from.own[text] })
	// Where several attributes have the value, ids and ARNs are what programs pass on.
	rank := map[string]int{"id": -2, "arn": -1}
	slices.SortFunc(origins, func(a, b origin) int {
		return cmp.Or(cmp.Compare(rank[a.attribute], rank[b.attribute]), cmp.Compare(a.address, b.address), cmp.Compare(a.attribute, b.attribute))
	})
	if len(origins) == 0 {
		return nil
	}
	return []string{origins[0].address + "." + origins[0].attribute, origins[0].address}
}

// attributes splits an object into what is known, what is not, and where the latter comes from.
func (r *reading) attributes(v tftypes.Value) (values, unknown, expressions map[string]any, err error) {
	var fields map[string]tftypes.Value
	if err := v.As(&fields); err != nil {
		return nil, nil, nil, err
	}
	values, unknown, expressions = map[string]any{}, map[string]any{}, map[string]any{}
	for key, field := range fields {
		value, isUnknown, expression, err := r.value(field)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", key, err)
		}
		// What is not set is left out, though Terraform prints null: checks are written for files, where it is absent.
		if isUnknown != true && value != nil {
			values[key] = value
		}
		if isUnknown != nil {
			unknown[key] = isUnknown
		}
		if expression != nil {
			expressions[key] = expression
		}
	}
	return values, unknown, expressions, nil
}

// value is attributes for any value; unknown is true, a structure like the value, or nil.
func (r *reading) value(v tftypes.Value) (value, unknown, expression any, err error) {
	switch kind := v.Type(); {
	case !v.IsKnown():
		return nil, true, nil, nil
	case v.IsNull():
		return nil, nil, nil, nil
	case kind.Is(tftypes.String):
		var text string
		if err := v.As(&text); err != nil {
			return nil, nil, nil, err
		}
		if references := r.references(text); references != nil {
			return nil, true, map[string]any{"references": references}, nil
		}
		return text, nil, nil, nil
	case kind.Is(tftypes.Bool):
		var yes bool
		err := v.As(&yes)
		return yes, nil, nil, err
	case kind.Is(tftypes.Number):
		var number big.Float
		err := v.As(&number)
		return json.Number(number.Text('f', -1)), nil, nil, err
	case kind.Is(tftypes.Object{}):
		values, unknowns, expressions, err := r.attributes(v)
		return values, orNil(unknowns), orNil(expressions), err
	case kind.Is(tftypes.Map{}):
		values, unknowns, expressions, err := r.attributes(v)
		return values, orNil(unknowns), together(expressions), err
	default:
		return r.list(v)
	}
}

// list is value for lists, sets and tuples.
func (r *reading) list(v tftypes.Value) (value, unknown, expression any, err error) {
	var elements []tftypes.Value
	if err := v.As(&elements); err != nil {
		return nil, nil, nil, err
	}
	values, unknowns, expressions := []any{}, []any{}, map[string]any{}
	blocks, hasUnknown := []any{}, false
	for i, element := range elements {
		one, isUnknown, from, err := r.value(element)
		if err != nil {
			return nil, nil, nil, err
		}
		values = append(values, one)
		if isUnknown == nil {
			isUnknown = false
		} else {
			hasUnknown = true
		}
		unknowns = append(unknowns, isUnknown)
		if from == nil {
			from = map[string]any{}
		}
		blocks = append(blocks, from)
		if m, ok := from.(map[string]any); ok && m["references"] != nil {
			expressions[fmt.Sprintf("%06d", i)] = from
		}
	}
	switch {
	case !hasUnknown:
		return values, nil, nil, nil
	case len(expressions) > 0:
		return values, unknowns, together(expressions), nil
	default:
		return values, unknowns, blocks, nil
	}
}

// together is one expression of several: a map or list of plain values has one.
func together(expressions map[string]any) any {
	all := []string{}
	for _, key := range slices.Sorted(mapKeys(expressions)) {
		if of, ok := expressions[key].(map[string]any); ok {
			references, _ := of["references"].([]string)
			all = append(all, references...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return map[string]any{"references": all}
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func orNil(m map[string]any) any {
	if len(m) == 0 {
		return nil
	}
	return m
}

// document is the plan as Terraform prints it, as far as scanners read it.
func (p *planned) document() map[string]any {
	p.lock.Lock()
	defer p.lock.Unlock()
	slices.SortFunc(p.resources, func(a, b planResource) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	values, changes, configuration := []any{}, []any{}, []any{}
	for _, r := range p.resources {
		common := func(more map[string]any) map[string]any {
			more["address"], more["mode"], more["type"], more["name"] = r.kind+"."+r.name, "managed", r.kind, r.name
			return more
		}
		values = append(values, common(map[string]any{"schema_version": 0, "values": r.values}))
		changes = append(changes, common(map[string]any{"change": map[string]any{
			"actions": []string{"create"}, "before": nil, "after": r.values, "after_unknown": r.unknown}}))
		configuration = append(configuration, common(map[string]any{"expressions": r.expressions}))
	}
	return map[string]any{
		"format_version": "1.2", "terraform_version": "1.9.0",
		"planned_values":   map[string]any{"root_module": map[string]any{"resources": values}},
		"resource_changes": changes,
		"configuration":    map[string]any{"root_module": map[string]any{"resources": configuration}},
	}
}
