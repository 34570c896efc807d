package driver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
)

const unreadText = `1 object of the day cannot be read: "airports/2013-01-01/a#b.csv": the name "a#b.csv" has the character '#': ` +
	"use letters, digits and any of - _ . + = @ , ( ) ~ and space; put files at <feed>/<yyyy-mm-dd>/<file>"

// misnamed is a day that is complete but for a file that cannot be read.
func misnamed(t *testing.T) *stage {
	t.Helper()
	s := twoFeeds(t)
	bad := s.misname(airports)
	s.receive(append(s.deliver(airports), bad)...)
	s.start()
	s.has(t, airports, job.Blocked, 0)
	if j := s.job(airports); j.Reason != unreadText {
		t.Errorf("reason: %s", j.Reason)
	}
	return s
}

func TestDayOfWhichAFileCannotBeReadWaitsAndIsToldOnce(t *testing.T) {
	s := misnamed(t)
	for range 3 {
		s.sweep()
		s.start()
		s.now = s.now.Add(10 * time.Minute)
	}
	s.has(t, airports, job.Blocked, 0)
	if want := []string{"file.rejected airports/2013-01-01#0 airports/2013-01-01/a#b.csv"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	b, err := s.promoter.Board(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := job.Explain(b, airports), []job.Why{{Kind: job.WhyUnread, Text: unreadText, Next: job.UnreadNext}}; !slices.Equal(got, want) {
		t.Errorf("explained: %+v", got)
	}
}

func TestDayGoesOnByItselfWhenWhatCouldNotBeReadIsGone(t *testing.T) {
	for name, mend := range map[string]func(*stage){
		"deleted, and swept": func(s *stage) { s.takeAway(airports); s.sweep() },
		"put under another name": func(s *stage) {
			s.takeAway(airports)
			key := airports.String() + "/a-b.csv"
			s.put(key)
			s.receive(key)
		},
	} {
		s := misnamed(t)
		mend(s)
		s.start()
		s.has(t, airports, job.Running, 1)
		s.settled(t)
		if t.Failed() {
			t.Log(name)
		}
	}
}

func TestDayGoesOnWithoutWhatCannotBeReadWhenSomebodySaysSo(t *testing.T) {
	s := misnamed(t)
	if _, err := s.operator.Do(t.Context(), airports, job.Release, ""); err == nil || !strings.HasPrefix(err.Error(), "job airports/2013-01-01: say why") {
		t.Errorf("without a reason: %v", err)
	}
	is, err := s.operator.Do(t.Context(), airports, job.Release, "the sender takes it back")
	if err != nil {
		t.Fatal(err)
	}
	s.wants(is)
	s.sweep()
	s.has(t, airports, job.Ready, 0)
	// Another file is another decision.
	second := airports.String() + "/it's.csv"
	s.put(second)
	s.receive(second)
	s.start()
	s.has(t, airports, job.Blocked, 0)
	delete(s.landed, second)
	s.sweep()
	s.start()
	s.has(t, airports, job.Running, 1)
	if acts := s.job(airports).Acts; len(acts) != 1 || acts[0].By != "ann" || acts[0].Reason != "the sender takes it back" {
		t.Errorf("acts: %+v", acts)
	}
}

func TestFileThatCannotBeReadAndComesWhileItsDayRunsChangesNothingOfTheRun(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.receive(s.misname(airports))
	s.start()
	s.has(t, airports, job.Running, 1)
	for range 3 {
		s.progress(p)
	}
	s.end(p)
	s.has(t, airports, job.Succeeded, 1)
	if want := []string{"file.rejected airports/2013-01-01#0 airports/2013-01-01/a#b.csv"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	// The next run, a restatement, is not to leave it out.
	is, err := s.operator.Do(t.Context(), airports, job.Restate, "because")
	if err != nil {
		t.Fatal(err)
	}
	s.wants(is)
	s.start()
	s.has(t, airports, job.Blocked, 1)
	s.takeAway(airports)
	s.settled(t)
}

func TestRunThatFailedIsNotTriedAgainWithoutAFileThatCannotBeRead(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.receive(s.misname(airports))
	p.dead = true
	s.over(p, engine.Failed, "no memory")
	s.end(p)
	s.now = s.now.Add(time.Hour)
	s.start()
	s.has(t, airports, job.Blocked, 1)
	s.takeAway(airports)
	s.settled(t)
}

func TestWhatBeganToPublishIsFinishedWhateverCameThatCannotBeRead(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.progress(p) // it claims
	s.receive(s.misname(airports))
	p.dead = true
	s.over(p, engine.Failed, "no memory")
	s.end(p)
	s.now = s.now.Add(time.Hour)
	s.start()
	s.has(t, airports, job.Running, 2)
	s.settled(t)
}

func TestFileThatCannotBeReadAndComesToAClosedDayIsReportedAndChangesNothing(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	for range 3 {
		s.progress(p)
	}
	s.end(p)
	s.receive(s.misname(airports))
	s.sweep()
	s.start()
	s.has(t, airports, job.Succeeded, 1)
	if want := []string{"file.rejected airports/2013-01-01#0 airports/2013-01-01/a#b.csv"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	s.settled(t)
}

func TestDayOfWhichNothingCanBeReadKeepsItsPlaceInTheOrder(t *testing.T) {
	s := twoFeeds(t)
	before := job.ID{Feed: "airports", Day: "2012-12-31"}
	s.receive(s.misname(before))
	s.receive(s.deliver(airports)...)
	s.start()
	s.has(t, airports, job.Waiting, 0)
	if j := s.job(airports); j.Reason != "waits for airports 2012-12-31, which is not complete" {
		t.Errorf("reason: %s", j.Reason)
	}
	s.takeAway(before)
	s.start()
	s.has(t, airports, job.Running, 1)
}

func TestObjectsWithoutContentKeepNoDayWaiting(t *testing.T) {
	s := newStage(t, 5, emulator.Feed("airports"))
	for _, name := range []string{"/", "/more/", "/_SUCCESS", "/a#b.csv"} {
		key := airports.String() + name
		s.put(key)
		f := s.landed[key]
		f.Bytes = 0
		s.landed[key] = f
	}
	s.receive(s.deliver(airports)...)
	s.start()
	s.has(t, airports, job.Running, 1)
	rejected, err := s.ledger.Rejected(t.Context())
	if err != nil || len(rejected) != 2 || rejected[0].Key != "airports/2013-01-01/_SUCCESS" || rejected[1].Key != "airports/2013-01-01/a#b.csv" {
		t.Errorf("rejected: %+v, %v", rejected, err)
	}
}
