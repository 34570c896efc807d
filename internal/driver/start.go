package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/store"
)

// StartLedger is the part of the ledger that a Starter needs.
type StartLedger interface {
	Board(ctx context.Context) (job.Board, error)
	Get(ctx context.Context, id job.ID) (job.Job, error)
	Run(ctx context.Context, id job.ID, token int64) (job.Run, error)
	Files(ctx context.Context, id job.ID) ([]job.File, error)
	Start(ctx context.Context, r job.Run, parallel int) error
	GiveBack(ctx context.Context, j job.Job, r job.Run, reason string, now time.Time) error
	Move(ctx context.Context, d job.Decision, now time.Time) error
	SaveEngine(ctx context.Context, r job.Run) error
	Overdue(ctx context.Context, j job.Job, reason string, now time.Time) error
	SaveTicket(ctx context.Context, j job.Job) error
}

// TicketHolder takes tickets and keeps them.
type TicketHolder interface {
	Receive(ctx context.Context) ([]messages.Received, error)
	Renew(ctx context.Context, receipts []string) error
	TicketSender
	TicketRemover
}

// Switch knows what is switched off.
type Switch interface {
	// Off returns the engines that are off, each with the reason in a sentence.
	Off(ctx context.Context) (map[string]string, error)
}

// Clusters knows which clusters are up.
type Clusters interface {
	// Begin forgets what was seen of clusters: from here on each of them is asked for once.
	Begin()
	// Sizes returns the names of their sizes.
	Sizes(ctx context.Context) ([]string, error)
}

// Starter starts ready jobs in free slots, and looks after the running ones. First it promotes: what waited for its time, or for a run
// that nobody said the end of, starts at this tick and not after the next sweep.
//
// The ledger decides what starts; a ticket only wakes and is kept until its job ended.
type Starter struct {
	Ledger    StartLedger
	Tickets   TicketHolder
	Engine    engine.Engine // Engine is all engines as one, each run sent to its own.
	Clusters  Clusters
	Switch    Switch
	Artifacts Objects
	Finisher  Finisher
	Promoter  Promoter
	Country   discovery.Country
	Now       Clock
}

// startPatience is how long an engine may refuse a run before the run has failed.
const startPatience = 10 * time.Minute

// Work does all that there is to do now. What goes wrong with one job keeps no other back.
//
// One of it works at a time, so who comes meanwhile to tell of a free slot or of another job is sent away. Therefore it looks at the ledger
// again before each question to an engine: a slot that is free waits for one answer at most.
func (s Starter) Work(ctx context.Context) error {
	s.Clusters.Begin()
	t := turn{Starter: s, looked: map[string]bool{}}
	faults := []error{t.fill(ctx)}
	if t.board.Jobs == nil {
		return faults[0]
	}
	faults = append(faults, s.tickets(ctx, t.board))
	for {
		if !t.failed {
			faults = append(faults, t.fill(ctx))
		}
		id, is := t.next()
		if !is {
			return errors.Join(faults...)
		}
		faults = append(faults, t.look(ctx, id))
	}
}

// turn is one time that a Starter works.
type turn struct {
	Starter
	board  job.Board       // board is how it was last seen, with what was claimed since.
	claims []job.Run       // claims are the runs that got a slot in this turn.
	looked map[string]bool // looked are the runs that were launched or asked for.
	failed bool            // failed: slots cannot be given now; the next turn goes on.
}

// fill readies what can be, and gives the free slots to what can start. The board stays as it was when it cannot be read.
func (t *turn) fill(ctx context.Context) error {
	var faults []error
	for range rounds {
		b, err := t.Promoter.promote(ctx)
		if err != nil {
			faults = append(faults, err)
			// What is ready can start all the same.
			if b, err = t.Ledger.Board(ctx); err != nil {
				faults = append(faults, err)
				break
			}
			b.Zone = t.Promoter.Zone
		}
		t.board = b
		overtaken, err := t.claim(ctx)
		faults = append(faults, err)
		if !overtaken {
			break // else whoever was faster may have left a slot that another job can have
		}
	}
	err := errors.Join(faults...)
	t.failed = err != nil
	return err
}

// next is the running job to look at: first those that got their slot in this turn, whose engines were not asked for anything yet.
func (t *turn) next() (job.ID, bool) {
	ids := make([]job.ID, 0, len(t.claims)+len(t.board.Slots))
	for _, r := range t.claims {
		ids = append(ids, r.ID)
	}
	for _, id := range append(ids, t.board.Slots...) {
		j := t.board.Jobs[id]
		if name := fmt.Sprintf("%s#%d", id, j.Token); j.State == job.Running && !t.looked[name] {
			t.looked[name] = true
			return id, true
		}
	}
	return job.ID{}, false
}

// tickets takes what is in the queue, keeps the tickets of jobs that have not ended from appearing again, and removes the others. A ticket
// that its queue will not keep back much longer is sent anew.
func (s Starter) tickets(ctx context.Context, b job.Board) error {
	received, fault := s.Tickets.Receive(ctx)
	faults := []error{fault}
	for _, r := range received {
		faults = append(faults, s.ticket(ctx, b, r))
	}
	var receipts []string
	for _, id := range slices.SortedFunc(maps.Keys(b.Jobs), compareIDs) {
		switch j := b.Jobs[id]; {
		case j.State.Ended():
		case j.Ticket.Worn(s.Now()):
			faults = append(faults, s.sendAnew(ctx, j))
		case j.Ticket.Receipt != "":
			receipts = append(receipts, j.Ticket.Receipt)
		}
	}
	return errors.Join(append(faults, s.Tickets.Renew(ctx, receipts))...)
}

func (s Starter) ticket(ctx context.Context, b job.Board, r messages.Received) error {
	j, err := s.Ledger.Get(ctx, r.Job)
	if err != nil && !errors.Is(err, ledger.ErrNoJob) {
		return err
	}
	another := j.Ticket.ID != "" && j.Ticket.ID != r.Ticket.ID
	if err != nil || j.State.Ended() || another {
		return s.Tickets.Delete(ctx, r.Ticket.Receipt)
	}
	j.Ticket.ID, j.Ticket.Receipt, j.Ticket.ReceivedAt = r.Ticket.ID, r.Ticket.Receipt, s.Now()
	if err := s.Ledger.SaveTicket(ctx, j); err != nil && !lost(ctx, err) {
		return err
	}
	b.Jobs[j.ID] = j
	return nil
}

// sendAnew queues another ticket of a job and takes the old one off. Whoever dies in between leaves two, of which the one that is received
// later is removed.
func (s Starter) sendAnew(ctx context.Context, j job.Job) error {
	if err := s.Tickets.Send(ctx, j.ID); err != nil {
		return err
	}
	old := j.Ticket.Receipt
	j.Ticket = job.Ticket{SentAt: s.Now()}
	if err := s.Ledger.SaveTicket(ctx, j); lost(ctx, err) {
		return nil
	} else if err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return s.Tickets.Delete(ctx, old)
}

// look starts a run that has not begun, also one that a dead process left half started, and asks the engine for every other one, whose end
// nobody may have told.
func (t *turn) look(ctx context.Context, id job.ID) error {
	j, feed := t.board.Jobs[id], t.board.Feeds[id.Feed]
	r, err := t.Ledger.Run(ctx, id, j.Token)
	if err != nil {
		return err
	}
	if r.StepID == "" && j.Cancel != "" {
		// A step that was added without anybody having written it down cannot publish: its job is not running any more.
		err := t.Finisher.Finish(ctx, r, engine.Status{State: engine.Cancelled})
		if lost(ctx, err) {
			return nil
		}
		return err
	}
	if r.StepID == "" {
		return t.launch(ctx, feed, j, r)
	}
	status, err := t.Engine.Status(ctx, r)
	if err == nil && status.State == engine.Active && j.Cancel != "" {
		err = t.Engine.Cancel(ctx, r) // at each tick, until the engine says that the run ended
	}
	if reason := j.Overdue(feed, t.Now()); err == nil && status.State == engine.Active && reason != "" {
		slog.WarnContext(ctx, "overdue", "job", id.String(), "token", j.Token, "reason", reason)
		err = t.Ledger.Overdue(ctx, j, reason, t.Now())
	}
	if err == nil && status.State != engine.Active {
		err = t.Finisher.Finish(ctx, r, status)
	}
	if lost(ctx, err) {
		return nil
	}
	return err
}

// claim gives the free slots to the jobs that the plan names. It tells whether somebody else was faster with one.
func (t *turn) claim(ctx context.Context) (overtaken bool, err error) {
	b := t.board
	b.Now, b.Parallel = t.Now(), t.Country.Parallel
	if !slices.ContainsFunc(slices.Collect(maps.Values(b.Jobs)), func(j job.Job) bool { return j.State == job.Ready }) {
		return false, nil
	}
	// Without an answer nothing starts: a job can wait, what a cluster cost cannot be undone.
	off, err := t.Switch.Off(ctx)
	if err != nil {
		return false, err
	}
	b.Off = off
	var next []job.Decision
	var faults []error
	for _, d := range job.Plan(b) {
		switch {
		case d.To == job.Running:
			next = append(next, d)
		case d.From == job.Ready && d.To == job.Ready:
			if err := t.Ledger.Move(ctx, d, b.Now); err != nil && !lost(ctx, err) {
				faults = append(faults, err)
			}
		}
	}
	var up []string
	if slices.ContainsFunc(next, func(d job.Decision) bool { return sizing.Clustered(b.Feeds[d.ID.Feed].Engine) }) {
		if up, err = t.Clusters.Sizes(ctx); err != nil {
			return false, errors.Join(append(faults, err)...)
		}
	}
	for _, r := range t.claims {
		up = append(up, newCluster(r)...)
	}
	for _, d := range next {
		r, err := t.take(ctx, b.Feeds[d.ID.Feed], b.Jobs[d.ID], up)
		if lost(ctx, err) {
			overtaken = true
			continue
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		j := b.Jobs[r.ID]
		j.Token, j.State, j.StartedAt = r.Token, job.Running, r.StartedAt
		b.Jobs[r.ID] = j
		t.claims, up = append(t.claims, r), append(up, newCluster(r)...)
	}
	return overtaken, errors.Join(faults...)
}

// newCluster is the size of the cluster that a run starts, which those after it can use.
func newCluster(r job.Run) []string {
	if r.Sizing.Target == sizing.NewCluster {
		return []string{r.Sizing.Size}
	}
	return nil
}

// take takes a slot for a job's next run, given the sizes of the clusters that are up.
func (s Starter) take(ctx context.Context, feed job.Feed, j job.Job, up []string) (job.Run, error) {
	files, err := s.orderFiles(ctx, j)
	if err != nil {
		return job.Run{}, err
	}
	size := amount(files)
	decision := sizing.Decide(feed.Engine, size.Files, size.Bytes, up)
	r := job.Run{
		ID: j.ID, Token: j.Token + 1, State: job.RunRunning, Engine: decision.Engine, Receipt: j.Ticket.Receipt, StartedAt: s.Now(),
		Order: s.Artifacts.URI(orderKey(j.ID, j.Token+1)), Sizing: decision,
	}
	if err := s.Ledger.Start(ctx, r, s.Country.Parallel); err != nil {
		return r, err
	}
	slog.InfoContext(ctx, "run", "job", r.ID.String(), "token", r.Token, "engine", r.Engine, "size", r.Sizing.Size, "target", r.Sizing.Target, "reason", r.Sizing.Reason)
	return r, nil
}

// switchedOff is why a run does not begin: the reason for which its engine is off.
type switchedOff string

func (reason switchedOff) Error() string { return string(reason) }

// launch writes a run's order and has the engine start it; both are found when they are there already. An engine that refuses is
// asked again at the next tick, for a while.
func (s Starter) launch(ctx context.Context, feed job.Feed, j job.Job, r job.Run) error {
	err := s.order(ctx, feed, j, r)
	if errors.Is(err, errNoFiles) {
		if err := s.Artifacts.WriteJSON(ctx, resultKey(r.ID, r.Token), result{Error: err.Error(), Kind: uselessKind}); err != nil {
			return err
		}
		return s.Finisher.Finish(ctx, r, engine.Status{State: engine.Failed})
	}
	var off switchedOff
	if errors.As(err, &off) {
		slog.InfoContext(ctx, "run given back", "job", r.ID.String(), "token", r.Token, "reason", string(off))
		err = s.Ledger.GiveBack(ctx, j, r, string(off), s.Now())
		if lost(ctx, err) {
			return nil
		}
		return err
	}
	if err == nil {
		_, err = s.Engine.Start(ctx, r, func(r job.Run) error {
			r.Reason = ""
			return s.Ledger.SaveEngine(ctx, r)
		})
	}
	if err == nil || lost(ctx, err) {
		return nil
	}
	if s.Now().Sub(r.StartedAt) >= startPatience {
		return s.Finisher.Finish(ctx, r, engine.Status{State: engine.Failed, Reason: "not started: " + err.Error()})
	}
	slog.ErrorContext(ctx, "run not started yet", "job", r.ID.String(), "token", r.Token, "error", err.Error())
	return nil
}

// errNoFiles is why a day cannot be run whose files were all deleted: a run without any would close it as a day without records.
var errNoFiles = errors.New("every file of the day was deleted from the landing bucket")

// Order is all that the record job is told.
type Order struct {
	Version   int               `json:"version"`
	Stack     string            `json:"stack"`
	Country   string            `json:"country"`
	Feed      string            `json:"feed"`
	Day       job.Day           `json:"day"`
	Token     int64             `json:"token"`
	Revision  int64             `json:"revision"`
	Contract  json.RawMessage   `json:"contract"`
	Files     []OrderFile       `json:"files"`
	Databases map[string]string `json:"databases"`
	Buckets   map[string]string `json:"buckets"`
	JobsTable string            `json:"jobsTable"`
	StartedAt time.Time         `json:"startedAt"`         // StartedAt is when the run was recorded, so that an order of another ledger's run is known as that.
	Retract   bool              `json:"retract,omitempty"` // Retract: the run takes the day back, and reads no files.
	Resume    *Resume           `json:"resume"`            // Resume is set when an earlier run died while it published: its commit is finished first.
}

// OrderFile is one file that a run reads.
type OrderFile struct {
	Bucket    string `json:"bucket"`
	Key       string `json:"key"`
	Bytes     int64  `json:"bytes"`
	VersionID string `json:"versionId,omitempty"`
}

// Resume names the run whose commit is to be finished.
type Resume struct {
	Token int64 `json:"token"`
}

func orderKey(id job.ID, token int64) string { return runPrefix(id, token) + "order.json" }

// orderFiles are the files that a run of a job takes: those that landed, and in a restatement also those that came late. A run that takes its
// day back reads none.
func (s Starter) orderFiles(ctx context.Context, j job.Job) ([]job.File, error) {
	if j.Retract {
		return nil, nil
	}
	all, err := s.Ledger.Files(ctx, j.ID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(f job.File) bool {
		return f.Name == job.Marker || f.State == job.Removed || f.State == job.Late && j.Revision <= 1 || j.Void(f)
	}), nil
}

// order writes what a run is told to do, unless an earlier attempt to start it did. What is left of a run that another ledger counted, before
// the country was taken down and deployed again, is written over.
//
// Without an order of this run no engine was asked for anything yet,
// so this is where the switch is looked at once more, now that the ledger says that the job runs. Who switches something off writes that
// down first and then looks for jobs that run: whatever the order, one of the two sees the other.
func (s Starter) order(ctx context.Context, feed job.Feed, j job.Job, r job.Run) error {
	key, began := orderKey(r.ID, r.Token), r.StartedAt.UTC().Truncate(time.Second) // as the ledger keeps it
	var there Order
	err := s.Artifacts.ReadJSON(ctx, key, &there)
	if err == nil && there.StartedAt.Equal(began) {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	off, fault := s.Switch.Off(ctx)
	if fault != nil {
		return fault
	}
	if reason, isOff := off[r.Engine]; isOff {
		return switchedOff(reason)
	}
	if err == nil {
		if err := s.Artifacts.WriteJSON(ctx, resultKey(r.ID, r.Token), result{}); err != nil {
			return err
		}
	}
	files, err := s.orderFiles(ctx, j)
	if err != nil {
		return err
	}
	if len(files) == 0 && j.Commit.State != job.Committing && !j.Retract {
		return errNoFiles
	}
	var contract json.RawMessage
	if err := s.Artifacts.ReadJSON(ctx, feed.ContractKey, &contract); err != nil {
		return fmt.Errorf("contract of feed %s: %w", feed.Name, err)
	}
	c := s.Country
	o := Order{
		Version: 1, Stack: c.Stack, Country: c.Country, Feed: r.ID.Feed, Day: r.ID.Day, Token: r.Token, Revision: j.Revision,
		Retract:  j.Retract,
		Contract: contract, Files: []OrderFile{},
		Databases: map[string]string{
			"validated": c.Databases.Validated, "invalid": c.Databases.Invalid, "versioned": c.Databases.Versioned, "curated": c.Databases.Curated},
		Buckets: map[string]string{"validated": c.Buckets.Validated, "invalid": c.Buckets.Invalid, "versioned": c.Buckets.Versioned,
			"curated": c.Buckets.Curated, "artifacts": c.Buckets.Artifacts},
		JobsTable: c.Tables.Jobs, StartedAt: began,
	}
	if j.Commit.State == job.Committing {
		o.Resume = &Resume{j.Commit.Token}
	}
	for _, f := range files {
		o.Files = append(o.Files, OrderFile{f.Bucket, f.Key, f.Bytes, f.VersionID})
	}
	return s.Artifacts.WriteJSON(ctx, key, o)
}
