package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKilledDeploymentIsToldByWhatItWasCreating(t *testing.T) {
	for name, c := range map[string]struct {
		state string
		want  bool
	}{
		"in order":          {`{"version":3,"checkpoint":{"stack":"local","latest":{"resources":[]}}}`, false},
		"killed, creating":  {`{"checkpoint":{"latest":{"pending_operations":[{"resource":{},"type":"updating"},{"resource":{},"type":"creating"}]}}}`, true},
		"killed, updating":  {`{"checkpoint":{"latest":{"pending_operations":[{"resource":{},"type":"updating"}]}}}`, false},
		"never deployed":    {`{"version":3,"checkpoint":{"stack":"local"}}`, false},
		"of no stack local": {"", false},
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
		got, err := hasPendingCreates(home)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
}
