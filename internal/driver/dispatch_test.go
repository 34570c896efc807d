package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
)

// takes is how long something takes on AWS: it is drawn from the log-normal distribution with this median and 99th percentile.
type takes struct{ median, p99 time.Duration }

// What AWS takes; bench/dispatch.md has the sources.
var (
	aTable   = takes{5 * time.Millisecond, 25 * time.Millisecond}    // a call to DynamoDB
	anObject = takes{100 * time.Millisecond, 200 * time.Millisecond} // a call to S3
	aMessage = takes{20 * time.Millisecond, 200 * time.Millisecond}  // a call to SQS, SNS or SSM
	anEngine = takes{100 * time.Millisecond, 500 * time.Millisecond} // a call to EMR
	aQueue   = takes{16 * time.Millisecond, 105 * time.Millisecond}  // from a queue to a function that is warm
	aTopic   = takes{73 * time.Millisecond, 225 * time.Millisecond}  // from a topic
	aRule    = takes{148 * time.Millisecond, 387 * time.Millisecond} // from a rule
	aStart   = takes{200 * time.Millisecond, time.Second}            // the start of a function that is not warm
)

const (
	warm      = 5 * time.Minute // warm is how long a function stays that nobody calls.
	throttled = time.Second     // throttled is how long Lambda waits before it gives a throttled event again; then twice as long, up to five minutes.
)

// simulated is a country that works in virtual time: the real functions, rules and ledger, each call and delivery with the time that it
// takes on AWS, and functions that run beside each other, or wait for each other, as Lambda has them.
type simulated struct {
	mu      sync.Mutex
	random  *rand.Rand
	db      *emulator.Memory
	tables  discovery.Tables
	landed  map[string]job.File
	objects map[string][]byte
	tickets []job.ID
	runs    map[string]time.Time // runs are when the engine is through with each
	takes   map[job.ID]time.Duration
	working bool                 // working: start-jobs runs, and another one is throttled
	called  map[string]time.Time // called is when each function was last
	left    int                  // left are the jobs that have not succeeded

	intake   Intake
	promoter Promoter
	starter  Starter
	teller   Teller

	watched *ledger.Ledger // watched is the ledger, seen from outside of time
	open    []time.Time    // open is since when each job that could run does not
	delays  []time.Duration
	busy    time.Duration // busy is how long slots were taken, idle how long one was free that a job could have had
	idle    time.Duration
}

// elapse lets virtual time pass: all of this is in a bubble of testing/synctest, whose clock jumps when everybody waits, so that nothing waits
// for a real one.
func elapse(d time.Duration) { time.Sleep(d) }

// pass lets the time pass that something takes.
func (s *simulated) pass(t takes) {
	s.mu.Lock()
	factor := math.Exp(math.Log(float64(t.p99)/float64(t.median)) / 2.326 * s.random.NormFloat64())
	s.mu.Unlock()
	elapse(time.Duration(float64(t.median) * factor))
}

// remote is the database as functions reach it.
type remote struct{ *simulated }

func (r remote) GetItem(ctx context.Context, in *dynamodb.GetItemInput, o ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	r.pass(aTable)
	return r.db.GetItem(ctx, in, o...)
}

func (r remote) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	r.pass(aTable)
	return r.db.Query(ctx, in, o...)
}

func (r remote) Scan(ctx context.Context, in *dynamodb.ScanInput, o ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	r.pass(aTable)
	return r.db.Scan(ctx, in, o...)
}

func (r remote) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, o ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	r.pass(aTable)
	return r.db.BatchGetItem(ctx, in, o...)
}

func (r remote) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	r.pass(aTable)
	return r.db.PutItem(ctx, in, o...)
}

func (r remote) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	r.pass(aTable)
	out, err := r.db.UpdateItem(ctx, in, o...)
	r.look()
	return out, err
}

func (r remote) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, o ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	r.pass(aTable)
	out, err := r.db.DeleteItem(ctx, in, o...)
	r.look()
	return out, err
}

func (r remote) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	r.pass(aTable)
	out, err := r.db.TransactWriteItems(ctx, in, o...)
	r.look()
	return out, err
}

// look sees which jobs could run now: those that the plan would start if everything else that it wants were done.
func (s *simulated) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.watched.Board(context.Background())
	if err != nil {
		panic(err)
	}
	b.Now, b.Zone, b.Parallel = time.Now(), time.UTC, s.starter.Country.Parallel
	could := 0
	for again := true; again; {
		again, could = false, 0
		for _, d := range job.Plan(b) {
			if d.To == job.Running {
				could++
				continue
			}
			j := b.Jobs[d.ID]
			again = again || j.State != d.To || j.Reason != d.Reason
			j.State, j.Reason = d.To, d.Reason
			b.Jobs[d.ID] = j
		}
	}
	for len(s.open) < could {
		s.open = append(s.open, b.Now)
	}
	for len(s.open) > could { // whoever waits longest counts as the one that starts
		waited := b.Now.Sub(s.open[0])
		s.delays, s.idle, s.open = append(s.delays, waited), s.idle+waited, s.open[1:]
	}
}

// invoke brings an event to a function. Of start-jobs one runs at a time: others wait as Lambda lets them.
func (s *simulated) invoke(name string, way takes, f func(ctx context.Context) error) {
	single := name == "start-jobs"
	go func() {
		s.pass(way)
		for wait := throttled; single; wait = min(2*wait, 5*time.Minute) {
			s.mu.Lock()
			free := !s.working
			s.working = true
			s.mu.Unlock()
			if free {
				break
			}
			elapse(wait)
		}
		s.mu.Lock()
		cold := time.Since(s.called[name]) > warm
		s.called[name] = time.Now()
		s.mu.Unlock()
		if cold {
			s.pass(aStart)
		}
		err := f(context.Background())
		if single {
			s.mu.Lock()
			s.working = false
			s.mu.Unlock()
		}
		if err != nil && !errors.Is(err, ledger.ErrChanged) {
			panic(err) // nothing here fails
		}
	}()
}

func (s *simulated) Announce(_ context.Context, kind job.NoticeType, id job.ID, token int64) error {
	s.pass(aMessage)
	s.invoke("start-jobs", aTopic, s.starter.Work)
	if kind == job.NoticeSucceeded {
		s.invoke("export-table", aTopic, func(ctx context.Context) error {
			j, err := s.starter.Finisher.Ledger.Get(ctx, id)
			if err != nil {
				return err
			}
			elapse(10 * time.Second) // the load at BigQuery
			return s.starter.Finisher.Ledger.(*ledger.Ledger).Exported(ctx, j, 1)
		})
	}
	return nil
}

func (s *simulated) Alert(context.Context, messages.Event) error { s.pass(aMessage); return nil }

func (s *simulated) List(_ context.Context, prefix, after string) ([]job.File, error) {
	s.pass(anObject)
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []job.File
	for _, key := range slices.Sorted(maps.Keys(s.landed)) {
		if strings.HasPrefix(key, prefix) && key > after {
			found = append(found, s.landed[key])
		}
	}
	return found, nil
}

func (s *simulated) Page(ctx context.Context, prefix, after string) ([]job.File, string, error) {
	all, err := s.List(ctx, prefix, after)
	return all, "", err
}

func (s *simulated) URI(key string) string { return "s3://artifacts/" + key }

func (s *simulated) ReadJSON(_ context.Context, key string, out any) error {
	s.pass(anObject)
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, ok := s.objects[key]; ok {
		return json.Unmarshal(text, out)
	}
	return store.ErrNotFound
}

func (s *simulated) WriteJSON(_ context.Context, key string, document any) error {
	s.pass(anObject)
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(document)
	s.objects[key] = text
	return err
}

func (s *simulated) Send(_ context.Context, id job.ID) error {
	s.pass(aMessage)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets = append(s.tickets, id)
	return nil
}

func (s *simulated) Receive(context.Context) ([]messages.Received, error) {
	s.pass(aMessage)
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []messages.Received
	for _, id := range s.tickets {
		all = append(all, messages.Received{Job: id, Ticket: job.Ticket{ID: id.String(), Receipt: id.String()}})
	}
	s.tickets = nil
	return all, nil
}

func (s *simulated) Renew(context.Context, []string) error { s.pass(aMessage); return nil }

func (s *simulated) Delete(context.Context, string) error { s.pass(aMessage); return nil }

func (s *simulated) Off(context.Context) (map[string]string, error) {
	s.pass(aMessage)
	return map[string]string{}, nil
}

// simulatedEngine has a cluster that is up.
type simulatedEngine struct{ *simulated }

func (s simulatedEngine) Begin() {}

func (s simulatedEngine) Sizes(context.Context) ([]string, error) {
	s.pass(anEngine)
	return []string{"large"}, nil
}

func (s simulatedEngine) Start(_ context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	for range 3 { // find the cluster, look for the step, add it
		s.pass(anEngine)
	}
	name := fmt.Sprintf("%s#%d", r.ID, r.Token)
	s.mu.Lock()
	takes := s.takes[r.ID]
	s.runs[name] = time.Now().Add(takes)
	s.busy += takes
	s.mu.Unlock()
	go func(r job.Run) { // its own: ours is changed below
		elapse(takes)
		s.commit(r)
		s.invoke("finish-job", aRule, func(ctx context.Context) error { return s.ended(ctx, r.ID, r.Token) })
	}(r)
	r.ClusterID, r.StepID = "j-1", name
	return r, save(r)
}

func (s simulatedEngine) Status(_ context.Context, r job.Run) (engine.Status, error) {
	s.pass(anEngine)
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.runs[r.StepID]) {
		return engine.Status{State: engine.Active}, nil
	}
	return engine.Status{State: engine.Succeeded}, nil
}

func (s simulatedEngine) Cancel(context.Context, job.Run) error { return nil }

// commit is what the record job writes when it has published.
func (s *simulated) commit(r job.Run) {
	number := func(n int64) types.AttributeValue { return &types.AttributeValueMemberN{Value: fmt.Sprint(n)} }
	_, err := s.db.UpdateItem(context.Background(), &dynamodb.UpdateItemInput{TableName: &s.tables.Jobs,
		Key:              map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: r.ID.Feed}, "day": &types.AttributeValueMemberS{Value: string(r.ID.Day)}},
		UpdateExpression: aws.String("SET commitToken = :t, commitRevision = :one, commitState = :done"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":t": number(r.Token), ":one": number(1),
			":done": &types.AttributeValueMemberS{Value: string(job.Committed)}}})
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	s.left--
	s.mu.Unlock()
}

// ended is finish-job.
func (s *simulated) ended(ctx context.Context, id job.ID, token int64) error {
	r, err := s.starter.Ledger.Run(ctx, id, token)
	if err != nil {
		return err
	}
	status, err := s.starter.Engine.Status(ctx, r)
	if err != nil {
		return err
	}
	err = s.starter.Finisher.Finish(ctx, r, status)
	if errors.Is(err, ledger.ErrChanged) {
		err = s.starter.Finisher.Finish(ctx, r, status)
	}
	return errors.Join(err, s.promoter.Promote(ctx), s.teller.Tell(ctx))
}

// simulate plays a month's deliveries of a random country, each day's feeds within half an hour, until all of it is published.
func simulate(t *testing.T, seed uint64) (s *simulated) {
	synctest.Test(t, func(t *testing.T) {
		s = &simulated{random: rand.New(rand.NewPCG(seed, 2)), db: emulator.NewMemory(), landed: map[string]job.File{}, objects: map[string][]byte{},
			runs: map[string]time.Time{}, called: map[string]time.Time{}, takes: map[job.ID]time.Duration{}}
		feeds := []map[string]types.AttributeValue{}
		names := []string{}
		for i := range 3 + s.random.IntN(10) {
			var needs []string
			for _, p := range names {
				if s.random.IntN(5) == 0 {
					needs = append(needs, p)
				}
			}
			names = append(names, fmt.Sprintf("feed-%02d", i))
			feeds = append(feeds, emulator.Feed(names[i], needs...))
			s.objects["contracts/"+names[i]+".json"] = []byte("{}")
		}
		s.tables = emulator.Tables(t, s.db, "simulated", feeds...)
		book := ledger.New(remote{s}, s.tables)
		s.watched = ledger.New(s.db, s.tables)
		country := discovery.Country{Stack: "test", Country: "us", Parallel: 5, Tables: s.tables}
		s.intake = Intake{Ledger: book, Landing: s, Alerts: s, Zone: time.UTC, Now: time.Now}
		s.promoter = Promoter{Ledger: book, Landing: s, Tickets: s, Topics: s, Zone: time.UTC, Parallel: 5, Now: time.Now}
		s.starter = Starter{Ledger: book, Tickets: s, Engine: simulatedEngine{s}, Clusters: simulatedEngine{s}, Switch: s, Artifacts: s, Promoter: s.promoter, Country: country, Now: time.Now,
			Finisher: Finisher{Ledger: book, Artifacts: s, Tickets: s, Now: time.Now}}
		s.teller = Teller{Ledger: book, Artifacts: s, Topics: s, Now: time.Now}

		const days = 10
		// Four days come in one, so that there is always something to do: they are of the past, as those of the future would be rejected.
		day := job.Day(time.Now().UTC().AddDate(0, 0, -days).Format(time.DateOnly))
		for d := range days {
			for _, name := range names {
				id := job.ID{Feed: name, Day: day}
				s.takes[id] = time.Duration(float64(10*time.Minute) * s.random.ExpFloat64())
				s.left++
				at := 24*time.Hour*time.Duration(d)/4 + time.Duration(s.random.Int64N(int64(30*time.Minute)))
				go func() { elapse(at); s.deliver(id) }()
			}
			day = day.Next()
		}
		for minute := 0; ; minute++ {
			elapse(time.Minute)
			s.mu.Lock()
			left := s.left
			s.mu.Unlock()
			if left == 0 && minute%15 == 0 {
				elapse(time.Minute) // the last one's end, and its export
				return
			}
			s.invoke("start-jobs", aRule, s.starter.Work)
			if minute%15 == 0 {
				s.invoke("queue-jobs", aRule, func(ctx context.Context) error {
					_, err := s.intake.Sweep(ctx, false)
					return errors.Join(err, s.promoter.Promote(ctx), s.teller.Tell(ctx))
				})
			}
		}
	})
	return s
}

// deliver lands a day: a file and the marker, each with its event.
func (s *simulated) deliver(id job.ID) {
	for _, name := range []string{"data.csv", job.Marker} {
		key := id.String() + "/" + name
		s.mu.Lock()
		// What it takes is known by its size, about.
		f := job.File{Key: key, Bytes: int64(s.takes[id]/time.Microsecond) * 50, ETag: key, VersionID: key, LandedAt: time.Now().Truncate(time.Second)}
		s.landed[key] = f
		s.mu.Unlock()
		s.invoke("receive-file", aQueue, func(ctx context.Context) error {
			changed, faults := s.intake.Keys(ctx, []job.File{{Key: key}})
			if changed {
				faults = append(faults, s.promoter.Promote(ctx))
			}
			return errors.Join(faults...)
		})
	}
}

// TestReadyJobsWaitForNoFreeSlot finds, in virtual time, how long a slot is free that a job could have; DISPATCH=40 makes the figures of
// bench/dispatch.md.
func TestReadyJobsWaitForNoFreeSlot(t *testing.T) {
	quiet(t)
	countries := 1
	_, _ = fmt.Sscan(os.Getenv("DISPATCH"), &countries)
	var delays []time.Duration
	var busy, idle time.Duration
	for seed := range countries {
		s := simulate(t, uint64(seed))
		delays, busy, idle = append(delays, s.delays...), busy+s.busy, idle+s.idle
		if len(s.open) > 0 || len(s.delays) < len(s.takes) {
			t.Errorf("country %d: %d jobs, %d started, %d could", seed, len(s.takes), len(s.delays), len(s.open))
		}
	}
	slices.Sort(delays)
	at := func(percent int) time.Duration { return delays[(len(delays)-1)*percent/100].Round(time.Millisecond) }
	t.Logf("| %d | %d | %s | %s | %s | %s | %.4f %% |", countries, len(delays), at(50), at(95), at(99), at(100), 100*float64(idle)/float64(busy+idle))
	if at(99) > time.Second {
		t.Errorf("one job of a hundred waits %s or longer for a slot that is free", at(99))
	}
}
