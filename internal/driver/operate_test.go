package driver

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
)

func TestFailedRunIsTriedAgainUntilTheJobIsDead(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.land(flights, "x\n")
	w.work()
	for attempt := 2; attempt <= 3; attempt++ {
		w.fail(airports, "out of memory")
		w.is(airports, job.Waiting, w.retry(attempt, "out of memory"))
		w.is(flights, job.Waiting, "waits for airports")
		w.now = w.now.Add(job.Backoff(attempt-1) - time.Second)
		w.tick()
		w.work()
		w.is(airports, job.Waiting, w.job(airports).Reason)
		w.now = w.now.Add(time.Second)
		w.tick()
		w.is(airports, job.Ready, "")
		w.work()
		w.is(airports, job.Running, "")
	}
	w.fail(airports, "out of memory")
	w.is(airports, job.Dead, "out of memory")
	w.is(flights, job.Blocked, "airports is dead")
	// One fault: told when it came and when no attempt is left, not each time.
	w.heard("alerts", "job.dead airports 2013-01-01: out of memory", "job.retry airports 2013-01-01: out of memory")

	w.do(airports, job.Redrive)
	w.is(airports, job.Ready, "")
	w.is(flights, job.Waiting, "waits for airports")
	w.work()
	w.fail(airports, "again")
	w.is(airports, job.Waiting, w.retry(2, "again")) // a redriven job has all its attempts
}

func TestDeadJobIsTriedAgainWhenItsDayIsDeliveredAgain(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	for range 3 {
		w.work()
		w.fail(airports, "no")
		w.now = w.now.Add(time.Hour)
		w.tick()
	}
	w.is(airports, job.Dead, "no")
	w.now = w.now.Add(-5 * time.Hour)
	w.emulateStart(airports)
	w.land(airports, "mended\n")
	w.is(airports, job.Ready, "")
	if j := w.job(airports); j.Attempts() != 0 {
		t.Errorf("it begins with %d attempts", j.Attempts())
	}
}

func TestRestatementTakesLateFilesAsANewRevision(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.succeed(airports2)
	w.receive(w.put("airports/2013-01-01/more.csv", "y\n"))
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed, "more.csv": job.Late})
	w.told("alerts")
	w.told("jobs")

	w.do(airports, job.Restate)
	w.is(airports, job.Ready, "")
	w.is(airports2, job.Succeeded, "")
	w.work()
	var o Order
	w.check(w.starter.Artifacts.ReadJSON(t.Context(), "runs/airports/2013-01-01/2/order.json", &o))
	if o.Revision != 2 || len(o.Files) != 2 {
		t.Errorf("order: revision %d, files %+v", o.Revision, o.Files)
	}
	w.publish(airports)
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed, "more.csv": job.Processed})
	w.heard("jobs", "job.ready airports 2013-01-01", "job.succeeded airports 2013-01-01")
	w.heard("alerts")
	if last, err := w.ledger.LastDay(t.Context(), "airports"); err != nil || last != airports2.Day {
		t.Errorf("the last day is %s, %v", last, err)
	}
	want := []job.Act{{Verb: job.Restate, By: "ann", Reason: "because", At: w.now}}
	if got := w.job(airports).Acts; !reflect.DeepEqual(got, want) {
		t.Errorf("acts: %+v", got)
	}
}

func TestEarlierDayIsHeldUntilItIsRestated(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports2)
	w.told("jobs")
	w.land(airports, "x\n")
	w.tick()
	held := "the day is earlier than 2013-01-02, the last one that succeeded: it needs a restatement"
	w.is(airports, job.Held, held)
	w.heard("alerts", "job.held airports 2013-01-01: "+held)
	w.refused(airports, job.Release, "job airports/2013-01-01: 2013-01-02 of the feed has succeeded already; an earlier day needs a restatement")
	w.do(airports, job.Restate)
	w.work()
	w.is(airports, job.Running, "")
	w.publish(airports)
}

func TestOneDayOfAFeedRunsAtATime(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.land(airports2, "x\n")
	w.do(airports, job.Restate)
	w.work()
	w.is(airports2, job.Running, "") // what is new goes first
	w.check(w.promoter.Promote(t.Context()))
	w.is(airports, job.Waiting, "waits for airports 2013-01-02, which runs")
	// Whoever decided on an older board is refused by the ledger.
	w.check(w.ledger.Move(t.Context(), job.Decision{ID: airports, From: job.Waiting, To: job.Ready, Token: 1}, w.now))
	if err := w.ledger.Start(t.Context(), job.Run{ID: airports, Token: 2, StartedAt: w.now}, 5); !lost(t.Context(), err) {
		t.Errorf("two days of a feed run at once: %v", err)
	}
	w.publish(airports2)
	w.work()
	w.is(airports, job.Running, "")
}

func TestCancelledRunEndsWhenItsEngineSaysSo(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.land(airports2, "x\n")
	w.work()
	w.do(airports, job.Cancel)
	w.is(airports, job.Running, "")
	w.refused(airports, job.Cancel, "job airports/2013-01-01: run 1 is being ended already: cancel by ann: because")
	w.work()
	if want := []string{"airports/2013-01-01#1"}; !slices.Equal(w.engine.cancelled, want) {
		t.Errorf("cancelled: %v", w.engine.cancelled)
	}
	w.is(airports, job.Running, "")
	w.engine.steps["airports/2013-01-01#1"] = engine.Status{State: engine.Cancelled}
	w.work()
	w.is(airports, job.Cancelled, "cancel by ann: because")
	w.told("jobs")
	w.tick()
	w.heard("alerts")
	w.is(airports2, job.Running, "") // days that follow go on without it
	w.do(airports, job.Redrive)
	w.is(airports, job.Waiting, "waits for airports 2013-01-02, which runs")
}

func TestActsWakeTheFunctions(t *testing.T) {
	w := newWorld(t)
	act := func(verb job.Verb, want ...string) {
		t.Helper()
		j, err := w.operator.Do(t.Context(), airports, verb, "because")
		w.check(err)
		w.check(w.promoter.Wake(t.Context(), j))
		w.heard("jobs", want...)
	}
	w.land(airports, "x\n")
	w.told("jobs")
	act(job.Hold)
	act(job.Release, "job.ready airports 2013-01-01")
	w.work()
	act(job.Cancel, "job.cancel airports 2013-01-01") // start-jobs asks the engine to end the run
	w.finish(airports, 1, engine.Status{State: engine.Cancelled})
	w.told("jobs")
	act(job.Redrive, "job.ready airports 2013-01-01")
	w.work()
	w.publish(airports)
	w.told("jobs")
	act(job.Redrive, "job.succeeded airports 2013-01-01") // its export is missing
	act(job.Restate, "job.ready airports 2013-01-01")
	act(job.Cancel, "job.succeeded airports 2013-01-01") // the day is closed as it was, and its export is due
}

func TestCancelledRunThatNeverStartedIsNotStarted(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.engine.broken = errNoCapacity
	w.work()
	w.do(airports, job.Cancel)
	w.engine.broken = nil
	w.work()
	w.is(airports, job.Cancelled, "cancel by ann: because")
	if len(w.engine.started) != 0 {
		t.Errorf("started: %v", w.engine.started)
	}
}

// actsAfter is a ledger in which something happens between an operator's reading and writing.
type actsAfter struct {
	OperateLedger
	happens func()
}

func (l actsAfter) Act(ctx context.Context, was, is job.Job) error {
	l.happens()
	return l.OperateLedger.Act(ctx, was, is)
}

// TestCancelAndPublishExcludeEachOther plays cancel and the steps of a run in each order, also where the person who cancels read the job before a
// step and wrote after it: what is recorded first counts, and nobody is told that nothing is published of what was.
func TestCancelAndPublishExcludeEachOther(t *testing.T) {
	const publishing, published = "job airports/2013-01-01 has begun to publish, and is finished: cancelling would leave half of it",
		"job airports/2013-01-01 has published its day: there is nothing left to cancel; sluice restate does the day again"
	for _, restated := range []bool{false, true} {
		for read := range 3 { // the steps that the run took before the job was read, and before the act was written
			for written := read; written < 3; written++ {
				s := newStage(t, 5, emulator.Feed("airports"))
				s.receive(s.deliver(airports)...)
				s.start()
				p := s.sorted()[0]
				if restated {
					s.progress(p)
					s.progress(p)
					s.end(p)
					is, err := s.operator.Do(t.Context(), airports, job.Restate, "because")
					if err != nil {
						t.Fatal(err)
					}
					s.wants(is)
					s.start()
					p = s.runs["airports/2013-01-01#2"]
				}
				for range read {
					s.progress(p)
				}
				left := written - read
				s.operator.Ledger = actsAfter{s.ledger, func() {
					for ; left > 0; left-- {
						s.progress(p)
					}
				}}
				is, err := s.operator.Do(t.Context(), airports, job.Cancel, "because")
				// What the rules refuse is not written, so that the run goes no further meanwhile.
				at := fmt.Sprintf("restated %v, read after %d steps, written after %d", restated, read, written)
				if want := []string{"", publishing, published}[cmp.Or(read, written)]; (err == nil) != (want == "") || err != nil && err.Error() != want {
					t.Errorf("%s: %v, not %q", at, err, want)
				}
				if err == nil {
					s.wants(is)
				}
				for range 3 {
					s.progress(p)
				}
				s.end(p)
				if j := s.job(airports); err == nil && (j.State != job.Cancelled || j.Published()) || err != nil && (j.State != job.Succeeded || !j.Published()) {
					t.Errorf("%s: %v, and the job is %s", at, err, j.State)
				}
				if len(s.model.faults) > 0 {
					t.Errorf("%s: %q", at, s.model.faults)
				}
			}
		}
	}
}

func TestHeldJobStartsWhenItIsReleased(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.do(airports, job.Hold)
	w.land(flights, "x\n")
	w.work()
	w.is(airports, job.Held, "hold by ann: because")
	w.is(flights, job.Waiting, "waits for airports, which is held")
	w.do(airports, job.Release)
	w.is(airports, job.Ready, "")
	w.work()
	w.is(airports, job.Running, "")
	w.refused(airports, job.Hold, "job airports/2013-01-01 is running: only a job that waits, is ready or is blocked can be held")
}

func TestBackfillDoesEachDayInOrderWithinTheLimits(t *testing.T) {
	w := newWorld(t)
	airports3 := job.ID{Feed: "airports", Day: "2013-01-03"}
	for _, id := range []job.ID{airports, airports2, airports3} {
		w.succeed(id)
	}
	want := []Filled{
		{Day: "2012-12-31", Why: "no complete day was delivered"}, {Day: "2013-01-01", Verb: job.Restate}, {Day: "2013-01-02", Verb: job.Restate},
	}
	would, err := w.operator.Rehearse(t.Context(), "airports", "2012-12-31", "2013-01-02")
	w.check(err)
	if !reflect.DeepEqual(would, want) {
		t.Errorf("would do: %+v", would)
	}
	w.is(airports, job.Succeeded, "")
	done, err := w.operator.Backfill(t.Context(), "airports", "2012-12-31", "2013-01-02", "new rule")
	w.check(err)
	if !reflect.DeepEqual(done, want) {
		t.Errorf("done: %+v", done)
	}
	done, err = w.operator.Backfill(t.Context(), "airports", "2013-01-01", "2013-01-01", "twice")
	w.check(err)
	if want := []Filled{{Day: "2013-01-01", Why: "is waiting already"}}; !reflect.DeepEqual(done, want) {
		t.Errorf("twice: %+v", done)
	}
	for _, id := range []job.ID{airports, airports2} {
		w.tick()
		w.work()
		w.is(id, job.Running, "")
		w.publish(id)
	}
	w.is(airports3, job.Succeeded, "")
}

func TestExportThatWasGivenUpIsRedriven(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	for range 6 {
		w.now = w.now.Add(exportPatience)
		w.tick()
	}
	w.told("jobs")
	w.heard("alerts", "export.failed airports 2013-01-01: no export ended well in 5 tries")
	_, err := w.operator.Do(t.Context(), airports, job.Redrive, "")
	w.check(err)
	w.tick()
	w.heard("jobs", "job.succeeded airports 2013-01-01")
	w.check(w.ledger.Exported(t.Context(), w.job(airports), 3))
	w.refused(airports, job.Redrive, "job airports/2013-01-01 is of a closed day: sluice restate does it again")
}

func TestDeadLettersAreTakenUpAgain(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.country.Queues.DeadLetters = w.queue("dead-letters-of-" + t.Name())
	for _, body := range []string{`{"version":1,"country":"us","feed":"airports","day":"2013-01-01"}`, `{"Records":[]}`} {
		w.must(w.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &w.country.Queues.DeadLetters, MessageBody: &body}))
	}
	letters := messages.NewDeadLetters(w.sqs, w.country)
	got, err := letters.Redrive(t.Context())
	w.check(err)
	var taken []string
	for _, l := range got {
		taken = append(taken, l.Job+" "+l.Body[:9])
	}
	slices.Sort(taken)
	if want := []string{` {"Records`, `airports/2013-01-01 {"version`}; !slices.Equal(taken, want) {
		t.Errorf("taken up: %q", taken)
	}
	if n := w.queued(); n != "2+0" { // the job's own ticket, and the one that was given up
		t.Errorf("tickets: %s", n)
	}
	if got, err := letters.Redrive(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("twice: %+v, %v", got, err)
	}
}

func TestRetractionEmptiesADayAndMovesTheLastDayBack(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.succeed(airports2)
	w.do(airports2, job.Retract)
	w.is(airports2, job.Ready, "")
	w.work()
	var o Order
	w.check(w.starter.Artifacts.ReadJSON(t.Context(), "runs/airports/2013-01-02/2/order.json", &o))
	if o.Revision != 2 || !o.Retract || len(o.Files) != 0 {
		t.Errorf("order: %+v", o)
	}
	w.commit(airports2, 2, job.Committed)
	w.finish(airports2, 2, engine.Status{State: engine.Succeeded})
	w.is(airports2, job.Cancelled, "retract by ann: because")
	last, err := w.ledger.LastDay(t.Context(), "airports")
	w.check(err)
	if j := w.job(airports2); last != "2013-01-01" || !j.TakenBack() || j.Retract {
		t.Errorf("last day %q, job %+v", last, j)
	}
	w.tick()
	w.is(airports2, job.Cancelled, "retract by ann: because")
	w.land(airports2, "new\n")
	w.is(airports2, job.Ready, "")
	w.work()
	w.publish(airports2)

	w.do(airports2, job.Retract)
	w.work()
	w.do(airports2, job.Cancel) // of its run
	w.finish(airports2, w.job(airports2).Token, engine.Status{State: engine.Cancelled})
	if j := w.job(airports2); j.State != job.Cancelled || !j.Done() || j.Retract {
		t.Errorf("a retraction that was cancelled: %+v", j)
	}

	w.put("airports/2013-01-03/data.csv", "x\n")
	given := job.ID{Feed: "airports", Day: "2013-01-03"}
	w.do(given, job.Cancel)
	w.is(given, job.Cancelled, "cancel by ann: because")
}
