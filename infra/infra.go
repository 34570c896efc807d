// Package infra is the components that a country is made of: one a file, its test beside it.
//
// A component takes plain values and inputs, never configuration, and refers to nothing of another country. Composing them is left
// to package main in stacks, what may touch what to package policies.
package infra

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// Stages are the steps of a record's way, each with a bucket and a database of its name.
var Stages = []string{"landing", "validated", "invalid", "versioned", "curated"}

// tagged renders tags, with more of them for one resource; it changes neither map.
func tagged(tags map[string]string, more ...map[string]string) pulumi.StringMap {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	for _, m := range more {
		maps.Copy(all, m)
	}
	return pulumi.ToStringMap(all)
}

// named is the tag that the AWS console shows as a resource's name.
func named(name string) map[string]string { return map[string]string{"Name": name} }

// document renders a policy whose strings are only known once resources exist; render gets them in the order of inputs.
func document(render func(s []string) policies.Document, inputs ...pulumi.StringInput) pulumi.StringOutput {
	return pulumi.StringArray(inputs).ToStringArrayOutput().ApplyT(func(s []string) (string, error) {
		return render(s).JSON()
	}).(pulumi.StringOutput)
}

// register wraps the registration of a component with its kind and name, as every constructor does first.
func register(ctx *pulumi.Context, token, name string, c pulumi.ComponentResource, opts []pulumi.ResourceOption) error {
	if err := ctx.RegisterComponentResource(token, name, c, opts...); err != nil {
		return fmt.Errorf("%s %q: %w", token, name, err)
	}
	return nil
}

// withDefault is value, or fallback when value is zero.
func withDefault(value, fallback int) int {
	if value == 0 {
		return fallback
	}
	return value
}

// withDefaultText is text, or fallback when text is empty.
func withDefaultText(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// sortedNames are the keys of a map in order, so that resources are always registered in the same one.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
