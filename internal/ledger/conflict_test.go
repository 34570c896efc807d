package ledger

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// writesOf is every kind of write that the ledger makes, in an order in which each has an effect.
func writesOf(l *Ledger) []struct {
	name string
	do   func(context.Context) error
} {
	f := job.File{ID: flights, Name: "a.csv", Key: "flights/2013-01-01/a.csv", ETag: "1", State: job.Landed, LandedAt: now}
	n := job.Notice{Type: job.NoticeFailed, ID: flights, Token: 1, At: now}
	r := job.Run{ID: flights, Token: 1, State: job.RunRunning, Engine: "emr", StartedAt: now}
	wrote := func(done bool, err error) error {
		if err == nil && !done {
			return errors.New("nothing was written")
		}
		return err
	}
	return []struct {
		name string
		do   func(context.Context) error
	}{
		{"Create", func(ctx context.Context) error {
			return wrote(l.Create(ctx, flights, sizing.Decision{}, job.Unread{}, now))
		}},
		{"Move", func(ctx context.Context) error {
			return l.Move(ctx, job.Decision{ID: flights, From: job.Waiting, To: job.Ready}, now)
		}},
		{"TicketSent", func(ctx context.Context) error { return l.TicketSent(ctx, flights, now) }},
		{"SaveTicket", func(ctx context.Context) error { return l.SaveTicket(ctx, job.Job{ID: flights, State: job.Ready}) }},
		{"Start", func(ctx context.Context) error { return l.Start(ctx, r, 1) }},
		{"SaveEngine", func(ctx context.Context) error { return l.SaveEngine(ctx, r) }},
		{"Finish", func(ctx context.Context) error {
			return l.Finish(ctx, job.Ending{Run: r, To: job.Failed, Notices: []job.Notice{n}}, "")
		}},
		{"Note", func(ctx context.Context) error { return l.Note(ctx, n) }},
		{"Telling", func(ctx context.Context) error { return l.Telling(ctx, n, now) }},
		{"Forget", func(ctx context.Context) error { return l.Forget(ctx, n) }},
		{"RecordFile", func(ctx context.Context) error { return wrote(l.RecordFile(ctx, f, job.File{})) }},
		{"MarkFile", func(ctx context.Context) error { return wrote(l.MarkFile(ctx, f, job.Landed)) }},
		{"FileAlerted", func(ctx context.Context) error { return l.FileAlerted(ctx, f, now) }},
		{"SaveFault", func(ctx context.Context) error { return l.SaveFault(ctx, "f", job.Fault{}, job.Fault{SeenAt: now}) }},
		{"SavePass", func(ctx context.Context) error { return l.SavePass(ctx, Pass{}, Pass{Last: now}) }},
		{"Looked", func(ctx context.Context) error {
			return l.Looked(ctx, []job.Job{{ID: flights, State: job.Failed, Token: 1, Revision: 1}})
		}},
		{"Close", func(ctx context.Context) error { return l.Close(ctx, "j-1") }},
		{"Keep", func(ctx context.Context) error { return l.Keep(ctx, "j-1") }},
	}
}

func TestWriteThatMeetsATransactionIsTriedAgain(t *testing.T) {
	db := emulator.NewMemory()
	l := New(db, emulator.Tables(t, db, t.Name(), emulator.Feed("flights")))
	for _, w := range writesOf(l) {
		var pauses []int
		l.Pause = func(_ context.Context, attempt int) error { pauses = append(pauses, attempt); return nil }
		conflicts := 2
		db.Conflict = func() bool { conflicts--; return conflicts >= 0 }
		if err := w.do(t.Context()); err != nil || !slices.Equal(pauses, []int{1, 2}) {
			t.Errorf("%s, refused twice for a transaction: %v, after pauses %v", w.name, err, pauses)
		}
	}
}

func TestWriteThatMeetsTransactionsAgainAndAgainIsGivenUp(t *testing.T) {
	db := emulator.NewMemory()
	l := New(db, emulator.Tables(t, db, t.Name(), emulator.Feed("flights")))
	for _, w := range writesOf(l) {
		tries := 0
		l.Pause = func(context.Context, int) error { return nil }
		db.Conflict = func() bool { tries++; return true }
		err := w.do(t.Context())
		single, several := (*types.TransactionConflictException)(nil), (*types.TransactionCanceledException)(nil)
		if (!errors.As(err, &single) && !errors.As(err, &several)) || tries != conflictRetries+1 {
			t.Errorf("%s: %v after %d tries", w.name, err, tries)
		}
		db.Conflict = nil
		if err := w.do(t.Context()); err != nil {
			t.Errorf("%s, given up before, has no effect: %v", w.name, err)
		}
	}
}

func TestWriteIsNotTriedAgainWhenItsCallerHasNoTimeLeft(t *testing.T) {
	db := emulator.NewMemory()
	l := New(db, emulator.Tables(t, db, t.Name(), emulator.Feed("flights")))
	ctx, cancel := context.WithCancel(t.Context())
	db.Conflict = func() bool { cancel(); return true }
	if err := l.SavePass(ctx, Pass{}, Pass{Last: now}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
