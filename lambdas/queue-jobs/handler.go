package main

import (
	"context"
	"errors"

	"github.com/aws/aws-lambda-go/events"
)

type intake interface {
	Sweep(ctx context.Context, full bool) (changed bool, err error)
}

type promoter interface {
	Promote(ctx context.Context) error
}

type teller interface {
	Tell(ctx context.Context) error
}

// handler takes the ticks of a schedule.
type handler struct {
	intake   intake
	promoter promoter
	teller   teller
}

// Handle does what a tick does; no part of it keeps another back. At each full hour it looks through the whole landing bucket,
// otherwise at the days that are not closed.
func (h *handler) Handle(ctx context.Context, tick events.EventBridgeEvent) error {
	_, swept := h.intake.Sweep(ctx, tick.Time.Minute() == 0)
	return errors.Join(swept, h.promoter.Promote(ctx), h.teller.Tell(ctx))
}
