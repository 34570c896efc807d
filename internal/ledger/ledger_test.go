package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

var now = time.Date(2013, 1, 2, 12, 0, 0, 0, time.UTC)

var flights = job.ID{Feed: "flights", Day: "2013-01-01"}

// cfg is the emulator that all tests of the package share; each makes its own tables.
var cfg aws.Config

func TestMain(m *testing.M) {
	// Every promise holds on the emulator and on the database in memory, which tests of many steps use.
	code := emulator.Main(m, func(c aws.Config) { cfg = c })
	inMemory = true
	os.Exit(max(code, m.Run()))
}

// database is what both have.
type database interface {
	DB
	emulator.Items
}

var inMemory bool

func open(t *testing.T) (*Ledger, database) {
	t.Helper()
	var db database = dynamodb.NewFromConfig(cfg)
	if inMemory {
		db = emulator.NewMemory()
	}
	return New(db, emulator.Tables(t, db, t.Name(), emulator.Feed("airports"), emulator.Feed("flights", "airports"))), db
}

func create(t *testing.T, l *Ledger, id job.ID) job.Job {
	t.Helper()
	if created, err := l.Create(t.Context(), id, sizing.Decision{Bytes: 842, Files: 1}, job.Unread{}, now); err != nil || !created {
		t.Fatalf("create %s: %v, %v", id, created, err)
	}
	return get(t, l, id)
}

func get(t *testing.T, l *Ledger, id job.ID) job.Job {
	t.Helper()
	j, err := l.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func move(t *testing.T, l *Ledger, id job.ID, to job.State) {
	t.Helper()
	j := get(t, l, id)
	if err := l.Move(t.Context(), job.Decision{ID: id, From: j.State, To: to, Token: j.Token}, now); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, l *Ledger, id job.ID) job.Run {
	t.Helper()
	r := job.Run{ID: id, Token: get(t, l, id).Token + 1, State: job.RunRunning, Engine: "emr", Order: "s3://artifacts/order.json", StartedAt: now,
		Sizing: sizing.Decide("auto", 1, 842, nil)}
	if err := l.Start(t.Context(), r, 5); err != nil {
		t.Fatal(err)
	}
	return r
}

// pending is the whole outbox.
func pending(t *testing.T, l *Ledger) (all []job.Notice, err error) {
	t.Helper()
	for n, err := range l.Outbox(t.Context()) {
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// ending is that of a run whose failure no attempt mends.
func ending(r job.Run) job.Ending {
	e := job.Ending{Run: r, To: job.Failed, Reason: r.Reason, Notices: []job.Notice{{Type: job.NoticeFailed, ID: r.ID, Token: r.Token, Reason: r.Reason, At: r.FinishedAt}}}
	if r.State == job.RunSucceeded {
		e.To, e.Notices[0].Type = job.Succeeded, job.NoticeSucceeded
	}
	return e
}

func finish(t *testing.T, l *Ledger, r job.Run, state job.RunState, reason string) {
	t.Helper()
	r.State, r.Reason, r.FinishedAt = state, reason, now.Add(time.Minute)
	last, err := l.LastDay(t.Context(), r.ID.Feed)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Finish(t.Context(), ending(r), last); err != nil {
		t.Fatal(err)
	}
}

func TestJobIsReadAsItWasCreated(t *testing.T) {
	l, _ := open(t)
	want := job.Job{ID: flights, State: job.Waiting, Revision: 1, Sizing: sizing.Decision{Bytes: 842, Files: 1}, CreatedAt: now}
	if got := create(t, l, flights); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	list, err := l.List(t.Context())
	if err != nil || !reflect.DeepEqual(list, []job.Job{want}) {
		t.Errorf("list: %+v, %v", list, err)
	}
}

func TestCreatingTwiceIsCreatingOnce(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	if created, err := l.Create(t.Context(), flights, sizing.Decision{Bytes: 1}, job.Unread{}, now); err != nil || created {
		t.Errorf("got %v, %v", created, err)
	}
	if got := get(t, l, flights); got.State != job.Ready || got.Sizing.Bytes != 842 {
		t.Errorf("the job was changed: %+v", got)
	}
}

func TestMissingJobIsErrNoJob(t *testing.T) {
	l, _ := open(t)
	_, err := l.Get(t.Context(), flights)
	if !errors.Is(err, ErrNoJob) || err.Error() != "ledger: job flights/2013-01-01: no such job" {
		t.Errorf("got %v", err)
	}
}

func TestChangeDecidedOnAnOldStateIsRefused(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	old := job.Decision{ID: flights, From: job.Waiting, To: job.Ready}
	move(t, l, flights, job.Blocked)
	if err := l.Move(t.Context(), old, now); !errors.Is(err, ErrChanged) {
		t.Errorf("old state: got %v", err)
	}
	if err := l.Move(t.Context(), job.Decision{ID: flights, From: job.Blocked, To: job.Ready, Token: 1}, now); !errors.Is(err, ErrChanged) {
		t.Errorf("other token: got %v", err)
	}
	if err := l.Move(t.Context(), job.Decision{ID: flights, From: job.Blocked, To: job.Succeeded}, now); err == nil || errors.Is(err, ErrChanged) {
		t.Errorf("illegal transition: got %v", err)
	}
	if got := get(t, l, flights); got.State != job.Blocked {
		t.Errorf("the job is %s", got.State)
	}
}

func TestRunGoesFromSlotToLastDay(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	r := start(t, l, flights)
	if b := board(t, l); !slices.Equal(b.Slots, []job.ID{flights}) || b.Jobs[flights].State != job.Running || b.Jobs[flights].Token != 1 {
		t.Errorf("running: %+v", b)
	}
	r.ClusterID, r.StepID = "j-1", "s-1"
	if err := l.SaveEngine(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Run(t.Context(), flights, 1); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("run:\ngot  %+v, %v\nwant %+v", got, err, r)
	}
	finish(t, l, r, job.RunSucceeded, "")
	b := board(t, l)
	if len(b.Slots) != 0 || b.LastDay["flights"] != flights.Day || b.Jobs[flights].State != job.Succeeded {
		t.Errorf("succeeded: %+v", b)
	}
	r.State, r.FinishedAt = job.RunSucceeded, now.Add(time.Minute)
	if got, err := l.Runs(t.Context(), flights); err != nil || !reflect.DeepEqual(got, []job.Run{r}) {
		t.Errorf("runs: %+v, %v", got, err)
	}
	want := []job.Notice{{Type: job.NoticeSucceeded, ID: flights, Token: 1, At: now.Add(time.Minute)}}
	if got, err := pending(t, l); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("outbox: %+v, %v", got, err)
	}
}

func board(t *testing.T, l *Ledger) job.Board {
	t.Helper()
	b, err := l.Board(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFailedRunFreesItsSlotAndKeepsItsReason(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	finish(t, l, start(t, l, flights), job.RunFailed, "header lacks carrier")
	b := board(t, l)
	j := b.Jobs[flights]
	if len(b.Slots) != 0 || b.LastDay["flights"] != "" || j.State != job.Failed || j.Reason != "header lacks carrier" {
		t.Errorf("got %+v", b)
	}
	if err := l.Reopen(t.Context(), j, sizing.Decision{Bytes: 900, Files: 1}, "delivered again"); err != nil {
		t.Fatal(err)
	}
	move(t, l, flights, job.Ready)
	if r := start(t, l, flights); r.Token != 2 {
		t.Errorf("the second run has token %d", r.Token)
	}
}

func TestRunThatIsGivenBackIsNoAttempt(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	want := get(t, l, flights)
	r := start(t, l, flights)
	if err := l.GiveBack(t.Context(), get(t, l, flights), r, "emr is switched off", now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want.Token, want.Opened, want.Engine, want.Sizing, want.Reason = 1, 1, "emr", r.Sizing, "emr is switched off"
	if got := get(t, l, flights); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if b := board(t, l); len(b.Slots) != 0 {
		t.Errorf("slots: %v", b.Slots)
	}
	r.State, r.Reason, r.FinishedAt = job.RunCancelled, "emr is switched off", now.Add(time.Second)
	if got, err := l.Run(t.Context(), flights, 1); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("run: %+v, %v", got, err)
	}
	if err := l.GiveBack(t.Context(), get(t, l, flights), r, "", now); !errors.Is(err, ErrChanged) {
		t.Errorf("twice: %v", err)
	}
	again := start(t, l, flights)
	act(t, l, flights, job.Cancel)
	if err := l.GiveBack(t.Context(), get(t, l, flights), again, "", now); !errors.Is(err, ErrChanged) {
		t.Errorf("a run that somebody wants cancelled: %v", err)
	}
}

func TestFinishingUnderAnOldTokenIsRefused(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	old := start(t, l, flights)
	finish(t, l, old, job.RunFailed, "x")
	if err := l.Reopen(t.Context(), get(t, l, flights), sizing.Decision{}, ""); err != nil {
		t.Fatal(err)
	}
	move(t, l, flights, job.Ready)
	start(t, l, flights)
	old.State, old.FinishedAt = job.RunSucceeded, now
	if err := l.Finish(t.Context(), ending(old), ""); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
	if b := board(t, l); len(b.Slots) != 1 || b.Jobs[flights].State != job.Running || b.LastDay["flights"] != "" {
		t.Errorf("the old run changed something: %+v", b)
	}
}

func TestManyWorkersGetFiveSlotsAndEachJobOnce(t *testing.T) {
	l, _ := open(t)
	var ids []job.ID
	for i := range 10 {
		id := job.ID{Feed: fmt.Sprintf("feed-%d", i), Day: "2013-01-01"}
		create(t, l, id)
		move(t, l, id, job.Ready)
		ids = append(ids, id)
	}
	var mu sync.Mutex
	started := map[job.ID]int{}
	var workers sync.WaitGroup
	for range 10 { // a hundred workers
		for _, id := range ids {
			workers.Go(func() {
				r := job.Run{ID: id, Token: 1, Engine: "emr", StartedAt: now}
				err := l.Start(context.WithoutCancel(t.Context()), r, 5)
				if err != nil && !errors.Is(err, ErrChanged) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					started[id]++
					mu.Unlock()
				}
			})
		}
	}
	workers.Wait()
	if len(started) != 5 {
		t.Errorf("%d jobs were started", len(started))
	}
	for id, n := range started {
		if n != 1 {
			t.Errorf("%s was started %d times", id, n)
		}
	}
	if b := board(t, l); len(b.Slots) != 5 {
		t.Errorf("%d slots are taken", len(b.Slots))
	}
}

func TestHundredWorkersClaimOneJobOnce(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	var workers sync.WaitGroup
	var claimed atomic.Int64
	for range 100 {
		workers.Go(func() {
			err := l.Start(context.WithoutCancel(t.Context()), job.Run{ID: flights, Token: 1, Engine: "emr", StartedAt: now}, 5)
			if err == nil {
				claimed.Add(1)
			} else if !errors.Is(err, ErrChanged) {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	if b := board(t, l); claimed.Load() != 1 || len(b.Slots) != 1 || b.Jobs[flights].Token != 1 {
		t.Errorf("%d workers have the job; %+v", claimed.Load(), b)
	}
}

func TestBoardHasPrerequisitesOfDaysLongPast(t *testing.T) {
	l, _ := open(t)
	for _, day := range []job.Day{"2013-01-01", "2013-01-02"} {
		id := job.ID{Feed: "airports", Day: day}
		create(t, l, id)
		move(t, l, id, job.Ready)
		finish(t, l, start(t, l, id), job.RunSucceeded, "")
	}
	create(t, l, flights)
	b := board(t, l)
	if got := b.Jobs[job.ID{Feed: "airports", Day: "2013-01-01"}].State; got != job.Succeeded {
		t.Errorf("the prerequisite is %q", got)
	}
	if b.LastDay["airports"] != "2013-01-02" || !slices.Equal(b.Feeds["flights"].Prerequisites, []string{"airports"}) ||
		b.Feeds["flights"].Window != time.Hour || b.Feeds["flights"].ContractKey != "contracts/flights.json" {
		t.Errorf("got %+v", b)
	}
}

func TestAlertingDecisionLeavesANotice(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	d := job.Decision{ID: flights, From: job.Waiting, To: job.Blocked, Reason: "prerequisite airports did not come", Alert: true}
	if err := l.Move(t.Context(), d, now); err != nil {
		t.Fatal(err)
	}
	want := job.Notice{Type: job.NoticeBlocked, ID: flights, Reason: d.Reason, At: now}
	got, err := pending(t, l)
	if err != nil || !reflect.DeepEqual(got, []job.Notice{want}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	later := now.Add(time.Minute)
	if err := l.Telling(t.Context(), want, later); err != nil {
		t.Fatal(err)
	}
	want.At, want.Tries = later, 1
	if got, err := pending(t, l); err != nil || !reflect.DeepEqual(got, []job.Notice{want}) {
		t.Errorf("told: got %+v, %v", got, err)
	}
	if err := l.Forget(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := l.Telling(t.Context(), want, later); !errors.Is(err, ErrChanged) {
		t.Errorf("a notice that was taken away came back: %v", err)
	}
	if got, err := pending(t, l); err != nil || len(got) != 0 {
		t.Errorf("forgotten: got %+v, %v", got, err)
	}
}

func TestExportIsRecordedForThePresentOutputOnly(t *testing.T) {
	l, db := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	finish(t, l, start(t, l, flights), job.RunSucceeded, "")
	commit := func(token int64, state job.CommitState) {
		emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitState": str(string(state)), "commitToken": num(token), "commitRevision": num(token)})
	}
	commit(1, job.Committed)
	j := get(t, l, flights)
	for token, state := range map[int64]job.CommitState{1: job.Committing, 2: job.Committed} {
		commit(token, state)
		if err := l.Exported(t.Context(), j, 1); !errors.Is(err, ErrChanged) {
			t.Errorf("run %d is %s: got %v", token, state, err)
		}
	}
	commit(1, job.Committed)
	if err := l.Loading(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := get(t, l, flights).Loading; got != 1 {
		t.Errorf("the rows of run %d are on their way", got)
	}
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"loading": num(7)})
	if err := l.Loading(t.Context(), j); !errors.Is(err, ErrChanged) {
		t.Errorf("others' rows are on their way since the job was read: %v", err)
	}
	if err := l.Loading(t.Context(), get(t, l, flights)); err != nil {
		t.Errorf("others' rows were on their way when the job was read: %v", err)
	}
	commit(2, job.Committed)
	if err := l.Loading(t.Context(), j); !errors.Is(err, ErrChanged) {
		t.Errorf("rows of an old output: %v", err)
	}
	commit(1, job.Committed)
	if err := l.Exported(t.Context(), j, 837); err != nil {
		t.Fatal(err)
	}
	if got, err := pending(t, l); err != nil || len(got) != 1 {
		t.Errorf("not told yet: outbox: %+v, %v", got, err)
	}
	if err := l.Telling(t.Context(), j.Output(now), now); err != nil {
		t.Fatal(err)
	}
	if err := l.Exported(t.Context(), j, 838); err != nil {
		t.Fatal(err)
	}
	if got := get(t, l, flights); got.Exported == nil || *got.Exported != 838 || got.Loading != 0 {
		t.Errorf("exported: %v, on their way: %d", got.Exported, got.Loading)
	}
	if got, err := pending(t, l); err != nil || len(got) != 0 {
		t.Errorf("outbox: %+v, %v", got, err)
	}
	// What the record job writes is read as counts and commit.
	n := func(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
	emulator.Set(t, db, l.tables.Jobs, jobKey(flights), item{
		"input": n("842"), "duplicate": n("0"), "commitToken": n("1"), "commitRevision": n("1"), "commitState": str("committed"), "manifest": str("s3://c/m"),
	})
	j = get(t, l, flights)
	if *j.Counts.Input != 842 || *j.Counts.Duplicate != 0 || j.Counts.New != nil || !j.Published() || j.Manifest != "s3://c/m" {
		t.Errorf("got %+v", j)
	}
}

func TestTicketIsKeptUntilTheJobEnded(t *testing.T) {
	l, _ := open(t)
	create(t, l, flights)
	move(t, l, flights, job.Ready)
	if err := l.TicketSent(t.Context(), flights, now); err != nil {
		t.Fatal(err)
	}
	save := func(ticket job.Ticket) error {
		t.Helper()
		j := get(t, l, flights)
		j.Ticket = ticket
		return l.SaveTicket(t.Context(), j)
	}
	if err := save(job.Ticket{ID: "m-1", Receipt: "r-1", ReceivedAt: now.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, l, flights).Ticket, (job.Ticket{SentAt: now, ID: "m-1", Receipt: "r-1", ReceivedAt: now.Add(time.Minute)}); got != want {
		t.Errorf("got %+v", got)
	}
	before := get(t, l, flights)
	r := start(t, l, flights)
	if err := l.SaveTicket(t.Context(), before); !errors.Is(err, ErrChanged) {
		t.Errorf("as it was before it started: got %v", err)
	}
	if err := save(job.Ticket{ID: "m-1", Receipt: "r-2", ReceivedAt: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Run(t.Context(), flights, r.Token); err != nil || got.Receipt != "r-2" {
		t.Errorf("the run has receipt %q, %v", got.Receipt, err)
	}
	if err := save(job.Ticket{SentAt: now.Add(12 * time.Hour)}); err != nil { // sent anew
		t.Fatal(err)
	}
	if got, want := get(t, l, flights).Ticket, (job.Ticket{SentAt: now.Add(12 * time.Hour)}); got != want {
		t.Errorf("sent anew: %+v", got)
	}
	finish(t, l, r, job.RunFailed, "x")
	if got := get(t, l, flights).Ticket; got != (job.Ticket{}) {
		t.Errorf("after the end: %+v", got)
	}
	if err := save(job.Ticket{ID: "m-1", Receipt: "r-1"}); !errors.Is(err, ErrChanged) {
		t.Errorf("after the end: got %v", err)
	}
}

// landed is one version of a file, of events one minute after another.
func landed(version int, sequencer string) job.File {
	return job.File{ID: flights, Name: "flights.csv", Bucket: "landing", Key: "flights/2013-01-01/flights.csv", Bytes: int64(840 + version), ETag: fmt.Sprint("e", version),
		VersionID: fmt.Sprint("v", version), Sequencer: sequencer, State: job.Landed, LandedAt: now}
}

func recorded(t *testing.T, l *Ledger, f, was job.File, want bool) {
	t.Helper()
	if got, err := l.RecordFile(t.Context(), f, was); err != nil || got != want {
		t.Errorf("recording %s over %q: got %v, %v", f.VersionID, was.VersionID, got, err)
	}
}

func holds(t *testing.T, l *Ledger, want job.File) {
	t.Helper()
	if got, err := l.Files(t.Context(), flights); err != nil || !reflect.DeepEqual(got, []job.File{want}) {
		t.Errorf("got %+v, %v, not %+v", got, err, want)
	}
}

func TestFileIsRecordedOncePerObject(t *testing.T) {
	l, _ := open(t)
	f, none := landed(1, ""), job.File{}
	recorded(t, l, f, none, true)
	recorded(t, l, f, none, false)
	newer := landed(2, "")
	recorded(t, l, newer, f, true)
	recorded(t, l, f, f, false)    // somebody who looked before it came
	recorded(t, l, f, none, false) // somebody who looked before any came
	holds(t, l, newer)
	stale := f
	stale.State = job.Late
	if wrote, err := l.MarkFile(t.Context(), stale, job.Landed); err != nil || wrote {
		t.Errorf("another object's state was changed: %v, %v", wrote, err)
	}
	newer.State, newer.Reason = job.Late, "the day is closed"
	if wrote, err := l.MarkFile(t.Context(), newer, job.Landed); err != nil || !wrote {
		t.Errorf("got %v, %v", wrote, err)
	}
	if err := l.FileAlerted(t.Context(), newer, now); err != nil {
		t.Fatal(err)
	}
	newer.AlertedAt = now
	if got, known, err := l.File(t.Context(), newer); err != nil || !known || !reflect.DeepEqual(got, newer) {
		t.Errorf("got %+v, %v, %v", got, known, err)
	}
}

func TestSequencerSaysWhichOfTwoObjectsIsNewer(t *testing.T) {
	l, _ := open(t)
	none := job.File{}
	recorded(t, l, landed(2, "0055AED6DCD90282"), none, true)
	recorded(t, l, landed(1, "0055AED6DCD90281E5"), none, false) // its event came late: longer, and yet earlier
	recorded(t, l, landed(2, "0055AED6DCD90282"), none, false)   // or twice
	holds(t, l, landed(2, "0055AED6DCD90282"))
	recorded(t, l, landed(3, "0055AED6DCD90282E5"), none, true) // nobody saw what is recorded, but it is the newer one
	recorded(t, l, landed(4, ""), none, false)                  // found by a sweep that looked before: nobody knows
	recorded(t, l, landed(4, ""), landed(3, ""), true)          // found by one that looked after
	holds(t, l, landed(4, ""))
	f := landed(4, "0055AED6DCD90283")
	if wrote, err := l.MarkFile(t.Context(), f, job.Landed); err != nil || !wrote { // its event came after the sweep
		t.Errorf("got %v, %v", wrote, err)
	}
	recorded(t, l, landed(3, "0055AED6DCD90282E5"), landed(3, ""), false)
	holds(t, l, f)
}

func TestRejectedFilesAreKeptApart(t *testing.T) {
	l, _ := open(t)
	f := job.File{Name: "no/such/place", Bucket: "landing", Key: "no/such/place", State: job.Rejected, Reason: "why", LandedAt: now}
	if wrote, err := l.RecordFile(t.Context(), f, job.File{}); err != nil || !wrote {
		t.Fatalf("got %v, %v", wrote, err)
	}
	if got, err := l.Rejected(t.Context()); err != nil || !reflect.DeepEqual(got, []job.File{f}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, known, err := l.File(t.Context(), job.File{ID: flights, Name: "x"}); err != nil || known {
		t.Errorf("an unknown file: %v, %v", known, err)
	}
}

func TestPassIsAsItWasSavedAndOnlyOneGoesOnWithIt(t *testing.T) {
	l, db := open(t)
	if got, err := l.Pass(t.Context()); err != nil || got != (Pass{}) {
		t.Errorf("before any: %+v, %v", got, err)
	}
	// A release of before wrote when it was last through.
	emulator.Set(t, db, l.tables.Progress, item{"name": str(passItem)}, item{"at": str(stamp(now))})
	was := Pass{Last: now}
	for _, is := range []Pass{{Last: now, Began: now.Add(time.Hour)}, {Last: now, Began: now.Add(time.Hour), After: "flights/2013-01-01/", Failed: true}, {Last: now.Add(time.Hour)}} {
		if got, err := l.Pass(t.Context()); err != nil || got != was {
			t.Errorf("%+v, %v, not %+v", got, err, was)
		}
		if err := l.SavePass(t.Context(), was, is); err != nil {
			t.Fatal(err)
		}
		if err := l.SavePass(t.Context(), was, Pass{}); !errors.Is(err, ErrChanged) && was.Began != is.Began {
			t.Errorf("two go on from %+v: %v", was, err)
		}
		was = is
	}
}

func TestClusterIsClosedUntilItIsKept(t *testing.T) {
	l, _ := open(t)
	for _, c := range []struct {
		do   func() error
		want []string
	}{
		{func() error { return l.Keep(t.Context(), "j-1") }, nil},
		{func() error { return l.Close(t.Context(), "j-1") }, []string{"j-1"}},
		{func() error { return l.Close(t.Context(), "j-1") }, []string{"j-1"}},
		{func() error { return l.Close(t.Context(), "j-2") }, []string{"j-1", "j-2"}},
		{func() error { return l.Keep(t.Context(), "j-1") }, []string{"j-2"}},
		{func() error { return l.Keep(t.Context(), "j-2") }, nil},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		got, err := l.Closing(t.Context())
		slices.Sort(got)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("got %v, %v, not %v", got, err, c.want)
		}
	}
}

func TestRunsOnAClusterAreThoseThatChoseIt(t *testing.T) {
	l, _ := open(t)
	var runs []job.Run
	for _, feed := range []string{"airports", "flights"} {
		id := job.ID{Feed: feed, Day: "2013-01-01"}
		create(t, l, id)
		move(t, l, id, job.Ready)
		r := job.Run{ID: id, Token: 1, Engine: "emr", StartedAt: now}
		if err := l.Start(t.Context(), r, 5); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	on := func(cluster string) (feeds []string) {
		t.Helper()
		got, err := l.RunsOn(t.Context(), cluster)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			feeds = append(feeds, r.Feed)
		}
		slices.Sort(feeds)
		return feeds
	}
	if got := on("j-1"); got != nil {
		t.Errorf("before any choice: %v", got)
	}
	for i, cluster := range []string{"j-1", "j-2"} {
		runs[i].ClusterID = cluster
		if err := l.SaveEngine(t.Context(), runs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got := on("j-1"); !slices.Equal(got, []string{"airports"}) {
		t.Errorf("j-1: %v", got)
	}
	runs[0].State, runs[0].FinishedAt = job.RunFailed, now
	if err := l.Finish(t.Context(), ending(runs[0]), ""); err != nil {
		t.Fatal(err)
	}
	if got := on("j-1"); got != nil {
		t.Errorf("after its end: %v", got)
	}
}
