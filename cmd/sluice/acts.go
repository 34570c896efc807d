package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-data/sluice/internal/driver"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

// act is a command that does one thing to one job.
type act struct {
	verb    jobs.Verb
	short   string
	long    string
	example string
	reason  bool // reason: one must be given.
}

var (
	restate = act{jobs.Restate, "Do a closed day again, as a new revision",
		`Does a day that succeeded again, with the files that came late, as a new revision. The day's output is replaced as a whole when the
new one is published; until then readers see the old one. A day earlier than the feed's last one, which is held, is done this way, too.

Restatements run in the slots that new days leave free, one day of a feed at a time. Revision, reason and author stay on the job.`,
		`  sluice restate flights/2013-01-01 --country us --reason "late file of gate 4"`, true}
	retract = act{jobs.Retract, "Take a day back as if it had never been delivered",
		`Takes a day back as if it had never been delivered, for example one that was put under a mistyped date. The tables of a day that succeeded
are emptied by a run, as a new revision: records and rows of the day go, also from BigQuery, and all versions follow anew from the other days.
Then the feed's last day is the latest one that readers still have, and days that were held because they are earlier go on by themselves.
A day that nothing was published of is set aside at once; one that runs is refused: cancel it first.

The files that are in the landing bucket now stay there, and nothing reads them again. When the day is delivered again, all its files and the
marker, it opens by itself with the new files only. Rows of later days stay as they were computed: sluice backfill does those again.`,
		`  sluice retract flights/2099-01-01 --country us --reason "mistyped, it is of 2013"`, true}
	redrive = act{jobs.Redrive, "Try a failed, dead or cancelled job again, or an export that was given up",
		`Tries a job again that failed, is dead or was cancelled, with all its attempts. One that waits for its next attempt need not wait any
longer. Of a closed day whose rows did not get to BigQuery, the export is tried again.

With --dead-letters and no job, the country's queue of dead letters is emptied: tickets are queued again; events that a function failed on
are shown and taken away, and the landing bucket is swept for what they told.`,
		`  sluice redrive flights/2013-01-01 --country us --reason "role mended"
  sluice redrive --dead-letters --country us`, false}
	cancel = act{jobs.Cancel, "End a job, and its run",
		`Ends a job for good. From when the command returns, its run, if it has one, publishes nothing; the functions are woken to end it on
its engine, and the job is cancelled once the engine says so: --wait returns then. A run that has begun to publish is not cancelled, but
finished: exit code 3. Days that follow go on without the job; what needs it as a prerequisite is blocked. A cancelled restatement leaves the
day closed as it was, and its rows get to BigQuery if they have not yet.

A day that has files but is not complete, and which later days wait for, is given up by this: a cancelled job is made of it. Once it is complete
after all, sluice redrive does it.`,
		`  sluice cancel flights/2013-01-01 --country us --reason "wrong delivery" --wait`, false}
	hold = act{jobs.Hold, "Keep a job from starting",
		`Keeps a job that has not started from starting, until it is released. What needs it, waits.`,
		`  sluice hold flights/2013-01-01 --country us --reason "until the contract is mended"`, false}
	release = act{jobs.Release, "Let a held job go on, or one without files that cannot be read", `Lets a held job go on. One that is blocked because files of its day cannot be read, for their names, goes on without these files; --reason says
why. A file of that kind that comes later is another decision.`,
		`  sluice release flights/2013-01-01 --country us
  sluice release flights/2013-01-01 --country us --reason "the sender's notes are no data"`, false}
)

// request is what the commands that act have in common.
type request struct{ country, by, reason string }

func (r *request) flags(cmd *cobra.Command, reason bool) {
	cmd.Flags().StringVar(&r.country, "country", "", "country of the job")
	cmd.Flags().StringVar(&r.reason, "reason", "", "why; it stays on the job")
	cmd.Flags().StringVar(&r.by, "by", "", "who; your AWS identity by default")
	_ = cmd.MarkFlagRequired("country") // fails only for a flag that does not exist
	if reason {
		_ = cmd.MarkFlagRequired("reason")
	}
}

// checkReason refuses a reason that says nothing.
func (r request) checkReason() error {
	if strings.TrimSpace(r.reason) == "" {
		return usagef("--reason is empty: say why, for those who read the job's history")
	}
	return nil
}

// actAt opens the request's country and finds out who asks.
func (a *app) actAt(ctx context.Context, r *request) (place, error) {
	places, err := a.places(ctx, r.country)
	if err != nil {
		return place{}, err
	}
	if r.by == "" {
		if r.by, err = places[0].desk.Who(ctx); err != nil {
			return place{}, fmt.Errorf("%w; name yourself with --by", err)
		}
	}
	return places[0], nil
}

func newActCommand(a *app, what act) *cobra.Command {
	var r request
	var deadLetters, asJSON, wait bool
	use, args := string(what.verb)+" JOB --country C", cobra.ExactArgs(1)
	if what.reason {
		use += " --reason R"
	}
	if what.verb == jobs.Redrive {
		use, args = "redrive [JOB] --country C", cobra.MaximumNArgs(1)
	}
	cmd := &cobra.Command{
		Use: use, Short: what.short, Long: what.long + "\n\nJOB is <feed>/<yyyy-mm-dd>. Exit code 3: the rules do not allow it, and nothing was changed.", Example: what.example, Args: args,
		RunE: a.running(func(ctx context.Context, args []string) error {
			if deadLetters == (len(args) == 1) {
				return usagef("name a job, or --dead-letters")
			}
			if deadLetters {
				return a.redriveLetters(ctx, &r, asJSON)
			}
			if what.reason {
				if err := r.checkReason(); err != nil {
					return err
				}
			}
			return a.act(ctx, &r, what.verb, args[0], wait)
		}),
	}
	r.flags(cmd, what.reason)
	if what.verb == jobs.Cancel {
		cmd.Flags().BoolVar(&wait, "wait", false, "return when the run has ended")
	}
	if what.verb == jobs.Redrive {
		cmd.Flags().BoolVar(&deadLetters, "dead-letters", false, "empty the queue of dead letters")
		cmd.Flags().BoolVar(&asJSON, "json", false, "print the dead letters as JSON")
	}
	return cmd
}

// parseJob reads JOB as it is given on the command line.
func (p place) parseJob(ctx context.Context, text string) (jobs.ID, error) {
	id, err := jobs.ParseID(text)
	if err != nil {
		return id, usageError{err.Error()}
	}
	_, err = p.feed(ctx, id.Feed)
	return id, err
}

func (a *app) act(ctx context.Context, r *request, verb jobs.Verb, text string, wait bool) error {
	if _, err := jobs.ParseID(text); err != nil {
		return usageError{err.Error()}
	}
	p, err := a.actAt(ctx, r)
	if err != nil {
		return err
	}
	id, err := p.parseJob(ctx, text)
	if err != nil {
		return err
	}
	j, err := p.desk.Do(ctx, id, verb, r.by, r.reason)
	var refused jobs.Refused
	switch {
	case errors.As(err, &refused):
		return refusedf("%v", err)
	case errors.Is(err, ledgers.ErrNoJob):
		return fmt.Errorf("country %q has no job %s: its day is not complete; see 'sluice explain %s --country %s'", r.country, id, id, r.country)
	case err != nil:
		return fmt.Errorf("country %q: %w", r.country, err)
	}
	switch {
	case j.State == jobs.Running:
		fprintf(a.out, "%s %s: cancel is recorded: run %d is being ended, and publishes nothing\n", r.country, id, j.Token)
	case verb == jobs.Retract && j.Retract:
		fprintf(a.out, "%s %s: a run empties its tables, as revision %d; then it is as if it had never been delivered\n", r.country, id, j.Revision)
	case verb == jobs.Retract:
		fprintf(a.out, "%s %s is %s: it is as if it had never been delivered\n", r.country, id, j.State)
	case verb == jobs.Redrive && j.State.Ended():
		fprintf(a.out, "%s %s: its export is tried again\n", r.country, id)
	default:
		fprintf(a.out, "%s %s is %s, revision %d\n", r.country, id, j.State, j.Revision)
	}
	a.wake(ctx, p, j)
	if wait && j.State == jobs.Running {
		return a.awaitEnd(ctx, p, id)
	}
	return nil
}

// awaitEnd returns when a job does not run any more, and says what it is then.
func (a *app) awaitEnd(ctx context.Context, p place, id jobs.ID) error {
	every := time.NewTicker(jobsPoll)
	defer every.Stop()
	for {
		found, err := p.ledger.Jobs(ctx, id.Feed, string(id.Day))
		if err != nil {
			return err
		}
		if len(found) == 1 && found[0].State != string(jobs.Running) {
			fprintf(a.out, "%s %s is %s\n", p.code, id, found[0].State)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the run has not ended yet, cancel stays recorded: %w", ctx.Err())
		case <-every.C:
		}
	}
}

// wake makes the jobs go on at once. Whoever may not do that has done what was asked all the same.
func (a *app) wake(ctx context.Context, p place, j jobs.Job) {
	if err := p.desk.Wake(ctx, j); err != nil {
		fprintf(a.err, "it goes on at the next tick, within a minute or at the next sweep, and not at once: %v\n", err)
	}
}

func (a *app) redriveLetters(ctx context.Context, r *request, asJSON bool) error {
	p, err := a.actAt(ctx, r)
	if err != nil {
		return err
	}
	letters, err := p.desk.DeadLetters(ctx)
	if err != nil {
		return fmt.Errorf("country %q: %w", r.country, err)
	}
	a.wake(ctx, p, jobs.Job{})
	if asJSON {
		return printJSON(a.out, append([]messages.DeadLetter{}, letters...))
	}
	if len(letters) == 0 {
		fprintln(a.out, "no dead letters")
		return nil
	}
	t := newTable("message", "what", "error")
	for _, l := range letters {
		what := "event, taken away: " + l.Body[:min(len(l.Body), 80)]
		if l.Job != "" {
			what = "ticket of " + l.Job + ", queued again"
		}
		t.add(l.ID, what, l.Error)
	}
	t.print(a.out)
	return nil
}

// filledDay is a day of a backfill, as `sluice backfill --json` prints it.
type filledDay struct {
	Country string `json:"country"`
	Feed    string `json:"feed"`
	Day     string `json:"day"`
	Done    string `json:"done"`            // Done is "restate", "redrive" or "".
	Would   string `json:"would,omitempty"` // Would is what a rehearsal leaves undone.
	Reason  string `json:"reason"`          // Reason says why nothing is done.
}

func newBackfillCommand(a *app) *cobra.Command {
	var r request
	var feed, from, to string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "backfill --country C --feed F --from D --to D {--reason R | --dry-run}",
		Short: "Do many days of a feed again, or at last",
		Long: `Goes through the days from --from to --to, both included: a closed day is restated, as is one that came after later ones; one that
failed, is dead, was cancelled or waits for its next attempt is tried again. What else waits or runs already, and days that were never
delivered, are left and listed. With --dry-run, what would be done is listed, and nothing is changed.

The days run in order, one at a time, within the country's limit, and only in slots that new days leave free.`,
		Example: `  sluice backfill --country us --feed flights --from 2013-01-01 --to 2013-01-31 --dry-run
  sluice backfill --country us --feed flights --from 2013-01-01 --to 2013-01-31 --reason "new rule for delays"`,
		Args: cobra.NoArgs,
		RunE: a.running(func(ctx context.Context, _ []string) error {
			if err := errors.Join(checkDay(from), checkDay(to)); err != nil {
				return usageError{err.Error()}
			}
			if from > to {
				return usagef("--from %s is after --to %s", from, to)
			}
			if dryRun {
				return a.rehearse(ctx, r.country, feed, jobs.Day(from), jobs.Day(to), asJSON)
			}
			if err := r.checkReason(); err != nil {
				return err
			}
			p, err := a.actAt(ctx, &r)
			if err != nil {
				return err
			}
			if _, err := p.feed(ctx, feed); err != nil {
				return err
			}
			filled, err := p.desk.Backfill(ctx, feed, jobs.Day(from), jobs.Day(to), r.by, r.reason)
			a.printFilled(r.country, feed, filled, false, asJSON)
			if err != nil {
				return fmt.Errorf("country %q: %w; days before it are under way, and the same command goes on with the others", r.country, err)
			}
			a.wake(ctx, p, jobs.Job{})
			return nil
		}),
	}
	r.flags(cmd, false)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list what would be done, and change nothing")
	cmd.MarkFlagsOneRequired("reason", "dry-run")
	cmd.Flags().StringVar(&feed, "feed", "", "feed, as named in the stack's YAML")
	cmd.Flags().StringVar(&from, "from", "", "first day, yyyy-mm-dd")
	cmd.Flags().StringVar(&to, "to", "", "last day, yyyy-mm-dd")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	for _, name := range []string{"feed", "from", "to"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// rehearse lists what a backfill would do.
func (a *app) rehearse(ctx context.Context, country, feed string, from, to jobs.Day, asJSON bool) error {
	places, err := a.places(ctx, country)
	if err != nil {
		return err
	}
	if _, err := places[0].feed(ctx, feed); err != nil {
		return err
	}
	filled, err := places[0].desk.Rehearse(ctx, feed, from, to)
	if err != nil {
		return fmt.Errorf("country %q: %w", country, err)
	}
	a.printFilled(country, feed, filled, true, asJSON)
	return nil
}

func (a *app) printFilled(country, feed string, filled []driver.Filled, rehearsed, asJSON bool) {
	list := []filledDay{}
	heading := "done"
	if rehearsed {
		heading = "would do"
	}
	t := newTable("country", "feed", "day", heading, "reason")
	for _, f := range filled {
		day := filledDay{Country: country, Feed: feed, Day: string(f.Day), Done: string(f.Verb), Reason: f.Why}
		if rehearsed {
			day.Done, day.Would = "", day.Done
		}
		list = append(list, day)
		t.add(country, feed, f.Day, f.Verb, f.Why)
	}
	if asJSON {
		_ = printJSON(a.out, list) // fails only when the reader went away
		return
	}
	t.print(a.out)
}

// explanation is what `sluice explain --json` prints.
type explanation struct {
	Country string     `json:"country"`
	Feed    string     `json:"feed"`
	Day     string     `json:"day"`
	State   string     `json:"state"` // State is empty while the day has no job.
	Why     []jobs.Why `json:"why"`
}

func newExplainCommand(a *app) *cobra.Command {
	var countryCode string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain JOB --country C",
		Short: "Say why a job does not run",
		Long: `Says why a job does not run, all reasons together, and what ends each: a slot, a prerequisite, an earlier day, another day of the
feed that runs (lease), its next attempt's time, an engine that is switched off, a hold, a closed day, a day that is not complete, or of which files cannot be read.

JOB is <feed>/<yyyy-mm-dd>.`,
		Example: `  sluice explain flights/2013-01-01 --country us
  sluice explain flights/2013-01-01 --country us --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.running(func(ctx context.Context, args []string) error {
			if _, err := jobs.ParseID(args[0]); err != nil {
				return usageError{err.Error()}
			}
			places, err := a.places(ctx, countryCode)
			if err != nil {
				return err
			}
			id, err := places[0].parseJob(ctx, args[0])
			if err != nil {
				return err
			}
			state, why, err := places[0].desk.Explain(ctx, id)
			if err != nil {
				return fmt.Errorf("country %q: %w", countryCode, err)
			}
			if asJSON {
				return printJSON(a.out, explanation{countryCode, id.Feed, string(id.Day), string(state), why})
			}
			t := newTable("why", countryCode+" "+id.String(), "what ends it")
			for _, w := range why {
				t.add(w.Kind, w.Text, w.Next)
			}
			t.print(a.out)
			return nil
		}),
	}
	cmd.Flags().StringVar(&countryCode, "country", "", "country of the job")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = cmd.MarkFlagRequired("country")
	return cmd
}
