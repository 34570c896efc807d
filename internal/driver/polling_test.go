package driver

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
)

// poll is how many seconds the polling driver waits between two rounds, and here also a step of a story.
const poll = 10 * time.Second

// sweepSteps are the steps after which the clock wakes queue-jobs, or starts to poll.
const sweepSteps = int(15 * time.Minute / poll)

// story is a hundred minutes of four feeds: days that come in the wrong order, a run that fails and one whose files are no good, a late
// file, and a restatement. It says what happens at a step, and which keys landed.
func story(t *testing.T, s *stage, step int) (landed []string) {
	day := func(feed, day string) job.ID { return job.ID{Feed: feed, Day: job.Day(day)} }
	switch step {
	case 2:
		return s.deliver(day("flights", "2013-01-01"))
	case 3:
		return append(s.deliver(day("airports", "2013-01-01")), s.deliver(day("planes", "2013-01-01"))...)
	case 95:
		return append(s.deliver(day("flights", "2013-01-02")), append(s.deliver(day("airports", "2013-01-02")), s.deliver(day("planes", "2013-01-02"))...)...)
	case 100:
		return s.deliver(day("delays", "2013-01-01"))
	case 200:
		return s.deliver(day("planes", "2013-01-03"))
	case 250:
		key := "airports/2013-01-01/more.csv"
		s.put(key)
		return []string{key}
	case 300:
		return s.deliver(day("planes", "2013-01-03"))
	case 400:
		is, err := s.operator.Do(context.Background(), day("airports", "2013-01-01"), job.Restate, "a late file")
		if err != nil {
			t.Fatal(err)
		}
		s.wants(is)
		s.must(t, s.promoter.Promote)
	}
	return nil
}

// storySteps is how long it takes until everything that the story began has ended.
const storySteps = 600

// must runs a function that has no reason to fail.
func (s *stage) must(t *testing.T, f func(context.Context) error) {
	t.Helper()
	if err := f(t.Context()); err != nil {
		t.Fatalf("at %s: %v", s.now.Format(time.TimeOnly), err)
	}
}

// works has each run do its next step, and returns those that it ended. A succeeded day is exported.
func (s *stage) works(t *testing.T) (ended []*played) {
	for name, p := range s.runs {
		if p.status.State != engine.Active {
			continue
		}
		switch name {
		case "airports/2013-01-02#1":
			p.dead = true
			s.over(p, engine.Failed, "no memory")
		case "planes/2013-01-03#1":
			text, err := json.Marshal(result{Error: "header lacks tailnum", Kind: uselessKind})
			if err != nil {
				t.Fatal(err)
			}
			s.objects[runPrefix(p.run.ID, p.run.Token)+"result.json"] = text
			p.dead = true
			s.over(p, engine.Failed, "exit status 1")
		default:
			s.progress(p)
		}
		if p.status.State != engine.Active {
			ended = append(ended, p)
		}
	}
	for _, id := range s.announced {
		s.export(id)
	}
	s.announced = nil
	slices.SortFunc(ended, func(a, b *played) int { return compareIDs(a.run.ID, b.run.ID) })
	return ended
}

func (s *stage) jobs(t *testing.T) []job.Job {
	t.Helper()
	jobs, err := s.ledger.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// look is what queue-jobs does.
func (s *stage) look(t *testing.T, full bool) {
	s.must(t, func(ctx context.Context) error {
		sweep := s.intake.Tick
		if full {
			sweep = func(ctx context.Context) (bool, error) { return s.intake.Sweep(ctx, true) }
		}
		_, err := sweep(ctx)
		return errors.Join(err, s.promoter.Promote(ctx), s.teller.Tell(ctx))
	})
}

// pushed plays the story with the push driver: each function is woken by what happens, and by the clock.
func pushed(t *testing.T, s *stage) {
	for step := range storySteps {
		if keys := story(t, s, step); len(keys) > 0 {
			s.must(t, func(ctx context.Context) error {
				var files []job.File
				for _, k := range keys {
					files = append(files, job.File{Key: k})
				}
				_, faults := s.intake.Keys(ctx, files)
				return errors.Join(append(faults, s.promoter.Promote(ctx))...)
			})
		}
		for _, p := range s.works(t) {
			s.end(p)
		}
		if step%sweepSteps == 0 {
			s.look(t, false)
		}
		s.must(t, s.starter.Work) // announced, or the minute's tick
		s.now = s.now.Add(poll)
	}
}

// polledFor plays the story with the polling driver, as its state machine does, and returns how many rounds each execution had that
// found something to do.
func polledFor(t *testing.T, s *stage) (rounds []int) {
	polls, round, swept := false, 0, -1
	for step := range storySteps {
		story(t, s, step)
		s.works(t)
		if step%sweepSteps == 0 && !polls {
			polls, round = true, 0
		}
		if polls {
			s.must(t, s.starter.Work)
			full := swept < 0 || step-swept >= int(time.Hour/poll)
			if full {
				swept = step
			}
			s.look(t, full)
			moving, err := s.promoter.Moving(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			round++
			if polls = moving > 0; !polls && round > 1 {
				rounds = append(rounds, round)
			}
		}
		s.now = s.now.Add(poll)
	}
	if polls {
		t.Error("it polls on although all is done")
	}
	return rounds
}

// outcome is what is left of a story when it is over, but for its times and the receipts of tickets.
type outcome struct {
	Jobs    []job.Job
	Runs    []job.Run
	Orders  map[string]Order
	LastDay map[string]job.Day
	Files   map[string]job.FileState
	Alerts  []string
	Open    int
}

func (s *stage) outcome(t *testing.T) outcome {
	t.Helper()
	b, err := s.ledger.Board(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{Orders: map[string]Order{}, LastDay: b.LastDay, Files: map[string]job.FileState{}, Alerts: slices.Sorted(slices.Values(s.alerts)), Open: len(b.Slots)}
	var never time.Time
	for _, j := range s.jobs(t) {
		j.CreatedAt, j.StartedAt, j.FinishedAt, j.RetryAt, j.Ticket = never, never, never, never, job.Ticket{}
		for i := range j.Acts {
			j.Acts[i].At = never
		}
		o.Jobs = append(o.Jobs, j)
		runs, err := s.ledger.Runs(t.Context(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			r.StartedAt, r.FinishedAt, r.Receipt = never, never, ""
			o.Runs = append(o.Runs, r)
		}
		files, err := s.ledger.Files(t.Context(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			o.Files[f.Key] = f.State
		}
	}
	for key, text := range s.objects {
		if strings.HasSuffix(key, "/order.json") {
			var order Order
			if err := json.Unmarshal(text, &order); err != nil {
				t.Fatal(err)
			}
			order.StartedAt = never
			o.Orders[key] = order
		}
	}
	return o
}

func TestPollingEndsAsPushDoes(t *testing.T) {
	t.Parallel()
	quiet(t)
	play := func(drive func(*stage)) outcome {
		s := newStage(t, 5, emulator.Feed("airports"), emulator.Feed("planes"), emulator.Feed("flights", "airports", "planes"), emulator.Feed("delays", "flights"))
		drive(s)
		if missing := s.model.missing(); len(s.model.faults)+len(missing) > 0 {
			t.Errorf("faults %v, missing %v", s.model.faults, missing)
		}
		return s.outcome(t)
	}
	var rounds []int
	push := play(func(s *stage) { pushed(t, s) })
	polling := play(func(s *stage) { rounds = polledFor(t, s) })

	states := map[string]job.State{}
	for _, j := range push.Jobs {
		states[j.String()] = j.State
	}
	if want := []string{"airports/2013-01-01", "airports/2013-01-02", "delays/2013-01-01", "flights/2013-01-01", "flights/2013-01-02", "planes/2013-01-01", "planes/2013-01-02", "planes/2013-01-03"}; !slices.Equal(slices.Sorted(maps.Keys(states)), want) {
		t.Errorf("jobs: %v", states)
	}
	for id, state := range states {
		if state != job.Succeeded {
			t.Errorf("%s is %s", id, state)
		}
	}
	if len(push.Runs) != 11 || push.Open != 0 { // a retry, a second delivery and a restatement beside the eight days
		t.Errorf("%d runs, %d open", len(push.Runs), push.Open)
	}
	if want := map[string]job.Day{"airports": "2013-01-02", "planes": "2013-01-03", "flights": "2013-01-02", "delays": "2013-01-01"}; !maps.Equal(push.LastDay, want) {
		t.Errorf("last days: %v", push.LastDay)
	}
	if want := []string{"file.late airports/2013-01-01#0 airports/2013-01-01/more.csv", "job.failed planes/2013-01-03#1 ", "job.retry airports/2013-01-02#1 "}; !slices.Equal(push.Alerts, want) {
		t.Errorf("alerts: %q", push.Alerts)
	}

	if !reflect.DeepEqual(push, polling) {
		a, _ := json.MarshalIndent(push, "", " ")
		b, _ := json.MarshalIndent(polling, "", " ")
		one, other := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
		for i := range min(len(one), len(other)) {
			if one[i] != other[i] {
				t.Fatalf("line %d: pushed %s, polled %s", i, one[i], other[i])
			}
		}
		t.Fatalf("pushed %d lines, polled %d", len(one), len(other))
	}
	// Each burst of work had an execution of its own, which ended when it was done.
	if len(rounds) < 3 {
		t.Errorf("rounds: %v", rounds)
	}
}
