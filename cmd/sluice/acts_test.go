package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/driver"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

// fakeDesk has the rules decide about one job, and keeps what it was asked.
type fakeDesk struct {
	job     jobs.Job
	log     []string
	asleep  error  // asleep is what waking answers.
	who     string // who is the caller; ann by default.
	why     []jobs.Why
	filled  []driver.Filled
	letters []messages.DeadLetter
}

func (d *fakeDesk) Who(context.Context) (string, error) { return cmp.Or(d.who, "arn:ann"), nil }

func (d *fakeDesk) Do(_ context.Context, id jobs.ID, verb jobs.Verb, by, reason string) (jobs.Job, error) {
	d.log = append(d.log, fmt.Sprintf("%s %s by %s: %s", verb, id, by, reason))
	if id != d.job.ID {
		return jobs.Job{}, ledgers.ErrNoJob
	}
	return d.job.Apply(jobs.Act{Verb: verb, By: by, Reason: reason}, "")
}

func (d *fakeDesk) Backfill(_ context.Context, feed string, from, to jobs.Day, by, reason string) ([]driver.Filled, error) {
	d.log = append(d.log, fmt.Sprintf("backfill %s %s %s by %s: %s", feed, from, to, by, reason))
	return d.filled, nil
}

func (d *fakeDesk) Rehearse(_ context.Context, feed string, from, to jobs.Day) ([]driver.Filled, error) {
	d.log = append(d.log, fmt.Sprintf("rehearse %s %s %s", feed, from, to))
	return d.filled, nil
}

func (d *fakeDesk) Explain(_ context.Context, id jobs.ID) (jobs.State, []jobs.Why, error) {
	d.log = append(d.log, "explain "+id.String())
	return jobs.Waiting, d.why, nil
}

func (d *fakeDesk) DeadLetters(context.Context) ([]messages.DeadLetter, error) { return d.letters, nil }

func (d *fakeDesk) Wake(_ context.Context, j jobs.Job) error {
	d.log = append(d.log, fmt.Sprintf("wake %s %s", j.ID, j.State))
	return d.asleep
}

func stagedDesk(state jobs.State) *stage {
	s := newStage()
	s.desk.job = jobs.Job{ID: jobs.ID{Feed: "flights", Day: "2013-01-01"}, State: state, Revision: 1, Token: 1}
	return s
}

func TestActsSayWhatBecameOfTheJobAndWakeIt(t *testing.T) {
	for _, c := range []struct {
		state jobs.State
		args  []string
		left  jobs.State // as the act leaves the job
		out   string
	}{
		{jobs.Succeeded, []string{"restate", "--reason", "late"}, jobs.Waiting, "us flights/2013-01-01 is waiting, revision 2\n"},
		{jobs.Dead, []string{"redrive"}, jobs.Waiting, "us flights/2013-01-01 is waiting, revision 1\n"},
		{jobs.Waiting, []string{"cancel"}, jobs.Cancelled, "us flights/2013-01-01 is cancelled, revision 1\n"},
		{jobs.Running, []string{"cancel"}, jobs.Running, "us flights/2013-01-01: cancel is recorded: run 1 is being ended, and publishes nothing\n"},
		{jobs.Succeeded, []string{"retract", "--reason", "mistyped"}, jobs.Waiting,
			"us flights/2013-01-01: a run empties its tables, as revision 2; then it is as if it had never been delivered\n"},
		{jobs.Waiting, []string{"retract", "--reason", "mistyped"}, jobs.Cancelled, "us flights/2013-01-01 is cancelled: it is as if it had never been delivered\n"},
		{jobs.Ready, []string{"hold"}, jobs.Held, "us flights/2013-01-01 is held, revision 1\n"},
		{jobs.Held, []string{"release", "--by", "bob"}, jobs.Waiting, "us flights/2013-01-01 is waiting, revision 1\n"},
	} {
		s := stagedDesk(c.state)
		code, out, errOut := s.run(t, append(c.args, "flights/2013-01-01", "--country", "us")...)
		if code != exitDone || out != c.out || errOut != "" {
			t.Errorf("%v: exit %d, %q, %q", c.args, code, out, errOut)
		}
		by, reason := "arn:ann", ""
		if i := slices.Index(c.args, "--by"); i > 0 {
			by = c.args[i+1]
		}
		if i := slices.Index(c.args, "--reason"); i > 0 {
			reason = c.args[i+1]
		}
		if want := []string{c.args[0] + " flights/2013-01-01 by " + by + ": " + reason, "wake flights/2013-01-01 " + string(c.left)}; !slices.Equal(s.desk.log, want) {
			t.Errorf("%v: asked %q", c.args, s.desk.log)
		}
	}
}

func TestCancelWaitsForTheEndOfTheRunWhenItIsAskedTo(t *testing.T) {
	jobsPoll = time.Millisecond
	defer func() { jobsPoll = 2 * time.Second }()
	s := stagedDesk(jobs.Running)
	s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: "running"}}
	s.us.closeAfter = 3
	code, out, errOut := s.run(t, "cancel", "flights/2013-01-01", "--country", "us", "--wait")
	want := "us flights/2013-01-01: cancel is recorded: run 1 is being ended, and publishes nothing\nus flights/2013-01-01 is succeeded\n" // as the ledger has it
	if code != exitDone || out != want || errOut != "" || s.us.readings != 4 {
		t.Errorf("exit %d, %q, %q after %d readings", code, out, errOut, s.us.readings)
	}
}

func TestActsThatTheRulesRefuseExitWith3(t *testing.T) {
	s := stagedDesk(jobs.Running)
	code, _, errOut := s.run(t, "restate", "flights/2013-01-01", "--country", "us", "--reason", "x")
	want := "sluice: refused: job flights/2013-01-01 is running: only a closed day, or one earlier than the feed's last, can be restated\n"
	if code != exitRefused || errOut != want || len(s.desk.log) != 1 {
		t.Errorf("exit %d, %q, %v", code, errOut, s.desk.log)
	}
}

func TestWrongActsExitWith2(t *testing.T) {
	for message, args := range map[string][]string{
		`required flag(s) "reason" not set`:             {"restate", "flights/2013-01-01", "--country", "us"},
		`flag(s) "reason" not set`:                      {"retract", "flights/2013-01-01", "--country", "us"},
		`--reason is empty`:                             {"restate", "flights/2013-01-01", "--country", "us", "--reason", " "},
		`--reason is empty: say why`:                    {"backfill", "--country", "us", "--feed", "flights", "--from", "2013-01-01", "--to", "2013-01-01", "--reason", ""},
		`group [reason dry-run] is required`:            {"backfill", "--country", "us", "--feed", "flights", "--from", "2013-01-01", "--to", "2013-01-01"},
		`required flag(s) "country" not set`:            {"hold", "flights/2013-01-01"},
		`job "flights" is not of the form`:              {"cancel", "flights", "--country", "us"},
		`no feed "trains" in country "us"`:              {"explain", "trains/2013-01-01", "--country", "us"},
		`no country "uy" in the stack`:                  {"release", "flights/2013-01-01", "--country", "uy"},
		`name a job, or --dead-letters`:                 {"redrive", "--country", "us"},
		`--from 2013-02-01 is after --to 2013-01-01`:    {"backfill", "--country", "us", "--feed", "flights", "--from", "2013-02-01", "--to", "2013-01-01", "--reason", "x"},
		`day "2013-02-30" is not a date`:                {"backfill", "--country", "us", "--feed", "flights", "--from", "2013-02-30", "--to", "2013-03-01", "--reason", "x"},
		`accepts 1 arg(s), received 0`:                  {"explain", "--country", "us"},
		`day "2013-1-1" is not a date of the form yyyy`: {"explain", "flights/2013-1-1", "--country", "us"},
	} {
		s := stagedDesk(jobs.Waiting)
		code, _, errOut := s.run(t, args...)
		if code != exitUsage || !strings.Contains(errOut, message) || len(s.desk.log) > 0 {
			t.Errorf("%q: exit %d, %q; want %d and %q; asked %v", args, code, errOut, exitUsage, message, s.desk.log)
		}
	}
}

func TestActOnADayWithoutAJobPointsToExplain(t *testing.T) {
	code, _, errOut := stagedDesk(jobs.Dead).run(t, "redrive", "airports/2013-01-01", "--country", "us")
	want := "sluice: country \"us\" has no job airports/2013-01-01: its day is not complete; see 'sluice explain airports/2013-01-01 --country us'\n"
	if code != exitError || errOut != want {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

func TestActIsDoneAlsoWhenTheJobCannotBeWoken(t *testing.T) {
	s := stagedDesk(jobs.Dead)
	s.desk.asleep = errors.New("AccessDenied")
	code, _, errOut := s.run(t, "redrive", "flights/2013-01-01", "--country", "us")
	if want := "it goes on at the next tick, within a minute or at the next sweep, and not at once: AccessDenied\n"; code != exitDone || errOut != want {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

func TestReadingsOfTheDeskArePrinted(t *testing.T) {
	for name, args := range map[string][]string{
		"explain.txt":       {"explain", "flights/2013-01-01", "--country", "us"},
		"explain.json":      {"explain", "flights/2013-01-01", "--country", "us", "--json"},
		"backfill.txt":      {"backfill", "--country", "us", "--feed", "flights", "--from", "2012-12-31", "--to", "2013-01-01", "--reason", "new rule"},
		"backfill.json":     {"backfill", "--country", "us", "--feed", "flights", "--from", "2012-12-31", "--to", "2013-01-01", "--reason", "new rule", "--json"},
		"rehearsal.txt":     {"backfill", "--country", "us", "--feed", "flights", "--from", "2012-12-31", "--to", "2013-01-01", "--dry-run"},
		"rehearsal.json":    {"backfill", "--country", "us", "--feed", "flights", "--from", "2012-12-31", "--to", "2013-01-01", "--dry-run", "--json"},
		"dead-letters.txt":  {"redrive", "--dead-letters", "--country", "us"},
		"dead-letters.json": {"redrive", "--dead-letters", "--country", "us", "--json"},
	} {
		s := stagedDesk(jobs.Waiting)
		s.desk.why = []jobs.Why{{Kind: jobs.WhyPrerequisite, Text: "waits for airports", Next: "it comes by itself"}}
		s.desk.filled = []driver.Filled{{Day: "2012-12-31", Why: "no complete day was delivered"}, {Day: "2013-01-01", Verb: jobs.Restate}}
		s.desk.letters = []messages.DeadLetter{{ID: "m-1", Job: "flights/2013-01-01", Body: "{}"}, {ID: "m-2", Error: "time out", Body: `{"Records":[]}`}}
		code, out, errOut := s.run(t, args...)
		if code != exitDone || errOut != "" {
			t.Fatalf("%s: exit %d: %s", name, code, errOut)
		}
		golden(t, name, out)
		if strings.HasPrefix(name, "rehearsal") && !slices.Equal(s.desk.log, []string{"rehearse flights 2012-12-31 2013-01-01"}) {
			t.Errorf("%s: asked %q", name, s.desk.log)
		}
	}
}

func TestWatchedJobsArePrintedWhenTheyChange(t *testing.T) {
	jobsPoll = time.Millisecond
	defer func() { jobsPoll = 2 * time.Second }()
	s := stagedJobs()
	s.pr.closeAfter = 2
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	code, out, errOut := s.runContext(ctx, "jobs", "--watch", "--json")
	if code != exitDone || errOut != "" {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	var states []string
	for _, line := range bytes.Split(bytes.TrimSpace([]byte(out)), []byte("\n")) {
		var j job
		if err := json.Unmarshal(line, &j); err != nil {
			t.Fatal(err)
		}
		states = append(states, j.Country+" "+j.Feed+" "+j.Day+" "+j.State)
	}
	want := []string{"pr flights 2013-01-01 running", "us airports 2013-01-01 failed", "us airports 2013-01-02 waiting", "us flights 2013-01-01 succeeded",
		"pr flights 2013-01-01 succeeded"}
	if !slices.Equal(states, want) {
		t.Errorf("printed %q", states)
	}
}

func TestEveryActHasHelpWithAnExample(t *testing.T) {
	for _, name := range []string{"restate", "retract", "redrive", "cancel", "hold", "release", "backfill", "explain", "jobs"} {
		code, out, _ := newStage().run(t, name, "--help")
		if code != exitDone || !strings.Contains(out, "Examples:\n  sluice "+name) || !strings.Contains(out, "--country") {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
}
