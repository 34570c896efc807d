package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2013, 1, 1, 12, 7, 0, 0, time.UTC)

// desk is everything that a tick calls; it notes the calls.
type desk struct {
	calls  []string
	err    error
	last   time.Time // last is when the whole bucket was last looked through.
	unread error     // unread is what asking for it answers.
	moving int
}

func (d *desk) Sweep(_ context.Context, full bool) (bool, error) {
	d.calls = append(d.calls, map[bool]string{false: "sweep", true: "sweep all"}[full])
	return false, d.err
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

func (d *desk) LastSweep(context.Context) (time.Time, error) { return d.last, d.unread }

func (d *desk) Swept(_ context.Context, began time.Time) error {
	d.last = began
	return nil
}

func (d *desk) handle(t *testing.T, text []byte) (answer, error) {
	t.Helper()
	return (&handler{d, d, d, d, func() time.Time { return noon }}).Handle(t.Context(), text)
}

func TestTickSweepsPromotesTellsAndAnswersWhatGoesOn(t *testing.T) {
	tick, err := os.ReadFile("testdata/tick.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range [][]byte{tick, []byte("{}")} {
		d := &desk{last: noon.Add(-time.Minute), moving: 3}
		got, err := d.handle(t, event)
		if text, _ := json.Marshal(got); err != nil || string(text) != `{"moving":3}` {
			t.Errorf("%s: answered %s, %v", event, text, err)
		}
		if want := []string{"sweep", "promote", "tell", "count"}; !slices.Equal(d.calls, want) {
			t.Errorf("%s: got %v", event, d.calls)
		}
	}
}

func TestWholeBucketIsLookedThroughOnceAnHourWheneverTicksCome(t *testing.T) {
	for _, c := range []struct {
		why  string
		desk desk
		call string
		last time.Time
	}{
		{"never", desk{}, "sweep all", noon},
		{"an hour ago", desk{last: noon.Add(-time.Hour)}, "sweep all", noon},
		{"59 minutes ago", desk{last: noon.Add(-59 * time.Minute)}, "sweep", noon.Add(-59 * time.Minute)},
		{"by a clock that was a day ahead", desk{last: noon.Add(24 * time.Hour)}, "sweep all", noon},
		{"an hour ago, and it fails", desk{last: noon.Add(-time.Hour), err: errors.New("throttled")}, "sweep all", noon.Add(-time.Hour)},
		{"not known", desk{unread: errors.New("throttled")}, "sweep", time.Time{}},
	} {
		wrong := errors.Join(c.desk.err, c.desk.unread)
		if _, err := c.desk.handle(t, nil); (err != nil) != (wrong != nil) {
			t.Errorf("%s: %v", c.why, err)
		}
		if c.desk.calls[0] != c.call || !c.desk.last.Equal(c.last) {
			t.Errorf("%s: %v, and then the last one is %s", c.why, c.desk.calls, c.desk.last)
		}
	}
}

func TestOnePartThatFailsKeepsNoOtherBackAndNothingIsAnswered(t *testing.T) {
	d := &desk{err: errors.New("throttled")}
	if _, err := d.handle(t, nil); !errors.Is(err, d.err) {
		t.Errorf("got %v", err)
	}
	if want := []string{"sweep all", "promote", "tell"}; !slices.Equal(d.calls, want) {
		t.Errorf("got %v", d.calls)
	}
}
