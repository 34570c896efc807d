package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/store"
	"github.com/sluice-data/sluice/internal/warehouse"
)

// port is what every effect of every function goes through. It counts calls, and can end the function before or after one of them, or
// lose its answer. Of a function that died no further call takes effect.
type port struct {
	mu    sync.Mutex
	calls int
	at    int // at is the call that something happens to; 0: none.
	how   mishap
	dead  bool
	busy  func() bool // busy tells whether a call is throttled.
}

type mishap string

const (
	diesBefore mishap = "dies before"
	diesAfter  mishap = "dies after"
	loses      mishap = "loses the answer of"
)

var (
	errDied = errors.New("the function's process has ended")
	errLost = errors.New("the answer got lost")
	errBusy = errors.New("throttled")
)

// before returns the number of the call.
func (p *port) before() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.dead = p.dead || p.calls == p.at && p.how == diesBefore
	switch {
	case p.dead:
		return p.calls, errDied
	case p.busy != nil && p.busy():
		return p.calls, errBusy
	}
	return p.calls, nil
}

func (p *port) after(call int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = p.dead || call == p.at && p.how == diesAfter
	switch {
	case p.dead:
		return errDied
	case call == p.at && p.how == loses:
		return errLost
	}
	return nil
}

// through makes a call through the port.
func through[T any](p *port, f func() (T, error)) (T, error) {
	var zero T
	call, err := p.before()
	if err != nil {
		return zero, err
	}
	out, err := f()
	if lost := p.after(call); lost != nil {
		return zero, lost
	}
	return out, err
}

// played is a run on the engine of a stage.
type played struct {
	run       job.Run
	status    engine.Status
	dead      bool // dead: its process has ended; otherwise it may publish, whatever the engine says.
	claimed   bool
	revision  int64
	retracts  bool  // retracts: its order takes the day back.
	publishes int64 // publishes is the token of the commit that it finishes.
}

// queued is a message as SQS keeps it: hidden for a while after it was received, at most twelve hours however often that is renewed.
type queued struct {
	id       string
	job      job.ID
	receives int
	since    time.Time // since is when it was received last.
	until    time.Time // until is how long it is hidden.
}

func (q *queued) receipt() string { return fmt.Sprintf("%s/%d", q.id, q.receives) }

// stage is a country in memory: the real functions and rules, the real ledger on a database in memory, everything else played.
type stage struct {
	port    *port
	model   *model
	db      *emulator.Memory
	now     time.Time
	tables  discovery.Tables
	landed  map[string]job.File
	objects map[string][]byte
	queue   []*queued
	sent    int // sent counts the tickets.
	alerts  []string
	runs    map[string]*played
	version int

	pageSize int // pageSize is how many objects a page of a listing has.

	announced []job.ID         // announced are the days that export-table was told of.
	loads     map[string]*load // loads are BigQuery's jobs by what they load.
	slow      bool             // slow: BigQuery's jobs take longer than anybody waits for them.

	conflict  func() bool // conflict tells of a write whether a transaction touches its item at that moment; nil: never.
	asked     func()      // asked happens when an engine is asked for a run, before it answers.
	meanwhile func()      // meanwhile happens after somebody looked at the landing bucket, before what was seen is used.

	ledger   *ledger.Ledger
	intake   Intake
	promoter Promoter
	starter  Starter
	teller   Teller
	operator Operator
	exporter warehouse.Exporter
}

func newStage(t testing.TB, parallel int, feeds ...map[string]types.AttributeValue) *stage {
	s := &stage{port: &port{}, db: emulator.NewMemory(), now: time.Date(2013, 1, 5, 12, 0, 0, 0, time.UTC), landed: map[string]job.File{}, objects: map[string][]byte{},
		runs: map[string]*played{}, loads: map[string]*load{}, pageSize: 3}
	s.tables = emulator.Tables(t, s.db, "stage", feeds...)
	s.ledger = ledger.New(s.db, s.tables)
	known, err := s.ledger.Feeds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.model = newModel(known, parallel)
	for name := range known {
		s.objects["contracts/"+name+".json"] = []byte("{}")
	}
	s.ledger.Pause = func(context.Context, int) error { return nil }
	s.db.Conflict = func() bool { return s.conflict != nil && s.conflict() }
	s.db.Before, s.db.After = func() (int, error) { return s.port.before() }, func(call int) error { return s.port.after(call) }
	clock := func() time.Time { return s.now }
	country := discovery.Country{Stack: "test", Country: "us", Parallel: parallel, Tables: s.tables}
	s.intake = Intake{Ledger: s.ledger, Landing: s, Alerts: s, Zone: time.UTC, Now: clock, always: true}
	s.promoter = Promoter{Ledger: s.ledger, Landing: s, Tickets: s, Topics: s, Zone: time.UTC, Parallel: parallel, Now: clock}
	s.starter = Starter{Ledger: s.ledger, Tickets: s, Engine: engineOf{s}, Clusters: engineOf{s}, Switch: &playedSwitch{}, Artifacts: s, Country: country, Now: clock,
		Finisher: Finisher{Ledger: s.ledger, Artifacts: s, Tickets: s, Now: clock},
		Promoter: Promoter{Ledger: s.ledger, Landing: s, Tickets: s, Zone: time.UTC, Parallel: parallel, Now: clock}}
	s.teller = Teller{Ledger: s.ledger, Artifacts: s, Topics: s, Days: s.intake, Now: clock}
	s.operator = Operator{Ledger: s.ledger, Days: s.intake, By: "ann", Now: clock}
	s.exporter = warehouse.Exporter{Ledger: s.ledger, Manifests: s, Warehouse: s}
	return s
}

// quiet drops the functions' log lines for a test of many steps.
func quiet(t testing.TB) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1})))
	t.Cleanup(func() { slog.SetDefault(before) })
}

func (s *stage) List(_ context.Context, prefix, after string) ([]job.File, error) {
	return through(s.port, func() ([]job.File, error) {
		var found []job.File
		for _, key := range slices.Sorted(maps.Keys(s.landed)) {
			if strings.HasPrefix(key, prefix) && key > after {
				found = append(found, s.landed[key])
			}
		}
		s.port.mu.Lock()
		meanwhile := s.meanwhile
		s.meanwhile = nil
		s.port.mu.Unlock()
		if meanwhile != nil {
			meanwhile()
		}
		return found, nil
	})
}

func (s *stage) Page(ctx context.Context, prefix, after string) ([]job.File, string, error) {
	all, err := s.List(ctx, prefix, after)
	if err != nil || len(all) <= s.pageSize {
		return all, "", err
	}
	return all[:s.pageSize], all[s.pageSize-1].Key, nil
}

func (s *stage) URI(key string) string { return "s3://artifacts/" + key }

func (s *stage) ReadJSON(_ context.Context, key string, out any) error {
	_, err := through(s.port, func() (any, error) {
		text, ok := s.objects[key]
		if !ok {
			return nil, store.ErrNotFound
		}
		return nil, json.Unmarshal(text, out)
	})
	return err
}

func (s *stage) WriteJSON(_ context.Context, key string, document any) error {
	_, err := through(s.port, func() (any, error) {
		text, err := json.Marshal(document)
		s.objects[key] = text
		return nil, err
	})
	return err
}

func (s *stage) Send(_ context.Context, id job.ID) error {
	_, err := through(s.port, func() (any, error) {
		s.sent++
		s.queue = append(s.queue, &queued{id: fmt.Sprint("m-", s.sent), job: id})
		return nil, nil
	})
	return err
}

func (s *stage) Receive(context.Context) ([]messages.Received, error) {
	return through(s.port, func() ([]messages.Received, error) {
		var all []messages.Received
		for _, q := range s.queue {
			if s.now.Before(q.until) {
				continue
			}
			q.receives, q.since, q.until = q.receives+1, s.now, s.now.Add(5*time.Minute)
			all = append(all, messages.Received{Job: q.job, Ticket: job.Ticket{ID: q.id, Receipt: q.receipt()}})
		}
		return all, nil
	})
}

func (s *stage) Renew(_ context.Context, receipts []string) error {
	_, err := through(s.port, func() (any, error) {
		for _, q := range s.queue {
			until := s.now.Add(5 * time.Minute)
			if slices.Contains(receipts, q.receipt()) && s.now.Before(q.until) && until.Sub(q.since) <= 12*time.Hour {
				q.until = until
			}
		}
		return nil, nil
	})
	return err
}

func (s *stage) Delete(_ context.Context, receipt string) error {
	_, err := through(s.port, func() (any, error) {
		s.queue = slices.DeleteFunc(s.queue, func(q *queued) bool { return q.receipt() == receipt })
		return nil, nil
	})
	return err
}

func (s *stage) Announce(_ context.Context, kind job.NoticeType, id job.ID, _ int64) error {
	_, err := through(s.port, func() (any, error) {
		if kind == job.NoticeSucceeded {
			s.announced = append(s.announced, id)
		}
		return nil, nil
	})
	return err
}

// load is a job of BigQuery's: it goes on when who asked for it has died.
type load struct {
	manifest warehouse.Manifest
	fence    bool // fence: it only takes the id.
	done     bool
}

func (s *stage) bigQuery(name string) {
	l := s.loads[name]
	id, m := job.ID{Feed: l.manifest.Feed, Day: l.manifest.Day}, l.manifest
	if !l.done && !l.fence {
		if m.Revision < s.model.loaded[id] {
			s.model.wrong("%s revision %d replaces revision %d in BigQuery", id, m.Revision, s.model.loaded[id])
		}
		s.model.loaded[id] = m.Revision
	}
	l.done = true
}

// ask has BigQuery do a job unless it has one of that name, and waits for its end.
func (s *stage) ask(id job.ID, token int64, wants load) (load, error) {
	name := fmt.Sprintf("%s#%d", id, token)
	if _, err := through(s.port, func() (any, error) {
		if s.loads[name] == nil {
			s.loads[name] = &wants
		}
		return nil, nil
	}); err != nil {
		return load{}, err
	}
	return through(s.port, func() (load, error) {
		if s.slow {
			return load{}, context.DeadlineExceeded
		}
		s.bigQuery(name)
		return *s.loads[name], nil
	})
}

// Load is the warehouse's.
func (s *stage) Load(_ context.Context, m warehouse.Manifest) (int64, error) {
	l, err := s.ask(job.ID{Feed: m.Feed, Day: m.Day}, m.Token, load{manifest: m})
	if err == nil && l.fence {
		err = ledger.ErrChanged
	}
	return m.Rows, err
}

// Fence is the warehouse's.
func (s *stage) Fence(_ context.Context, id job.ID, token int64) error {
	_, err := s.ask(id, token, load{fence: true})
	return err
}

// export is export-table.
func (s *stage) export(id job.ID) {
	s.function(func(ctx context.Context) error { return s.exporter.Export(ctx, id) })
}

func (s *stage) Alert(_ context.Context, e messages.Event) error {
	_, err := through(s.port, func() (any, error) {
		s.alerts = append(s.alerts, fmt.Sprintf("%s %s/%s#%d %s", e.Type, e.Feed, e.Day, e.Token, e.File))
		return nil, nil
	})
	return err
}

// engineOf is the stage's engine.
type engineOf struct{ *stage }

func (s engineOf) Begin() {}

func (s engineOf) Sizes(context.Context) ([]string, error) {
	return through(s.port, func() ([]string, error) { return []string{"small"}, nil })
}

func (s engineOf) Start(_ context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	name := fmt.Sprintf("%s#%d", r.ID, r.Token)
	_, err := through(s.port, func() (any, error) {
		if s.runs[name] == nil {
			s.model.started(r.ID, r.Token)
			s.runs[name] = &played{run: r, status: engine.Status{State: engine.Active}}
		}
		return nil, nil
	})
	if err != nil {
		return r, err
	}
	r.ClusterID, r.StepID = "j-1", name
	return r, save(r)
}

func (s engineOf) Status(_ context.Context, r job.Run) (engine.Status, error) {
	if s.asked != nil {
		s.asked()
	}
	return through(s.port, func() (engine.Status, error) { return s.runs[r.StepID].status, nil })
}

func (s engineOf) Cancel(_ context.Context, r job.Run) error {
	_, err := through(s.port, func() (any, error) {
		if p := s.runs[r.StepID]; p.status.State == engine.Active {
			s.over(p, engine.Cancelled, "")
		}
		return nil, nil
	})
	return err
}

// over has the engine say that a run is over.
func (s *stage) over(p *played, state engine.State, reason string) {
	p.status = engine.Status{State: state, Reason: reason}
	s.model.ended(p.run.ID, p.run.Token)
}

// function runs one function until it returns, fails or dies. What it did not do, a later one does.
func (s *stage) function(f func(ctx context.Context) error) {
	_ = f(context.Background()) // Lambda calls it again, or the next tick does
	s.port.dead = false
}

func (s *stage) receive(keys ...string) {
	s.function(func(ctx context.Context) error {
		var files []job.File
		for _, k := range keys {
			files = append(files, job.File{Key: k})
		}
		_, faults := s.intake.Keys(ctx, files)
		return errors.Join(append(faults, s.promoter.Promote(ctx))...)
	})
}

func (s *stage) sweep() {
	s.function(func(ctx context.Context) error {
		err := errors.Join(s.ledger.Migrate(ctx), s.promoter.Promote(ctx), s.teller.Tell(ctx))
		changed, swept := s.intake.Tick(ctx)
		if changed {
			swept = errors.Join(swept, s.promoter.Promote(ctx))
		}
		return errors.Join(err, swept)
	})
}

func (s *stage) start() { s.function(s.starter.Work) }

// end is finish-job, woken by the end of a run.
func (s *stage) end(p *played) {
	s.function(func(ctx context.Context) error {
		r, err := s.ledger.Run(ctx, p.run.ID, p.run.Token)
		if err != nil {
			return err
		}
		r.ClusterID, r.StepID = "j-1", fmt.Sprintf("%s#%d", r.ID, r.Token)
		return errors.Join(s.starter.Finisher.Finish(ctx, r, p.status), s.promoter.Promote(ctx), s.teller.Tell(ctx))
	})
}

// put lands an object.
func (s *stage) put(key string) {
	s.version++
	s.landed[key] = job.File{Key: key, Bytes: 10, ETag: fmt.Sprint(s.version), VersionID: fmt.Sprint(s.version), LandedAt: s.now}
}

func (s *stage) deliver(id job.ID) (keys []string) {
	keys = []string{id.String() + "/data.csv", id.String() + "/_COMPLETE"}
	for _, k := range keys {
		s.put(k)
	}
	s.model.delivered(id)
	return keys
}

// misname lands an object in a day's folder that cannot be read, and returns its key. What comes after the day was delivered is seen only by
// who looks, so that the model promises nothing about it.
func (s *stage) misname(id job.ID) string {
	key := id.String() + "/a#b.csv"
	s.put(key)
	if s.model.wanted[id] == 0 {
		s.model.unread[id] = true
	}
	return key
}

// takeAway deletes what cannot be read of a day.
func (s *stage) takeAway(id job.ID) {
	delete(s.landed, id.String()+"/a#b.csv")
	delete(s.model.unread, id)
}

// itself runs something that is no function's: no mishap comes to it.
func (s *stage) itself(f func()) {
	saved := s.port
	s.port = &port{}
	f()
	s.port = saved
}

func (s *stage) job(id job.ID) (j job.Job) {
	s.itself(func() { j, _ = s.ledger.Get(context.Background(), id) })
	return j
}

// peek reads a job past the port.
func (s *stage) peek(id job.ID) job.Job {
	db := emulator.NewMemory()
	db.Replace(s.tables.Jobs, s.db)
	j, _ := ledger.New(db, s.tables).Get(context.Background(), id)
	return j
}

// progress is one step of a run's process, as the record job does it: it claims, publishes, says so, ends. It tells whether it went on.
func (s *stage) progress(p *played) {
	s.itself(func() {
		if p.dead {
			return
		}
		write := func(update, condition string, values map[string]types.AttributeValue) bool {
			for {
				_, err := s.db.UpdateItem(context.Background(), &dynamodb.UpdateItemInput{TableName: &s.tables.Jobs, Key: map[string]types.AttributeValue{
					"feed": &types.AttributeValueMemberS{Value: p.run.ID.Feed}, "day": &types.AttributeValueMemberS{Value: string(p.run.ID.Day)}},
					UpdateExpression: aws.String(update), ConditionExpression: aws.String(condition),
					ExpressionAttributeNames: map[string]string{"#state": "state", "#token": "token", "#cancel": "cancel"}, ExpressionAttributeValues: values})
				if conflict := (*types.TransactionConflictException)(nil); !errors.As(err, &conflict) { // else the job tries again
					return err == nil
				}
			}
		}
		text := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
		number := func(n int64) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(n)} }
		token := p.run.Token
		values := map[string]types.AttributeValue{":running": text("running"), ":t": number(token), ":committed": text("committed")}
		fails := func() { p.dead = true; s.overIfActive(p, engine.Failed, "may not publish") }
		if !p.claimed {
			var o Order
			if err := json.Unmarshal(s.objects[orderKey(p.run.ID, token)], &o); err != nil {
				panic(err)
			}
			j := s.job(p.run.ID)
			p.revision, p.publishes = o.Revision, token
			p.retracts = o.Retract
			switch {
			case j.State != job.Running || j.Token != token || j.Cancel != "":
				fails()
				return
			case j.Commit.State == job.Committed && j.Commit.Revision == o.Revision:
				p.dead = true
				s.overIfActive(p, engine.Succeeded, "")
				return
			case j.Commit.State == job.Committing && (o.Resume == nil || o.Resume.Token != j.Commit.Token):
				fails()
				return
			case j.Commit.State == job.Committing && j.Commit.Revision == o.Revision:
				p.publishes = j.Commit.Token
			default:
				manifest, rows := fmt.Sprintf("manifests/%s/%d.json", p.run.ID, token), int64(1)
				if o.Retract {
					rows = 0
				}
				s.objects[manifest], _ = json.Marshal(warehouse.Manifest{Feed: p.run.ID.Feed, Day: p.run.ID.Day, Token: token, Revision: o.Revision, Rows: rows})
				values[":nobody"] = text("")
				values[":r"], values[":committing"], values[":manifest"] = number(o.Revision), text("committing"), text(manifest)
				if !write("SET commitToken = :t, commitRevision = :r, commitState = :committing, manifest = :manifest",
					"#state = :running AND #token = :t AND (attribute_not_exists(#cancel) OR #cancel = :nobody) AND (attribute_not_exists(commitState) OR commitState <> :committed OR commitRevision < :r)", values) {
					fails()
					return
				}
			}
			for _, f := range o.Files {
				if s.model.void[p.run.ID][f.VersionID] {
					s.model.wrong("%s#%d reads version %s of %s, which was retracted", p.run.ID, token, f.VersionID, f.Key)
				}
			}
			p.claimed = true
			return
		}
		s.model.published(p.run.ID, p.revision, p.publishes, token, p.retracts)
		values[":c"] = number(p.publishes)
		if !write("SET commitState = :committed", "#state = :running AND #token = :t AND commitToken = :c", values) {
			fails()
			return
		}
		s.model.said[p.run.ID] = p.revision
		p.dead = true
		s.overIfActive(p, engine.Succeeded, "")
	})
}

func (s *stage) overIfActive(p *played, state engine.State, reason string) {
	if p.status.State == engine.Active {
		s.over(p, state, reason)
	}
}

// sorted are the runs by name.
func (s *stage) sorted() []*played {
	var all []*played
	for _, name := range slices.Sorted(maps.Keys(s.runs)) {
		all = append(all, s.runs[name])
	}
	return all
}

// rest lets everything come to its end: no mishap any more, people let go what they stopped, and time passes.
func (s *stage) rest() {
	s.port, s.conflict = &port{}, nil
	defer func() {
		for _, name := range slices.Sorted(maps.Keys(s.loads)) {
			s.bigQuery(name)
		}
	}()
	ctx := context.Background()
	for range 60 {
		s.now = s.now.Add(20 * time.Minute)
		s.sweep()
		s.start()
		for _, p := range s.sorted() {
			for range 3 {
				s.progress(p)
			}
		}
		s.start()
		for _, id := range s.announced {
			s.export(id)
		}
		s.announced = nil
		jobs, err := s.ledger.List(ctx)
		if err != nil {
			panic(err)
		}
		idle := true
		for _, j := range jobs {
			if (j.Done() || j.TakenBack()) && j.Exported == nil && slices.Contains(s.alerts, fmt.Sprintf("export.failed %s#%d ", j.ID, j.Commit.Token)) {
				_, _ = s.operator.Do(ctx, j.ID, job.Redrive, "end") // nobody exports it any more without being asked
			}
			for _, verb := range []job.Verb{job.Release, job.Redrive, job.Restate} {
				if !j.Done() && j.State != job.Running {
					if is, err := s.operator.Do(ctx, j.ID, verb, "end"); err == nil {
						s.wants(is)
						break
					}
				}
			}
			idle = idle && (j.Done() || j.TakenBack()) && (j.Exported != nil || j.Commit.State == "")
		}
		if idle && len(jobs) == len(s.model.wanted) && len(s.model.missing()) == 0 {
			s.now = s.now.Add(20 * time.Minute)
			s.sweep()
			return
		}
	}
}

// wants tells the model what a person did.
func (s *stage) wants(j job.Job) {
	if len(j.Acts) == s.model.acts[j.ID] {
		return // nothing was done to the job: only its export is tried again
	}
	s.model.acts[j.ID] = len(j.Acts)
	s.model.stopped[j.ID] = j.State == job.Held || j.State == job.Cancelled
	s.model.unwanted[j.ID] = j.State == job.Cancelled || j.Cancel != ""
	s.model.wanted[j.ID] = j.Revision
	if j.Unread.ID == j.Waived {
		delete(s.model.unread, j.ID) // somebody decided to go without
	}
	if j.State == job.Running && j.Cancel != "" {
		s.model.cancelled[j.ID] = j.Token
		s.model.keeps(j.ID)
	}
	if by := j.Acts; len(by) > 0 && by[len(by)-1].Verb == job.Retract && (j.Retract || j.TakenBack()) {
		var versions []string
		for key, f := range s.landed {
			if strings.HasPrefix(key, j.ID.String()+"/") {
				versions = append(versions, f.VersionID)
			}
		}
		s.model.retracted(j.ID, j.Revision, j.State == job.Cancelled, versions)
	} else if j.State == job.Cancelled {
		s.model.keeps(j.ID)
	}
	if j.Retract && j.Cancel == "" && !s.model.gone[j.ID] {
		s.model.wanted[j.ID]++ // it was delivered again while a run is to take it back
	}
}

// person has a person do something to a job, with a mishap to one of the calls perhaps, and says to the model what came of it.
func (s *stage) person(id job.ID, verb job.Verb) {
	before := s.job(id)
	s.function(func(ctx context.Context) error {
		_, err := s.operator.Do(ctx, id, verb, "because")
		return err
	})
	if after := s.job(id); len(after.Acts) > len(before.Acts) {
		s.wants(after)
	}
}
