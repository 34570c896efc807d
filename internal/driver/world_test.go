package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/store"
)

var cfg aws.Config

func TestMain(m *testing.M) {
	os.Exit(emulator.Main(m, func(c aws.Config) { cfg = c }))
}

// world is a country with two feeds, airports and flights after airports, on an emulator. Only the engine, the record job and the
// clock are played.
type world struct {
	t       *testing.T
	country discovery.Country
	now     time.Time
	db      *dynamodb.Client
	s3      *s3.Client
	sqs     *sqs.Client
	ledger  *ledger.Ledger
	engine  *playedEngine
	off     playedSwitch

	intake   Intake
	promoter Promoter
	starter  Starter
	teller   Teller
	operator Operator

	inbox map[string]string // queue URLs that take what a topic gets
}

func newWorld(t *testing.T) *world {
	t.Helper()
	// A minute ahead of the emulator, so that runs begin after what they read has landed.
	w := &world{t: t, now: time.Now().UTC().Truncate(time.Second).Add(time.Minute), db: dynamodb.NewFromConfig(cfg), sqs: sqs.NewFromConfig(cfg), engine: &playedEngine{steps: map[string]engine.Status{}},
		s3: s3.NewFromConfig(cfg), inbox: map[string]string{}}
	name := strings.ToLower(t.Name())
	if len(name) > 40 {
		name = name[len(name)-40:]
	}
	c := discovery.Country{Stack: "test", Country: "us", Region: cfg.Region, Parallel: 5}
	c.Buckets = discovery.Buckets{Landing: name + "-landing", Artifacts: name + "-artifacts", Validated: "v", Invalid: "i", Versioned: "h", Curated: "c"}
	c.Databases = discovery.Databases{Validated: "dv", Invalid: "di", Versioned: "dh", Curated: "dc"}
	c.Tables = emulator.Tables(t, w.db, t.Name(), emulator.Feed("airports"), emulator.Feed("flights", "airports"))
	for _, b := range []string{c.Buckets.Landing, c.Buckets.Artifacts} {
		w.must(w.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &b}))
		w.must(w.s3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &b, VersioningConfiguration: &s3types.VersioningConfiguration{
			Status: s3types.BucketVersioningStatusEnabled}}))
	}
	c.Queues.Tickets, c.Queues.DeadLetters = w.queue(name+"-tickets"), w.queue(name+"-dead-letters")
	topics := sns.NewFromConfig(cfg)
	for topic, arn := range map[string]*string{"jobs": &c.Topics.Jobs, "alerts": &c.Topics.Alerts} {
		made, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(name + "-" + topic)})
		w.must(made, err)
		*arn = *made.TopicArn
		w.inbox[topic] = w.queue(name + "-" + topic)
		got, err := w.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(w.inbox[topic]), AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
		w.must(got, err)
		w.must(w.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: aws.String(w.inbox[topic]), Attributes: map[string]string{
			"Policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*"}]}`}}))
		w.must(topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: arn, Protocol: aws.String("sqs"), Endpoint: aws.String(got.Attributes["QueueArn"]),
			Attributes: map[string]string{"RawMessageDelivery": "true"}}))
	}
	w.country = c
	w.ledger = ledger.New(w.db, c.Tables)
	landing, artifacts := store.NewBucket(w.s3, c.Buckets.Landing), store.NewBucket(w.s3, c.Buckets.Artifacts)
	told, tickets := messages.NewTopics(topics, c), messages.NewTickets(w.sqs, c)
	clock := func() time.Time { return w.now }
	w.intake = Intake{Ledger: w.ledger, Landing: landing, Alerts: told, Zone: time.UTC, Now: clock}
	w.promoter = Promoter{Ledger: w.ledger, Landing: landing, Tickets: tickets, Topics: told, Zone: time.UTC, Parallel: 5, Now: clock}
	w.starter = Starter{Ledger: w.ledger, Tickets: tickets, Engine: engine.Engines{"emr": w.engine, "emr-serverless": w.engine, "glue": w.engine}, Clusters: w.engine, Switch: &w.off, Artifacts: artifacts, Country: c, Now: clock,
		Finisher: Finisher{Ledger: w.ledger, Artifacts: artifacts, Tickets: tickets, Now: clock},
		Promoter: Promoter{Ledger: w.ledger, Landing: landing, Tickets: tickets, Zone: time.UTC, Parallel: 5, Now: clock}}
	w.teller = Teller{Ledger: w.ledger, Artifacts: artifacts, Topics: told, Days: w.intake, Now: clock}
	w.operator = Operator{Ledger: w.ledger, Days: w.intake, By: "ann", Now: clock}
	for _, feed := range []string{"airports", "flights"} {
		w.check(artifacts.WriteJSON(t.Context(), "contracts/"+feed+".json", map[string]string{"id": feed}))
	}
	return w
}

func (w *world) must(_ any, err error) { w.check(err) }

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) queue(name string) string {
	w.t.Helper()
	made, err := w.sqs.CreateQueue(w.t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	w.check(err)
	return *made.QueueUrl
}

// put lands an object and returns its key.
func (w *world) put(key, text string) string {
	w.t.Helper()
	w.must(w.s3.PutObject(w.t.Context(), &s3.PutObjectInput{Bucket: &w.country.Buckets.Landing, Key: &key, Body: strings.NewReader(text)}))
	return key
}

// land puts a file and the marker of a day, and receives both events.
func (w *world) land(id job.ID, text string) {
	w.t.Helper()
	w.receive(w.put(id.String()+"/data.csv", text), w.put(id.String()+"/_COMPLETE", ""))
}

// receive is what receive-file does.
func (w *world) receive(keys ...string) {
	w.t.Helper()
	var files []job.File
	for _, k := range keys {
		files = append(files, job.File{Bucket: w.country.Buckets.Landing, Key: k})
	}
	_, faults := w.intake.Keys(w.t.Context(), files)
	w.check(errors.Join(faults...))
	w.check(w.promoter.Promote(w.t.Context()))
}

// tick is what queue-jobs does.
func (w *world) tick() {
	w.t.Helper()
	_, err := w.intake.Sweep(w.t.Context(), true)
	w.check(err)
	w.check(w.promoter.Promote(w.t.Context()))
	w.check(w.teller.Tell(w.t.Context()))
}

// work is what start-jobs does.
func (w *world) work() {
	w.t.Helper()
	w.check(w.starter.Work(w.t.Context()))
}

// commit is what the record job does at the end of a run that publishes.
func (w *world) commit(id job.ID, token int64, state job.CommitState) {
	w.t.Helper()
	emulator.Set(w.t, w.db, w.country.Tables.Jobs,
		map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: id.Feed}, "day": &types.AttributeValueMemberS{Value: string(id.Day)}},
		map[string]types.AttributeValue{
			"commitToken": &types.AttributeValueMemberN{Value: fmt.Sprint(token)}, "commitRevision": &types.AttributeValueMemberN{Value: fmt.Sprint(w.job(id).Revision)},
			"commitState": &types.AttributeValueMemberS{Value: string(state)}, "input": &types.AttributeValueMemberN{Value: "3"},
		})
}

// finish is what finish-job does when a run's step ended.
func (w *world) finish(id job.ID, token int64, status engine.Status) {
	w.t.Helper()
	r, err := w.ledger.Run(w.t.Context(), id, token)
	w.check(err)
	w.check(w.starter.Finisher.Finish(w.t.Context(), r, status))
	w.check(w.promoter.Promote(w.t.Context()))
	w.check(w.teller.Tell(w.t.Context()))
}

// succeed brings a landed day to its end.
func (w *world) succeed(id job.ID) {
	w.t.Helper()
	w.land(id, "a,b\n")
	w.work()
	w.publish(id)
}

// publish has the run of a job publish and end.
func (w *world) publish(id job.ID) {
	w.t.Helper()
	token := w.job(id).Token
	w.commit(id, token, job.Committed)
	w.finish(id, token, engine.Status{State: engine.Succeeded})
	w.is(id, job.Succeeded, "")
}

// fail has the run of a job end without publishing.
func (w *world) fail(id job.ID, reason string) {
	w.t.Helper()
	w.finish(id, w.job(id).Token, engine.Status{State: engine.Failed, Reason: reason})
}

// do is what a person does to a job.
func (w *world) do(id job.ID, verb job.Verb) {
	w.t.Helper()
	_, err := w.operator.Do(w.t.Context(), id, verb, "because")
	w.check(err)
	w.check(w.promoter.Promote(w.t.Context()))
}

// refused checks that the rules do not allow something to be done to a job.
func (w *world) refused(id job.ID, verb job.Verb, want string) {
	w.t.Helper()
	before := w.job(id)
	_, err := w.operator.Do(w.t.Context(), id, verb, "because")
	var refused job.Refused
	if !errors.As(err, &refused) || err.Error() != want {
		w.t.Errorf("%s of %s: %v, not %s", verb, id, err, want)
	}
	if after := w.job(id); !reflect.DeepEqual(after, before) {
		w.t.Errorf("the refused %s of %s changed it:\nfrom %+v\nto   %+v", verb, id, before, after)
	}
}

func (w *world) job(id job.ID) job.Job {
	w.t.Helper()
	j, err := w.ledger.Get(w.t.Context(), id)
	w.check(err)
	return j
}

// is checks a job's state and reason.
func (w *world) is(id job.ID, state job.State, reason string) {
	w.t.Helper()
	if j := w.job(id); j.State != state || j.Reason != reason {
		w.t.Errorf("%s is %s (%s), not %s (%s)", id, j.State, j.Reason, state, reason)
	}
}

// retry is the reason of a job that is tried again a minute after the world's time.
func (w *world) retry(attempt int, why string) string {
	at := w.now.Add(job.Backoff(attempt - 1)).Format(time.RFC3339)
	return fmt.Sprintf("waits for attempt %d of 3 at %s, because the last one failed: %s", attempt, at, why)
}

// files checks the states of a day's files, by name.
func (w *world) files(id job.ID, want map[string]job.FileState) {
	w.t.Helper()
	files, err := w.ledger.Files(w.t.Context(), id)
	w.check(err)
	if len(files) != len(want) {
		w.t.Errorf("%s has %d files: %+v", id, len(files), files)
	}
	for _, f := range files {
		if want[f.Name] != f.State {
			w.t.Errorf("%s is %s, not %s", f.Key, f.State, want[f.Name])
		}
	}
}

// told takes what a topic got since the last time, as "<type> <feed> <day>: <reason>".
func (w *world) told(topic string) []string {
	w.t.Helper()
	var all []string
	for {
		got, err := w.sqs.ReceiveMessage(w.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(w.inbox[topic]), MaxNumberOfMessages: 10})
		w.check(err)
		if len(got.Messages) == 0 {
			slices.Sort(all)
			return all
		}
		for _, m := range got.Messages {
			var e messages.Event
			w.check(json.Unmarshal([]byte(*m.Body), &e))
			if e.Version != 1 || e.Country != "us" || e.Stack != "test" {
				w.t.Errorf("event %+v", e)
			}
			all = append(all, strings.TrimSuffix(strings.Join([]string{e.Type, e.Feed, e.Day}, " ")+": "+e.Reason, ": "))
			w.must(w.sqs.DeleteMessage(w.t.Context(), &sqs.DeleteMessageInput{QueueUrl: aws.String(w.inbox[topic]), ReceiptHandle: m.ReceiptHandle}))
		}
	}
}

func (w *world) heard(topic string, want ...string) {
	w.t.Helper()
	if got := w.told(topic); !slices.Equal(got, want) {
		w.t.Errorf("%s got %q, not %q", topic, got, want)
	}
}

// queued counts the tickets in the queue, also those that somebody holds.
func (w *world) queued() string {
	w.t.Helper()
	got, err := w.sqs.GetQueueAttributes(w.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &w.country.Queues.Tickets,
		AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"}})
	w.check(err)
	return got.Attributes["ApproximateNumberOfMessages"] + "+" + got.Attributes["ApproximateNumberOfMessagesNotVisible"]
}

// playedSwitch is off for the engines that it has a reason for.
type playedSwitch struct {
	reasons map[string]string
	broken  error
}

func (s *playedSwitch) Off(context.Context) (map[string]string, error) {
	if s.reasons == nil {
		return map[string]string{}, s.broken
	}
	return s.reasons, s.broken
}

// playedEngine starts runs in memory.
type playedEngine struct {
	steps   map[string]engine.Status // by "<job>#<token>"
	started []string

	cancelled []string
	broken    error // what starting answers
	asked     int   // how often it was asked for clusters
}

func (e *playedEngine) Begin() {}

func (e *playedEngine) Sizes(context.Context) ([]string, error) {
	e.asked++
	return []string{"small"}, nil
}

func (e *playedEngine) Start(_ context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	if e.broken != nil {
		return r, e.broken
	}
	name := fmt.Sprintf("%s#%d", r.ID, r.Token)
	if _, there := e.steps[name]; !there {
		e.steps[name] = engine.Status{State: engine.Active}
		e.started = append(e.started, name)
	}
	r.ClusterID, r.StepID = "j-1", "s-"+name
	return r, save(r)
}

func (e *playedEngine) Status(_ context.Context, r job.Run) (engine.Status, error) {
	s, ok := e.steps[strings.TrimPrefix(r.StepID, "s-")]
	if !ok {
		return s, errors.New("no such step")
	}
	return s, nil
}

func (e *playedEngine) Cancel(_ context.Context, r job.Run) error {
	e.cancelled = append(e.cancelled, strings.TrimPrefix(r.StepID, "s-"))
	return nil
}

func (w *world) setJob(id job.ID, name, value string) {
	w.t.Helper()
	emulator.Set(w.t, w.db, w.country.Tables.Jobs,
		map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: id.Feed}, "day": &types.AttributeValueMemberS{Value: string(id.Day)}},
		map[string]types.AttributeValue{name: &types.AttributeValueMemberS{Value: value}})
}
