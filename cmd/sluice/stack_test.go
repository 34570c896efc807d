package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatIsTypedReachesPulumiAsOneArgument(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "pulumi"), []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := pulumi(t.Context(), root, "stack", "output", "--stack", "dev; touch taken $(touch taken) 'x")
	if want := "<stack><output><--stack><dev; touch taken $(touch taken) 'x>"; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
	if _, err := os.Stat(filepath.Join(root, "taken")); err == nil {
		t.Error("a shell read what was typed")
	}
}
