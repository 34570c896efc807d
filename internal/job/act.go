package job

import (
	"fmt"
	"time"
)

// Verb is something that a person may do to a job.
type Verb string

// The verbs.
const (
	Hold    Verb = "hold"    // Hold keeps a job that has not started from starting.
	Release Verb = "release" // Release lets a held job go on, or one that waits because objects of its day cannot be read: without them.
	Cancel  Verb = "cancel"  // Cancel ends a job, its run too; later days go on without it.
	Redrive Verb = "redrive" // Redrive tries a failed, dead or cancelled job again as if for the first time, or one whose next attempt has its time at once.
	Restate Verb = "restate" // Restate does a closed day again as a new revision, with the files that came late.
	Retract Verb = "retract" // Retract takes a day back as if it had never been delivered, also a closed one.
)

// Act is what a person did to a job.
type Act struct {
	Verb   Verb
	By     string
	Reason string // Reason is in the person's own words; a restatement and a retraction must have one.
	At     time.Time
}

// String says what was done, by whom and why, as a job's reason has it.
func (a Act) String() string {
	by := string(a.Verb) + " by " + a.By
	if a.Reason != "" {
		by += ": " + a.Reason
	}
	return by
}

// Refused is the error of an act that the rules do not allow. It says what is allowed instead.
type Refused string

func (r Refused) Error() string { return string(r) }

func refused(format string, args ...any) error { return Refused(fmt.Sprintf(format, args...)) }

// Apply returns the job as an act leaves it, or says why the act is refused. The last day is that of the feed. A running job that is
// cancelled goes on running until its engine says that the run ended; from then on the ledger gives its run no right to publish.
func (j Job) Apply(a Act, last Day) (Job, error) {
	if a.By == "" || (a.Verb == Restate || a.Verb == Retract) && a.Reason == "" {
		return j, refused("job %s: say who does it, and why", j.ID)
	}
	by := a.String()
	early := j.early(last) && j.Commit.State != Committed
	publishing := j.Commit.State == Committing
	to := Waiting
	switch a.Verb {
	case Hold:
		if !j.State.Open() {
			return j, refused("job %s is %s: only a job that waits, is ready or is blocked can be held", j.ID, j.State)
		}
		to = Held
	case Release:
		switch lacks := j.LacksFiles(); {
		case lacks && j.State.Open() && a.Reason == "":
			return j, refused("job %s: say why the day goes on without what cannot be read: %s", j.ID, j.Unread.Text)
		case lacks && j.State.Open():
			j.Waived = j.Unread.ID
		case j.State != Held:
			return j, refused("job %s is %s, not held", j.ID, j.State)
		}
		if early {
			return j, refused("job %s: %s of the feed has succeeded already; an earlier day needs a restatement", j.ID, last)
		}
	case Redrive:
		if j.TakenBack() {
			return j, refused(takenBack, j.ID)
		}
		if j.Done() { // succeeded, or a restatement of it was cancelled
			return j, refused("job %s is of a closed day: sluice restate does it again", j.ID)
		}
		if again := j.State == Failed || j.State == Dead || j.State == Cancelled || j.State == Waiting && !j.RetryAt.IsZero(); !again {
			return j, refused("job %s is %s: only a failed, dead or cancelled job, or one that waits for its next attempt, can be tried again", j.ID, j.State)
		}
		if early {
			return j, refused("job %s: %s of the feed has succeeded already; an earlier day needs a restatement", j.ID, last)
		}
	case Restate:
		if j.TakenBack() {
			return j, refused(takenBack, j.ID)
		}
		if !j.Done() && !(early && (j.State == Held || j.State.Ended())) {
			return j, refused("job %s is %s: only a closed day, or one earlier than the feed's last, can be restated", j.ID, j.State)
		}
		j.Revision++
	case Retract:
		switch {
		case publishing:
			return j, refused("job %s has begun to publish, and is finished: retract the day afterwards", j.ID)
		case j.State == Running:
			return j, refused("job %s runs: sluice cancel ends its run, then retract the day", j.ID)
		case j.Retract:
			return j, refused("job %s is being retracted already, and is %s: sluice explain says what it waits for", j.ID, j.State)
		case j.TakenBack():
			return j, refused("job %s was retracted already: what came since is not complete, and nothing waits for it", j.ID)
		}
		j.Revision++
		if j.State == Succeeded || j.Readable() {
			j.Retract = true // a run has to empty the day's tables
		} else {
			j.Retracted, to = j.Revision, Cancelled
		}
	case Cancel:
		switch {
		case publishing:
			return j, refused("job %s has begun to publish, and is finished: cancelling would leave half of it", j.ID)
		case j.State == Running && j.Published():
			return j, refused("job %s has published its day: there is nothing left to cancel; sluice restate does the day again", j.ID)
		case j.State == Running && j.Cancel != "":
			return j, refused("job %s: run %d is being ended already: %s", j.ID, j.Token, j.Cancel)
		case j.State == Running:
			j.Cancel = by
			j.Acts = append(j.Acts[:len(j.Acts):len(j.Acts)], a)
			return j, nil
		case !j.State.CanBecome(Cancelled):
			return j, refused("job %s is %s: there is nothing to cancel", j.ID, j.State)
		}
		to, j.Retract = Cancelled, false
	default:
		return j, refused("job %s: nobody can %s it", j.ID, a.Verb)
	}
	if a.Verb == Redrive || a.Verb == Restate || a.Verb == Retract {
		j.Opened, j.RetryAt, j.Trouble = j.Token, time.Time{}, ""
	}
	j.State, j.Reason, j.Ticket = to, by, Ticket{}
	j.Acts = append(j.Acts[:len(j.Acts):len(j.Acts)], a)
	return j, nil
}

// GivenUp is the job of a day that has files but no job, as a cancellation or a retraction makes it.
func GivenUp(id ID, a Act) (Job, error) {
	if a.By == "" || a.Verb == Retract && a.Reason == "" {
		return Job{}, refused("day %s: say who does it, and why", id)
	}
	j := Job{ID: id, State: Cancelled, Revision: 1, Reason: a.String(), Acts: []Act{a}, CreatedAt: a.At}
	if a.Verb == Retract {
		j.Retracted = j.Revision
	}
	return j, nil
}

const takenBack = "job %s was retracted: deliver the day again, all its files and the marker, and it opens by itself"

// retraction says who retracted the day last, and why.
func (j Job) retraction() string {
	for n := len(j.Acts) - 1; n >= 0; n-- {
		if j.Acts[n].Verb == Retract {
			return j.Acts[n].String()
		}
	}
	return string(Retract)
}

// Backfill chooses what does a day again or at last: a verb, or none with the reason.
func (j Job) Backfill(last Day) (Verb, string) {
	for _, v := range []Verb{Restate, Redrive} {
		if _, err := j.Apply(Act{Verb: v, By: "-", Reason: "-"}, last); err == nil {
			return v, ""
		}
	}
	if j.TakenBack() {
		return "", "was retracted, and not delivered again"
	}
	return "", fmt.Sprintf("is %s already", j.State)
}
