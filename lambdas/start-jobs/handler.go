package main

import (
	"context"
	"encoding/json"
)

type starter interface {
	Work(ctx context.Context) error
}

// handler takes messages of the topic of jobs and ticks of the schedule.
type handler struct{ starter starter }

// Handle looks at the ledger. What woke it makes no difference, so it is not read.
func (h *handler) Handle(ctx context.Context, _ json.RawMessage) error {
	return h.starter.Work(ctx)
}
