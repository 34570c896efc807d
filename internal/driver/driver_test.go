package driver

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/sizing"
)

var (
	airports      = job.ID{Feed: "airports", Day: "2013-01-01"}
	airports2     = job.ID{Feed: "airports", Day: "2013-01-02"}
	errNoCapacity = errors.New("no capacity")
	flights       = job.ID{Feed: "flights", Day: "2013-01-01"}
)

func TestLandedDayBecomesRunAndSucceeds(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "faa,name\nEWR,Newark\n")
	w.is(airports, job.Ready, "")
	w.heard("jobs", "job.ready airports 2013-01-01")
	if got := w.queued(); got != "1+0" {
		t.Errorf("tickets: %s", got)
	}

	w.work()
	w.is(airports, job.Running, "")
	r, err := w.ledger.Run(t.Context(), airports, 1)
	w.check(err)
	want := job.Run{
		ID: airports, Token: 1, State: job.RunRunning, Engine: "emr", ClusterID: "j-1", StepID: "s-airports/2013-01-01#1", Receipt: r.Receipt,
		Order:     "s3://" + w.country.Buckets.Artifacts + "/runs/airports/2013-01-01/1/order.json",
		Sizing:    sizing.Decision{Bytes: 20, Files: 1, Engine: "emr", Size: "small", Target: sizing.RunningCluster, Reason: "20 bytes in 1 file: the running cluster small is large enough"},
		StartedAt: w.now,
	}
	if !reflect.DeepEqual(r, want) || r.Receipt == "" {
		t.Errorf("run:\ngot  %+v\nwant %+v", r, want)
	}
	var o Order
	w.check(w.starter.Artifacts.ReadJSON(t.Context(), "runs/airports/2013-01-01/1/order.json", &o))
	if len(o.Files) != 1 || o.Files[0].VersionID == "" {
		t.Fatalf("files: %+v", o.Files)
	}
	o.Files[0].VersionID, o.Contract = "", json.RawMessage("null")
	wantOrder := Order{Version: 1, Stack: "test", Country: "us", Feed: "airports", Day: "2013-01-01", Token: 1, Revision: 1, Contract: json.RawMessage("null"),
		Files:     []OrderFile{{Bucket: w.country.Buckets.Landing, Key: "airports/2013-01-01/data.csv", Bytes: 20}},
		Databases: map[string]string{"validated": "dv", "invalid": "di", "versioned": "dh", "curated": "dc"},
		Buckets:   map[string]string{"validated": "v", "invalid": "i", "versioned": "h", "curated": "c", "artifacts": w.country.Buckets.Artifacts},
		JobsTable: w.country.Tables.Jobs, StartedAt: w.now}
	if !reflect.DeepEqual(o, wantOrder) {
		t.Errorf("order:\ngot  %+v\nwant %+v", o, wantOrder)
	}

	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.is(airports, job.Succeeded, "")
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed})
	w.heard("jobs", "job.succeeded airports 2013-01-01")
	w.heard("alerts")
	if got := w.queued(); got != "0+0" {
		t.Errorf("tickets: %s", got)
	}
}

func TestDependentWaitsForPrerequisiteAndThenStarts(t *testing.T) {
	w := newWorld(t)
	w.land(flights, "x\n")
	w.is(flights, job.Waiting, "waits for airports")
	w.work()
	w.land(airports, "x\n")
	w.is(flights, job.Waiting, "waits for airports")
	w.work()
	w.work()
	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.is(flights, job.Ready, "")
	w.work()
	w.is(flights, job.Running, "")
	if want := []string{"airports/2013-01-01#1", "flights/2013-01-01#1"}; !slices.Equal(w.engine.started, want) {
		t.Errorf("started: %v", w.engine.started)
	}
	w.heard("jobs", "job.ready airports 2013-01-01", "job.ready flights 2013-01-01", "job.succeeded airports 2013-01-01")
}

func TestFailedRunTellsWhyAndRunsAgainWhenTheDayIsDeliveredAgain(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "bad\n")
	w.land(flights, "x\n")
	w.work()
	w.told("jobs")
	w.check(w.starter.Artifacts.WriteJSON(t.Context(), "runs/airports/2013-01-01/1/result.json", map[string]any{"ok": false, "error": "header lacks faa", "kind": "input"}))
	w.finish(airports, 1, engine.Status{State: engine.Failed, Reason: "exit status 1"})
	w.is(airports, job.Failed, "header lacks faa")
	w.is(flights, job.Blocked, "airports is failed")
	w.heard("alerts", "job.failed airports 2013-01-01: header lacks faa")
	w.heard("jobs", "job.failed airports 2013-01-01")
	if b, err := w.ledger.Board(t.Context()); err != nil || len(b.Slots) != 0 {
		t.Errorf("slots: %v, %v", b.Slots, err)
	}
	w.files(airports, map[string]job.FileState{"data.csv": job.Landed, "_COMPLETE": job.Landed})
	w.tick()
	w.is(airports, job.Failed, "header lacks faa") // the old files change nothing

	w.now = w.now.Add(-time.Hour) // as if the run had begun an hour before the delivery: objects carry the emulator's time
	w.emulateStart(airports)
	w.land(airports, "faa\n")
	w.is(airports, job.Ready, "")
	w.is(flights, job.Waiting, "waits for airports")
	w.work()
	w.is(airports, job.Running, "")
	if got := w.job(airports).Token; got != 2 {
		t.Errorf("token %d", got)
	}
	w.commit(airports, 2, job.Committed)
	w.finish(airports, 2, engine.Status{State: engine.Succeeded})
	w.is(flights, job.Ready, "")
	w.heard("alerts")
}

func TestRunThatPublishedHasSucceededWhateverItsStepSays(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.work()
	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Failed, Reason: "died while cleaning up"})
	w.is(airports, job.Succeeded, "")
}

func TestRunThatDidNotPublishHasFailedWhateverItsStepSays(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.work()
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.is(airports, job.Waiting, w.retry(2, "the run ended without publishing"))
}

func TestRunThatDiedWhilePublishingIsResumedByTheNext(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.work()
	w.commit(airports, 1, job.Committing)
	w.finish(airports, 1, engine.Status{State: engine.Failed, Reason: "the cluster ended"})
	w.is(airports, job.Waiting, w.retry(2, "the cluster ended"))
	w.now = w.now.Add(time.Minute)
	w.tick()
	w.work()
	var o Order
	w.check(w.starter.Artifacts.ReadJSON(t.Context(), "runs/airports/2013-01-01/2/order.json", &o))
	if o.Resume == nil || o.Resume.Token != 1 {
		t.Errorf("resume: %+v", o.Resume)
	}
}

func TestFinishingTwiceIsFinishingOnce(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.told("jobs")
	w.finish(airports, 1, engine.Status{State: engine.Failed, Reason: "a late event"})
	w.is(airports, job.Succeeded, "")
	w.heard("jobs")
	w.heard("alerts")
}

func TestLateFileOfAClosedDayIsReportedOnceAndChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	before := w.job(airports)
	w.told("jobs")
	key := w.put("airports/2013-01-01/more.csv", "x\n")
	w.receive(key)
	w.receive(key)
	w.tick()
	w.work()
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed, "more.csv": job.Late})
	w.heard("alerts", "file.late airports 2013-01-01: the day is closed: it succeeded without this file")
	w.heard("jobs")
	after := w.job(airports)
	after.Looked = before.Looked // what the sweep remembers of its own look
	if !reflect.DeepEqual(after, before) {
		t.Errorf("the job changed:\nfrom %+v\nto   %+v", before, after)
	}
}

func TestSecondDeliveryOfAClosedDayIsLate(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.told("jobs")
	w.receive(w.put("airports/2013-01-01/data.csv", "other content\n"), w.put("airports/2013-01-01/_COMPLETE", ""))
	w.is(airports, job.Succeeded, "")
	w.files(airports, map[string]job.FileState{"data.csv": job.Late, "_COMPLETE": job.Late})
	w.heard("alerts", "file.late airports 2013-01-01: the day is closed: it succeeded without this file")
	w.heard("jobs")
}

func TestFileThatComesWhileItsDayRunsIsLateWhenTheDaySucceeds(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.work()
	w.receive(w.put("airports/2013-01-01/more.csv", "x\n"))
	w.files(airports, map[string]job.FileState{"data.csv": job.Landed, "_COMPLETE": job.Landed, "more.csv": job.Landed})
	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed, "more.csv": job.Late})
	w.heard("alerts", "file.late airports 2013-01-01: the day is closed: it succeeded without this file")
}

func TestKeyThatIsNoGoodIsReportedOnceAndKeepsNothingBack(t *testing.T) {
	w := newWorld(t)
	bad, unknown := w.put("README.txt", "x"), w.put("planes/2013-01-01/planes.csv", "x")
	w.receive(bad, unknown, w.put("airports/2013-01-01/data.csv", "x\n"), w.put("airports/2013-01-01/_COMPLETE", ""))
	w.receive(bad)
	w.tick()
	w.is(airports, job.Ready, "")
	w.heard("alerts",
		"file.rejected  : feed \"planes\" is not deployed in this country; add it to the stack, or put the file under one of airports, flights",
		"file.rejected  : the key has 1 parts; put files at <feed>/<yyyy-mm-dd>/<file>")
	rejected, err := w.ledger.Rejected(t.Context())
	w.check(err)
	if len(rejected) != 2 || rejected[0].Key != "README.txt" || rejected[1].Key != "planes/2013-01-01/planes.csv" {
		t.Errorf("got %+v", rejected)
	}
}

func TestFolderOfAConsoleIsIgnored(t *testing.T) {
	w := newWorld(t)
	w.receive(w.put("airports/", ""), w.put("airports/2013-01-01/", ""))
	w.tick()
	w.land(airports, "x\n")
	w.tick()
	w.is(airports, job.Ready, "")
	w.heard("alerts")
}

func TestSweepFindsWhatNoEventTold(t *testing.T) {
	w := newWorld(t)
	w.put("airports/2013-01-01/data.csv", "x\n")
	w.put("airports/2013-01-01/_COMPLETE", "")
	w.tick()
	w.is(airports, job.Ready, "")
	w.heard("jobs", "job.ready airports 2013-01-01")
}

func TestSweepBetweenFullHoursLooksAtDaysThatAreNotClosed(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.put("airports/2013-01-02/data.csv", "x\n")
	w.put("airports/2013-01-02/_COMPLETE", "")
	if changed, err := w.intake.Sweep(t.Context(), false); err != nil || !changed {
		t.Fatalf("got %v, %v", changed, err)
	}
	w.is(airports2, job.Waiting, "")
}

func TestMarkerBeforeItsFilesIsNoDay(t *testing.T) {
	w := newWorld(t)
	w.receive(w.put("airports/2013-01-01/_COMPLETE", ""))
	if _, err := w.ledger.Get(t.Context(), airports); err == nil {
		t.Error("a day without files has a job")
	}
	w.receive(w.put("airports/2013-01-01/data.csv", "x\n"))
	w.is(airports, job.Ready, "")
}

func TestDayWaitsForAnEarlierOneThatIsStillBeingDelivered(t *testing.T) {
	w := newWorld(t)
	w.put("airports/2013-01-01/data.csv", "x\n") // no marker, and nobody told of it
	w.land(airports2, "x\n")
	w.is(airports2, job.Waiting, "waits for airports 2013-01-01, which is not complete")
	w.receive(w.put("airports/2013-01-01/_COMPLETE", ""))
	w.is(airports, job.Ready, "")
	w.is(airports2, job.Waiting, "waits for airports 2013-01-01")
}

func TestAbsentPrerequisiteIsReportedOnceWhenTheWindowEnds(t *testing.T) {
	w := newWorld(t)
	w.land(flights, "x\n")
	w.now = w.now.Add(59 * time.Minute)
	w.tick()
	w.is(flights, job.Waiting, "waits for airports")
	w.now = w.now.Add(2 * time.Minute)
	w.tick()
	w.tick()
	w.is(flights, job.Blocked, "prerequisite airports did not come: deliver its day")
	w.heard("alerts", "job.blocked flights 2013-01-01: prerequisite airports did not come: deliver its day")
	w.land(airports, "x\n")
	w.is(flights, job.Waiting, "waits for airports")
}

func TestNothingStartsOnAnEngineThatIsOffUntilItIsOnAgain(t *testing.T) {
	w := newWorld(t)
	w.off.reasons = map[string]string{"emr": "emr is switched off"}
	w.land(airports, "a,b\n")
	w.work()
	w.work()
	w.is(airports, job.Ready, "emr is switched off")
	w.tick()
	w.is(airports, job.Ready, "emr is switched off")
	if len(w.engine.started) != 0 || w.engine.asked != 0 {
		t.Errorf("started %v", w.engine.started)
	}
	w.off.reasons = nil
	w.work()
	w.is(airports, job.Running, "")
}

func TestNothingStartsWhileTheSwitchCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.off.broken = errors.New("throttled")
	w.land(airports, "a,b\n")
	if err := w.starter.Work(t.Context()); !errors.Is(err, w.off.broken) {
		t.Errorf("got %v", err)
	}
	w.is(airports, job.Ready, "")
}

func TestRunThatWasLeftHalfStartedIsStarted(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.engine.broken = errors.New("no capacity")
	w.work()
	w.is(airports, job.Running, "")
	w.engine.broken = nil
	w.work()
	w.work()
	if want := []string{"airports/2013-01-01#1"}; !slices.Equal(w.engine.started, want) {
		t.Errorf("started: %v", w.engine.started)
	}
}

func TestRunThatTheEngineRefusesForLongFails(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.engine.broken = errors.New("emr: no such role")
	w.work()
	w.now = w.now.Add(9 * time.Minute)
	w.work()
	w.is(airports, job.Running, "")
	w.now = w.now.Add(time.Minute)
	w.work()
	w.tick()
	w.is(airports, job.Waiting, w.retry(2, "not started: emr: no such role"))
}

func TestRunWhoseEndNobodyToldIsFinishedByTheTick(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.work()
	w.land(airports2, "x\n")
	w.commit(airports, 1, job.Committed)
	w.engine.steps["airports/2013-01-01#1"] = engine.Status{State: engine.Succeeded}
	w.work()
	w.is(airports, job.Succeeded, "")
	w.is(airports2, job.Running, "")                 // what waited for it does not wait for the sweep
	w.heard("jobs", "job.ready airports 2013-01-01") // start-jobs does not publish on the topic that wakes it
	w.tick()
	w.heard("jobs", "job.succeeded airports 2013-01-01")
	w.files(airports, map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed})
}

func TestTicketsOfEndedJobsAndDoubledOnesAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.land(airports, "x\n")
	w.check(w.promoter.Tickets.Send(t.Context(), airports))
	w.check(w.promoter.Tickets.Send(t.Context(), flights)) // of no job
	w.work()
	if got := w.queued(); got != "0+1" { // the job's own
		t.Errorf("tickets: %s", got)
	}
	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.check(w.promoter.Tickets.Send(t.Context(), airports))
	w.work()
	if got := w.queued(); got != "0+0" {
		t.Errorf("tickets: %s", got)
	}
}

func TestMessageThatIsNoTicketOfThisVersionIsKeptWithItsReasonAndKeepsNothingBack(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{`{"version":2,"country":"us","feed":"airports","day":"2013-01-01"}`, `{"version":1,"country":"uy","feed":"airports","day":"2013-01-01"}`, "?"} {
		w.must(w.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &w.country.Queues.Tickets, MessageBody: &body}))
	}
	w.land(airports, "x\n")
	w.work()
	w.is(airports, job.Running, "")
	if got := w.queued(); got != "0+1" {
		t.Errorf("tickets: %s", got)
	}
	letters, err := messages.NewDeadLetters(w.sqs, w.country).Redrive(t.Context())
	w.check(err)
	var why []string
	for _, l := range letters {
		why = append(why, l.Job+l.Error)
	}
	slices.Sort(why)
	if want := []string{"not a ticket: invalid character '?' looking for beginning of value", `ticket of country "uy" came to "us"`,
		"ticket: version 2 is not 1: deploy all functions together"}; !slices.Equal(why, want) {
		t.Errorf("dead letters: %q", why)
	}
}

func TestReadyJobWhoseTicketWasNeverSentGetsOneAndStartsAnyway(t *testing.T) {
	w := newWorld(t)
	w.put("airports/2013-01-01/data.csv", "x\n")
	w.put("airports/2013-01-01/_COMPLETE", "")
	_, err := w.intake.Sweep(t.Context(), true)
	w.check(err)
	w.check(w.ledger.Move(t.Context(), job.Decision{ID: airports, From: job.Waiting, To: job.Ready}, w.now)) // and died
	w.check(w.promoter.Promote(t.Context()))
	if got := w.queued(); got != "1+0" {
		t.Errorf("tickets: %s", got)
	}
	w.must(w.sqs.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: &w.country.Queues.Tickets}))
	w.work()
	w.is(airports, job.Running, "")
}

func TestExportIsAnnouncedAgainUntilItIsDone(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.told("jobs")
	w.tick()
	w.heard("jobs")
	for range 4 {
		w.now = w.now.Add(exportPatience)
		w.tick()
		w.heard("jobs", "job.succeeded airports 2013-01-01")
	}
	w.now = w.now.Add(exportPatience)
	w.tick()
	w.heard("alerts", "export.failed airports 2013-01-01: no export ended well in 5 tries")
	w.now = w.now.Add(exportPatience)
	w.tick()
	w.heard("alerts")
	w.heard("jobs")
}

func TestAtMostFiveJobsRunAtOnce(t *testing.T) {
	w := newWorld(t)
	w.starter.Country.Parallel = 1
	w.land(airports, "x\n")
	w.work()
	w.commit(airports, 1, job.Committed)
	w.finish(airports, 1, engine.Status{State: engine.Succeeded})
	w.land(airports2, "x\n")
	w.land(flights, "x\n")
	w.work()
	running := 0
	for _, id := range []job.ID{airports2, flights} {
		if w.job(id).State == job.Running {
			running++
		}
	}
	if running != 1 {
		t.Errorf("%d jobs run in one slot", running)
	}
}

// emulateStart dates the last run of a job to the world's time.
func (w *world) emulateStart(id job.ID) {
	w.t.Helper()
	w.setJob(id, "startedAt", w.now.Format(time.RFC3339))
}

func TestDeletedObjectIsNotTaken(t *testing.T) {
	w := newWorld(t)
	key := w.put("airports/2013-01-01/wrong.csv", "x\n")
	w.must(w.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &w.country.Buckets.Landing, Key: &key}))
	w.land(airports, "x\n")
	w.files(airports, map[string]job.FileState{"data.csv": job.Landed, "_COMPLETE": job.Landed})
}

func TestManyAtOnceReachWhatOneWouldAndTellItOnce(t *testing.T) {
	w := newWorld(t)
	w.put("README.txt", "x")
	for _, id := range []job.ID{airports, airports2, flights} {
		w.put(id.String()+"/data.csv", "x\n")
		w.put(id.String()+"/_COMPLETE", "")
	}
	together := func(what func() error) {
		t.Helper()
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if err := what(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	together(func() error {
		_, err := w.intake.Sweep(t.Context(), true)
		return errors.Join(err, w.promoter.Promote(t.Context()))
	})
	w.is(airports, job.Ready, "")
	w.is(airports2, job.Waiting, "waits for airports 2013-01-01")
	w.is(flights, job.Waiting, "waits for airports")
	w.heard("alerts", "file.rejected  : the key has 1 parts; put files at <feed>/<yyyy-mm-dd>/<file>")
	w.told("jobs")
	w.work()
	r, err := w.ledger.Run(t.Context(), airports, 1)
	w.check(err)
	together(func() error {
		err := w.starter.Finisher.Finish(t.Context(), r, engine.Status{State: engine.Failed, Reason: "out of memory"})
		if errors.Is(err, ledger.ErrChanged) {
			err = nil
		}
		return errors.Join(err, w.promoter.Promote(t.Context()), w.teller.Tell(t.Context()))
	})
	w.is(airports, job.Waiting, w.retry(2, "out of memory"))
	w.is(airports2, job.Waiting, "waits for airports 2013-01-01")
	w.heard("alerts", "job.retry airports 2013-01-01: out of memory")
	w.heard("jobs", "job.retry airports 2013-01-01")
}

func TestAlertThatSomebodyDiedBeforeIsGivenByTheTick(t *testing.T) {
	w := newWorld(t)
	w.succeed(airports)
	w.told("jobs")
	found, err := w.intake.Landing.List(t.Context(), w.put("README.txt", "x"), "")
	w.check(err)
	rejected := found[0]
	rejected.Name, rejected.State, rejected.Reason = rejected.Key, job.Rejected, "why"
	found, err = w.intake.Landing.List(t.Context(), w.put("airports/2013-01-01/more.csv", "x"), "")
	w.check(err)
	late := found[0]
	late.ID, late.Name, late.State, late.Reason = airports, "more.csv", job.Late, "late"
	for _, f := range []job.File{rejected, late} {
		_, err := w.ledger.RecordFile(t.Context(), f, job.File{})
		w.check(err)
	}
	w.tick()
	w.heard("alerts") // whoever recorded them may be about to
	w.now = w.now.Add(tellPatience)
	w.tick()
	w.tick()
	w.heard("alerts", "file.late airports 2013-01-01: late", "file.rejected  : the key has 1 parts; put files at <feed>/<yyyy-mm-dd>/<file>")
}

func TestEngineWithoutAnAdapterIsNotReplacedByAnother(t *testing.T) {
	w := newWorld(t)
	emulator.Set(t, w.db, w.country.Tables.Feeds, map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: "airports"}},
		map[string]types.AttributeValue{"engine": &types.AttributeValueMemberS{Value: "hadoop"}})
	w.land(airports, "x\n")
	w.work()
	w.now = w.now.Add(startPatience)
	w.work()
	w.tick()
	w.is(airports, job.Waiting, w.retry(2, `not started: engine "hadoop" is none of auto, emr, emr-serverless, glue`))
	if len(w.engine.started) != 0 {
		t.Errorf("started: %v", w.engine.started)
	}
}

func TestFeedForServerlessRunsThere(t *testing.T) { runsOn(t, "emr-serverless") }

func TestFeedForGlueRunsThere(t *testing.T) { runsOn(t, "glue") }

// runsOn has a feed ask for an engine without clusters.
func runsOn(t *testing.T, name string) {
	t.Helper()
	w := newWorld(t)
	emulator.Set(t, w.db, w.country.Tables.Feeds, map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: "airports"}},
		map[string]types.AttributeValue{"engine": &types.AttributeValueMemberS{Value: name}})
	w.land(airports, "x\n")
	w.work()
	r, err := w.ledger.Run(t.Context(), airports, 1)
	w.check(err)
	if r.Engine != name || r.Sizing.Engine != name || r.Sizing.Target != "own-workers" || w.engine.asked != 0 {
		t.Errorf("run %+v; asked for clusters %d times", r, w.engine.asked)
	}
}
