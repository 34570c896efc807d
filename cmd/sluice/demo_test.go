package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDemoDaysAreListedDayByDay(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"us/flights/2013-01-02/f.csv", "us/flights/2013-01-01/f.csv", "us/flights/2013-01-01/g.csv", "pr/airports/2013-01-01/a.csv"} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := listDemoDays(dir)
	want := []demoDay{
		{"pr", "airports", "2013-01-01", []string{filepath.Join(dir, "pr/airports/2013-01-01/a.csv")}},
		{"us", "flights", "2013-01-01", []string{filepath.Join(dir, "us/flights/2013-01-01/f.csv"), filepath.Join(dir, "us/flights/2013-01-01/g.csv")}},
		{"us", "flights", "2013-01-02", []string{filepath.Join(dir, "us/flights/2013-01-02/f.csv")}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestDemoPutsDaysWithoutAJobAndThoseThatFailed(t *testing.T) {
	s := newStage()
	s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: "succeeded"}, {Country: "us", Feed: "flights", Day: "2013-01-02", State: "running"}, {Country: "us", Feed: "flights", Day: "2013-01-04", State: "failed", Attempts: 2}}
	file := inputs(t, "f.csv")
	var out bytes.Buffer
	a := newApp(&out, &out)
	places := []place{{code: "us", ledger: s.us, objects: s.objects}}
	days := []demoDay{{"us", "flights", "2013-01-01", file}, {"us", "flights", "2013-01-02", file}, {"us", "flights", "2013-01-03", file}, {"us", "flights", "2013-01-04", file}}
	retried, err := a.putDemo(t.Context(), places, days)
	if want := map[demoKey]int64{{"us", "flights", "2013-01-04"}: 2}; err != nil || !reflect.DeepEqual(retried, want) {
		t.Fatalf("retried %v, %v; want %v", retried, err, want)
	}
	if want := []string{"/flights/2013-01-03/f.csv=text of f.csv", "/flights/2013-01-03/_COMPLETE=",
		"/flights/2013-01-04/f.csv=text of f.csv", "/flights/2013-01-04/_COMPLETE="}; !slices.Equal(s.objects.log, want) {
		t.Errorf("put %q, want %q", s.objects.log, want)
	}
}

func TestWatchWaitsForTheExportAndReportsEachChangeOnce(t *testing.T) {
	s := stagedJobs()
	s.us.jobs = s.us.jobs[:1]
	var out bytes.Buffer
	a := newApp(&out, &out)
	list, err := a.watch(t.Context(), []place{{code: "us", ledger: s.us}}, []demoDay{{country: "us", feed: "flights", day: "2013-01-01"}}, nil)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if want := "us flights 2013-01-01: succeeded, 838 rows in BigQuery\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestJobEndsWhenNothingMoreHappensToIt(t *testing.T) {
	retried := map[demoKey]int64{{"us", "flights", "2013-01-01"}: 1}
	one := func(state string, attempts int64, exported *int64) job {
		return job{Country: "us", Feed: "flights", Day: "2013-01-01", State: state, Attempts: attempts, Exported: exported}
	}
	for _, c := range []struct {
		job   job
		quiet time.Duration
		want  bool
	}{
		{one("succeeded", 2, nil), time.Hour, false},
		{one("succeeded", 2, n(0)), 0, true},
		{one("failed", 1, nil), 0, false}, // the next attempt is on its way
		{one("failed", 2, nil), 0, true},
		{one("failed", 1, nil), time.Hour, true},
		{one("blocked", 0, nil), 0, false},
		{one("blocked", 0, nil), time.Hour, true},
		{one("dead", 3, nil), 0, true},
		{one("running", 1, nil), time.Hour, false},
	} {
		if got := c.job.ended(retried, c.quiet); got != c.want {
			t.Errorf("%+v after %s: ended %v, want %v", c.job, c.quiet, got, c.want)
		}
	}
}

func TestInterruptedDemoSaysHowToGoOn(t *testing.T) {
	inCheckout(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted{os.Interrupt})
	var out bytes.Buffer
	code := run(ctx, newApp(&out, &out), []string{"demo"})
	want := "sluice: the demo is not done: 'make demo' goes on with it, 'make down' ends it and deletes its data\nsluice: stopped by signal: interrupt\n"
	if code != exitError || out.String() != want {
		t.Errorf("exit %d, %q; want %q", code, out.String(), want)
	}
}

func TestDemoWhoseCloudEndedSaysSo(t *testing.T) {
	home := inCheckout(t)
	launcher, _ := startProcess(t, nil, "-m", "local.cloud", "--home", home)
	writeCloud(t, home, &launcher)
	fakePulumi(t, filepath.Dir(home), fmt.Sprintf("kill -9 %d\nexit 1\n", launcher))
	var out bytes.Buffer
	code := run(t.Context(), newApp(&out, &out), []string{"demo"})
	want := fmt.Sprintf("local cloud: running already, http://127.0.0.1:4566\nsluice: pulumi up: exit status 1\n"+
		"the local cloud has ended by itself: its logs are in %s; 'make demo' starts again with an empty one\n", filepath.Join(home, "cloud"))
	if code != exitError || out.String() != want {
		t.Errorf("exit %d, %q; want %q", code, out.String(), want)
	}
}

func TestDemoStartsOverWhereAKilledDeploymentIsInTheWay(t *testing.T) {
	const state = "state/.pulumi/stacks/sluice/local.json"
	for name, c := range map[string]struct {
		state, killed string
		tries, over   bool
	}{
		"failed in order":             {`{"checkpoint":{"latest":{"resources":[{}]}}}`, "", true, false},
		"killed":                      {`{"checkpoint":{"latest":{"resources":[{}]}}}`, "up", true, true},
		"destroy was killed":          {`{"checkpoint":{"latest":{"resources":[{}]}}}`, "destroy", false, true},
		"killed the first time":       {`{"checkpoint":{"latest":{"resources":[]}}}`, "up", false, true},
		"stopped while it was making": {`{"checkpoint":{"latest":{"resources":[{}],"pending_operations":[{"type":"creating"}]}}}`, "", true, true},
	} {
		home := inCheckout(t)
		fakePulumi(t, filepath.Dir(home), "echo up >> calls\nexit 1\n")
		if err := os.MkdirAll(filepath.Join(home, filepath.Dir(state)), 0o755); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{state: c.state}
		if c.killed != "" {
			files["state/unfinished"] = c.killed + "\n"
		}
		for path, text := range files {
			if err := os.WriteFile(filepath.Join(home, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := newApp(&out, &out).deployLocal(t.Context(), filepath.Dir(home), home); err == nil {
			t.Errorf("%s: no error", name)
		}
		said := strings.Contains(out.String(), "starting with an empty local cloud\n")
		if _, err := os.Stat(filepath.Join(home, state)); said != c.over || (err != nil) != c.over {
			t.Errorf("%s: it says %q; the state: %v", name, out.String(), err)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(home), "calls")); (err == nil) != c.tries {
			t.Errorf("%s: it tried first: %v", name, err)
		}
	}
}
