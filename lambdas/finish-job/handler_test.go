package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

var (
	flights  = job.ID{Feed: "flights", Day: "2013-01-01"}
	airports = job.ID{Feed: "airports", Day: "2013-01-01"}
	planes   = job.ID{Feed: "planes", Day: "2013-01-01"}
	weather  = job.ID{Feed: "weather", Day: "2013-01-01"}
)

// desk is everything that the handler calls; it notes the calls.
type desk struct {
	runs   map[string]job.Run
	status engine.Status
	calls  []string
	lose   int // how many times Finish finds that somebody was faster
}

func newDesk() *desk {
	return &desk{status: engine.Status{State: engine.Active}, runs: map[string]job.Run{
		"flights/2013-01-01#2":  {ID: flights, Token: 2, ClusterID: "j-1", StepID: "s-1"},
		"airports/2013-01-01#1": {ID: airports, Token: 1, ClusterID: "j-2", StepID: "s-2"},
		"weather/2013-01-01#1":  {ID: weather, Token: 1, Engine: "emr-serverless", ClusterID: "00f1982r1uukb925", StepID: "00f1cbn5g4bb0c01"},
		"planes/2013-01-01#3":   {ID: planes, Token: 3, Engine: "glue", ClusterID: "sluice-prod-us-records", StepID: "jr_1"},
	}}
}

func (d *desk) Board(context.Context) (job.Board, error) {
	return job.Board{Slots: []job.ID{airports, flights, planes, weather}, Jobs: map[job.ID]job.Job{
		airports: {ID: airports, Token: 1}, flights: {ID: flights, Token: 2}, planes: {ID: planes, Token: 3}, weather: {ID: weather, Token: 1}}}, nil
}

func (d *desk) Run(_ context.Context, id job.ID, token int64) (job.Run, error) {
	r, ok := d.runs[fmt.Sprintf("%s#%d", id, token)]
	if !ok {
		return r, fmt.Errorf("run: %w", ledger.ErrNoJob)
	}
	return r, nil
}

func (d *desk) Status(context.Context, job.Run) (engine.Status, error) { return d.status, nil }

func (d *desk) Finish(_ context.Context, r job.Run, s engine.Status) error {
	d.calls = append(d.calls, fmt.Sprintf("finish %s#%d on %s: %s", r.ID, r.Token, r.StepID, s.State))
	if d.lose > 0 {
		d.lose--
		return fmt.Errorf("finish: %w", ledger.ErrChanged)
	}
	return nil
}

func (d *desk) Promote(context.Context) error {
	d.calls = append(d.calls, "promote")
	return nil
}

func (d *desk) Tell(context.Context) error {
	d.calls = append(d.calls, "tell")
	return nil
}

func handle(t *testing.T, d *desk, name string) error {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	var event events.EventBridgeEvent
	if err == nil {
		err = json.Unmarshal(text, &event)
	}
	if err != nil {
		t.Fatal(err)
	}
	return (&handler{"prod", "us", d, d, d, d, d}).Handle(t.Context(), event)
}

func TestEventFinishesItsRuns(t *testing.T) {
	for name, want := range map[string][]string{
		"step-completed":          {"finish flights/2013-01-01#2 on s-1: succeeded", "promote", "tell"},
		"step-failed":             {"finish flights/2013-01-01#2 on s-1: failed", "promote", "tell"},
		"cluster-terminated":      {"finish flights/2013-01-01#2 on s-1: failed", "promote", "tell"},
		"serverless-success":      {"finish weather/2013-01-01#1 on 00f1cbn5g4bb0c01: succeeded", "promote", "tell"},
		"serverless-running":      nil,
		"serverless-of-another":   nil,
		"glue-succeeded":          {"finish planes/2013-01-01#3 on jr_1: succeeded", "promote", "tell"},
		"glue-timeout":            {"finish planes/2013-01-01#3 on jr_1: failed", "promote", "tell"},
		"glue-stopped":            {"finish planes/2013-01-01#3 on jr_1: cancelled", "promote", "tell"},
		"glue-of-another-run":     nil,
		"step-running":            nil,
		"step-of-another-country": nil,
		"step-of-the-same-name":   nil,
		"step-without-run":        nil,
	} {
		d := newDesk()
		if err := handle(t, d, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(d.calls, want) {
			t.Errorf("%s: got %q", name, d.calls)
		}
	}
}

func TestEnginesOwnWordCountsMoreThanTheEvent(t *testing.T) {
	d := newDesk()
	d.status = engine.Status{State: engine.Cancelled}
	if err := handle(t, d, "step-failed"); err != nil {
		t.Fatal(err)
	}
	if d.calls[0] != "finish flights/2013-01-01#2 on s-1: cancelled" {
		t.Errorf("got %q", d.calls)
	}
}

func TestStepThatEndedBeforeItWasWrittenDownIsFinished(t *testing.T) {
	d := newDesk()
	d.runs["flights/2013-01-01#2"] = job.Run{ID: flights, Token: 2}
	if err := handle(t, d, "step-completed"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"finish flights/2013-01-01#2 on s-1: succeeded", "promote", "tell"}; !slices.Equal(d.calls, want) {
		t.Errorf("got %q", d.calls)
	}
}

func TestFinishIsTriedAgainWhenSomebodyWasFaster(t *testing.T) {
	d := newDesk()
	d.lose = 1
	if err := handle(t, d, "step-completed"); err != nil {
		t.Fatal(err)
	}
	if len(d.calls) != 4 {
		t.Errorf("got %q", d.calls)
	}
}
