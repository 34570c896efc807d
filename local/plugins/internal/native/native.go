// Package native serves small Pulumi providers that are tables of resource types.
//
// A Type names its inputs and says how to create, read, update and delete the thing; the server does the rest of the provider protocol:
// checks, defaults, differences, previews, refreshes and imports. What the inputs mean is left to the types.
package native

import (
	"context"
	"errors"
	"reflect"
)

// ErrNotFound is what Read, Update and Delete answer for a thing that is gone.
var ErrNotFound = errors.New("not found")

// Object is a set of properties as plain JSON values.
type Object = map[string]any

// Change says what a difference between two values of an input asks for.
type Change int

// The changes, from none to the most.
const (
	Same Change = iota
	Update
	Replace
)

// Input is a property that a program may set.
type Input struct {
	Required  bool                      // Required inputs are refused when absent.
	Immutable bool                      // Immutable inputs replace the resource when they change.
	Computed  bool                      // Computed inputs get a value from the service when the program sets none.
	Local     bool                      // Local inputs guide the provider and never reach the service.
	Names     bool                      // Names marks inputs that tell the resource from others: a change of one is another resource.
	AutoName  bool                      // AutoName gives the resource's name and seven random digits when the program sets none.
	Default   func() any                // Default gives the value that stands for none; nil for no default.
	Nested    bool                      // Nested inputs are settings of which the service answers more than the program said.
	Compare   func(old, new any) Change // Compare overrides the comparison by equality.
}

// Type is a resource type.
type Type struct {
	Inputs  map[string]Input
	Outputs []string // Outputs are the other properties, unknown until the resource exists.

	// Create makes the resource and returns its id and all its properties.
	Create func(ctx context.Context, inputs Object) (id string, live Object, err error)
	// Read returns all properties; known are those of the last state, none for an import.
	Read func(ctx context.Context, id string, known Object) (live Object, err error)
	// Update changes the resource; nil when every input is immutable or local.
	Update func(ctx context.Context, id string, old, new Object) (live Object, err error)
	// Delete removes the resource.
	Delete func(ctx context.Context, id string, state Object) error
}

// Function is an invoke: arguments in, results out.
type Function func(ctx context.Context, args Object) (Object, error)

// Provider is what a plugin serves.
type Provider struct {
	Name      string
	Version   string
	Configure func(config map[string]string) error // Configure takes the provider's inputs; nil for none.
	Types     map[string]Type
	Functions map[string]Function
}

// Value makes a constant default.
func Value(v any) func() any {
	return func() any { return v }
}

// compare says what it takes to turn one known value of an input into another.
func (in Input) compare(old, new any) Change {
	if reflect.DeepEqual(old, new) {
		return Same
	}
	if in.Compare != nil {
		return in.Compare(old, new)
	}
	return in.change()
}

// change is what any difference of the input asks for.
func (in Input) change() Change {
	if in.Immutable {
		return Replace
	}
	return Update
}

// means says whether what the service answers is what the program said.
func (in Input) means(said, found any) bool {
	return in.compare(said, found) == Same || in.Nested && covers(found, said)
}

// live says which value of an input a refresh finds: the old spelling where it means what the service answered.
func (in Input) live(old, found any, known bool) (any, bool) {
	switch {
	case in.Local:
		if old == nil && in.Default != nil {
			old = in.Default()
		}
		return old, old != nil
	case old != nil && found != nil && in.means(old, found):
		return old, true
	case old == nil && known && (in.Computed || empty(found) || in.Default != nil && reflect.DeepEqual(in.Default(), found)):
		return nil, false
	}
	return found, !empty(found)
}

// empty says whether a value means the same as no value.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// covers says whether have contains all of want.
func covers(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := have.(map[string]any)
		for key, value := range want {
			if !ok || !covers(object[key], value) {
				return false
			}
		}
		return ok
	case []any:
		list, ok := have.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !covers(list[i], want[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(have, want)
}
