package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
)

type exporter interface {
	Export(ctx context.Context, id job.ID) error
}

// handler takes messages of the topic of jobs.
type handler struct {
	country  string
	exporter exporter
}

// Handle exports the days that succeeded.
func (h *handler) Handle(ctx context.Context, event events.SNSEvent) error {
	var faults []error
	for _, r := range event.Records {
		faults = append(faults, h.export(ctx, r.SNS.Message))
	}
	return errors.Join(faults...)
}

func (h *handler) export(ctx context.Context, text string) error {
	e, err := messages.ParseEvent(text)
	if err != nil {
		return err
	}
	if e.Type != string(job.NoticeSucceeded) {
		return nil
	}
	if e.Country != h.country {
		return fmt.Errorf("event of country %q came to %q", e.Country, h.country)
	}
	id, err := job.ParseID(e.Feed + "/" + e.Day)
	if err != nil {
		return err
	}
	return h.exporter.Export(ctx, id)
}
