package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/sizing"
)

// stagedJobs is a stack with one job in each of three states.
func stagedJobs() *stage {
	s := newStage()
	s.us.jobs = []job{
		{
			Country: "us", Feed: "flights", Day: "2013-01-01", State: "succeeded", Engine: "emr", Attempts: 1,
			Input: n(842), Validated: n(840), Invalid: n(2), New: n(838), Changed: n(0), Unchanged: n(0), Duplicate: n(2), Deleted: n(0), Exported: n(838),
			StartedAt: at("2013-01-02T00:00:05Z"), FinishedAt: at("2013-01-02T00:01:05Z"),
			Sizing: sizing.Decision{Bytes: 75211, Files: 1, Size: "small", Target: sizing.RunningCluster, Reason: "75 kB in 1 file: the running cluster small is large enough"},
		},
		{Country: "us", Feed: "airports", Day: "2013-01-02", State: "waiting"},
		{Country: "us", Feed: "airports", Day: "2013-01-01", State: "failed", Engine: "emr", Attempts: 2, Reason: "header lacks faa"},
	}
	s.us.runs = []attempt{{
		Token: 1, State: "succeeded", Engine: "emr", ClusterID: "j-1", StepID: "s-1", Order: "s3://artifacts/order.json",
		StartedAt: at("2013-01-02T00:00:05Z"), FinishedAt: at("2013-01-02T00:01:05Z"),
	}}
	s.us.files = []file{
		{Country: "us", Bucket: "landing-us", Key: "flights/2013-01-01/flights.csv", Bytes: 75211, State: "processed", LandedAt: at("2013-01-02T00:00:01Z")},
		{Country: "us", Bucket: "landing-us", Key: "flights/2013-01-01/late.csv", Bytes: 12, State: "late", Reason: "the day is closed", LandedAt: at("2013-01-03T00:00:01Z")},
	}
	s.us.rejected = []file{{Country: "us", Bucket: "landing-us", Key: "flights/readme.txt", Bytes: 3, State: "rejected", Reason: "no day in the key", LandedAt: at("2013-01-02T00:00:01Z")}}
	s.pr.jobs = []job{{Country: "pr", Feed: "flights", Day: "2013-01-01", State: "running", Engine: "emr", Attempts: 1, StartedAt: at("2013-01-02T00:00:05Z")}}
	return s
}

func TestReadingCommandsPrintWhatIsRecorded(t *testing.T) {
	for name, args := range map[string][]string{
		"jobs.txt":          {"jobs"},
		"jobs.json":         {"jobs", "--json"},
		"jobs-country.txt":  {"jobs", "--country", "pr"},
		"jobs-none.txt":     {"jobs", "--day", "2013-05-05"},
		"jobs-none.json":    {"jobs", "--day", "2013-05-05", "--json"},
		"job-show.txt":      {"job", "show", "--country", "us", "--feed", "flights", "--day", "2013-01-01"},
		"job-show.json":     {"job", "show", "--country", "us", "--feed", "flights", "--day", "2013-01-01", "--json"},
		"files.txt":         {"files", "flights/2013-01-01/"},
		"files-one.json":    {"files", "flights/2013-01-01/late.csv", "--json"},
		"files-refused.txt": {"files", "flights/"},
		"files-all.txt":     {"files"},
		"files-none.txt":    {"files", "weather/2013-01-01/"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := stagedJobs().run(t, args...)
			if code != exitDone || errOut != "" {
				t.Fatalf("exit %d: %s", code, errOut)
			}
			golden(t, name, out)
		})
	}
}

func TestJobsJSONHasExactlyTheFieldsOfTheInterface(t *testing.T) {
	_, out, _ := stagedJobs().run(t, "jobs", "--json")
	var jobs []map[string]any
	if err := json.Unmarshal([]byte(out), &jobs); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields("attempts changed country day deleted duplicate engine exported feed finishedAt input invalid new reason sizing startedAt state unchanged validated")
	for _, j := range jobs {
		if got := sortedKeys(j, map[string]any(nil)); !slices.Equal(got, want) {
			t.Errorf("fields %q, want %q", got, want)
		}
	}
	waiting := jobs[slices.IndexFunc(jobs, func(j map[string]any) bool { return j["state"] == "waiting" })]
	if waiting["input"] != nil || waiting["startedAt"] != nil || !reflect.DeepEqual(waiting["sizing"], map[string]any{"bytes": 0.0, "files": 0.0}) {
		t.Errorf("a job that has not run: %v; want null counts and times, and a sizing of nothing", waiting)
	}
}

func TestWrongReadingExitsWith2(t *testing.T) {
	for message, args := range map[string][]string{
		`no country "uy" in the stack; it has pr, us`:   {"jobs", "--country", "uy"},
		`no feed "trains" in the stack`:                 {"jobs", "--feed", "trains"},
		`day "today" is not a date`:                     {"jobs", "--day", "today"},
		`unknown command "jbos" for "sluice"`:           {"jbos"},
		`accepts at most 1 arg(s), received 2`:          {"files", "a", "b"},
		`required flag(s) "country", "day", "feed" not`: {"job", "show"},
	} {
		code, _, errOut := stagedJobs().run(t, args...)
		if code != exitUsage || !strings.Contains(errOut, message) {
			t.Errorf("%q: exit %d, %q; want %d and %q", args, code, errOut, exitUsage, message)
		}
	}
}

func TestJobThatDoesNotExistIsAnError(t *testing.T) {
	code, _, errOut := stagedJobs().run(t, "job", "show", "--country", "us", "--feed", "airports", "--day", "2013-03-03")
	want := "sluice: country \"us\" has no job for feed \"airports\" and day 2013-03-03: 0 files are recorded, and the day is not complete yet\n"
	if code != exitError || errOut != want {
		t.Errorf("exit %d, %q; want %d and %q", code, errOut, exitError, want)
	}
}
