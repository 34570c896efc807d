package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// OperateLedger is the part of the ledger that an Operator needs.
type OperateLedger interface {
	Get(ctx context.Context, id job.ID) (job.Job, error)
	LastDay(ctx context.Context, feed string) (job.Day, error)
	Act(ctx context.Context, was, is job.Job) error
	Note(ctx context.Context, n job.Notice) error
}

// Operator does what people ask of jobs, as far as the rules allow it. Jobs go on by themselves afterwards, at the functions' next tick; Wake
// makes them go on at once.
type Operator struct {
	Ledger OperateLedger
	By     string // By is who asks.
	Now    Clock
}

// Do does one thing to one job, and returns the job as it is then. What the rules do not allow is a job.Refused.
func (o Operator) Do(ctx context.Context, id job.ID, verb job.Verb, reason string) (job.Job, error) {
	for attempt := 0; ; attempt++ {
		was, last, err := o.read(ctx, id)
		if err != nil {
			return was, err
		}
		if verb == job.Redrive && was.Done() && was.Exported == nil {
			// Only its export is missing: it is announced again.
			return was, o.Ledger.Note(ctx, was.Output(o.Now()))
		}
		is, err := was.Apply(job.Act{Verb: verb, By: o.By, Reason: reason, At: o.Now()}, last)
		if err != nil {
			return was, err
		}
		err = o.Ledger.Act(ctx, was, is)
		if err == nil || !errors.Is(err, ledger.ErrChanged) || attempt == rounds {
			return is, err
		}
	}
}

// Wake makes jobs go on at once, given one as Do left it: it promotes, which announces what became ready, and announces what nothing else
// does: a run that is to be ended, which start-jobs asks its engine for, and a closed day whose export is due.
func (p Promoter) Wake(ctx context.Context, j job.Job) error {
	if err := p.Promote(ctx); err != nil {
		return err
	}
	switch {
	case j.State == job.Running && j.Cancel != "":
		return p.Topics.Announce(ctx, job.NoticeCancel, j.ID, j.Token)
	case j.Done() && j.Exported == nil && j.Exportable():
		return p.Topics.Announce(ctx, job.NoticeSucceeded, j.ID, j.Commit.Token)
	}
	return nil
}

// Filled is what a backfill did with one day.
type Filled struct {
	Day  job.Day
	Verb job.Verb // Verb is what was done; empty: nothing.
	Why  string   // Why says why nothing was done.
}

// Backfill does the days of a feed again, or at last, from the first to the last one. They run in order, one at a time, in the slots
// that new days leave free.
func (o Operator) Backfill(ctx context.Context, feed string, from, to job.Day, reason string) ([]Filled, error) {
	return o.days(ctx, feed, from, to, func(id job.ID, verb job.Verb) error {
		_, err := o.Do(ctx, id, verb, reason)
		return err
	})
}

// Rehearse says what Backfill would do now, and changes nothing.
func (o Operator) Rehearse(ctx context.Context, feed string, from, to job.Day) ([]Filled, error) {
	return o.days(ctx, feed, from, to, func(job.ID, job.Verb) error { return nil })
}

// days chooses what each day of a backfill needs, and has it done.
func (o Operator) days(ctx context.Context, feed string, from, to job.Day, do func(job.ID, job.Verb) error) ([]Filled, error) {
	var done []Filled
	for day := from; day <= to; day = day.Next() {
		id := job.ID{Feed: feed, Day: day}
		was, last, err := o.read(ctx, id)
		if errors.Is(err, ledger.ErrNoJob) {
			done = append(done, Filled{Day: day, Why: "no complete day was delivered"})
			continue
		}
		if err != nil {
			return done, err
		}
		f := Filled{Day: day}
		if f.Verb, f.Why = was.Backfill(last); f.Verb != "" {
			err = do(id, f.Verb)
			var refused job.Refused
			if errors.As(err, &refused) { // it changed meanwhile
				f.Verb, f.Why = "", refused.Error()
			} else if err != nil {
				return done, fmt.Errorf("after %d days: %w", len(done), err)
			}
		}
		done = append(done, f)
	}
	return done, nil
}

func (o Operator) read(ctx context.Context, id job.ID) (job.Job, job.Day, error) {
	j, err := o.Ledger.Get(ctx, id)
	if err != nil {
		return j, "", err
	}
	last, err := o.Ledger.LastDay(ctx, id.Feed)
	return j, last, err
}
