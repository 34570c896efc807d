package ledger

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// apply is an act that the rules allow, not yet written.
func apply(t *testing.T, l *Ledger, id job.ID, verb job.Verb) (was, is job.Job) {
	t.Helper()
	was = get(t, l, id)
	last, err := l.LastDay(t.Context(), id.Feed)
	if err != nil {
		t.Fatal(err)
	}
	is, err = was.Apply(job.Act{Verb: verb, By: "ann", Reason: "why", At: now}, last)
	if err != nil {
		t.Fatal(err)
	}
	return was, is
}

func act(t *testing.T, l *Ledger, id job.ID, verb job.Verb) {
	t.Helper()
	was, is := apply(t, l, id, verb)
	if err := l.Act(t.Context(), was, is); err != nil {
		t.Fatal(err)
	}
	if got := get(t, l, id); !reflect.DeepEqual(got, is) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", verb, got, is)
	}
}

func TestActIsReadAsItWasWritten(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	for _, verb := range []job.Verb{job.Hold, job.Release, job.Cancel, job.Redrive} {
		act(t, l, flights, verb)
	}
	if acts := get(t, l, flights).Acts; len(acts) != 4 {
		t.Errorf("acts: %+v", acts)
	}
}

func TestActDecidedOnAnOldStateIsRefused(t *testing.T) {
	l, db := open(t)
	create(t, l, flights)
	was, is := apply(t, l, flights, job.Cancel)
	act(t, l, flights, job.Hold)
	if err := l.Act(t.Context(), was, is); !errors.Is(err, ErrChanged) {
		t.Errorf("another state: %v", err)
	}
	act(t, l, flights, job.Release)
	if err := l.Act(t.Context(), was, is); !errors.Is(err, ErrChanged) {
		t.Errorf("the same state after somebody else's acts: %v", err)
	}
	move(t, l, flights, job.Ready)
	start(t, l, flights)
	was, is = apply(t, l, flights, job.Cancel)
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitState": str("committing")})
	if err := l.Act(t.Context(), was, is); !errors.Is(err, ErrChanged) {
		t.Errorf("a run that began to publish meanwhile: %v", err)
	}
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitState": str("committed"), "commitToken": num(1), "commitRevision": num(0)})
	was, is = apply(t, l, flights, job.Cancel) // of a restatement
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitToken": num(2), "commitRevision": num(1)})
	if err := l.Act(t.Context(), was, is); !errors.Is(err, ErrChanged) {
		t.Errorf("a run that published meanwhile: %v", err)
	}
}

func TestRestatedDayIsOnTheBoardAndItsExportStaysDue(t *testing.T) {
	l, db := open(t)
	second := job.ID{Feed: "flights", Day: flights.Day.Next()}
	for _, id := range []job.ID{flights, second} {
		create(t, l, id)
		move(t, l, id, job.Ready)
		finish(t, l, start(t, l, id), job.RunSucceeded, "")
	}
	if _, there := board(t, l).Jobs[flights]; there {
		t.Error("a closed day before the last one is on the board")
	}
	act(t, l, flights, job.Restate)
	b := board(t, l)
	if j := b.Jobs[flights]; j.State != job.Waiting || j.Revision != 2 || b.LastDay["flights"] != second.Day {
		t.Errorf("board: %+v", b)
	}
	if got, err := pending(t, l); err != nil || len(got) != 2 || got[0].ID != flights || got[1].ID != second {
		t.Errorf("outbox: %+v, %v", got, err)
	}
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitState": str("committed"), "commitToken": num(1), "commitRevision": num(1)})
	if err := l.Telling(t.Context(), get(t, l, flights).Output(now), now); err != nil {
		t.Fatal(err)
	}
	if err := l.Exported(t.Context(), get(t, l, flights), 7); err != nil { // while it is being restated
		t.Fatal(err)
	}
	if got, err := pending(t, l); err != nil || len(got) != 1 || got[0].ID != second {
		t.Errorf("outbox: %+v, %v", got, err)
	}
	act(t, l, flights, job.Cancel) // the day is closed again, and its files are to be looked at
	if got, err := pending(t, l); err != nil || len(got) != 2 || got[0].ID != flights || got[0].Type != job.NoticeSucceeded || got[0].Token != 1 {
		t.Errorf("outbox: %+v, %v", got, err)
	}
	if _, there := board(t, l).Jobs[flights]; there {
		t.Error("a cancelled day is on the board")
	}
}

func TestDayBeforeTheLastOneIsOnTheBoardFromItsCreation(t *testing.T) {
	l, _ := open(t)
	second := job.ID{Feed: "flights", Day: flights.Day.Next()}
	create(t, l, second)
	move(t, l, second, job.Ready)
	finish(t, l, start(t, l, second), job.RunSucceeded, "")
	create(t, l, flights)
	if j := board(t, l).Jobs[flights]; j.State != job.Waiting {
		t.Errorf("got %+v", j)
	}
}

func TestLeaseAdmitsOneRunOfAFeed(t *testing.T) {
	l, _ := open(t)
	second := job.ID{Feed: "flights", Day: flights.Day.Next()}
	for _, id := range []job.ID{flights, second} {
		create(t, l, id)
		move(t, l, id, job.Ready)
	}
	first := start(t, l, flights)
	r := job.Run{ID: second, Token: 1, StartedAt: now}
	if err := l.Start(t.Context(), r, 5); !errors.Is(err, ErrChanged) {
		t.Fatalf("two runs have the lease: %v", err)
	}
	finish(t, l, first, job.RunFailed, "x")
	if err := l.Start(t.Context(), r, 5); err != nil {
		t.Fatalf("the lease outlives its run: %v", err)
	}
	if b := board(t, l); !slices.Equal(b.Slots, []job.ID{second}) {
		t.Errorf("slots: %v", b.Slots)
	}
}

func TestJobThatIsTriedAgainKeepsWhyAndWhen(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	r := start(t, l, flights)
	r.Reason, r.FinishedAt = "out of memory", now
	e := get(t, l, flights).End(r, job.Feed{}, false)
	if err := l.Finish(t.Context(), e, ""); err != nil {
		t.Fatal(err)
	}
	j := get(t, l, flights)
	if j.State != job.Waiting || !j.RetryAt.Equal(now.Add(job.Backoff(1))) || j.Trouble != "out of memory" || j.Attempts() != 1 {
		t.Errorf("got %+v", j)
	}
	if got, err := pending(t, l); err != nil || len(got) != 1 || got[0].Type != job.NoticeRetry || got[0].Quiet {
		t.Errorf("outbox: %+v, %v", got, err)
	}
	move(t, l, flights, job.Ready)
	finish(t, l, start(t, l, flights), job.RunFailed, "bad header")
	if err := l.Reopen(t.Context(), get(t, l, flights), sizing.Decision{}, "anew"); err != nil {
		t.Fatal(err)
	}
	if j := get(t, l, flights); !j.RetryAt.IsZero() || j.Trouble != "" || j.Attempts() != 0 {
		t.Errorf("opened anew: %+v", j)
	}
}
