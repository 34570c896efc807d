package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-data/sluice/internal/cluster"
)

// machines asks EMR.
type machines interface {
	// Standing returns the id of the country's standing cluster that is up, or "".
	Standing(ctx context.Context) (string, error)
	// Instances returns the ids of the EC2 instances that a cluster runs on now.
	Instances(ctx context.Context, clusterID string) ([]string, error)
}

// metrics asks and tells CloudWatch.
type metrics interface {
	// CPU returns what the processors of EC2 instances did since a time, in percent, an entry for each instance.
	CPU(ctx context.Context, instances []string, since time.Time) ([][]cluster.Point, error)
	// Idle returns what EMR said about a cluster since a time: 1 when it had nothing to do, else 0.
	Idle(ctx context.Context, clusterID string, since time.Time) ([]cluster.Point, error)
	// Publish puts the country's metrics, by name.
	Publish(ctx context.Context, at time.Time, values map[string]float64) error
}

// recent is how old a value may be: CloudWatch has one each five minutes, some minutes late.
const recent = 15 * time.Minute

// handler publishes how busy the country's standing cluster is under the country's name, because an alarm cannot follow a cluster whose
// id changes, and EMR has no metric of its processors.
type handler struct {
	machines machines
	metrics  metrics
	now      func() time.Time
}

// Handle is woken by the clock. Without a cluster, or without values, nothing is published: an alarm never takes a gap for quiet.
func (h *handler) Handle(ctx context.Context) error {
	id, err := h.machines.Standing(ctx)
	if err != nil || id == "" {
		return err
	}
	now := h.now()
	instances, err := h.machines.Instances(ctx, id)
	if err != nil {
		return err
	}
	points, err := h.metrics.CPU(ctx, instances, now.Add(-recent))
	if err != nil {
		return err
	}
	idle, err := h.metrics.Idle(ctx, id, now.Add(-recent))
	if err != nil {
		return err
	}
	values := map[string]float64{}
	if mean, ok := cluster.Mean(points, now.Add(-recent)); ok {
		values[cluster.CPUMetric] = mean
	}
	if newest, ok := cluster.Newest(idle, now.Add(-recent)); ok {
		values[cluster.IdleMetric] = newest
	}
	slog.InfoContext(ctx, "cluster", "id", id, "instances", len(instances), "metrics", fmt.Sprint(values))
	if len(values) == 0 {
		return nil
	}
	return h.metrics.Publish(ctx, now, values)
}
