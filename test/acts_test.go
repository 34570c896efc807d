//go:build engine

package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// details is what `sluice job show --json` prints, as far as the tests read it.
type details struct {
	State    string
	Revision int64
	Acts     []act
	Runs     []struct{ State, Reason, StepID string }
}

type act struct{ Verb, By, Reason string }

func (d deployment) details(t *testing.T, country, feed, day string) details {
	t.Helper()
	return decode[details](t, d, "job", "show", "--country", country, "--feed", feed, "--day", day)
}

// explains compares what `sluice explain` says of a job: its state, and a line for each reason, of which only the beginning is given.
func (d deployment) explains(t *testing.T, country, id, state string, why ...string) {
	t.Helper()
	got := decode[struct {
		State string
		Why   []struct{ Kind, Text, Next string }
	}](t, d, "explain", id, "--country", country)
	same := got.State == state && len(got.Why) == len(why)
	for i := range got.Why {
		same = same && strings.HasPrefix(got.Why[i].Kind+": "+got.Why[i].Text, why[i])
	}
	if !same {
		t.Errorf("%s is explained as %+v; want it %s, with %q", id, got, state, why)
	}
}

// act has sluice do something to a job, and compares the line that it prints, or what begins it.
func (d deployment) act(t *testing.T, wantExit int, prints string, verb, id, country string, flags ...string) {
	t.Helper()
	if out := d.run(t, wantExit, "bin/sluice", append([]string{verb, id, "--country", country}, flags...)...); !strings.HasPrefix(out, prints) {
		t.Errorf("%s %s printed %q, not %q", verb, id, out, prints)
	}
}

// becomes waits until a file that landed is in a state.
func (d deployment) becomes(t *testing.T, country, key, state string) {
	t.Helper()
	type file struct{ Key, State string }
	d.until(t, key+" is "+state, func() bool {
		return slices.Contains(decode[[]file](t, d, "files", key, "--country", country), file{key, state})
	})
}

// closedDayIsRestated restates a day that got a late file. Its Spark step is killed in the middle, and readers see nothing of that; the
// restatement is cancelled, and then the day is done again together with the next one by a backfill.
func closedDayIsRestated(t *testing.T, d deployment, inputs string) {
	const country, feed, first, second, third = "us", "airlines", "2013-01-01", "2013-01-02", "2013-01-03"
	const id = feed + "/" + first
	functions := decodeOutputs(t, d).Countries[country].Functions
	before, exported := d.stored(t, country, feed, first), len(bigQueryRows(t, d, country, feed, first))
	d.act(t, 2, `sluice: required flag(s) "reason" not set`, "restate", id, country)
	d.act(t, 3, "sluice: refused: job "+id+" is of a closed day: sluice restate does it again", "redrive", id, country)
	d.killStep(t, country, feed, first, 2, func() {
		d.act(t, 0, "us "+id+" is waiting, revision 2\n", "restate", id, country, "--reason", "late file")
	})
	// The next attempt's time, a minute later, must not come meanwhile.
	waits := d.hold(t, "requests", `/(`+functions["start-jobs"]+`|`+functions["queue-jobs"]+`) .*DynamoDB.*(Put|Update|Write)Item`)
	d.await(t, country, feed, first, func(j job) bool { return j.State != "running" })
	d.explains(t, country, id, "waiting", "attempt: waits for attempt 2 of 3 at ")
	d.act(t, 0, "us "+id+" is cancelled, revision 2\n", "cancel", id, country, "--reason", "not today", "--by", "ann")
	waits.letGo()
	d.explains(t, country, id, "cancelled", "closed day: cancel by ann: not today; the day stays closed as it was")
	d.act(t, 3, "sluice: refused: job "+id+" is of a closed day: sluice restate does it again", "redrive", id, country)
	if now, rows := d.stored(t, country, feed, first), len(bigQueryRows(t, d, country, feed, first)); now != before || rows != exported {
		t.Errorf("readers see %+v and %d rows in BigQuery of a run that died, before it %+v and %d", now, rows, before, exported)
	}
	d.putLate(t, inputs, country, feed, first, "later.csv", "carrier,name\nZX,Zulu Express\n")

	type day struct{ Day, Done, Would string }
	backfill := []string{"backfill", "--country", country, "--feed", feed, "--from", "2012-12-31", "--to", second}
	if got, want := decode[[]day](t, d, append(backfill, "--dry-run")...), []day{{"2012-12-31", "", ""}, {first, "", "restate"}, {second, "", "restate"}}; !slices.Equal(got, want) {
		t.Errorf("a backfill would do %+v, want %+v", got, want)
	}
	d.explains(t, country, id, "cancelled", "closed day: ")
	if got, want := decode[[]day](t, d, append(backfill, "--reason", "late file after all")...), []day{{"2012-12-31", "", ""}, {first, "restate", ""}, {second, "restate", ""}}; !slices.Equal(got, want) {
		t.Errorf("the backfill did %+v, want %+v", got, want)
	}
	d.compareDays(t, inputs, country, feed, first, second, third)
	for _, name := range []string{"late.csv", "later.csv"} {
		d.becomes(t, country, id+"/"+name, "processed")
	}
	got := d.details(t, country, feed, first)
	me := "arn:aws:iam::000000000000:root"
	if want := []act{{"restate", me, "late file"}, {"cancel", "ann", "not today"}, {"restate", me, "late file after all"}}; got.Revision != 3 || !slices.Equal(got.Acts, want) {
		t.Errorf("revision %d, acts %+v; want revision 3, %+v", got.Revision, got.Acts, want)
	}
	if got := d.details(t, country, feed, third); got.Revision != 1 || len(got.Runs) != 1 {
		t.Errorf("a day that nobody asked for was done again: %+v", got)
	}
}

// jobsDoAsTheyAreTold has people decide about a job that waits and about one that runs, whose file is no CSV: that one fails with a
// reason in the end, and jobs that do not need it notice nothing.
func jobsDoAsTheyAreTold(t *testing.T, d deployment, inputs string) {
	const country, day = "us", "2013-01-01"
	const waits, runs = "flights/" + day, "weather/" + day
	e := listen(t, d, "jobs-ear")
	before := d.sluice(t, "jobs", "--feed", "airlines", "--json")
	d.put(t, 0, country, "flights", day, dayFiles(t, inputs, country, "flights", day)...)
	d.await(t, country, "flights", day, func(j job) bool { return j.State == "waiting" && j.Reason != "" })
	needs := []string{"prerequisite: waits for airports", "prerequisite: waits for planes", "prerequisite: waits for weather"}
	d.explains(t, country, waits, "waiting", needs...)
	d.act(t, 0, "us "+waits+" is held, revision 1\n", "hold", waits, country, "--reason", "contract first", "--by", "ann")
	d.explains(t, country, waits, "held", "hold: hold by ann: contract first")
	d.act(t, 3, "sluice: refused: job "+waits+" is held", "hold", waits, country)
	d.act(t, 0, "us "+waits+" is waiting, revision 1\n", "release", waits, country)
	d.explains(t, country, waits, "waiting", needs...)
	d.act(t, 3, "sluice: refused: day "+runs+" has neither a job nor files in the landing bucket: nothing waits for it", "cancel", runs, country)
	d.explains(t, country, runs, "", "no day: the day is not complete: no file is there")

	bad := filepath.Join(t.TempDir(), "weather.csv")
	if err := os.WriteFile(bad, []byte("not,the,header\n1,2,3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run := d.hold(t, "steps", "/runs/weather/"+day+"/1/order.json")
	d.put(t, 0, country, "weather", day, bad)
	d.await(t, country, "weather", day, func(j job) bool { return j.State == "running" })
	d.until(t, "the run has its step", func() bool { return d.details(t, country, "weather", day).Runs[0].StepID != "" })
	d.explains(t, country, runs, "running", "runs: run 1 runs on emr since ")
	d.act(t, 0, "us "+runs+": cancel is recorded: run 1 is being ended, and publishes nothing\n", "cancel", runs, country, "--reason", "wrong file", "--by", "ann")
	d.act(t, 3, "sluice: refused: job "+runs, "cancel", runs, country) // it is being ended, or was already
	if j := d.ended(t, country, "weather", day); j.State != "cancelled" || d.details(t, country, "weather", day).Runs[0].State != "cancelled" {
		t.Errorf("cancelled, and became %+v", j)
	}
	run.letGo()
	d.await(t, country, "flights", day, func(j job) bool { return j.State == "blocked" })
	d.explains(t, country, runs, "cancelled", "ended: cancel by ann: wrong file", "blocks: "+waits)

	d.act(t, 0, "us "+runs+" is waiting, revision 1\n", "redrive", runs, country, "--reason", "try it")
	j := d.await(t, country, "weather", day, func(j job) bool {
		return j.State != "cancelled" && j.State != "waiting" && j.State != "ready" && j.State != "running"
	})
	if j.State != "failed" || j.Attempts != 2 || j.Reason == "" {
		t.Errorf("job %+v; want it failed with a reason", j)
	}
	d.await(t, country, "flights", day, func(j job) bool { return j.State == "blocked" })
	d.explains(t, country, runs, "failed", "ended: "+j.Reason, "blocks: "+waits)
	d.act(t, 0, "us "+waits+" is cancelled, revision 1\n", "cancel", waits, country)
	e.hears(t, d, "job.failed weather "+day)
	if after := d.sluice(t, "jobs", "--feed", "airlines", "--json"); after != before {
		t.Errorf("the other jobs before:\n%s\nafter:\n%s", before, after)
	}
}
