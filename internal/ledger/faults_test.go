package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
)

func TestFaultIsReadAsItWasWritten(t *testing.T) {
	l, _ := open(t)
	is := job.Fault{}
	for i := range 3 {
		was, err := l.Fault(t.Context(), "start-jobs/")
		if err != nil || was != is {
			t.Fatalf("%+v, %v, want %+v", was, err, is)
		}
		is, _ = was.Again(now.Add(time.Duration(i) * time.Minute))
		if err := l.SaveFault(t.Context(), "start-jobs/", was, is); err != nil {
			t.Fatal(err)
		}
		if err := l.SaveFault(t.Context(), "start-jobs/", was, is); !errors.Is(err, ErrChanged) {
			t.Errorf("saved twice: %v", err)
		}
	}
	if is.Untold != 2 {
		t.Errorf("%+v", is)
	}
	if other, err := l.Fault(t.Context(), "start-jobs/flights"); err != nil || other != (job.Fault{}) {
		t.Errorf("another fault: %+v, %v", other, err)
	}
	if _, err := l.Board(t.Context()); err != nil {
		t.Errorf("a fault is in the way of the board: %v", err)
	}
}

func TestRunIsOverdueOnce(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	start(t, l, flights)
	j := get(t, l, flights)
	if err := l.Overdue(t.Context(), j, "slow", now); err != nil {
		t.Fatal(err)
	}
	if err := l.Overdue(t.Context(), j, "slow", now); !errors.Is(err, ErrChanged) {
		t.Errorf("a second time: %v", err)
	}
	if got := get(t, l, flights); got.State != job.Running || got.Reason != "slow" {
		t.Errorf("%+v", got)
	}
	outbox, err := pending(t, l)
	want := job.Notice{Type: job.NoticeOverdue, ID: flights, Token: 1, Reason: "slow", At: now}
	if err != nil || len(outbox) != 1 || outbox[0] != want {
		t.Errorf("outbox %+v, %v", outbox, err)
	}
	old := j
	old.Token = 0
	if err := l.Overdue(t.Context(), old, "slow", now); !errors.Is(err, ErrChanged) {
		t.Errorf("an old run: %v", err)
	}
}
