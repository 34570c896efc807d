package main

import (
	"context"
	"encoding/json"
	"errors"
)

type intake interface {
	Tick(ctx context.Context) (changed bool, err error)
}

type promoter interface {
	Promote(ctx context.Context) error
	Moving(ctx context.Context) (int, error)
}

type teller interface {
	Tell(ctx context.Context) error
}

type migrator interface {
	// Migrate moves what an older release left in the ledger.
	Migrate(ctx context.Context) error
}

// handler takes ticks, of a schedule or of the polling driver.
type handler struct {
	intake   intake
	promoter promoter
	teller   teller
	ledger   migrator
}

// answer is what the polling driver goes by.
type answer struct {
	Moving int `json:"moving"` // Moving counts the jobs that go on by themselves.
}

// Handle does what a tick does; no part of it keeps another back. What woke it makes no difference, so it is not read.
//
// The sweep comes last: however much there is in the landing bucket, and whatever goes wrong with it, what is planned and told does not wait
// for it. What the sweep found is planned at once.
func (h *handler) Handle(ctx context.Context, _ json.RawMessage) (answer, error) {
	fault := errors.Join(h.ledger.Migrate(ctx), h.promoter.Promote(ctx), h.teller.Tell(ctx))
	changed, err := h.intake.Tick(ctx)
	fault = errors.Join(fault, err)
	if changed {
		fault = errors.Join(fault, h.promoter.Promote(ctx))
	}
	if fault != nil {
		return answer{}, fault
	}
	moving, err := h.promoter.Moving(ctx)
	return answer{moving}, err
}
