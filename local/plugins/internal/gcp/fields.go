package gcp

import (
	"strconv"
	"strings"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

// field carries one input between a program and Google's JSON.
type field struct {
	input string
	path  string          // path is where Google keeps it, with dots; the input's name when empty.
	send  func(v any) any // send turns the program's value into Google's; nil for as it is.
	read  func(v any) any // read turns it back.
	none  any             // none is what Google takes for "no value" in a patch.
}

// body is Google's JSON of the fields' values; in a patch, absent ones are sent as none.
func body(fields []field, inputs native.Object, patch bool) native.Object {
	out := native.Object{}
	for _, f := range fields {
		value, ok := inputs[f.input]
		switch {
		case ok && f.send != nil:
			value = f.send(value)
		case !ok && !patch:
			continue
		case !ok:
			value = f.none
		}
		put(out, f.at(), value)
	}
	return out
}

// properties are the inputs' values in Google's JSON.
func properties(fields []field, answer native.Object) native.Object {
	out := native.Object{}
	for _, f := range fields {
		value := get(answer, f.at())
		if value != nil && f.read != nil {
			value = f.read(value)
		}
		if value != nil {
			out[f.input] = value
		}
	}
	return out
}

func (f field) at() string {
	if f.path == "" {
		return f.input
	}
	return f.path
}

// plain are fields that both sides spell alike.
func plain(none any, inputs ...string) []field {
	fields := make([]field, len(inputs))
	for i, input := range inputs {
		fields[i] = field{input: input, none: none}
	}
	return fields
}

// get follows a path with dots into JSON objects.
func get(object native.Object, path string) any {
	key, rest, nested := strings.Cut(path, ".")
	if !nested {
		return object[key]
	}
	inner, _ := object[key].(map[string]any)
	return get(inner, rest)
}

// put sets what get finds.
func put(object native.Object, path string, value any) {
	key, rest, nested := strings.Cut(path, ".")
	if !nested {
		object[key] = value
		return
	}
	inner, ok := object[key].(map[string]any)
	if !ok {
		inner = native.Object{}
		object[key] = inner
	}
	put(inner, rest, value)
}

// int64Text and int64Number carry Google's 64-bit integers, which its JSON has as strings.
func int64Text(v any) any {
	if n, ok := v.(float64); ok {
		return strconv.FormatInt(int64(n), 10)
	}
	return v
}

func int64Number(v any) any {
	if text, ok := v.(string); ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return float64(n)
		}
	}
	return v
}

// within carries values inside an object, for example its 64-bit integers.
func within(key string, change func(any) any) func(any) any {
	return func(v any) any {
		object, ok := v.(map[string]any)
		if !ok || object[key] == nil {
			return v
		}
		changed := native.Object{}
		for k, inner := range object {
			changed[k] = inner
		}
		changed[key] = change(object[key])
		return changed
	}
}

// foldCase compares what Google writes in capitals.
func foldCase(old, new any) native.Change {
	a, _ := old.(string)
	b, _ := new.(string)
	if strings.EqualFold(a, b) {
		return native.Same
	}
	return native.Replace
}

// text is a string property, or nothing.
func text(object native.Object, key string) string {
	s, _ := object[key].(string)
	return s
}

// with adds properties to a set.
func with(object native.Object, more native.Object) native.Object {
	for key, value := range more {
		object[key] = value
	}
	return object
}

// labelled adds what the official provider says of labels.
func labelled(live native.Object) native.Object {
	labels := live["labels"]
	if labels == nil {
		labels = native.Object{}
	}
	return with(live, native.Object{"effectiveLabels": labels, "pulumiLabels": labels})
}
