package driver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/metrics"
	"github.com/sluice-data/sluice/internal/store"
)

// FinishLedger is the part of the ledger that a Finisher needs.
type FinishLedger interface {
	Get(ctx context.Context, id job.ID) (job.Job, error)
	Feeds(ctx context.Context) (map[string]job.Feed, error)
	LastDay(ctx context.Context, feed string) (job.Day, error)
	Finish(ctx context.Context, e job.Ending, lastDay job.Day) error
}

// TicketRemover takes a ticket off the queue.
type TicketRemover interface {
	Delete(ctx context.Context, receipt string) error
}

// Finisher records how a run ended.
type Finisher struct {
	Ledger    FinishLedger
	Artifacts Objects
	Tickets   TicketRemover
	Now       Clock
}

// result is what the record job leaves beside its order.
type result struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
	Kind  string `json:"kind"`
}

// Finish records that the engine is through with a run. What counts is the commit that the job itself wrote into the ledger: a run
// that published has succeeded although its engine says that it failed afterwards, and a run that did not has failed although its
// engine is content.
func (f Finisher) Finish(ctx context.Context, r job.Run, status engine.Status) error {
	j, err := f.Ledger.Get(ctx, r.ID)
	if err != nil {
		return err
	}
	if j.State != job.Running || j.Token != r.Token {
		return nil // it was finished before
	}
	r.FinishedAt = f.Now()
	useless := false
	if !j.Published() {
		if r.Reason, useless, err = f.reason(ctx, r, status); err != nil {
			return err
		}
		r.Reason = shortened(r.Reason)
	}
	feeds, err := f.Ledger.Feeds(ctx)
	if err != nil {
		return err
	}
	last, err := f.Ledger.LastDay(ctx, r.ID.Feed)
	if err != nil {
		return err
	}
	e := j.End(r, feeds[r.ID.Feed], useless)
	if err := f.Ledger.Finish(ctx, e, last); err != nil {
		return err
	}
	r = e.Run
	count := metrics.RunsSucceeded
	if r.State == job.RunFailed {
		count = metrics.RunsFailed
	}
	slog.InfoContext(ctx, "run ended", "job", r.ID.String(), "token", r.Token, "state", r.State, "reason", r.Reason, "becomes", e.To, metrics.Add(r.FinishedAt, count, 1))
	if j.Ticket.Receipt == "" {
		return nil
	}
	return f.Tickets.Delete(ctx, j.Ticket.Receipt)
}

// uselessKind is the kind of an error that the day's files make: with the same files it comes again.
const uselessKind = "input"

// reason says why a run failed, in the job's own words where it left some, and whether another attempt is useless.
func (f Finisher) reason(ctx context.Context, r job.Run, status engine.Status) (text string, useless bool, err error) {
	var told result
	err = f.Artifacts.ReadJSON(ctx, resultKey(r.ID, r.Token), &told)
	switch {
	case err == nil && told.Error != "":
		return told.Error, told.Kind == uselessKind, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "", false, err
	case status.Reason != "":
		return status.Reason, false, nil
	case status.State == engine.Succeeded:
		return "the run ended without publishing", false, nil
	}
	return fmt.Sprintf("the run ended %s", status.State), false, nil
}

// longestReason is how many characters of a reason the ledger keeps: its items have a limit, which would keep the run from ever ending.
const longestReason = 2000

func shortened(text string) string {
	if all := []rune(text); len(all) > longestReason {
		return string(all[:longestReason-1]) + "…"
	}
	return text
}

// runPrefix is where the objects of a run are in the artifacts bucket.
func runPrefix(id job.ID, token int64) string { return fmt.Sprintf("runs/%s/%d/", id, token) }

func resultKey(id job.ID, token int64) string { return runPrefix(id, token) + "result.json" }

// OutboxLedger is the part of the ledger that a Teller needs.
type OutboxLedger interface {
	Get(ctx context.Context, id job.ID) (job.Job, error)
	Outbox(ctx context.Context) iter.Seq2[job.Notice, error]
	Telling(ctx context.Context, n job.Notice, now time.Time) error
	Forget(ctx context.Context, n job.Notice) error
	Files(ctx context.Context, id job.ID) ([]job.File, error)
	MarkFile(ctx context.Context, f job.File, from job.FileState) (bool, error)
	FileLedger
}

// Teller tells what the ledger's outbox holds.
type Teller struct {
	Ledger    OutboxLedger
	Artifacts Objects
	Topics    interface {
		Announcements
		Alerts
	}
	Days interface { // Days takes in what came to a day while it was retracted.
		Day(ctx context.Context, id job.ID) (bool, error)
	}
	Now Clock
}

const (
	tellPatience   = 5 * time.Minute  // longer than whoever began to tell may still be at it
	exportPatience = 16 * time.Minute // longer than the export may run
	exportTries    = 5
)

// Tell empties the outbox, except for days whose export is still to come: those are announced again after a while. It leaves half of the
// function's time to what comes after it, and the rest of a long outbox to the next tick.
func (t Teller) Tell(ctx context.Context) error {
	over := within(ctx, 2, 0)
	var faults []error
	for n, err := range t.Ledger.Outbox(ctx) {
		if err != nil {
			faults = append(faults, err)
			break
		}
		if over() {
			slog.InfoContext(ctx, "the next tick tells the rest")
			break
		}
		if n.Type == job.NoticeSucceeded {
			err = t.succeeded(ctx, n)
		} else {
			err = t.trouble(ctx, n)
		}
		if err != nil && !lost(ctx, err) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// succeeded sees to it that the files of a day's output are marked and its rows exported.
func (t Teller) succeeded(ctx context.Context, n job.Notice) error {
	if n.Tries > 0 && t.Now().Sub(n.At) < exportPatience {
		return nil
	}
	j, err := t.Ledger.Get(ctx, n.ID)
	switch {
	case err != nil:
		return err
	case j.Published() && n.Token < j.Commit.Token:
		return t.Ledger.Forget(ctx, n) // a newer revision has a notice of its own, or gets it with its run's end
	case !j.Exportable():
		return nil // what is being published decides
	}
	if n.Tries == 0 {
		if err := t.settle(ctx, n, j); err != nil {
			return err
		}
	}
	if j.Exported != nil {
		return t.Ledger.Forget(ctx, n)
	}
	if n.Tries >= exportTries {
		e := messages.Event{Type: "export.failed", Feed: n.ID.Feed, Day: string(n.ID.Day), Token: n.Token, Reason: fmt.Sprintf("no export ended well in %d tries", n.Tries),
			Next: "look at the log of export-table; its last error says what BigQuery or Cloud Storage refused; once that is mended, sluice redrive exports the day"}
		if err := t.Topics.Alert(ctx, e); err != nil {
			return err
		}
		slog.ErrorContext(ctx, "export given up", "job", n.ID.String(), "token", n.Token, metrics.Add(t.Now(), metrics.ExportsFailed, 1))
		return t.Ledger.Forget(ctx, n)
	}
	if err := t.Ledger.Telling(ctx, n, t.Now()); err != nil {
		return err
	}
	return t.Topics.Announce(ctx, n.Type, n.ID, n.Token)
}

// settle marks the files that a run took as processed, and those that came too late for it as late, unless the day is being restated with them.
// What came since a day was retracted is a new delivery.
func (t Teller) settle(ctx context.Context, n job.Notice, j job.Job) error {
	if j.TakenBack() {
		_, err := t.Days.Day(ctx, j.ID)
		return err
	}
	var o Order
	if err := t.Artifacts.ReadJSON(ctx, orderKey(n.ID, n.Token), &o); err != nil {
		return err
	}
	taken := map[string]OrderFile{}
	for _, f := range o.Files {
		taken[f.Key] = f
	}
	files, err := t.Ledger.Files(ctx, n.ID)
	if err != nil {
		return err
	}
	report := fileAlert{t.Ledger, t.Topics, t.Now}
	var faults []error
	for _, f := range files {
		from := f.State
		took, ok := taken[f.Key]
		switch {
		case j.Void(f):
		case f.Name == job.Marker && from == job.Landed, ok && took.VersionID == f.VersionID && took.Bytes == f.Bytes && from != job.Processed:
			f.State, f.Reason = job.Processed, ""
			_, err := t.Ledger.MarkFile(ctx, f, from)
			faults = append(faults, err)
		case from == job.Landed && j.Done():
			f.State, f.Reason = job.Late, LateReason
			wrote, err := t.Ledger.MarkFile(ctx, f, from)
			if err == nil && wrote {
				err = report.late(ctx, f)
			}
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// stuck are the metrics of notices that somebody has to do something about.
var stuck = map[job.NoticeType]metrics.Name{
	job.NoticeFailed: metrics.JobsFailed, job.NoticeDead: metrics.JobsDead, job.NoticeBlocked: metrics.JobsBlocked, job.NoticeHeld: metrics.JobsHeld}

func (t Teller) trouble(ctx context.Context, n job.Notice) error {
	if n.Tries > 0 && t.Now().Sub(n.At) < tellPatience {
		return nil // somebody is at it
	}
	if err := t.Ledger.Telling(ctx, n, t.Now()); err != nil {
		return err
	}
	next := map[job.NoticeType]string{
		job.NoticeRetry:   "nothing yet: it is tried again by itself, and you are told when no attempt is left",
		job.NoticeDead:    "mend the cause, then: sluice redrive; see sluice job show",
		job.NoticeFailed:  "mend the cause and deliver the day again: sluice put, with the marker last; see sluice job show",
		job.NoticeBlocked: "the reason names what has to come; the job goes on by itself once it did",
		job.NoticeHeld:    "restate the day with sluice restate, or leave it",
		job.NoticeOverdue: "the run goes on: sluice job show names its step, whose log says where it is; if it hangs, sluice cancel, then sluice redrive",
	}[n.Type]
	// Who cancelled a job knows it, and who was told of a job's first failure is told next when no attempt is left.
	if next != "" && !n.Quiet {
		e := messages.Event{Type: string(n.Type), Feed: n.ID.Feed, Day: string(n.ID.Day), Token: n.Token, Reason: n.Reason, Next: next}
		if err := t.Topics.Alert(ctx, e); err != nil {
			return err
		}
	}
	if count := stuck[n.Type]; count != "" {
		slog.WarnContext(ctx, "job stuck", "job", n.ID.String(), "state", n.Type, "reason", n.Reason, metrics.Add(t.Now(), count, 1))
	}
	if n.Type != job.NoticeBlocked && n.Type != job.NoticeHeld && n.Type != job.NoticeOverdue { // a run ended: its slot is free
		if err := t.Topics.Announce(ctx, n.Type, n.ID, n.Token); err != nil {
			return err
		}
	}
	return t.Ledger.Forget(ctx, n)
}
