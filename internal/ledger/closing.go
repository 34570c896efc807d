package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-data/sluice/internal/job"
)

// closingItem is the item in the progress table that names the clusters that are about to be ended.
const closingItem = "#closing"

// closing is that item.
type closing struct {
	Clusters []string `dynamodbav:"clusters"`
}

// Close notes that a cluster is about to be ended: from now on no run chooses it. Those that did already are found by RunsOn.
func (l *Ledger) Close(ctx context.Context, clusterID string) error {
	return wrap(l.write(ctx, change{table: l.tables.Progress, key: item{"name": str(closingItem)},
		update: "ADD #clusters :set", values: item{":set": set(clusterID)}}), "ledger: close cluster %s", clusterID)
}

// Keep takes back what Close noted.
func (l *Ledger) Keep(ctx context.Context, clusterID string) error {
	return wrap(l.write(ctx, change{table: l.tables.Progress, key: item{"name": str(closingItem)},
		update: "DELETE #clusters :set", values: item{":set": set(clusterID)}}), "ledger: keep cluster %s", clusterID)
}

// Closing returns the clusters that are about to be ended, or were.
func (l *Ledger) Closing(ctx context.Context) ([]string, error) {
	var c closing
	_, err := l.get(ctx, l.tables.Progress, item{"name": str(closingItem)}, &c)
	return c.Clusters, wrap(err, "ledger: closing clusters")
}

// RunsOn returns the runs that hold a slot and chose a cluster, also those whose step is not written down.
func (l *Ledger) RunsOn(ctx context.Context, clusterID string) ([]job.Run, error) {
	runs, err := l.Running(ctx)
	return slices.DeleteFunc(runs, func(r job.Run) bool { return r.ClusterID != clusterID }), err
}

// Running returns the runs that hold a slot.
func (l *Ledger) Running(ctx context.Context) ([]job.Run, error) {
	var slots progressItem
	if _, err := l.get(ctx, l.tables.Progress, item{"name": str(slotsItem)}, &slots); err != nil {
		return nil, fmt.Errorf("ledger: slots: %w", err)
	}
	var runs []job.Run
	for _, text := range slots.Jobs {
		id, err := job.ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("ledger: slots: %w", err)
		}
		j, err := l.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		r, err := l.Run(ctx, id, j.Token)
		if err != nil {
			return nil, err
		}
		if r.State == job.RunRunning {
			runs = append(runs, r)
		}
	}
	return runs, nil
}
