// Package job holds the rules that decide what runs when: feeds, days, jobs, runs, their states, and the plan.
//
// It is pure: no network, no clock of its own, no AWS. Whoever calls it reads the ledger into a Board, asks Plan for decisions, and
// writes each of them back by a conditional write that names the state it was decided on.
package job

import (
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// ID names a job: one feed of one day. The country is the ledger's.
type ID struct {
	Feed string
	Day  Day
}

// String returns "<feed>/<day>".
func (i ID) String() string { return i.Feed + "/" + string(i.Day) }

// Job is what the ledger knows of one feed of one day.
type Job struct {
	ID
	State     State
	Reason    string    // Reason says in a sentence why the job is in its state, where that is not plain.
	Token     int64     // Token is the number of the last run, and its fencing token. 0: never started.
	Revision  int64     // Revision counts the day's restatements, from 1.
	Opened    int64     // Opened is the token at which attempts began to count: that of the last run before the day was delivered, redriven or restated.
	RetryAt   time.Time // RetryAt is when the next attempt may begin; zero: at any time.
	Trouble   string    // Trouble is why the last run failed, when another attempt is to come at RetryAt.
	Cancel    string    // Cancel says who wants the present run ended, and why; empty: nobody does.
	Unread    Unread    // Unread is what of the day's folder could not be read when the landing bucket was last looked at.
	Waived    string    // Waived is the ID of what could not be read, and which somebody decided to go on without.
	Acts      []Act     // Acts are what people did to the job, the first one first.
	Retract   bool      // Retract says that the present revision, once it is published, takes the day back.
	Retracted int64     // Retracted is the last revision that took the day back; 0: none did. Nothing of an earlier one is read any more.
	Engine    string    // Engine is what the last run was started on.
	Sizing    sizing.Decision

	Counts   Counts
	Exported *int64 // Exported is how many rows BigQuery took of the output that readers have; nil until it did.
	Loading  int64  // Loading is the run whose rows may be on their way to BigQuery; 0: none's are.
	Manifest string // Manifest is the S3 URI of the list of the day's curated files.
	Commit   Commit

	Ticket Ticket
	Looked string // Looked is a digest of the day's listing in the landing bucket when a sweep last found all in order; empty: none did.

	CreatedAt, StartedAt, FinishedAt time.Time // zero until they come
}

// Counts are the sums of a run's records; nil until the run claimed its commit.
type Counts struct {
	Input, Validated, Invalid, New, Changed, Unchanged, Duplicate, Deleted *int64
}

// Commit is what the record job itself writes: whose output is being, or has been, published.
type Commit struct {
	Token, Revision int64
	State           CommitState
}

// CommitState is how far the publishing of a run's output came.
type CommitState string

// The states of a commit. A day is published exactly when its commit is Committed under the job's revision.
const (
	Uncommitted CommitState = ""
	Committing  CommitState = "committing"
	Committed   CommitState = "committed"
)

// Published tells whether the job's output, in its current revision, is what readers see.
func (j Job) Published() bool {
	return j.Commit.State == Committed && j.Commit.Revision == j.Revision
}

// Exportable tells whether it is known which rows the warehouse is to have: those that readers have, also while the day is being restated.
// From when a run begins to publish until its end is recorded it is not.
func (j Job) Exportable() bool {
	return j.Commit.State == Committed && (j.State != Running || !j.Published())
}

// Readable reports whether readers have rows of the day: an output was published, and it did not take the day back.
func (j Job) Readable() bool {
	return j.Commit.State == Committed && (j.Retracted == 0 || j.Commit.Revision > j.Retracted)
}

// TakenBack reports whether the day was retracted and has not been delivered again: it is as if it had never been delivered.
func (j Job) TakenBack() bool {
	return j.State == Cancelled && j.Retracted == j.Revision
}

// Void reports whether a file of the job is of a delivery that was retracted: it stays in the landing bucket, and nothing reads it.
func (j Job) Void(f File) bool {
	return f.Retracted > 0 && f.Retracted <= j.Retracted
}

// Unexported reports whether nothing of a day is to be done but its export: it is closed, or was retracted, and the warehouse does not have the
// output that readers have.
func (j Job) Unexported() bool {
	return (j.Done() || j.TakenBack()) && j.Exportable() && j.Exported == nil
}

// Output is the notice of the output that readers have of the day.
func (j Job) Output(at time.Time) Notice {
	return Notice{Type: NoticeSucceeded, ID: j.ID, Token: j.Commit.Token, At: at}
}

// Done tells whether readers have an output of the day, be it an earlier revision than the job's: what waits for the day can go on, and
// files that come are late.
func (j Job) Done() bool {
	return j.State == Succeeded || j.State == Cancelled && j.Readable()
}

// HeldByRule reports whether the job is held because its day is earlier than the feed's last one, and not by a person.
func (j Job) HeldByRule() bool {
	return j.State == Held && j.Revision <= 1 && (len(j.Acts) == 0 || j.Acts[len(j.Acts)-1].Verb != Hold)
}

// Planned reports whether the plan decides on the job, given the last day of its feed: it is open, or the rule that holds it does not apply any
// more, because the last day was retracted.
func (j Job) Planned(last Day) bool {
	return j.State.Open() || j.HeldByRule() && !j.early(last)
}

// early reports whether the rule applies that a day earlier than the feed's last one needs a restatement.
func (j Job) early(last Day) bool { return j.Revision <= 1 && j.Day < last }

// Moves tells whether the job goes on by itself, once it was planned: it runs, only a slot is missing, or it waits for its next attempt. A
// ready job with a reason waits for its engine to be switched on.
func (j Job) Moves() bool {
	return j.State == Running || j.State == Ready && j.Reason == "" || j.State == Waiting && !j.RetryAt.IsZero()
}

// Attempts is how many runs the job had since its attempts began to count.
func (j Job) Attempts() int { return int(j.Token - j.Opened) }

// Ticket is the queued message that stands for a ready job.
type Ticket struct {
	SentAt     time.Time // SentAt is zero until the message was sent.
	ID         string    // ID is the message's, once it was received.
	Receipt    string    // Receipt is what renews and deletes the message.
	ReceivedAt time.Time // ReceivedAt is when the message was received with this receipt; zero: not yet.
}

// ticketLife is how long a ticket is held before it is sent anew. SQS hides a message for 12 hours after it was received, however often
// that is renewed (ChangeMessageVisibility in the SQS API reference); then it would appear again, and each time is one of the times
// after which it goes to the dead letters.
const ticketLife = 12*time.Hour - 10*time.Minute

// Worn tells whether the ticket has to be sent anew, because its queue will not hide it much longer or nobody received it for as long.
func (t Ticket) Worn(now time.Time) bool {
	since := t.SentAt
	if t.ReceivedAt.After(since) {
		since = t.ReceivedAt
	}
	return !since.IsZero() && now.Sub(since) >= ticketLife
}

// Run is one attempt at a job.
type Run struct {
	ID
	Token                 int64
	State                 RunState
	Engine                string
	ClusterID, StepID     string // empty until the engine has them: EMR's cluster and step, EMR Serverless's application and job run, Glue's job and job run
	Receipt               string // Receipt is the ticket's, once it was received.
	Order                 string // Order is the S3 URI of what the run was told to do.
	Reason                string
	Sizing                sizing.Decision
	StartedAt, FinishedAt time.Time
}

// RunState is how far an attempt came.
type RunState string

// The states of a run.
const (
	RunRunning   RunState = "running"
	RunSucceeded RunState = "succeeded"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
)

// File is what the ledger knows of one object in the landing bucket.
type File struct {
	ID        ID     // ID is zero when the file was rejected.
	Name      string // Name is the file's, or the whole key when it was rejected.
	Bucket    string
	Key       string
	Bytes     int64
	ETag      string
	VersionID string
	Sequencer string // Sequencer is its event's, as Sequencer makes it comparable; empty: no event of the object is known.
	State     FileState
	Reason    string
	Retracted int64 // Retracted is the revision of its job that takes the file's delivery back, if it comes to that; 0: none does.
	LandedAt  time.Time
	AlertedAt time.Time // AlertedAt is when a rejected or late file was reported; zero: not yet.
}

// FileState is what became of a file.
type FileState string

// The states of a file.
const (
	Landed    FileState = "landed"
	Late      FileState = "late"      // Late files came to a closed day: nothing reads them until a restatement.
	Rejected  FileState = "rejected"  // Rejected files have a key that names no feed, day and file, or a day that is not accepted; of a day that is, they keep its job from running.
	Processed FileState = "processed" // Processed files are in the day's published output.
	Retracted FileState = "retracted" // Retracted files are of a delivery that was taken back: nothing reads them. The ledger has how far they had come before; see Job.Void.
	Removed   FileState = "removed"   // Removed files were deleted from the landing bucket before a run took them.
)

// Notice is something that has to be told: written together with the change it tells of, and taken away once told, so that a
// process that dies in between loses none.
type Notice struct {
	Type   NoticeType
	ID     ID
	Token  int64
	Reason string
	At     time.Time // At is when it was last told, or noted when it was not told yet.
	Tries  int       // Tries is how often it was told.
	Quiet  bool      // Quiet: the functions are to know, but people were told of the same fault before.
}

// NoticeType says what a notice is about; it is the type of the message that tells it.
type NoticeType string

// The types of notices.
const (
	NoticeReady     NoticeType = "job.ready"
	NoticeSucceeded NoticeType = "job.succeeded" // the day's output of a commit; kept until its rows were exported
	NoticeRetry     NoticeType = "job.retry"     // a run failed, and the job is tried again
	NoticeFailed    NoticeType = "job.failed"
	NoticeDead      NoticeType = "job.dead"
	NoticeCancelled NoticeType = "job.cancelled"
	NoticeCancel    NoticeType = "job.cancel" // somebody wants the run ended; it wakes the functions and is kept nowhere
	NoticeBlocked   NoticeType = "job.blocked"
	NoticeHeld      NoticeType = "job.held"
	NoticeOverdue   NoticeType = "job.overdue" // a run takes longer than it should; it goes on
)
