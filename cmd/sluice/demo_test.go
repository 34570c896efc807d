package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
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

func TestDemoPutsOnlyDaysWithoutAJob(t *testing.T) {
	s := newStage()
	s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: "succeeded"}, {Country: "us", Feed: "flights", Day: "2013-01-02", State: "running"}}
	file := inputs(t, "f.csv")
	var out bytes.Buffer
	a := newApp(&out, &out)
	places := []place{{code: "us", country: country{}, ledger: s.us, objects: s.objects}}
	o := outputs{Countries: map[string]country{"us": {Feeds: map[string]feed{"flights": {Completeness: "marker", Marker: "_COMPLETE"}}}}}
	days := []demoDay{{"us", "flights", "2013-01-01", file}, {"us", "flights", "2013-01-02", file}, {"us", "flights", "2013-01-03", file}}
	if err := a.putDemo(t.Context(), places, o, days); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/flights/2013-01-03/f.csv=text of f.csv", "/flights/2013-01-03/_COMPLETE="}; !slices.Equal(s.objects.log, want) {
		t.Errorf("put %q, want %q", s.objects.log, want)
	}
}

func TestWatchWaitsForTheExportAndReportsEachChangeOnce(t *testing.T) {
	s := stagedJobs()
	s.us.jobs = s.us.jobs[:1]
	var out bytes.Buffer
	a := newApp(&out, &out)
	list, err := a.watch(t.Context(), []place{{code: "us", ledger: s.us}}, []demoDay{{country: "us", feed: "flights", day: "2013-01-01"}})
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if want := "us flights 2013-01-01: succeeded, 838 rows in BigQuery\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if (job{State: stateSucceeded}).ended() {
		t.Error("a job whose rows are not exported yet has not ended")
	}
}
