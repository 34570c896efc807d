package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

type intake interface {
	Sweep(ctx context.Context, full bool) (changed bool, err error)
}

type promoter interface {
	Promote(ctx context.Context) error
	Moving(ctx context.Context) (int, error)
}

type teller interface {
	Tell(ctx context.Context) error
}

// diary knows when the whole landing bucket was last looked through.
type diary interface {
	LastSweep(ctx context.Context) (time.Time, error)
	Swept(ctx context.Context, began time.Time) error
}

// handler takes ticks, of a schedule or of the polling driver.
type handler struct {
	intake   intake
	promoter promoter
	teller   teller
	diary    diary
	now      func() time.Time
}

// answer is what the polling driver goes by.
type answer struct {
	Moving int `json:"moving"` // Moving counts the jobs that go on by themselves.
}

// fullSweepEvery is how often the whole landing bucket is looked through: late files of days long closed are found by nothing else.
const fullSweepEvery = time.Hour

// Handle does what a tick does; no part of it keeps another back. What woke it makes no difference, so it is not read.
func (h *handler) Handle(ctx context.Context, _ json.RawMessage) (answer, error) {
	if err := errors.Join(h.sweep(ctx), h.promoter.Promote(ctx), h.teller.Tell(ctx)); err != nil {
		return answer{}, err
	}
	moving, err := h.promoter.Moving(ctx)
	return answer{moving}, err
}

// sweep looks through the whole landing bucket when that is due, otherwise at the days that are not closed.
func (h *handler) sweep(ctx context.Context) error {
	began := h.now()
	last, err := h.diary.LastSweep(ctx)
	if err != nil {
		_, swept := h.intake.Sweep(ctx, false)
		return errors.Join(err, swept)
	}
	since := began.Sub(last)
	full := since < 0 || since >= fullSweepEvery // it was never, or will be once the clock is right again
	if _, err := h.intake.Sweep(ctx, full); err != nil || !full {
		return err
	}
	return h.diary.Swept(ctx, began)
}
