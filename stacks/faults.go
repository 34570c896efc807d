package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// faults collects what is wrong, each with the path of where, so that all of it can be mended at once.
type faults struct {
	list []fault
}

type fault struct{ path, text string }

func (f *faults) add(path, format string, args ...any) {
	f.list = append(f.list, fault{path, fmt.Sprintf(format, args...)})
}

// at says whether something is already known to be wrong at path or below it.
func (f *faults) at(path string) bool {
	return slices.ContainsFunc(f.list, func(known fault) bool {
		rest, below := strings.CutPrefix(known.path, path)
		return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// addSchema adds what a schema found, with its paths written as people write them. Paths begin with prefix.
func (f *faults) addSchema(prefix string, err error) {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		f.add(prefix, "%v", err)
		return
	}
	printer := message.NewPrinter(language.English)
	var leaves func(e *jsonschema.ValidationError)
	leaves = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			f.add(prefix+pathOf(e.InstanceLocation), "%s", e.ErrorKind.LocalizedString(printer))
		}
		for _, cause := range e.Causes {
			leaves(cause)
		}
	}
	leaves(invalid)
}

// err is all faults as one error, in the order of their paths, or nil.
func (f *faults) err(what string) error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b fault) int { return strings.Compare(a.path, b.path) })
	lines := []string{what}
	for _, one := range f.list {
		lines = append(lines, "  "+one.path+": "+one.text)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// pathOf writes a place in a document as countries[2].cidr. The words that only Pulumi's files have around it are left out.
func pathOf(location []string) string {
	var path strings.Builder
	for _, step := range location {
		step = strings.TrimPrefix(step, "sluice:")
		if n, err := strconv.Atoi(step); err == nil {
			fmt.Fprintf(&path, "[%d]", n)
			continue
		}
		if path.Len() > 0 {
			path.WriteByte('.')
		}
		path.WriteString(step)
	}
	return strings.TrimPrefix(path.String(), "config.")
}
