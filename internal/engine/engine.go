// Package engine runs runs: one port, and an adapter for each service that computes.
package engine

import (
	"context"

	"github.com/sluice-data/sluice/internal/job"
)

// State is how far an engine came with a run.
type State string

// The states of a run on its engine.
const (
	Active    State = "active" // Active: it waits for the engine or runs there.
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Status is an engine's answer about a run.
type Status struct {
	State  State
	Reason string // Reason is the engine's own explanation of a run that did not succeed.
}

// Engine computes runs. It knows a run by its name, so that starting it twice is starting it once.
type Engine interface {
	// Sizes returns the names of the sizes of the clusters that are up.
	Sizes(ctx context.Context) ([]string, error)
	// Start finds or starts a run. What becomes known on the way (cluster, step) is given to save before the next thing is started.
	Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error)
	// Status asks how far a started run came.
	Status(ctx context.Context, r job.Run) (Status, error)
	// Cancel asks the engine to end a started run.
	Cancel(ctx context.Context, r job.Run) error
}

// StepName is the name of a run on its engine; it has the run's token, so it is unique for ever.
func StepName(stack, country string, id job.ID, token int64) string {
	return stepPrefix(stack, country) + runName(id, token)
}
