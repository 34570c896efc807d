package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStateTellsWhatPulumiKnows(t *testing.T) {
	for name, c := range map[string]struct {
		state string
		want  stackState
	}{
		"in order":          {`{"version":3,"checkpoint":{"stack":"local","latest":{"resources":[{"urn":"a"},{"urn":"b"}]}}}`, stackState{resources: 2}},
		"killed, creating":  {`{"checkpoint":{"latest":{"pending_operations":[{"resource":{},"type":"updating"},{"resource":{},"type":"creating"}]}}}`, stackState{creating: true}},
		"killed, updating":  {`{"checkpoint":{"latest":{"pending_operations":[{"resource":{},"type":"updating"}]}}}`, stackState{}},
		"never deployed":    {`{"version":3,"checkpoint":{"stack":"local"}}`, stackState{}},
		"of no stack local": {"", stackState{}},
	} {
		home := t.TempDir()
		if c.state != "" {
			path := filepath.Join(home, "state", ".pulumi", "stacks", "sluice", "local.json")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(c.state), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := readState(home)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}
