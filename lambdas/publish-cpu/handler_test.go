package main

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/cluster"
)

var noon = time.Date(2013, 1, 1, 12, 0, 0, 0, time.UTC)

// cloud is EMR and CloudWatch in memory.
type cloud struct {
	standing  string
	cpu       map[string][]cluster.Point // by instance
	idle      []cluster.Point
	published map[string]float64
}

func (c *cloud) Standing(context.Context) (string, error) { return c.standing, nil }

func (c *cloud) Instances(context.Context, string) (ids []string, err error) {
	for id := range c.cpu {
		ids = append(ids, id)
	}
	return ids, nil
}

func (c *cloud) CPU(_ context.Context, instances []string, _ time.Time) (all [][]cluster.Point, err error) {
	for _, id := range instances {
		all = append(all, c.cpu[id])
	}
	return all, nil
}

func (c *cloud) Idle(context.Context, string, time.Time) ([]cluster.Point, error) { return c.idle, nil }

func (c *cloud) Publish(_ context.Context, _ time.Time, values map[string]float64) error {
	c.published = values
	return nil
}

func TestMeanOfTheMachinesAndEMRsOwnWordArePublished(t *testing.T) {
	at := func(minutes int, value float64) []cluster.Point {
		return []cluster.Point{{At: noon.Add(time.Duration(minutes) * time.Minute), Value: value}}
	}
	for _, c := range []struct {
		why  string
		in   cloud
		want map[string]float64
	}{
		{"busy", cloud{standing: "j-1", cpu: map[string][]cluster.Point{"i-1": at(-3, 90), "i-2": at(-3, 30)}, idle: at(-4, 0)},
			map[string]float64{cluster.CPUMetric: 60, cluster.IdleMetric: 0}},
		{"quiet", cloud{standing: "j-1", cpu: map[string][]cluster.Point{"i-1": at(-3, 2)}, idle: at(-4, 1)},
			map[string]float64{cluster.CPUMetric: 2, cluster.IdleMetric: 1}},
		{"too young for metrics", cloud{standing: "j-1", cpu: map[string][]cluster.Point{"i-1": nil}}, nil},
		{"old values only", cloud{standing: "j-1", cpu: map[string][]cluster.Point{"i-1": at(-16, 2)}, idle: at(-16, 1)}, nil},
		{"no word of EMR yet", cloud{standing: "j-1", cpu: map[string][]cluster.Point{"i-1": at(0, 2)}}, map[string]float64{cluster.CPUMetric: 2}},
		{"no cluster", cloud{cpu: map[string][]cluster.Point{"i-1": at(0, 2)}, idle: at(0, 1)}, nil},
	} {
		h := handler{&c.in, &c.in, func() time.Time { return noon }}
		if err := h.Handle(t.Context()); err != nil || !maps.Equal(c.in.published, c.want) {
			t.Errorf("%s: %v, %v", c.why, c.in.published, err)
		}
	}
}
