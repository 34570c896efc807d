// Package engine is the port to what computes runs. Each service that does has an adapter in package adapter, apart, because its SDK client is
// too much for functions that only ask what came of a run.
package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	// Start finds or starts a run. What becomes known on the way (cluster, step) is given to save before the next thing is started.
	Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error)
	// Status asks how far a started run came.
	Status(ctx context.Context, r job.Run) (Status, error)
	// Cancel asks the engine to end a started run.
	Cancel(ctx context.Context, r job.Run) error
}

// Engines are a country's engines by the names that feeds have for them. As an Engine they send each run to its own.
type Engines map[string]Engine

var _ Engine = Engines{}

// of is the engine of a run.
func (e Engines) of(r job.Run) (Engine, error) {
	if own, ok := e[r.Engine]; ok {
		return own, nil
	}
	return nil, fmt.Errorf("engine %q is none of auto, %s", r.Engine, strings.Join(slices.Sorted(maps.Keys(e)), ", "))
}

// Start has the run's own engine find or start it.
func (e Engines) Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	own, err := e.of(r)
	if err != nil {
		return r, err
	}
	return own.Start(ctx, r, save)
}

// Status asks the run's own engine.
func (e Engines) Status(ctx context.Context, r job.Run) (Status, error) {
	own, err := e.of(r)
	if err != nil {
		return Status{}, err
	}
	return own.Status(ctx, r)
}

// Cancel asks the run's own engine to end it.
func (e Engines) Cancel(ctx context.Context, r job.Run) error {
	own, err := e.of(r)
	if err != nil {
		return err
	}
	return own.Cancel(ctx, r)
}
