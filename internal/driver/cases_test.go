package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
)

// These are the faults that docs/jobs.md lists, each played by itself. What they leave undone is done in the end: settled checks that.

func twoFeeds(t *testing.T) *stage {
	quiet(t)
	return newStage(t, 5, emulator.Feed("airports"), emulator.Feed("flights", "airports"))
}

// running delivers a day and has its run begin.
func (s *stage) running(t *testing.T, id job.ID) *played {
	t.Helper()
	s.receive(s.deliver(id)...)
	s.start()
	p := s.runs[id.String()+"#1"]
	if p == nil {
		t.Fatalf("%s does not run", id)
	}
	return p
}

// publishes has a run publish and end.
func (s *stage) publishes(p *played) {
	for range 2 {
		s.progress(p)
	}
	s.end(p)
}

// acts has a person do things to a job.
func (s *stage) acts(t *testing.T, id job.ID) func(job.Verb) {
	return func(v job.Verb) {
		t.Helper()
		is, err := s.operator.Do(t.Context(), id, v, "because")
		if err != nil {
			t.Fatal(err)
		}
		s.wants(is)
	}
}

// has checks where a job stands.
func (s *stage) has(t *testing.T, id job.ID, state job.State, token int64) {
	t.Helper()
	if j := s.job(id); j.State != state || j.Token != token {
		t.Errorf("%s is %s after run %d (%s), not %s after run %d", id, j.State, j.Token, j.Reason, state, token)
	}
}

func TestDuplicateAndDisorderedEventsMakeOneJob(t *testing.T) {
	s := twoFeeds(t)
	keys := append(s.deliver(airports2), s.deliver(airports)...)
	for _, k := range slices.Backward(slices.Concat(keys, keys, keys)) {
		s.receive(k)
	}
	s.has(t, airports, job.Ready, 0)
	s.has(t, airports2, job.Waiting, 0)
	s.settled(t)
	if len(s.runs) != 2 || len(s.alerts) != 0 {
		t.Errorf("%d runs, alerts %q", len(s.runs), s.alerts)
	}
}

func TestTimeOutWithALiveLeaseTakesNothingOver(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.receive(s.deliver(airports2)...)
	for range 30 { // nobody hears of the run for thirty hours, but its engine says that it works
		s.now = s.now.Add(time.Hour)
		s.sweep()
		s.start()
	}
	s.has(t, airports, job.Running, 1)
	s.has(t, airports2, job.Waiting, 0)
	if want := []string{"job.overdue airports/2013-01-01#1 "}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	s.progress(p)
	s.progress(p)
	s.end(p)
	s.has(t, airports, job.Succeeded, 1)
	s.settled(t)
}

func TestRunThatTakesTooLongIsToldOnceAndGoesOn(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	limit := job.Feed{}.Limit(s.job(airports).Sizing.Bytes)
	s.now = s.job(airports).StartedAt.Add(limit - time.Second)
	s.start()
	s.sweep()
	if len(s.alerts) != 0 {
		t.Errorf("told before its time: %q", s.alerts)
	}
	for range 3 {
		s.now = s.now.Add(time.Minute)
		s.start()
		s.sweep()
	}
	want := []string{"job.overdue airports/2013-01-01#1 "}
	if !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	s.has(t, airports, job.Running, 1)
	if got, want := s.job(airports).Reason, "run 1 has not ended within 64 minutes, the limit for this day"; got != want {
		t.Errorf("reason %q, not %q", got, want)
	}
	s.progress(p)
	s.progress(p)
	s.end(p)
	s.has(t, airports, job.Succeeded, 1)
	if reason := s.job(airports).Reason; reason != "" || !slices.Equal(s.alerts, want) {
		t.Errorf("reason %q, alerts %q", reason, s.alerts)
	}
	s.settled(t)
}

func TestFeedSaysHowLongARunMayTake(t *testing.T) {
	quiet(t)
	feed := emulator.Feed("airports")
	feed["timeoutMinutes"] = &types.AttributeValueMemberN{Value: "2"}
	s := newStage(t, 5, feed)
	s.running(t, airports)
	s.now = s.now.Add(2 * time.Minute)
	s.start()
	s.sweep()
	if want := []string{"job.overdue airports/2013-01-01#1 "}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestFreeSlotWaitsForOneAnswerOfAnEngineAtMost(t *testing.T) {
	quiet(t)
	s := newStage(t, 3, emulator.Feed("airports"), emulator.Feed("planes"), emulator.Feed("weather"))
	planes, weather := job.ID{Feed: "planes", Day: airports.Day}, job.ID{Feed: "weather", Day: airports.Day}
	s.running(t, airports)
	s.running(t, planes)
	var states []job.State
	s.asked = func() {
		states = append(states, s.peek(weather).State)
		if len(states) == 1 {
			s.receive(s.deliver(weather)...) // start-jobs works, so whoever tells it of this job is sent away
		}
	}
	s.start()
	if want := []job.State{"", job.Running}; !slices.Equal(states, want) {
		t.Errorf("when engines were asked, the job was %q, not %q", states, want)
	}
}

func TestSlotGoesToTheLongestPathAmongThoseThatItsEndMadeReady(t *testing.T) {
	quiet(t)
	s := newStage(t, 1, emulator.Feed("airports"), emulator.Feed("flights", "airports"), emulator.Feed("delays", "flights"), emulator.Feed("weather"))
	on := func(feed string) job.ID { return job.ID{Feed: feed, Day: airports.Day} }
	for _, feed := range []string{"weather", "flights", "delays"} {
		s.receive(s.deliver(on(feed))...)
	}
	p := s.running(t, airports)
	s.has(t, on("weather"), job.Ready, 0)
	s.has(t, flights, job.Waiting, 0)
	s.progress(p)
	s.progress(p)
	s.start()
	s.has(t, flights, job.Running, 1)
	s.has(t, on("weather"), job.Ready, 0)
	s.settled(t)
}

func TestTicketThatAppearsAgainMidJobStartsNothing(t *testing.T) {
	s := twoFeeds(t)
	s.running(t, airports)
	s.itself(func() {
		for range 2 {
			if err := s.Send(context.Background(), airports); err != nil {
				t.Fatal(err)
			}
		}
	})
	s.start()
	s.start()
	s.has(t, airports, job.Running, 1)
	s.settled(t)
	if len(s.runs) != 1 {
		t.Errorf("%d runs", len(s.runs))
	}
}

func TestPoisonedDayKeepsNoOtherFeedBack(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.objects["runs/airports/2013-01-01/1/result.json"] = []byte(`{"ok":false,"error":"not a CSV file","kind":"input"}`)
	p.dead = true
	s.over(p, engine.Failed, "exit status 1")
	s.end(p)
	s.has(t, airports, job.Failed, 1) // the same file would fail again
	s.receive(s.deliver(job.ID{Feed: "airports", Day: "2012-12-31"})...)
	s.start()
	s.has(t, job.ID{Feed: "airports", Day: "2012-12-31"}, job.Running, 1)
	if want := []string{"job.failed airports/2013-01-01#1 "}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestBadPartOfABatchKeepsNoOtherBack(t *testing.T) {
	s := twoFeeds(t)
	keys := append([]string{"README.txt", "planes/2013-01-01/x.csv", "../etc/passwd"}, s.deliver(airports)...)
	for _, k := range keys[:3] {
		s.put(k)
	}
	s.receive(keys...)
	s.has(t, airports, job.Ready, 0)
	if len(s.alerts) != 2 {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestHundredsOfHostileKeysAreOneMessage(t *testing.T) {
	s := twoFeeds(t)
	keys := func(n int) (all []string) {
		for k := range 100 {
			all = append(all, fmt.Sprintf("../%d/%d", n, k), fmt.Sprintf("feed-%d/2013-01-01/%d.csv", k, n), fmt.Sprintf("airports/today/%d-%d.csv", n, k))
		}
		return all
	}
	for n := range 3 {
		for _, k := range keys(n) {
			s.put(k)
		}
		s.receive(keys(n)...)
		s.sweep()
		s.now = s.now.Add(10 * time.Minute)
	}
	if want := []string{"file.rejected /#0 ../0/0", "file.rejected /#0 feed-0/2013-01-01/0.csv", "file.rejected /#0 airports/today/0-0.csv"}; !slices.Equal(s.alerts, want) { // no key, no feed, a feed's
		t.Errorf("alerts: %q", s.alerts)
	}
	if all, err := s.ledger.Rejected(t.Context()); err != nil || len(all) != 900 {
		t.Errorf("%d keys are recorded, %v", len(all), err)
	}
	s.now = s.now.Add(time.Hour)
	s.put("README.txt")
	s.receive("README.txt")
	if len(s.alerts) != 4 {
		t.Errorf("an hour later: %q", s.alerts)
	}
}

func TestHundredLateFilesAreOneMessage(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.progress(p)
	s.progress(p)
	s.end(p)
	var late []string
	for n := range 100 {
		late = append(late, fmt.Sprintf("%s/late-%03d.csv", airports, n))
		s.put(late[n])
	}
	s.receive(late...)
	s.now = s.now.Add(time.Hour)
	s.sweep()
	if want := []string{"file.late airports/2013-01-01#0 airports/2013-01-01/late-000.csv"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestEventsThatAreGivenUpAreOneMessageOfAFeed(t *testing.T) {
	s := twoFeeds(t)
	for _, key := range []string{airports.String() + "/a.csv", airports.String() + "/b.csv", flights.String() + "/a.csv", "", "../\xff"} {
		if err := s.intake.GaveUp(t.Context(), key, errors.New("no memory")); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"function.failed airports/2013-01-01#0 airports/2013-01-01/a.csv", "function.failed flights/2013-01-01#0 flights/2013-01-01/a.csv", "function.failed /#0 "}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestCancelledRestatementLeavesWhatBigQueryHas(t *testing.T) {
	s := twoFeeds(t)
	exported := func() (rows int64) {
		if e := s.job(airports).Exported; e != nil {
			rows = *e
		}
		return rows
	}
	act := s.acts(t, airports)
	s.publishes(s.running(t, airports))
	if err := s.ledger.Exported(t.Context(), s.job(airports), 7); err != nil {
		t.Fatal(err)
	}
	act(job.Restate)
	act(job.Cancel)
	s.has(t, airports, job.Cancelled, 1)
	if exported() != 7 {
		t.Errorf("%d rows are exported after a restatement that was cancelled", exported())
	}
	act(job.Restate)
	s.sweep()
	s.start()
	s.publishes(s.runs[airports.String()+"#2"])
	s.has(t, airports, job.Succeeded, 2)
	if exported() != 0 {
		t.Errorf("%d rows are exported of a revision that was not exported", exported())
	}
}

func TestExportOfADayWhoseRestatementIsCancelledIsDone(t *testing.T) {
	for name, cancels := range map[string]func(*stage, func(job.Verb)){
		"before it began": func(_ *stage, act func(job.Verb)) { act(job.Cancel) },
		"while it ran": func(s *stage, act func(job.Verb)) {
			s.sweep()
			s.start()
			act(job.Cancel)
			s.start() // its engine is told to end it …
			s.start() // … and says that it did
		},
		"after its export was given up": func(s *stage, act func(job.Verb)) {
			for range exportTries + 1 {
				s.sweep()
				s.now = s.now.Add(exportPatience)
			}
			act(job.Cancel)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := twoFeeds(t)
			act := s.acts(t, airports)
			s.publishes(s.running(t, airports))
			act(job.Restate)
			cancels(s, act)
			s.announced = nil
			s.now = s.now.Add(exportPatience)
			s.sweep()
			if !slices.Equal(s.announced, []job.ID{airports}) {
				t.Fatalf("announced: %v", s.announced)
			}
			s.export(airports)
			if j := s.job(airports); j.State != job.Cancelled || j.Revision != 2 || j.Exported == nil || s.model.loaded[airports] != 1 {
				t.Errorf("%s revision %d, exported %v: BigQuery has revision %d", j.State, j.Revision, j.Exported, s.model.loaded[airports])
			}
			s.settled(t)
		})
	}
}

func TestExportThatWasGivenUpAfterACancelledRestatementIsRedriven(t *testing.T) {
	s := twoFeeds(t)
	act := s.acts(t, airports)
	s.publishes(s.running(t, airports))
	act(job.Restate)
	act(job.Cancel)
	for range exportTries + 2 {
		s.sweep()
		s.now = s.now.Add(exportPatience)
	}
	if want := []string{"export.failed airports/2013-01-01#1 "}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	s.announced = nil
	act(job.Redrive)
	s.sweep()
	if !slices.Equal(s.announced, []job.ID{airports}) {
		t.Errorf("announced: %v", s.announced)
	}
	s.has(t, airports, job.Cancelled, 1)
	s.settled(t)
}

func TestDayIsExportedWhileItsRestatementWaits(t *testing.T) {
	s := twoFeeds(t)
	act := s.acts(t, airports)
	s.publishes(s.running(t, airports))
	act(job.Restate)
	act(job.Hold)
	s.sweep()
	s.export(airports)
	if j := s.job(airports); j.State != job.Held || j.Exported == nil || s.model.loaded[airports] != 1 {
		t.Errorf("%s, exported %v: BigQuery has revision %d", j.State, j.Exported, s.model.loaded[airports])
	}
	act(job.Release)
	s.sweep()
	s.start()
	s.publishes(s.runs[airports.String()+"#2"])
	s.export(airports)
	if j := s.job(airports); j.Exported == nil || s.model.loaded[airports] != 2 {
		t.Errorf("exported %v: BigQuery has revision %d", j.Exported, s.model.loaded[airports])
	}
	s.settled(t)
}

func TestOldAnnouncementThatComesAgainKeepsNoFileFromBeingMarked(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.progress(p)
	s.progress(p)
	s.function(func(ctx context.Context) error {
		r, err := s.ledger.Run(ctx, airports, 1)
		return errors.Join(err, s.starter.Finisher.Finish(ctx, r, p.status))
	})
	s.export(airports) // before its end was told
	s.sweep()
	s.settled(t)
}

func TestFileThatARestatementTakesIsNotLate(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.put(airports.String() + "/more.csv")
	s.receive(airports.String() + "/more.csv")
	s.progress(p)
	s.progress(p)
	s.function(func(ctx context.Context) error {
		r, err := s.ledger.Run(ctx, airports, 1)
		return errors.Join(err, s.starter.Finisher.Finish(ctx, r, p.status))
	})
	act := s.acts(t, airports)
	act(job.Restate) // before anybody told of the end
	s.sweep()
	s.start()
	s.publishes(s.runs[airports.String()+"#2"])
	if len(s.alerts) > 0 {
		t.Errorf("alerts: %q", s.alerts)
	}
	s.settled(t)
}

func TestFileThatCameDuringACancelledRestatementIsLate(t *testing.T) {
	for _, runs := range []bool{false, true} {
		s := twoFeeds(t)
		act := s.acts(t, airports)
		s.publishes(s.running(t, airports))
		s.sweep()
		s.export(airports)
		act(job.Restate)
		if runs {
			s.sweep()
			s.start()
		}
		s.put(airports.String() + "/more.csv")
		s.receive(airports.String() + "/more.csv")
		act(job.Cancel)
		s.start() // a run is ended on its engine …
		s.start() // … which says that it has ended
		s.announced = nil
		s.sweep()
		s.has(t, airports, job.Cancelled, int64(len(s.runs)))
		files, err := s.ledger.Files(t.Context(), airports)
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]job.FileState{}
		for _, f := range files {
			states[f.Name] = f.State
		}
		if want := map[string]job.FileState{"data.csv": job.Processed, "_COMPLETE": job.Processed, "more.csv": job.Late}; !maps.Equal(states, want) {
			t.Errorf("it runs %v: files: %v", runs, states)
		}
		if want := []string{"file.late airports/2013-01-01#0 airports/2013-01-01/more.csv"}; !slices.Equal(s.alerts, want) {
			t.Errorf("it runs %v: alerts: %q", runs, s.alerts)
		}
		if len(s.announced) != 0 { // BigQuery has its rows
			t.Errorf("it runs %v: announced: %v", runs, s.announced)
		}
		s.settled(t)
	}
}

func TestFailingStepIsTriedAgain(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	p.dead = true
	s.over(p, engine.Failed, "no memory")
	s.end(p)
	s.has(t, airports, job.Waiting, 1)
	s.now = s.now.Add(time.Minute)
	s.sweep()
	s.start()
	s.has(t, airports, job.Running, 2)
	s.settled(t)
}

func TestRetryStartsAtTheTickAfterItsBackOff(t *testing.T) {
	s := twoFeeds(t)
	s.receive(s.deliver(flights)...)
	p := s.running(t, airports)
	p.dead = true
	s.over(p, engine.Failed, "no memory")
	s.end(p)
	s.now = s.now.Add(59 * time.Second)
	s.start()
	s.has(t, airports, job.Waiting, 1)
	s.now = s.now.Add(time.Second)
	s.start()
	s.has(t, airports, job.Running, 2)
	if s.sent != 2 || len(s.queue) != 1 {
		t.Errorf("%d tickets were sent for two attempts, %d are left", s.sent, len(s.queue))
	}
	for range 2 {
		s.progress(s.runs["airports/2013-01-01#2"])
	}
	s.start() // nobody tells of the end either
	s.has(t, airports, job.Succeeded, 2)
	s.has(t, flights, job.Running, 1)
	s.settled(t)
}

func TestTicketOfALongRunIsSentAnewBeforeItsQueueShowsIt(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.start()
	for range 30 * 60 { // thirty hours
		s.now = s.now.Add(time.Minute)
		s.start()
		if len(s.queue) != 1 || s.queue[0].receives > 1 {
			t.Fatalf("%s: %d tickets, the first one received %d times", s.now, len(s.queue), s.queue[0].receives)
		}
	}
	if s.sent != 3 {
		t.Errorf("%d tickets were sent", s.sent)
	}
	j := s.job(airports)
	if r, err := s.ledger.Run(t.Context(), airports, 1); err != nil || r.Receipt != j.Ticket.Receipt || r.Receipt != s.queue[0].receipt() {
		t.Errorf("the run has receipt %q, its job %q: %v", r.Receipt, j.Ticket.Receipt, err)
	}
	s.progress(p)
	s.progress(p)
	s.end(p)
	if len(s.queue) != 0 {
		t.Error("the ticket is left after the end")
	}
	s.settled(t)
}

func TestTicketThatGotLostIsSentAnew(t *testing.T) {
	s := twoFeeds(t)
	s.running(t, airports)
	s.queue = nil
	s.now = s.now.Add(12 * time.Hour)
	s.start()
	s.now = s.now.Add(time.Minute)
	s.start()
	if s.sent != 2 || len(s.queue) != 1 || s.job(airports).Ticket.Receipt != s.queue[0].receipt() {
		t.Errorf("%d tickets were sent, %d are left", s.sent, len(s.queue))
	}
	s.settled(t)
}

func TestDeathWhileATicketIsSentAnewLeavesOneTicket(t *testing.T) {
	for call := 1; ; call++ {
		s := twoFeeds(t)
		s.running(t, airports)
		s.start()
		s.queue[0].until = s.now.Add(12 * time.Hour) // as it was renewed all the time
		s.now = s.now.Add(12*time.Hour - 10*time.Minute)
		s.port = &port{at: call, how: diesAfter}
		s.start()
		done := s.port.calls < call
		s.port = &port{}
		for range 20 {
			s.now = s.now.Add(time.Minute)
			s.start()
		}
		if len(s.queue) != 1 || s.job(airports).Ticket.Receipt != s.queue[0].receipt() {
			t.Errorf("death after call %d: %d tickets", call, len(s.queue))
		}
		if done {
			return
		}
	}
}

func TestClusterThatEndedMidStepIsFoundByTheTick(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.progress(p) // it had begun to publish
	p.dead = true
	s.over(p, engine.Failed, "the cluster ended") // and no event tells
	s.start()
	s.has(t, airports, job.Waiting, 1)
	s.settled(t)
	if by := s.model.readable[airports][1]; by != 1 {
		t.Errorf("published by #%d, not by the run that had begun", by)
	}
}

func TestOutputWithoutCommitIsNotRead(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	p.dead = true
	s.over(p, engine.Succeeded, "") // written to its branches, says the engine, and never claimed
	s.end(p)
	s.has(t, airports, job.Waiting, 1)
	if s.model.closed(airports) {
		t.Error("it is read")
	}
	s.settled(t)
}

func TestZombieThatPublishesLateIsRefused(t *testing.T) {
	s := twoFeeds(t)
	zombie := s.running(t, airports)
	s.over(zombie, engine.Failed, "the cluster ended") // but its process lives
	s.end(zombie)
	s.now = s.now.Add(time.Minute)
	s.sweep()
	s.start()
	s.has(t, airports, job.Running, 2)
	for range 3 {
		s.progress(zombie)
	}
	if s.model.closed(airports) {
		t.Error("the zombie published")
	}
	s.settled(t)
	if by := s.model.readable[airports][1]; by != 2 {
		t.Errorf("published by #%d", by)
	}
}

func TestClockADayOffLosesNothing(t *testing.T) {
	for _, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		s := twoFeeds(t)
		keys := append(s.deliver(flights), s.deliver(airports)...)
		s.now = s.now.Add(off) // of this function only
		s.receive(keys...)
		s.start()
		s.now = s.now.Add(-off)
		s.settled(t)
		if len(s.runs) != 2 {
			t.Errorf("%s: %d runs", off, len(s.runs))
		}
	}
}

func TestKeyThatIsDisabledForAWhileLosesNothing(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	disabled := true
	s.port.busy = func() bool { return disabled } // KMS refuses: every call on encrypted things fails
	s.receive(s.deliver(flights)...)
	s.progress(p)
	s.progress(p)
	for range 5 {
		s.end(p)
		s.sweep()
		s.start()
	}
	disabled = false
	s.has(t, airports, job.Running, 1)
	s.settled(t)
	if len(s.runs) != 2 {
		t.Errorf("%d runs", len(s.runs))
	}
}

func TestNineCallsOfTenThrottledEndAsUndisturbed(t *testing.T) {
	play := func(s *stage) (rounds int) {
		keys := append(s.deliver(flights), s.deliver(airports)...)
		for s.peek(flights).State != job.Succeeded && rounds < 100_000 {
			rounds++
			s.receive(keys...)
			s.start()
			for _, p := range s.sorted() {
				s.progress(p)
			}
		}
		return rounds
	}
	calm := twoFeeds(t)
	undisturbed := play(calm)
	calm.settled(t)
	s := twoFeeds(t)
	chance := rand.New(rand.NewPCG(1, 2))
	s.port.busy = func() bool {
		for range 6 { // the functions' clients try so often: internal/lambdaenv
			if chance.IntN(10) == 9 {
				return false
			}
		}
		return true
	}
	rounds := play(s)
	if state := s.peek(flights).State; state != job.Succeeded || rounds <= undisturbed {
		t.Errorf("throttled, the last day is %s after %d rounds; undisturbed it takes %d", state, rounds, undisturbed)
	}
	s.settled(t)
	if got, want := s.ends(t), calm.ends(t); !slices.Equal(got, want) || len(s.runs) != 2 {
		t.Errorf("%d runs, it ends as\n%q\nnot as\n%q", len(s.runs), got, want)
	}
}

func TestTeardownWhileRunningLetsTheRunEnd(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.receive(s.deliver(airports2)...)
	s.itself(func() { // the feed is taken out of the stack
		gone := emulator.NewMemory()
		emulator.Tables(t, gone, "stage", emulator.Feed("flights", "airports"))
		s.db.Replace("stage-feeds", gone)
	})
	s.sweep()
	s.progress(p)
	s.progress(p)
	s.end(p)
	s.has(t, airports, job.Succeeded, 1)
	s.itself(func() { // and comes back
		back := emulator.NewMemory()
		emulator.Tables(t, back, "stage", emulator.Feed("airports"), emulator.Feed("flights", "airports"))
		s.db.Replace("stage-feeds", back)
	})
	s.settled(t)
}

// down takes the country's stack down: no function is left, no message, and every run ends with its cluster. The landing bucket stays, and
// what runs left in the artifacts.
func (s *stage) down() {
	s.queue = nil
	for _, p := range s.sorted() {
		p.dead = true
		s.overIfActive(p, engine.Failed, "the cluster ended")
	}
}

func TestCountryThatIsTakenDownWhileItRunsGoesOnWithItsLedger(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.progress(p) // it had begun to publish
	s.receive(s.deliver(flights)...)
	s.deliver(airports2)
	s.down()
	s.put(airports.String() + "/late.csv") // no function hears of it
	s.now = s.now.Add(48 * time.Hour)
	s.start() // deployed again
	s.has(t, airports, job.Waiting, 1)
	s.has(t, flights, job.Waiting, 0)
	s.now = s.now.Add(time.Minute)
	s.start()
	s.has(t, airports, job.Running, 2)
	s.sweep()
	second := s.runs["airports/2013-01-01#2"]
	s.progress(second)
	s.progress(second)
	s.end(second)
	s.settled(t)
	if by := s.model.readable[airports][1]; by != 1 {
		t.Errorf("published by #%d, not by the run that had begun", by)
	}
	if want := []string{"job.retry airports/2013-01-01#1 ", "file.late airports/2013-01-01#0 airports/2013-01-01/late.csv"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestCountryThatIsTakenDownWithItsLedgerBeginsAnew(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.objects[resultKey(airports, 1)] = []byte(`{"ok":false,"error":"not a CSV file","kind":"input"}`)
	s.deliver(flights)
	s.down()
	s.deliver(airports) // other files than those that the run was ordered with
	for _, table := range []string{"jobs", "runs", "files", "progress"} {
		s.db.Replace("stage-"+table, emulator.NewMemory())
	}
	s.now = s.now.Add(48 * time.Hour)
	before := s.model
	s.model, s.runs, s.alerts = newModel(before.feeds, before.parallel), map[string]*played{}, nil
	s.model.delivered(airports)
	s.model.delivered(flights)
	s.sweep() // deployed again
	s.start()
	s.has(t, airports, job.Running, 1)
	var o Order
	if err := json.Unmarshal(s.objects[orderKey(airports, 1)], &o); err != nil || o.Files[0].VersionID != s.landed[airports.String()+"/data.csv"].VersionID {
		t.Errorf("it was ordered what the old ledger's run %s was: %+v, %v", p.run.ID, o.Files, err)
	}
	again := s.runs["airports/2013-01-01#1"]
	again.dead = true
	s.over(again, engine.Failed, "no memory")
	s.end(again)
	if j := s.job(airports); j.Trouble != "no memory" {
		t.Errorf("it failed for what the old ledger's run left: %s", j.Trouble)
	}
	s.settled(t)
}

func TestContractThatChangesDuringADayCountsFromTheNextRun(t *testing.T) {
	s := twoFeeds(t)
	s.running(t, airports)
	s.objects["contracts/airports.json"] = []byte(`{"changed":true}`)
	s.start()
	ordered := func(token int64) bool {
		return strings.Contains(string(s.objects[orderKey(airports, token)]), "changed")
	}
	if ordered(1) {
		t.Error("a run's order changed under it")
	}
	p := s.runs["airports/2013-01-01#1"]
	p.dead = true
	s.over(p, engine.Failed, "no memory")
	s.end(p)
	s.now = s.now.Add(time.Minute)
	s.start()
	s.has(t, airports, job.Running, 2)
	if !ordered(2) {
		t.Error("the next run has the contract of the last one")
	}
	s.settled(t)
	if len(s.runs) != 2 || len(s.alerts) != 1 {
		t.Errorf("%d runs, alerts %q", len(s.runs), s.alerts)
	}
}

func TestFileThatIsOverwrittenWhileItsRunReadsItIsReadByTheNextRun(t *testing.T) {
	for name, event := range map[string]func(s *stage, key string){
		"told by its event": func(s *stage, key string) { s.receive(key) },
		"found by a sweep":  func(s *stage, _ string) { s.sweep() },
	} {
		s := twoFeeds(t)
		p := s.running(t, airports)
		key := airports.String() + "/data.csv"
		s.put(key)
		s.objects[resultKey(airports, 1)] = []byte(`{"ok":false,"error":"data.csv was overwritten","kind":"changed"}`)
		p.dead = true
		s.over(p, engine.Failed, "exit status 1")
		s.end(p)
		s.has(t, airports, job.Waiting, 1) // another run reads other bytes
		event(s, key)
		s.now = s.now.Add(time.Minute)
		s.start()
		s.has(t, airports, job.Running, 2)
		var o Order
		if err := json.Unmarshal(s.objects[orderKey(airports, 2)], &o); err != nil || o.Files[0].VersionID != s.landed[key].VersionID {
			t.Errorf("%s: ordered %+v, there is %+v, %v", name, o.Files, s.landed[key], err)
		}
		again := s.runs["airports/2013-01-01#2"]
		for range 3 {
			s.progress(again)
		}
		s.end(again)
		if f := s.files(t, airports)["data.csv"]; f.State != job.Processed || f.VersionID != s.landed[key].VersionID {
			t.Errorf("%s: recorded %+v", name, f)
		}
		if want := []string{"job.retry airports/2013-01-01#1 "}; !slices.Equal(s.alerts, want) {
			t.Errorf("%s: alerts: %q", name, s.alerts)
		}
		s.settled(t)
	}
}

func TestReasonOfAFailureIsCutToWhatTheLedgerCanKeep(t *testing.T) {
	s := twoFeeds(t)
	p := s.running(t, airports)
	s.objects[resultKey(airports, 1)] = []byte(`{"ok":false,"error":"` + strings.Repeat("ä", 300_000) + `","kind":"input"}`)
	p.dead = true
	s.over(p, engine.Failed, "exit status 1")
	s.end(p)
	s.has(t, airports, job.Failed, 1)
	if got, want := s.job(airports).Reason, strings.Repeat("ä", longestReason-1)+"…"; got != want {
		t.Errorf("%d characters: …%s", utf8.RuneCountInString(got), got[max(0, len(got)-20):])
	}
}

func TestMarkerWithoutFilesIsToldOnceAndMakesNoJob(t *testing.T) {
	s := twoFeeds(t)
	s.put("airports/2013-01-01/_COMPLETE")
	s.receive("airports/2013-01-01/_COMPLETE")
	s.sweep()
	if len(s.alerts) != 0 {
		t.Errorf("told before its files could come: %q", s.alerts)
	}
	s.now = s.now.Add(time.Hour)
	s.sweep()
	s.now = s.now.Add(time.Hour)
	s.sweep()
	if want := []string{"day.empty airports/2013-01-01#0 airports/2013-01-01/_COMPLETE"}; !slices.Equal(s.alerts, want) {
		t.Errorf("alerts: %q", s.alerts)
	}
	if _, err := s.ledger.Get(context.Background(), airports); err == nil {
		t.Error("it has a job")
	}
}

func TestLeapDayAndClockChangesEndAtMidnightOfTheCountry(t *testing.T) {
	for _, c := range []struct{ zone, day, before, at string }{
		{"America/New_York", "2024-02-29", "2024-03-01T05:59:59Z", "2024-03-01T06:00:00Z"},
		{"America/New_York", "2013-03-10", "2013-03-11T04:59:59Z", "2013-03-11T05:00:00Z"},    // 23 hours
		{"America/New_York", "2013-11-03", "2013-11-04T05:59:59Z", "2013-11-04T06:00:00Z"},    // 25 hours
		{"America/Sao_Paulo", "2013-10-19", "2013-10-20T03:59:59Z", "2013-10-20T04:00:00Z"},   // its midnight is skipped
		{"Pacific/Kiritimati", "2013-01-01", "2013-01-01T10:59:59Z", "2013-01-01T11:00:00Z"},  // UTC+14
		{"America/Puerto_Rico", "2013-01-01", "2013-01-02T04:59:59Z", "2013-01-02T05:00:00Z"}, // no summer time
	} {
		quiet(t)
		feed := emulator.Feed("airports")
		feed["completeness"] = &types.AttributeValueMemberS{Value: "window"} // ends an hour after midnight
		s := newStage(t, 5, feed)
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		s.intake.Zone, s.promoter.Zone, s.starter.Promoter.Zone = zone, zone, zone
		id := job.ID{Feed: "airports", Day: job.Day(c.day)}
		moment := func(text string) time.Time {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		s.now = moment(c.before).Add(-2 * time.Hour)
		s.put(id.String() + "/data.csv")
		s.now = moment(c.before)
		s.sweep()
		if _, err := s.ledger.Get(context.Background(), id); err == nil {
			t.Errorf("%s in %s: complete at %s", c.day, c.zone, c.before)
		}
		s.now = moment(c.at)
		s.sweep()
		if _, err := s.ledger.Get(context.Background(), id); err != nil {
			t.Errorf("%s in %s: not complete at %s", c.day, c.zone, c.at)
		}
	}
}

func TestRunIsNotLostWhenItsNotificationIs(t *testing.T) {
	s := twoFeeds(t)
	s.deliver(airports) // no event
	s.sweep()
	s.queue = nil // no ticket
	s.start()
	for range 2 {
		s.progress(s.runs["airports/2013-01-01#1"])
	}
	s.start() // no state change either
	s.has(t, airports, job.Succeeded, 1)
	s.settled(t)
}

func TestRefusedActIsAnErrorOfItsOwnKind(t *testing.T) {
	s := twoFeeds(t)
	s.running(t, airports)
	_, err := s.operator.Do(context.Background(), airports, job.Restate, "x")
	if refused := job.Refused(""); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}
