package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/sizing"
)

// OperateLedger is the part of the ledger that an Operator needs.
type OperateLedger interface {
	Get(ctx context.Context, id job.ID) (job.Job, error)
	LastDay(ctx context.Context, feed string) (job.Day, error)
	Act(ctx context.Context, was, is job.Job) error
	GiveUp(ctx context.Context, j job.Job, size sizing.Decision) error
	Files(ctx context.Context, id job.ID) ([]job.File, error)
	Retract(ctx context.Context, f job.File, revision int64) error
	Note(ctx context.Context, n job.Notice) error
}

// Operator does what people ask of jobs, as far as the rules allow it. Jobs go on by themselves afterwards, at the functions' next tick; Wake
// makes them go on at once.
type Operator struct {
	Ledger OperateLedger
	Days   Days
	By     string // By is who asks.
	Now    Clock
}

// Days looks at days in the landing bucket; an Intake does.
type Days interface {
	// Day records what is there of a day, and creates its job when the day is complete.
	Day(ctx context.Context, id job.ID) (bool, error)
	// Missing says what a day lacks to be complete.
	Missing(ctx context.Context, id job.ID) (string, error)
}

// Do does one thing to one job, and returns the job as it is then. What the rules do not allow is a job.Refused.
func (o Operator) Do(ctx context.Context, id job.ID, verb job.Verb, reason string) (job.Job, error) {
	if verb == job.Retract {
		// What is in the landing bucket now is what is taken back; what comes later is another delivery.
		if _, err := o.Days.Day(ctx, id); err != nil {
			return job.Job{}, err
		}
	}
	for attempt := 0; ; attempt++ {
		was, last, err := o.read(ctx, id)
		if errors.Is(err, ledger.ErrNoJob) && (verb == job.Cancel || verb == job.Retract) {
			is, err := o.giveUp(ctx, id, job.Act{Verb: verb, By: o.By, Reason: reason, At: o.Now()})
			if err == nil || !errors.Is(err, ledger.ErrChanged) || attempt == rounds {
				return is, err
			}
			continue
		}
		if err != nil {
			return was, err
		}
		if verb == job.Redrive && was.Unexported() {
			// Only its export is missing: it is announced again.
			return was, o.Ledger.Note(ctx, was.Output(o.Now()))
		}
		is, err := was.Apply(job.Act{Verb: verb, By: o.By, Reason: reason, At: o.Now()}, last)
		if err == nil {
			err = o.complete(ctx, was, verb)
		}
		if err == nil && verb == job.Retract {
			err = o.mark(ctx, was, is.Revision)
		}
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
	case j.Unexported():
		return p.Topics.Announce(ctx, job.NoticeSucceeded, j.ID, j.Commit.Token)
	}
	return nil
}

// complete refuses to run a day that was given up before it was complete, and still is not: half a day would be closed.
func (o Operator) complete(ctx context.Context, j job.Job, verb job.Verb) error {
	if j.State != job.Cancelled || j.Token > 0 || verb != job.Redrive && verb != job.Restate {
		return nil
	}
	missing, err := o.Days.Missing(ctx, j.ID)
	if err == nil && missing != "" {
		err = job.Refused(fmt.Sprintf("job %s was given up before its day was complete, and %s: put what it lacks first", j.ID, missing))
	}
	return err
}

// mark records on each file of a job that a revision of the job takes it back. A file that is overwritten meanwhile was delivered later. A process that
// dies in between has done nothing: the marks mean nothing until the job was retracted in that revision.
func (o Operator) mark(ctx context.Context, j job.Job, revision int64) error {
	files, err := o.Ledger.Files(ctx, j.ID)
	if err != nil {
		return err
	}
	marks, once := errgroup.WithContext(ctx)
	marks.SetLimit(listsAtOnce)
	for _, f := range files {
		if !j.Void(f) {
			marks.Go(func() error { return o.Ledger.Retract(once, f, revision) })
		}
	}
	return marks.Wait()
}

// giveUp cancels a day that has files but no job, so that later days do not wait for it any more. It returns ledger.ErrChanged when the day has a
// job now.
func (o Operator) giveUp(ctx context.Context, id job.ID, a job.Act) (job.Job, error) {
	made, err := o.Days.Day(ctx, id) // the files may be recorded by nobody yet, and the day may be complete after all
	if err != nil {
		return job.Job{}, err
	}
	if made {
		return job.Job{}, ledger.ErrChanged
	}
	files, err := o.Ledger.Files(ctx, id)
	if err != nil {
		return job.Job{}, err
	}
	files = slices.DeleteFunc(files, func(f job.File) bool { return f.State == job.Removed })
	if amount(files).Files == 0 {
		return job.Job{}, job.Refused(fmt.Sprintf("day %s has neither a job nor files in the landing bucket: nothing waits for it", id))
	}
	j, err := job.GivenUp(id, a)
	if err == nil && a.Verb == job.Retract {
		err = o.mark(ctx, job.Job{ID: id}, j.Revision)
	}
	if err != nil {
		return job.Job{}, err
	}
	return j, o.Ledger.GiveUp(ctx, j, amount(files))
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
	return o.days(ctx, feed, from, to, func(id job.ID, verb job.Verb) error {
		j, err := o.Ledger.Get(ctx, id)
		if err != nil {
			return err
		}
		return o.complete(ctx, j, verb)
	})
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
