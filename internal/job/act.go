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
)

// Act is what a person did to a job.
type Act struct {
	Verb   Verb
	By     string
	Reason string // Reason is in the person's own words; a restatement must have one.
	At     time.Time
}

// Refused is the error of an act that the rules do not allow. It says what is allowed instead.
type Refused string

func (r Refused) Error() string { return string(r) }

func refused(format string, args ...any) error { return Refused(fmt.Sprintf(format, args...)) }

// Apply returns the job as an act leaves it, or says why the act is refused. The last day is that of the feed. A running job that is
// cancelled goes on running until its engine says that the run ended; from then on the ledger gives its run no right to publish.
func (j Job) Apply(a Act, last Day) (Job, error) {
	if a.By == "" || a.Verb == Restate && a.Reason == "" {
		return j, refused("job %s: say who does it, and why", j.ID)
	}
	by := string(a.Verb) + " by " + a.By
	if a.Reason != "" {
		by += ": " + a.Reason
	}
	early := j.Revision <= 1 && j.Day < last && j.Commit.State != Committed
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
		if !j.Done() && !(early && (j.State == Held || j.State.Ended())) {
			return j, refused("job %s is %s: only a closed day, or one earlier than the feed's last, can be restated", j.ID, j.State)
		}
		j.Revision++
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
		to = Cancelled
	default:
		return j, refused("job %s: nobody can %s it", j.ID, a.Verb)
	}
	if a.Verb == Redrive || a.Verb == Restate {
		j.Opened, j.RetryAt, j.Trouble = j.Token, time.Time{}, ""
	}
	j.State, j.Reason, j.Ticket = to, by, Ticket{}
	j.Acts = append(j.Acts[:len(j.Acts):len(j.Acts)], a)
	return j, nil
}

// Backfill chooses what does a day again or at last: a verb, or none with the reason.
func (j Job) Backfill(last Day) (Verb, string) {
	for _, v := range []Verb{Restate, Redrive} {
		if _, err := j.Apply(Act{Verb: v, By: "-", Reason: "-"}, last); err == nil {
			return v, ""
		}
	}
	return "", fmt.Sprintf("is %s already", j.State)
}
