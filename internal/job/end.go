package job

import (
	"fmt"
	"time"
)

// Ending is what the end of a run makes of its job.
type Ending struct {
	Run       Run // Run carries its final state, reason and time.
	To        State
	Reason    string
	RetryAt   time.Time // RetryAt is when the job is tried again; zero: it is not.
	Retracted int64     // Retracted is the revision that took the day back; 0: none did.
	Notices   []Notice  // Notices tell of the end, and of the output that a day keeps whose restatement was cancelled.
}

// End decides what becomes of a running job whose run r has ended at r.FinishedAt, with r.Reason in case it did not publish. What
// counts is what the run itself wrote into the ledger. Useless says that another attempt at the same files would end the same way.
//
// What has begun to publish is neither cancelled nor given up as useless: the next run finishes it.
func (j Job) End(r Run, f Feed, useless bool) Ending {
	e := Ending{Run: r, Reason: r.Reason}
	n := Notice{ID: j.ID, Token: r.Token, At: r.FinishedAt}
	publishing := j.Commit.State == Committing
	used := int(r.Token - j.Opened)
	switch {
	case j.Published() && j.Retract:
		e.To, e.Run.State, n = Cancelled, RunSucceeded, j.Output(r.FinishedAt)
		e.Run.Reason, e.Reason, e.Retracted = "", j.retraction(), j.Revision
	case j.Published():
		e.To, e.Run.State, n = Succeeded, RunSucceeded, j.Output(r.FinishedAt)
		e.Run.Reason, e.Reason = "", ""
	case j.Cancel != "" && !publishing:
		e.To, e.Run.State, n.Type = Cancelled, RunCancelled, NoticeCancelled
		e.Run.Reason, e.Reason = j.Cancel, j.Cancel
		if j.Readable() {
			e.Notices = append(e.Notices, j.Output(r.FinishedAt))
		}
	case useless && !publishing:
		e.To, e.Run.State, n.Type = Failed, RunFailed, NoticeFailed
	case used < f.attempts():
		e.To, e.Run.State, n.Type = Waiting, RunFailed, NoticeRetry
		e.RetryAt = r.FinishedAt.Add(Backoff(used))
		n.Quiet = used > 1
	default:
		e.To, e.Run.State, n.Type = Dead, RunFailed, NoticeDead
	}
	n.Reason = e.Reason
	e.Notices = append(e.Notices, n)
	return e
}

// Overdue says of a job whose run takes longer than it should how long that is; "" when there is nothing to say, or it has been said: the
// answer is kept as the job's reason. The run is left alone: what is slow may still end well, and two at once would not.
func (j Job) Overdue(f Feed, now time.Time) string {
	limit := f.Limit(j.Sizing.Bytes)
	if j.State != Running || j.Reason != "" || now.Sub(j.StartedAt) < limit {
		return ""
	}
	return fmt.Sprintf("run %d has not ended within %d minutes, the limit for this day", j.Token, int(limit.Minutes()))
}

// Backoff is how long a job waits after its n-th failed attempt: a minute, twice as long each time, an hour at most.
func Backoff(n int) time.Duration {
	return min(time.Minute<<min(max(n-1, 0), 6), time.Hour)
}
