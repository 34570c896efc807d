package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	bucketURN = "urn:pulumi:local::sluice::sluice:country:Country$sluice:storage:DataLake$aws:s3/bucketV2:BucketV2::us-landing"
	keyURN    = "urn:pulumi:local::sluice::aws:kms/key:Key::us-data"
)

func event(kind, op, urn string) string {
	return fmt.Sprintf(`{"sequence":1,"timestamp":2,%q:{"metadata":{"op":%q,"urn":%q,"type":"x"}}}`+"\n", kind, op, urn)
}

func TestDestroySaysHowFarItIsAndWhatItWaitsFor(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		events []string // one a minute
		says   string
		moved  int // moved is the minute of the last movement.
	}{
		{"nothing yet", nil, "0 of 9 resources are deleted; none is being deleted", 0},
		{"one going", []string{event("resourcePreEvent", "delete", bucketURN)},
			"0 of 9 resources are deleted; aws:s3/bucketV2:BucketV2 us-landing is being deleted since 4m0s", 1},
		{"the oldest of two", []string{event("resourcePreEvent", "delete", keyURN), event("resourcePreEvent", "delete", bucketURN)},
			"0 of 9 resources are deleted; aws:kms/key:Key us-data is being deleted since 4m0s, and 1 more", 2},
		{"one gone", []string{event("resourcePreEvent", "delete", keyURN), event("resOutputsEvent", "delete", keyURN)},
			"1 of 9 resources are deleted; none is being deleted", 2},
		{"one failed", []string{event("resourcePreEvent", "delete", keyURN), event("resOpFailedEvent", "delete", keyURN)},
			"0 of 9 resources are deleted; none is being deleted", 2},
		{"an event in two parts", []string{event("resourcePreEvent", "delete", keyURN)[:40], event("resourcePreEvent", "delete", keyURN)[40:]},
			"0 of 9 resources are deleted; aws:kms/key:Key us-data is being deleted since 3m0s", 2},
		{"other events move nothing", []string{`{"diagnosticEvent":{"message":"waiting"}}` + "\n", event("resourcePreEvent", "same", keyURN), "no JSON\n"},
			"0 of 9 resources are deleted; none is being deleted", 0},
	} {
		progress := destroyProgress{total: 9, moved: start, going: map[string]time.Time{}}
		for i, text := range c.events {
			progress.read([]byte(text), start.Add(time.Duration(i+1)*time.Minute))
		}
		if got := progress.waitsFor(start.Add(5 * time.Minute)); got != c.says {
			t.Errorf("%s: it says %q, want %q", c.name, got, c.says)
		}
		if want := start.Add(time.Duration(c.moved) * time.Minute); progress.moved != want {
			t.Errorf("%s: moved at %s, want %s", c.name, progress.moved, want)
		}
	}
}

// lines collects what a command and its child process write at the same time.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// endless makes a destroy that begins to delete a bucket and never ends by itself, and a clock that shows 30 seconds more at each tick.
func endless(t *testing.T, home, script string) (a *app, said *lines) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	begun := filepath.Join(home, "begun")
	fakePulumi(t, filepath.Dir(home), fmt.Sprintf("cat >>\"$SLUICE_EVENTS\" <<'E'\n%sE\n: >%s\n%s%s=1 exec %s\n",
		event("resourcePreEvent", "delete", bucketURN), begun, script, asProcess, exe))
	state := filepath.Join(home, "state", ".pulumi", "stacks", "sluice", "local.json")
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, []byte(`{"checkpoint":{"latest":{"resources":[{},{},{}]}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	said = &lines{}
	a = newApp(said, said)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	a.every = func(time.Duration) (<-chan time.Time, func()) {
		tick := make(chan time.Time)
		go func() {
			for {
				if _, err := os.Stat(begun); err != nil {
					continue
				}
				select {
				case tick <- time.Time{}:
				case <-done:
					return
				}
			}
		}()
		return tick, func() {}
	}
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a.now = func() time.Time {
		clock = clock.Add(30 * time.Second)
		return clock
	}
	return a, said
}

func TestDestroyThatNeverEndsIsEndedAndNamesTheResource(t *testing.T) {
	home := inCheckout(t)
	a, said := endless(t, home, "")
	err := a.destroyWatched(t.Context(), filepath.Dir(home), home, 2*time.Minute)
	want := "destroy: nothing moved for 2m0s: 0 of 3 resources are deleted; aws:s3/bucketV2:BucketV2 us-landing is being deleted since 2m30s\n" +
		"sluice: to wait longer for it next time: sluice local down --destroy --give-up-after 6m0s"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	first := "destroy: 0 of 3 resources are deleted; aws:s3/bucketV2:BucketV2 us-landing is being deleted since 0s\n"
	if !strings.Contains(said.text.String(), first) {
		t.Errorf("it says %q, want %q in it", said.text.String(), first)
	}
	if _, err := os.Stat(filepath.Join(home, "state", "destroy.events")); !os.IsNotExist(err) {
		t.Errorf("the events are still there: %v", err)
	}
}

func TestDestroyThatEndsByItselfKeepsItsError(t *testing.T) {
	home := inCheckout(t)
	a, _ := endless(t, home, "exit 7\n")
	a.every = func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }
	err := a.destroyWatched(t.Context(), filepath.Dir(home), home, time.Hour)
	if err == nil || err.Error() != "pulumi destroy: exit status 7" {
		t.Errorf("error %v", err)
	}
}

func TestDownGivesUpAfterMoreThanNothing(t *testing.T) {
	inCheckout(t)
	code, _, errOut := newStage().run(t, "local", "down", "--destroy", "--give-up-after", "0s")
	if code != exitUsage || !strings.HasPrefix(errOut, "sluice: --give-up-after 0s: must be longer than nothing, for example 10m\n") {
		t.Errorf("exit %d, %q", code, errOut)
	}
}
