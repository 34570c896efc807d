package cluster

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2013, 1, 1, 12, 0, 0, 0, time.UTC)

func TestNamesAreReadBack(t *testing.T) {
	for name, want := range map[string]Name{
		TransientName("prod", "us", "small"): {"small", false},
		StandingName("prod", "us", "medium"): {"medium", true},
		"sluice-prod-us-large":               {"large", false},
		"sluice-prod-us-standing-large":      {"large", true},
	} {
		if got, ok := ParseName("prod", "us", name); !ok || got != want {
			t.Errorf("%s: %+v %v", name, got, ok)
		}
	}
	for _, name := range []string{"sluice-prod-uy-small", "sluice-dev-us-small", "sluice-prod-us-huge", "sluice-prod-us-standing-", "sluice-prod-us-", "small", ""} {
		if got, ok := ParseName("prod", "us", name); ok {
			t.Errorf("%q is taken for %+v", name, got)
		}
	}
}

func TestQuietClusterMayBeEndedAndNoOther(t *testing.T) {
	quiet := Observation{Waiting: true, ReadyAt: noon.Add(-time.Hour)}
	for _, c := range []struct {
		why    string
		change func(*Observation)
		reason string
	}{
		{"quiet", func(*Observation) {}, ""},
		{"just old enough", func(o *Observation) { o.ReadyAt = noon.Add(-30 * time.Minute) }, ""},
		{"a step", func(o *Observation) { o.Steps = 2 }, "2 of its steps have not ended"},
		{"a run without a step yet", func(o *Observation) { o.Runs = 1 }, "1 runs are on it or about to be"},
		{"running", func(o *Observation) { o.Waiting = false }, "it is not waiting for work"},
		{"just up", func(o *Observation) { o.ReadyAt = noon.Add(-29 * time.Minute) }, "it has not been up for 30m0s yet"},
		{"not up yet", func(o *Observation) { o.ReadyAt = time.Time{} }, "it has not been up for 30m0s yet"},
	} {
		o := quiet
		c.change(&o)
		if ok, reason := MayStop(o, 30*time.Minute, noon); ok != (c.reason == "") || reason != c.reason {
			t.Errorf("%s: %v %q", c.why, ok, reason)
		}
	}
}

func TestBusyClusterIsNeverEnded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Observation{
			Waiting: rapid.Bool().Draw(t, "waiting"), Steps: rapid.IntRange(0, 3).Draw(t, "steps"), Runs: rapid.IntRange(0, 3).Draw(t, "runs"),
			ReadyAt: noon.Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes up")) * time.Minute),
		}
		ok, reason := MayStop(o, 30*time.Minute, noon)
		if busy := o.Steps > 0 || o.Runs > 0 || !o.Waiting; ok && busy {
			t.Fatalf("%+v is ended", o)
		}
		if ok == (reason != "") {
			t.Fatalf("%v with reason %q", ok, reason)
		}
	})
}

func TestMeanIsOfTheNewestValueOfEachMachine(t *testing.T) {
	at := func(minutes int, value float64) Point {
		return Point{noon.Add(time.Duration(minutes) * time.Minute), value}
	}
	for _, c := range []struct {
		why      string
		machines [][]Point
		want     float64
		ok       bool
	}{
		{"none", nil, 0, false},
		{"no values", [][]Point{{}, {}}, 0, false},
		{"too old", [][]Point{{at(-20, 90)}}, 0, false},
		{"newest, in any order", [][]Point{{at(-5, 10), at(0, 30), at(-10, 99)}}, 30, true},
		{"two machines", [][]Point{{at(0, 80)}, {at(-5, 10)}}, 45, true},
		{"one of them without values", [][]Point{{at(0, 80)}, {}}, 80, true},
		{"one of them gone", [][]Point{{at(0, 80)}, {at(-20, 0)}}, 80, true},
	} {
		if got, ok := Mean(c.machines, noon.Add(-15*time.Minute)); got != c.want || ok != c.ok {
			t.Errorf("%s: %v %v", c.why, got, ok)
		}
	}
}

func TestMeanLiesBetweenTheQuietestAndTheBusiest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(0, 100), 1, 20).Draw(t, "values")
		machines, low, high := [][]Point{}, math.Inf(1), math.Inf(-1)
		for _, v := range values {
			machines = append(machines, []Point{{noon, v}})
			low, high = math.Min(low, v), math.Max(high, v)
		}
		mean, ok := Mean(machines, noon)
		if !ok || mean < low-1e-9 || mean > high+1e-9 {
			t.Fatalf("%v of %v", mean, values)
		}
	})
}
