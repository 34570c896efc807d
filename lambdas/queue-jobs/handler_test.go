package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
)

// desk is everything that a tick calls; it notes the calls.
type desk struct {
	calls  []string
	err    error
	found  bool // found: the sweep changes something.
	moving int
}

func (d *desk) Migrate(context.Context) error {
	d.calls = append(d.calls, "migrate")
	return d.err
}

func (d *desk) Tick(context.Context) (bool, error) {
	d.calls = append(d.calls, "sweep")
	return d.found, d.err
}

func (d *desk) Promote(context.Context) error {
	d.calls = append(d.calls, "promote")
	return d.err
}

func (d *desk) Moving(context.Context) (int, error) {
	d.calls = append(d.calls, "count")
	return d.moving, nil
}

func (d *desk) Tell(context.Context) error {
	d.calls = append(d.calls, "tell")
	return d.err
}

func (d *desk) handle(t *testing.T, text []byte) (answer, error) {
	t.Helper()
	return (&handler{d, d, d, d}).Handle(t.Context(), text)
}

func TestTickPlansAndTellsBeforeItSweepsAndAnswersWhatGoesOn(t *testing.T) {
	tick, err := os.ReadFile("testdata/tick.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range [][]byte{tick, []byte("{}")} {
		d := &desk{moving: 3}
		got, err := d.handle(t, event)
		if text, _ := json.Marshal(got); err != nil || string(text) != `{"moving":3}` {
			t.Errorf("%s: answered %s, %v", event, text, err)
		}
		if want := []string{"migrate", "promote", "tell", "sweep", "count"}; !slices.Equal(d.calls, want) {
			t.Errorf("%s: got %v", event, d.calls)
		}
	}
}

func TestWhatTheSweepFoundIsPlannedAtOnce(t *testing.T) {
	d := &desk{found: true}
	if _, err := d.handle(t, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"migrate", "promote", "tell", "sweep", "promote", "count"}; !slices.Equal(d.calls, want) {
		t.Errorf("got %v", d.calls)
	}
}

func TestOnePartThatFailsKeepsNoOtherBackAndNothingIsAnswered(t *testing.T) {
	d := &desk{err: errors.New("throttled"), found: true}
	if _, err := d.handle(t, nil); !errors.Is(err, d.err) {
		t.Errorf("got %v", err)
	}
	if want := []string{"migrate", "promote", "tell", "sweep", "promote"}; !slices.Equal(d.calls, want) {
		t.Errorf("got %v", d.calls)
	}
}
