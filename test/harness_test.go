//go:build engine

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// deployment is a checkout and the local stack that it works on.
type deployment struct {
	root string // root is the checkout that commands run in.
	home string // home holds the local cloud's data and the stack's state.
}

// job is a line of `sluice jobs --json`.
type job struct {
	Country, Feed, Day, State, Engine, Reason                     string
	Attempts                                                      int64
	Input, Validated, Invalid, New, Changed, Unchanged, Duplicate *int64
	Deleted, Exported                                             *int64
	Sizing                                                        map[string]any
}

// run executes a command of the checkout and returns all that it printed; any other exit code than the wanted one ends the test.
func (d deployment) run(t *testing.T, wantExit int, name string, args ...string) string {
	t.Helper()
	out, errOut := d.output(t, wantExit, name, args...)
	return out + errOut
}

// output is run with standard output and standard error apart.
func (d deployment) output(t *testing.T, wantExit int, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	started := time.Now()
	cmd := d.command(t.Context(), name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	exit := 0
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		exit = failed.ExitCode()
	case err != nil:
		t.Fatalf("%s: %v", name, err)
	}
	t.Logf("%s %s: %s", name, strings.Join(args, " "), time.Since(started).Round(time.Second/10))
	if exit != wantExit {
		t.Fatalf("%s %s: exit %d, want %d\n%s%s", name, strings.Join(args, " "), exit, wantExit, out.String(), errOut.String())
	}
	return out.String(), errOut.String()
}

func (d deployment) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.root, name), args...)
	cmd.Dir = d.root
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+d.home)
	return cmd
}

func (d deployment) sluice(t *testing.T, args ...string) string {
	t.Helper()
	return d.run(t, 0, "bin/sluice", args...)
}

func (d deployment) pulumi(t *testing.T, args ...string) string {
	t.Helper()
	return d.run(t, 0, "bin/pulumi", append(args, "--stack", "local")...)
}

// decode runs a command of sluice that prints JSON.
func decode[T any](t *testing.T, d deployment, args ...string) T {
	t.Helper()
	var value T
	text, _ := d.output(t, 0, "bin/sluice", append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return value
}

// patience is how long the test waits for something before it takes it for never: many times longer than a busy machine needs.
const patience = 20 * time.Minute

// ended waits until nothing more happens to a job by itself, and returns it.
func (d deployment) ended(t *testing.T, country, feed, day string) job {
	t.Helper()
	return d.await(t, country, feed, day, func(j job) bool {
		return j.State == "succeeded" && j.Exported != nil || slices.Contains([]string{"failed", "dead", "blocked", "cancelled"}, j.State)
	})
}

// await waits for a job that fits, and returns it.
func (d deployment) await(t *testing.T, country, feed, day string, fits func(job) bool) job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var text []byte
	for {
		var jobs []job
		now, err := d.command(ctx, "bin/sluice", "jobs", "--country", country, "--feed", feed, "--day", day, "--json").Output()
		if err == nil {
			text = now
			err = json.Unmarshal(text, &jobs)
		}
		if err != nil && ctx.Err() == nil { // else the command was killed because time is up
			t.Fatalf("sluice jobs: %v", err)
		}
		if len(jobs) == 1 && fits(jobs[0]) {
			return jobs[0]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for job %s %s %s: %s", country, feed, day, text)
		case <-tick.C:
		}
	}
}

// logs are the ends of the local cloud's logs at the time of a failure, taken before its folder goes.
var logs string

// TestMain prints them after everything else: they are long, and what a test found wrong is not to be looked for in them.
func TestMain(m *testing.M) {
	code := m.Run()
	if logs != "" {
		fmt.Println(logs)
	}
	os.Exit(code)
}

// logs returns the ends of the local cloud's logs.
func (d deployment) logs() string {
	var all strings.Builder
	_ = filepath.WalkDir(filepath.Join(d.home, "cloud"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".log" {
			text, _ := os.ReadFile(path)
			fmt.Fprintf(&all, "== %s\n%s\n", entry.Name(), text[max(0, len(text)-3000):])
		}
		return nil
	})
	return all.String()
}

// checkout is the repository that the test belongs to.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// clone copies the files of the checkout, committed or not yet, to a new folder, with links to what was built.
func clone(t *testing.T, root string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "elsewhere")
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(names), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but not yet from the index
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	built, err := os.ReadDir(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(to, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	links := []string{".venv", ".jars"}
	for _, entry := range built {
		if entry.Name() != "pulumi" { // which looks for its checkout from where it really is
			links = append(links, filepath.Join("bin", entry.Name()))
		}
	}
	for _, name := range links {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
	wrapper, err := os.ReadFile(filepath.Join(root, "bin", "pulumi"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "bin", "pulumi"), wrapper, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}
