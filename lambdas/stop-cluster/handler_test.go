package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
)

var (
	noon    = time.Date(2013, 1, 1, 12, 0, 0, 0, time.UTC)
	flights = job.ID{Feed: "flights", Day: "2013-01-01"}
)

// desk is everything that the handler calls; it notes the calls that change something.
type desk struct {
	up      []running
	steps   map[string]int
	runs    map[string][]job.Run
	closing []string
	calls   []string

	afterClose func(*desk) // what somebody else does right after a cluster is closed
}

func (d *desk) Up(context.Context) ([]running, error)                  { return slices.Clone(d.up), nil }
func (d *desk) Steps(_ context.Context, id string) (int, error)        { return d.steps[id], nil }
func (d *desk) Closing(context.Context) ([]string, error)              { return d.closing, nil }
func (d *desk) RunsOn(_ context.Context, id string) ([]job.Run, error) { return d.runs[id], nil }

func (d *desk) note(format string, args ...any) error {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
	return nil
}

func (d *desk) Terminate(_ context.Context, ids ...string) error {
	return d.note("terminate %s", strings.Join(ids, " "))
}

func (d *desk) Close(_ context.Context, id string) error {
	if d.afterClose != nil {
		d.afterClose(d)
	}
	return d.note("close %s", id)
}

func (d *desk) Keep(_ context.Context, id string) error { return d.note("keep %s", id) }
func (d *desk) Off(_ context.Context, id string) error  { return d.note("switch off after %s", id) }
func (d *desk) Gone(context.Context) error              { return d.note("all gone") }
func (d *desk) Stop(context.Context) error              { return d.note("stop application") }

func (d *desk) Alert(_ context.Context, e messages.Event) error {
	return d.note("%s: %s", e.Type, e.Reason)
}

func handle(t *testing.T, d *desk, name string) error {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{"us", 30 * time.Minute, d, d, d, d, d, func() time.Time { return noon }}
	return h.Handle(t.Context(), text)
}

// quietCluster is a standing cluster that has been up for an hour with nothing to do, beside a transient one.
func quietCluster() *desk {
	return &desk{up: []running{{ID: "j-1", Standing: true, Waiting: true, ReadyAt: noon.Add(-time.Hour)}, {ID: "j-9", Waiting: true, ReadyAt: noon.Add(-time.Hour)}}}
}

func TestAlarmEndsAQuietStandingClusterAndNoOther(t *testing.T) {
	stays := []string(nil)
	kept := []string{"close j-1", "keep j-1"}
	for _, c := range []struct {
		why, event string
		change     func(*desk)
		want       []string
	}{
		{"quiet", "alarm", func(*desk) {}, []string{"close j-1", "switch off after j-1", "terminate j-1", "cluster.stopped: cluster j-1 was idle"}},
		{"the alarm is over", "alarm-over", func(*desk) {}, stays},
		{"a step", "alarm", func(d *desk) { d.steps = map[string]int{"j-1": 1} }, stays},
		{"a run without a step", "alarm", func(d *desk) { d.runs = map[string][]job.Run{"j-1": {{ID: flights}}} }, stays},
		{"running", "alarm", func(d *desk) { d.up[0].Waiting = false }, stays},
		{"just up", "alarm", func(d *desk) { d.up[0].ReadyAt = noon.Add(-time.Minute) }, stays},
		{"none there", "alarm", func(d *desk) { d.up = d.up[1:] }, stays},
		{"a run chose it meanwhile", "alarm", func(d *desk) {
			d.afterClose = func(d *desk) { d.runs = map[string][]job.Run{"j-1": {{ID: flights}}} }
		}, kept},
		{"a step came meanwhile", "alarm", func(d *desk) { d.afterClose = func(d *desk) { d.steps = map[string]int{"j-1": 1} } }, kept},
		{"it ended meanwhile", "alarm", func(d *desk) { d.afterClose = func(d *desk) { d.up = nil } }, kept},
	} {
		d := quietCluster()
		c.change(d)
		if err := handle(t, d, c.event); err != nil || !slices.Equal(d.calls, c.want) {
			t.Errorf("%s: %q, %v", c.why, d.calls, err)
		}
	}
}

func TestPollingDriverEndsAStandingClusterWhenAllIsDone(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(*desk)
		want   []string
	}{
		{"up for a minute", func(d *desk) { d.up[0].ReadyAt = noon.Add(-time.Minute) },
			[]string{"close j-1", "switch off after j-1", "terminate j-1", "cluster.stopped: cluster j-1 has nothing to do: all jobs are done"}},
		{"a step", func(d *desk) { d.steps = map[string]int{"j-1": 1} }, nil},
		{"a run chose it meanwhile", func(d *desk) {
			d.afterClose = func(d *desk) { d.runs = map[string][]job.Run{"j-1": {{ID: flights}}} }
		}, []string{"close j-1", "keep j-1"}},
		{"none there", func(d *desk) { d.up = d.up[1:] }, nil},
	} {
		d := quietCluster()
		c.change(d)
		if err := handle(t, d, "done"); err != nil || !slices.Equal(d.calls, c.want) {
			t.Errorf("%s: %q, %v", c.why, d.calls, err)
		}
	}
}

func TestStandingClusterThatEndedByItselfIsSwitchedOff(t *testing.T) {
	off := []string{"switch off after j-1", "cluster.ended: Amazon EMR cluster j-1 (sluice-prod-us-standing-small) has terminated at 2013-01-01 12:00 UTC with a reason of ALL_STEPS_COMPLETED."}
	for _, c := range []struct {
		why, event string
		d          desk
		want       []string
	}{
		{"by itself", "terminated", desk{}, off},
		{"beside a transient one", "terminated", desk{up: []running{{ID: "j-9"}}}, off},
		{"not ended yet", "terminating", desk{}, nil},
		{"by the idle stop or a deployment", "terminated", desk{closing: []string{"j-0", "j-1"}}, []string{"keep j-1"}},
		{"another one took its place", "terminated", desk{up: []running{{ID: "j-2", Standing: true}}}, nil},
	} {
		if err := handle(t, &c.d, c.event); err != nil || !slices.Equal(c.d.calls, c.want) {
			t.Errorf("%s: %q, %v", c.why, c.d.calls, err)
		}
	}
}

func TestDeploymentClosesWhatItTakesAway(t *testing.T) {
	for event, want := range map[string][]string{
		"created":      nil,
		"replaced":     {"close j-1"},
		"switched-off": {"close j-1"},
		"destroyed":    {"close j-1", "close j-9", "terminate j-1 j-9", "all gone", "stop application"},
	} {
		d := quietCluster()
		if err := handle(t, d, event); err != nil || !slices.Equal(d.calls, want) {
			t.Errorf("%s: %q, %v", event, d.calls, err)
		}
	}
}

func TestClusterThatEndedBeforeIsNotClosedForEver(t *testing.T) {
	for event, want := range map[string][]string{"replaced": nil, "switched-off": nil, "destroyed": {"all gone", "stop application"}} {
		if d := (&desk{}); handle(t, d, event) != nil || !slices.Equal(d.calls, want) {
			t.Errorf("%s: %q", event, d.calls)
		}
	}
}

func TestClusterThatRunsJobsIsNotReplaced(t *testing.T) {
	d := quietCluster()
	d.runs = map[string][]job.Run{"j-1": {{ID: flights}}}
	err := handle(t, d, "replaced")
	if err == nil || err.Error() != "cluster j-1 still runs flights/2013-01-01; deploy again when that has ended" {
		t.Error(err)
	}
	if want := []string{"close j-1", "keep j-1"}; !slices.Equal(d.calls, want) {
		t.Errorf("%q", d.calls)
	}
}

func TestUnknownEventIsAnError(t *testing.T) {
	h := &handler{}
	if err := h.Handle(t.Context(), []byte(`{"detail-type":"Scheduled Event"}`)); err == nil || !strings.HasPrefix(err.Error(), "event: neither an alarm") {
		t.Error(err)
	}
}
