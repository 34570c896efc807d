package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// ticket is what the ledger keeps of a job's ticket.
const ticket = "ticketAt, ticketId, receipt, receivedAt"

// Create makes the job of a day that became complete: waiting, never started, with what of the day cannot be read. Creating it twice is creating
// it once; it tells whether this was the time.
func (l *Ledger) Create(ctx context.Context, id job.ID, size sizing.Decision, unread job.Unread, now time.Time) (bool, error) {
	sizes, err := attributevalue.Marshal(size)
	if err != nil {
		return false, fmt.Errorf("ledger: job %s: %w", id, err)
	}
	create := change{
		table: l.tables.Jobs, key: jobKey(id),
		update:    "SET #state = :waiting, #token = :zero, opened = :zero, revision = :one, reason = :none, sizing = :sizing, createdAt = :now",
		condition: "attribute_not_exists(feed)",
		values: item{
			":waiting": str(string(job.Waiting)), ":zero": num(0), ":one": num(1), ":none": str(""), ":sizing": sizes, ":now": str(stamp(now)),
		},
	}
	if unread.ID != "" {
		create.update += ", unread = :unread, unreadId = :unreadId"
		create.values[":unread"], create.values[":unreadId"] = str(unread.Text), str(unread.ID)
	}
	err = l.transact(ctx, create, l.opened(id))
	if errors.Is(err, ErrChanged) {
		return false, nil
	}
	return err == nil, wrap(err, "ledger: job %s", id)
}

// opened puts a job among those that every board has, whichever day it is of; Finish and Act take it out when it has ended.
func (l *Ledger) opened(id job.ID) change {
	return change{table: l.tables.Jobs, key: besideJobs(openItems, id.String()), update: "SET job = :job", values: item{":job": str(id.String())}}
}

func (l *Ledger) ended(id job.ID) change {
	return change{table: l.tables.Jobs, key: besideJobs(openItems, id.String()), remove: true}
}

// SaveUnread records what of a job's day cannot be read, in whatever state the job is. It returns ErrChanged when it is not as it was read.
func (l *Ledger) SaveUnread(ctx context.Context, id job.ID, was, is job.Unread) error {
	c := change{
		table: l.tables.Jobs, key: jobKey(id), update: "REMOVE unread, unreadId",
		condition: "attribute_exists(feed) AND attribute_not_exists(unreadId)", values: item{},
	}
	if was.ID != "" {
		c.condition, c.values[":was"] = "unreadId = :was", str(was.ID)
	}
	if is.ID != "" {
		c.update = "SET unread = :text, unreadId = :id"
		c.values[":text"], c.values[":id"] = str(is.Text), str(is.ID)
	}
	return wrap(l.write(ctx, c), "ledger: job %s", id)
}

// Act writes what a person did to a job: the job as it was read, and as Apply left it, with the notice of the output that a day keeps whose
// restatement was cancelled. It returns ErrChanged when the job is not as it
// was read.
func (l *Ledger) Act(ctx context.Context, was, is job.Job) error {
	c := change{
		table: l.tables.Jobs, key: jobKey(is.ID),
		update: "SET #state = :to, reason = :reason, revision = :revision, opened = :opened, retryAt = :retry, trouble = :trouble, #cancel = :cancel, waived = :waived, " +
			"#retract = :retract, retracted = :retracted, acts = list_append(if_not_exists(acts, :empty), :act)",
		// A commit that began meanwhile, or came to its end, must not be lost sight of, nor an act of somebody else.
		condition: "#state = :from AND #token = :token AND revision = :was AND (attribute_not_exists(acts) OR size(acts) = :acts) AND " +
			"(attribute_not_exists(commitState) OR commitState = :commit AND commitToken = :committer) AND " +
			"(attribute_not_exists(unreadId) OR unreadId = :unread)",
		values: item{
			":to": str(string(is.State)), ":reason": str(is.Reason), ":revision": num(is.Revision), ":opened": num(is.Opened), ":retry": str(stamp(is.RetryAt)),
			":trouble": str(is.Trouble), ":cancel": str(is.Cancel), ":from": str(string(was.State)), ":token": num(was.Token), ":was": num(was.Revision),
			":acts": num(int64(len(was.Acts))), ":commit": str(string(was.Commit.State)), ":committer": num(was.Commit.Token), ":waived": str(is.Waived), ":unread": str(was.Unread.ID), ":empty": &types.AttributeValueMemberL{},
			":act": lastAct(is), ":retract": &types.AttributeValueMemberBOOL{Value: is.Retract}, ":retracted": num(is.Retracted),
		},
	}
	changes := []change{c}
	if is.State != job.Running {
		changes[0].update += " REMOVE " + ticket
		index := l.opened(is.ID)
		if is.State.Ended() {
			index = l.ended(is.ID)
		}
		changes = append(changes, index)
	}
	if is.State == job.Cancelled && is.Done() {
		changes = append(changes, l.note(is.Output(is.Acts[len(is.Acts)-1].At))) // the day is closed again
	}
	return wrap(l.transact(ctx, changes...), "ledger: job %s", is.ID)
}

// lastAct is the last act of a job as a list of one, to be appended to those that the ledger has.
func lastAct(j job.Job) types.AttributeValue {
	act := j.Acts[len(j.Acts)-1]
	return &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberM{Value: item{
		"verb": str(string(act.Verb)), "by": str(act.By), "reason": str(act.Reason), "at": str(stamp(act.At))}}}}
}

// GiveUp makes the job of a day that has files but no job: cancelled by its only act, so that nothing waits for the day. It returns ErrChanged
// when the day has a job.
func (l *Ledger) GiveUp(ctx context.Context, j job.Job, size sizing.Decision) error {
	sizes, err := attributevalue.Marshal(size)
	if err != nil {
		return fmt.Errorf("ledger: job %s: %w", j.ID, err)
	}
	return wrap(l.write(ctx, change{
		table: l.tables.Jobs, key: jobKey(j.ID),
		update: "SET #state = :cancelled, #token = :zero, opened = :zero, revision = :revision, reason = :reason, sizing = :sizing, createdAt = :now, " +
			"retracted = :retracted, acts = :act",
		condition: "attribute_not_exists(feed)",
		values: item{
			":cancelled": str(string(job.Cancelled)), ":zero": num(0), ":revision": num(j.Revision), ":reason": str(j.Reason), ":sizing": sizes,
			":now": str(stamp(j.CreatedAt)), ":retracted": num(j.Retracted), ":act": lastAct(j),
		},
	}), "ledger: job %s", j.ID)
}

// Move writes a decision that starts nothing. A decision that wants somebody to act leaves a notice with it. It returns ErrChanged
// when the job is not as the decision knew it.
func (l *Ledger) Move(ctx context.Context, d job.Decision, now time.Time) error {
	if d.To == job.Running || d.From != d.To && !d.From.CanBecome(d.To) {
		return fmt.Errorf("ledger: job %s: cannot move from %s to %s", d.ID, d.From, d.To)
	}
	changes := []change{{
		table: l.tables.Jobs, key: jobKey(d.ID),
		update:    "SET #state = :to, reason = :reason",
		condition: "#state = :from AND #token = :token",
		values:    item{":to": str(string(d.To)), ":from": str(string(d.From)), ":token": num(d.Token), ":reason": str(d.Reason)},
	}}
	if d.Alert {
		kind := job.NoticeBlocked
		if d.To == job.Held {
			kind = job.NoticeHeld
		}
		changes = append(changes, l.note(job.Notice{Type: kind, ID: d.ID, Token: d.Token, Reason: d.Reason, At: now}))
	}
	return wrap(l.transact(ctx, changes...), "ledger: job %s", d.ID)
}

// Reopen lets a failed or dead job wait for its turn again, with all its attempts, because its day was delivered anew; one whose day was taken
// back as a new revision. It returns ErrChanged when the job is not as it was read.
func (l *Ledger) Reopen(ctx context.Context, j job.Job, size sizing.Decision, reason string) error {
	sizes, err := attributevalue.Marshal(size)
	if err != nil {
		return fmt.Errorf("ledger: job %s: %w", j.ID, err)
	}
	next := j.Revision
	if j.TakenBack() {
		next++
	}
	return wrap(l.transact(ctx, change{
		table: l.tables.Jobs, key: jobKey(j.ID),
		update:    "SET #state = :waiting, reason = :reason, sizing = :sizing, opened = :token, revision = :next REMOVE " + ticket + ", retryAt, trouble",
		condition: "#state = :from AND #token = :token AND revision = :revision",
		values: item{
			":waiting": str(string(job.Waiting)), ":from": str(string(j.State)), ":token": num(j.Token), ":reason": str(reason), ":sizing": sizes,
			":revision": num(j.Revision), ":next": num(next),
		},
	}, l.opened(j.ID)), "ledger: job %s", j.ID)
}

// Start takes a slot and its feed's lease for a ready job and records its next run, all or nothing. It returns ErrChanged when the job is
// not ready any more, no slot is free, or another day of the feed runs.
func (l *Ledger) Start(ctx context.Context, r job.Run, parallel int) error {
	sizes, err := attributevalue.Marshal(r.Sizing)
	if err != nil {
		return fmt.Errorf("ledger: run %s#%d: %w", r.ID, r.Token, err)
	}
	now := str(stamp(r.StartedAt))
	return wrap(l.transact(ctx,
		change{
			table: l.tables.Jobs, key: jobKey(r.ID),
			update: "SET #state = :running, #token = :next, reason = :none, engine = :engine, sizing = :sizing, startedAt = :now REMOVE finishedAt",
			// The token is counted here and nowhere else: whoever holds a smaller one is an old run.
			// Nor does a run start that would leave out what cannot be read, unless somebody decided so, or it is to finish what began to publish.
			condition: "#state = :ready AND #token = :last AND (attribute_not_exists(unreadId) OR unreadId = waived OR commitState = :committing)",
			values: item{
				":running": str(string(job.Running)), ":ready": str(string(job.Ready)), ":next": num(r.Token), ":last": num(r.Token - 1), ":committing": str(string(job.Committing)),
				":none": str(""), ":engine": str(r.Engine), ":sizing": sizes, ":now": now,
			},
		},
		change{
			table: l.tables.Progress, key: item{"name": str(slotsItem)},
			update:    "ADD jobs :set",
			condition: "attribute_not_exists(jobs) OR (size(jobs) < :parallel AND NOT contains(jobs, :job))",
			values:    item{":set": set(r.ID.String()), ":parallel": num(int64(parallel)), ":job": str(r.ID.String())},
		},
		change{
			table: l.tables.Progress, key: item{"name": str(r.ID.Feed)},
			update:    "SET lease = :run",
			condition: "attribute_not_exists(lease)",
			values:    item{":run": str(leaseOf(r))},
		},
		change{
			table: l.tables.Runs, key: runKey(r.ID, r.Token),
			update:    "SET #state = :running, engine = :engine, #order = :order, receipt = :receipt, reason = :none, sizing = :sizing, startedAt = :now",
			condition: "attribute_not_exists(job)",
			values: item{
				":running": str(string(job.RunRunning)), ":engine": str(r.Engine), ":order": str(r.Order), ":receipt": str(r.Receipt),
				":none": str(""), ":sizing": sizes, ":now": now,
			},
		},
	), "ledger: run %s#%d", r.ID, r.Token)
}

// GiveBack undoes Start for a run that no engine was asked for: its job is ready again, as if it had not been started, with the reason why.
// Its token stays used, but is no attempt. It returns ErrChanged when the job is not running under this token any more, or somebody wants
// it cancelled.
func (l *Ledger) GiveBack(ctx context.Context, j job.Job, r job.Run, reason string, now time.Time) error {
	return wrap(l.transact(ctx,
		change{
			table: l.tables.Jobs, key: jobKey(r.ID),
			update:    "SET #state = :ready, reason = :reason, opened = :opened REMOVE startedAt",
			condition: "#state = :running AND #token = :token AND (attribute_not_exists(#cancel) OR #cancel = :none)",
			values: item{
				":ready": str(string(job.Ready)), ":running": str(string(job.Running)), ":token": num(r.Token), ":reason": str(reason),
				":opened": num(j.Opened + 1), ":none": str(""),
			},
		},
		change{
			table: l.tables.Progress, key: item{"name": str(slotsItem)}, update: "DELETE jobs :set", values: item{":set": set(r.ID.String())},
		},
		l.release(r),
		change{
			table: l.tables.Runs, key: runKey(r.ID, r.Token), update: "SET #state = :state, reason = :reason, finishedAt = :now",
			values: item{":state": str(string(job.RunCancelled)), ":reason": str(reason), ":now": str(stamp(now))},
		},
	), "ledger: run %s#%d", r.ID, r.Token)
}

// SaveEngine records where the engine runs a run: as much as is known of cluster and step.
func (l *Ledger) SaveEngine(ctx context.Context, r job.Run) error {
	return wrap(l.write(ctx, change{
		table: l.tables.Runs, key: runKey(r.ID, r.Token),
		update:    "SET clusterId = :cluster, stepId = :step, reason = :reason",
		condition: "#state = :running",
		values: item{
			":cluster": str(r.ClusterID), ":step": str(r.StepID), ":reason": str(r.Reason), ":running": str(string(job.RunRunning)),
		},
	}), "ledger: run %s#%d", r.ID, r.Token)
}

// Overdue records why people are told that a job's run takes too long, with the notice of it. It returns ErrChanged when they were told
// before, or the job does not run under this token any more.
func (l *Ledger) Overdue(ctx context.Context, j job.Job, reason string, now time.Time) error {
	return wrap(l.transact(ctx,
		change{
			table: l.tables.Jobs, key: jobKey(j.ID), update: "SET reason = :reason",
			condition: "#state = :running AND #token = :token AND reason = :none", // a start leaves no reason
			values:    item{":reason": str(reason), ":running": str(string(job.Running)), ":token": num(j.Token), ":none": str("")},
		},
		l.note(job.Notice{Type: job.NoticeOverdue, ID: j.ID, Token: j.Token, Reason: reason, At: now}),
	), "ledger: job %s", j.ID)
}

// leaseOf names the run that has its feed to itself. A lease has no time of its own: it ends with its run, and that has ended when its
// engine says so.
func leaseOf(r job.Run) string { return fmt.Sprintf("%s#%d", r.ID, r.Token) }

// release takes its feed's lease from a run.
func (l *Ledger) release(r job.Run) change {
	return change{
		table: l.tables.Progress, key: item{"name": str(r.ID.Feed)}, update: "REMOVE lease", condition: "attribute_not_exists(lease) OR lease = :run",
		values: item{":run": str(leaseOf(r))},
	}
}

// Finish records how a run ended: its job, its slot, its feed's lease and last day, and the notice of it, all or nothing. Where the run took the
// feed's last day back, the last one is the greatest day before it that readers have: the lease keeps every other day of the feed from being
// published until this is written. It returns ErrChanged when the job is not running under this token any more.
func (l *Ledger) Finish(ctx context.Context, e job.Ending, lastDay job.Day) error {
	r := e.Run
	now := str(stamp(r.FinishedAt))
	ended := change{
		table: l.tables.Jobs, key: jobKey(r.ID),
		update:    "SET #state = :to, reason = :reason, finishedAt = :now REMOVE " + ticket + ", #cancel, retryAt, trouble",
		condition: "#state = :running AND #token = :token",
		values: item{
			":to": str(string(e.To)), ":running": str(string(job.Running)), ":token": num(r.Token), ":reason": str(e.Reason), ":now": now,
		},
	}
	slots := change{
		table: l.tables.Progress, key: item{"name": str(slotsItem)}, update: "DELETE jobs :set", values: item{":set": set(r.ID.String())},
	}
	if !e.RetryAt.IsZero() {
		ended.update = "SET #state = :to, reason = :reason, finishedAt = :now, retryAt = :retry, trouble = :reason REMOVE " + ticket + ", #cancel"
		ended.values[":retry"] = str(stamp(e.RetryAt))
	}
	if e.To == job.Succeeded || e.Retracted > 0 {
		ended.update += ", exported" // BigQuery has the revision before, until this one is exported
	}
	if e.To == job.Cancelled {
		ended.update += ", #retract"
	}
	feed := l.release(r)
	if e.Retracted > 0 {
		ended.update = strings.Replace(ended.update, " REMOVE", ", retracted = :retracted REMOVE", 1)
		ended.values[":retracted"] = num(e.Retracted)
	}
	if e.Retracted > 0 && r.ID.Day == lastDay {
		before, err := l.publishedBefore(ctx, r.ID)
		if err != nil {
			return err
		}
		feed.condition = "(" + feed.condition + ") AND lastDay = :day"
		feed.values[":day"], feed.values[":now"] = str(string(r.ID.Day)), now
		feed.update = "SET updatedAt = :now REMOVE lease, lastDay"
		if before != "" {
			feed.update = "SET lastDay = :before, updatedAt = :now REMOVE lease"
			feed.values[":before"] = str(string(before))
		}
	}
	if e.To == job.Succeeded && r.ID.Day > lastDay {
		feed.update = "SET lastDay = :day, updatedAt = :now REMOVE lease"
		feed.condition = "(" + feed.condition + ") AND (attribute_not_exists(lastDay) OR lastDay < :day)"
		feed.values[":day"], feed.values[":now"] = str(string(r.ID.Day)), now
	}
	run := change{
		table: l.tables.Runs, key: runKey(r.ID, r.Token), update: "SET #state = :state, reason = :reason, finishedAt = :now",
		values: item{":state": str(string(r.State)), ":reason": str(r.Reason), ":now": now},
	}
	changes := []change{ended, slots, feed, run}
	for _, n := range e.Notices {
		changes = append(changes, l.note(n))
	}
	if e.To.Ended() {
		changes = append(changes, l.ended(r.ID))
	}
	return wrap(l.transact(ctx, changes...), "ledger: run %s#%d", r.ID, r.Token)
}

// LastDay returns the last day of a feed that succeeded, or "".
func (l *Ledger) LastDay(ctx context.Context, feed string) (job.Day, error) {
	var p progressItem
	_, err := l.get(ctx, l.tables.Progress, item{"name": str(feed)}, &p)
	return job.Day(p.LastDay), wrap(err, "ledger: progress of feed %s", feed)
}

// TicketSent records that a message was queued for a job.
func (l *Ledger) TicketSent(ctx context.Context, id job.ID, now time.Time) error {
	return wrap(l.write(ctx, change{
		table: l.tables.Jobs, key: jobKey(id), update: "SET ticketAt = :now", condition: "#state IN (:ready, :running)",
		values: item{":now": str(stamp(now)), ":ready": str(string(job.Ready)), ":running": str(string(job.Running))},
	}), "ledger: ticket of job %s", id)
}

// SaveTicket records the ticket of a job which has not ended, on the job and, while it runs, on its run: what the message is renewed and
// deleted with. It returns ErrChanged when the job has ended, or began to run or stopped, since it was read.
func (l *Ledger) SaveTicket(ctx context.Context, j job.Job) error {
	changes := []change{{
		table: l.tables.Jobs, key: jobKey(j.ID),
		update:    "SET ticketId = :id, receipt = :receipt, receivedAt = :received",
		condition: "NOT #state IN (:running, :succeeded, :failed, :dead, :cancelled)",
		values: item{
			":id": str(j.Ticket.ID), ":receipt": str(j.Ticket.Receipt), ":received": str(stamp(j.Ticket.ReceivedAt)), ":running": str(string(job.Running)),
			":succeeded": str(string(job.Succeeded)), ":failed": str(string(job.Failed)), ":dead": str(string(job.Dead)), ":cancelled": str(string(job.Cancelled)),
		},
	}}
	if !j.Ticket.SentAt.IsZero() {
		changes[0].update += ", ticketAt = :sent"
		changes[0].values[":sent"] = str(stamp(j.Ticket.SentAt))
	}
	if j.State == job.Running {
		changes[0].condition = "#state = :running AND #token = :token"
		for _, ended := range []string{":succeeded", ":failed", ":dead", ":cancelled"} {
			delete(changes[0].values, ended) // DynamoDB refuses values that nothing names
		}
		changes[0].values[":token"] = num(j.Token)
		changes = append(changes, change{
			table: l.tables.Runs, key: runKey(j.ID, j.Token), update: "SET receipt = :receipt", values: item{":receipt": str(j.Ticket.Receipt)},
		})
	}
	return wrap(l.transact(ctx, changes...), "ledger: ticket of job %s", j.ID)
}

// Loading records that the rows of a job's output are about to go to BigQuery, before they do: whoever brings a newer output there sees to it
// first that those can come no more. It returns ErrChanged when readers have another output by now, or somebody else recorded another one.
func (l *Ledger) Loading(ctx context.Context, j job.Job) error {
	c := change{
		table: l.tables.Jobs, key: jobKey(j.ID),
		update:    "SET loading = :token",
		condition: "commitState = :committed AND commitToken = :token AND (attribute_not_exists(loading) OR loading IN (:token, :was))",
		values:    item{":committed": str(string(job.Committed)), ":token": num(j.Commit.Token), ":was": num(j.Loading)},
	}
	return wrap(l.write(ctx, c), "ledger: export of job %s", j.ID)
}

// Exported records that BigQuery holds the rows of a job's output, and takes its notice out of the outbox if it was told: whoever tells it
// does more than have the rows exported. It returns ErrChanged when readers have another output by now, or a run is about to publish one.
func (l *Ledger) Exported(ctx context.Context, j job.Job, rows int64) error {
	err := l.write(ctx, change{
		table: l.tables.Jobs, key: jobKey(j.ID),
		update:    "SET exported = :rows REMOVE loading",
		condition: "commitState = :committed AND commitToken = :token",
		values:    item{":rows": num(rows), ":committed": str(string(job.Committed)), ":token": num(j.Commit.Token)},
	})
	if err != nil {
		return fmt.Errorf("ledger: export of job %s: %w", j.ID, err)
	}
	told := l.forget(j.Output(time.Time{}))
	told.condition, told.values = "tries > :none", item{":none": num(0)}
	if err := l.write(ctx, told); err != nil && !errors.Is(err, ErrChanged) {
		return fmt.Errorf("ledger: export of job %s: %w", j.ID, err)
	}
	return nil
}

// Telling records that a notice is told once more. It returns ErrChanged to all but one of those who want to tell it at the same
// time, and to everybody when it was taken away.
func (l *Ledger) Telling(ctx context.Context, n job.Notice, now time.Time) error {
	known := n.Tries
	n.At = now
	n.Tries++
	c := l.note(n)
	c.condition = "tries = :known"
	c.values[":known"] = num(int64(known))
	return wrap(l.write(ctx, c), "ledger: notice %s", noticeKey(n))
}

// Note puts a notice into the outbox.
func (l *Ledger) Note(ctx context.Context, n job.Notice) error {
	return wrap(l.write(ctx, l.note(n)), "ledger: notice %s", noticeKey(n))
}

// Forget takes a notice out of the outbox.
func (l *Ledger) Forget(ctx context.Context, n job.Notice) error {
	return wrap(l.write(ctx, l.forget(n)), "ledger: notice %s", noticeKey(n))
}

func noticeKey(n job.Notice) string { return fmt.Sprintf("%s#%d:%s", n.ID, n.Token, n.Type) }

// note puts a notice into the outbox.
func (l *Ledger) note(n job.Notice) change {
	return change{
		table: l.tables.Jobs, key: besideJobs(outboxItems, noticeKey(n)),
		update: "SET #type = :type, job = :job, #token = :token, reason = :reason, #at = :at, tries = :tries, quiet = :quiet",
		values: item{
			":type": str(string(n.Type)), ":job": str(n.ID.String()), ":token": num(n.Token), ":reason": str(n.Reason), ":at": str(stamp(n.At)), ":tries": num(int64(n.Tries)),
			":quiet": &types.AttributeValueMemberBOOL{Value: n.Quiet},
		},
	}
}

func (l *Ledger) forget(n job.Notice) change {
	return change{table: l.tables.Jobs, key: besideJobs(outboxItems, noticeKey(n)), remove: true}
}

func fileKey(f job.File) item {
	hash := rejectedFiles
	if f.State != job.Rejected {
		hash = f.ID.String()
	}
	return item{"job": str(hash), "file": str(f.Name)}
}

// RecordFile records an object of the landing bucket. Was is what the ledger had of the file before the bucket was looked at; a file without
// a name stands for nothing. It tells whether it wrote.
//
// The object is the newer one, and is written, when the ledger still has what it had: nobody looked later. Where somebody else recorded an
// object meanwhile, the events' sequencers say which of the two is newer; without them nobody knows, and the bucket has to be looked at
// again. Times do not tell: they are whole seconds, and an upload in parts has that of its beginning.
func (l *Ledger) RecordFile(ctx context.Context, f, was job.File) (bool, error) {
	key := fileKey(f)
	full, err := attributevalue.MarshalMap(fileItem{
		Job: key["job"].(*types.AttributeValueMemberS).Value, File: f.Name, Bucket: f.Bucket, Key: f.Key, Bytes: f.Bytes, ETag: f.ETag,
		VersionID: f.VersionID, Sequencer: f.Sequencer, State: string(f.State), Reason: f.Reason, LandedAt: stamp(f.LandedAt),
	})
	if err != nil {
		return false, fmt.Errorf("ledger: file %s: %w", f.Key, err)
	}
	condition, values := "attribute_not_exists(job)", item{}
	if was.Name != "" {
		condition, values = sameObject, objectOf(was)
	}
	if f.Sequencer != "" {
		condition += " OR sequencer < :sequencer"
		values[":sequencer"] = str(f.Sequencer)
	}
	in := &dynamodb.PutItemInput{TableName: &l.tables.Files, Item: full, ConditionExpression: &condition}
	if len(values) > 0 {
		in.ExpressionAttributeValues = values
	}
	err = unmet(l.retried(ctx, func() error {
		_, err := l.db.PutItem(ctx, in)
		return err
	}))
	if errors.Is(err, ErrChanged) {
		return false, nil
	}
	return err == nil, wrap(err, "ledger: file %s", f.Key)
}

// sameObject holds while a file is recorded as the object that objectOf was given.
const sameObject = "etag = :etag AND versionId = :version AND landedAt = :at"

func objectOf(f job.File) item {
	return item{":etag": str(f.ETag), ":version": str(f.VersionID), ":at": str(stamp(f.LandedAt))}
}

// MarkFile records what became of a file, and its event's sequencer when that is known, provided that it is still the same object, and in
// the state that it comes from. It tells whether it wrote.
func (l *Ledger) MarkFile(ctx context.Context, f job.File, from job.FileState) (bool, error) {
	c := change{
		table: l.tables.Files, key: fileKey(f),
		update:    "SET #state = :state, reason = :reason",
		condition: "#state = :from AND " + sameObject,
		values:    objectOf(f),
	}
	c.values[":state"], c.values[":reason"], c.values[":from"] = str(string(f.State)), str(f.Reason), str(string(from))
	if f.Sequencer != "" {
		c.update += ", sequencer = :sequencer"
		c.values[":sequencer"] = str(f.Sequencer)
	}
	err := l.write(ctx, c)
	if errors.Is(err, ErrChanged) {
		return false, nil
	}
	return err == nil, wrap(err, "ledger: file %s", f.Key)
}

// Accept takes an object out of those that were rejected, because its day has come. An object that was not among them is no error.
func (l *Ledger) Accept(ctx context.Context, key string) error {
	err := l.write(ctx, change{
		table: l.tables.Files, key: item{"job": str(rejectedFiles), "file": str(key)},
		update: "SET #state = :landed, reason = :reason", condition: "attribute_exists(job)",
		values: item{":landed": str(string(job.Landed)), ":reason": str("it was taken in when its day had come")},
	})
	if errors.Is(err, ErrChanged) {
		return nil
	}
	return wrap(err, "ledger: file %s", key)
}

// Retract records on a file which revision of its job takes its delivery back, provided that it is still the same object. It means nothing
// until the job was retracted in that revision.
func (l *Ledger) Retract(ctx context.Context, f job.File, revision int64) error {
	c := change{table: l.tables.Files, key: fileKey(f), update: "SET retracted = :revision", condition: sameObject, values: objectOf(f)}
	c.values[":revision"] = num(revision)
	err := l.write(ctx, c)
	if errors.Is(err, ErrChanged) {
		return nil // it was overwritten: what is there now was delivered later
	}
	return wrap(err, "ledger: file %s", f.Key)
}

// FileAlerted records that somebody was told of a rejected or late file.
func (l *Ledger) FileAlerted(ctx context.Context, f job.File, now time.Time) error {
	return wrap(l.write(ctx, change{
		table: l.tables.Files, key: fileKey(f), update: "SET alertedAt = :now", condition: "attribute_exists(job)",
		values: item{":now": str(stamp(now))},
	}), "ledger: file %s", f.Key)
}
