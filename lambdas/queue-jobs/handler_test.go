package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// desk is everything that a tick calls; it notes the calls.
type desk struct {
	calls []string
	err   error
}

func (d *desk) Sweep(_ context.Context, full bool) (bool, error) {
	d.calls = append(d.calls, map[bool]string{false: "sweep", true: "sweep all"}[full])
	return false, d.err
}

func (d *desk) Promote(context.Context) error {
	d.calls = append(d.calls, "promote")
	return d.err
}

func (d *desk) Tell(context.Context) error {
	d.calls = append(d.calls, "tell")
	return d.err
}

func tick(t *testing.T) events.EventBridgeEvent {
	t.Helper()
	text, err := os.ReadFile("testdata/tick.json")
	var event events.EventBridgeEvent
	if err == nil {
		err = json.Unmarshal(text, &event)
	}
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func TestTickSweepsPromotesAndTells(t *testing.T) {
	d := &desk{}
	if err := (&handler{d, d, d}).Handle(t.Context(), tick(t)); err != nil {
		t.Error(err)
	}
	if want := []string{"sweep", "promote", "tell"}; !slices.Equal(d.calls, want) {
		t.Errorf("got %v", d.calls)
	}
}

func TestFullHourLooksThroughTheWholeBucket(t *testing.T) {
	d := &desk{}
	event := tick(t)
	event.Time = event.Time.Truncate(time.Hour)
	if err := (&handler{d, d, d}).Handle(t.Context(), event); err != nil {
		t.Error(err)
	}
	if d.calls[0] != "sweep all" {
		t.Errorf("got %v", d.calls)
	}
}

func TestOnePartThatFailsKeepsNoOtherBack(t *testing.T) {
	d := &desk{err: errors.New("throttled")}
	if err := (&handler{d, d, d}).Handle(t.Context(), tick(t)); !errors.Is(err, d.err) {
		t.Errorf("got %v", err)
	}
	if len(d.calls) != 3 {
		t.Errorf("got %v", d.calls)
	}
}
