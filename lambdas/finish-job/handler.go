package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

type book interface {
	Board(ctx context.Context) (job.Board, error)
	Run(ctx context.Context, id job.ID, token int64) (job.Run, error)
}

type asker interface {
	Status(ctx context.Context, r job.Run) (engine.Status, error)
}

type finisher interface {
	Finish(ctx context.Context, r job.Run, status engine.Status) error
}

type promoter interface {
	Promote(ctx context.Context) error
}

type teller interface {
	Tell(ctx context.Context) error
}

// handler takes the engines' events.
type handler struct {
	stack, country string
	ledger         book
	engine         asker
	finisher       finisher
	promoter       promoter
	teller         teller
}

// change is what the details of the engines' events have, each its own part.
type change struct {
	State   string `json:"state"`
	Message string `json:"message"`

	// EMR Step Status Change, EMR Cluster State Change
	Name      string `json:"name"`
	ClusterID string `json:"clusterId"`
	StepID    string `json:"stepId"`

	// EMR Serverless Job Run State Change, Glue Job State Change
	ApplicationID string `json:"applicationId"`
	JobName       string `json:"jobName"`
	JobRunID      string `json:"jobRunId"`
}

// ends are the states after which a step, cluster or job run does nothing more.
var ends = map[string]engine.State{
	"COMPLETED": engine.Succeeded, "FAILED": engine.Failed, "INTERRUPTED": engine.Failed, "CANCELLED": engine.Cancelled,
	"TERMINATED": engine.Failed, "TERMINATED_WITH_ERRORS": engine.Failed,
	"SUCCESS":   engine.Succeeded,                                                        // EMR Serverless
	"SUCCEEDED": engine.Succeeded, "TIMEOUT": engine.Failed, "STOPPED": engine.Cancelled, // Glue
}

// Handle finishes the runs that an event tells the end of. Events of steps, clusters and job runs that are not ours, and of states that are no
// end, are none of its business.
func (h *handler) Handle(ctx context.Context, event events.EventBridgeEvent) error {
	var c change
	if err := json.Unmarshal(event.Detail, &c); err != nil {
		return fmt.Errorf("event %q: %w", event.DetailType, err)
	}
	state, ended := ends[c.State]
	if !ended {
		return nil
	}
	runs, err := h.runs(ctx, event.DetailType, c)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return nil
	}
	var faults []error
	for _, r := range runs {
		faults = append(faults, h.finish(ctx, r, engine.Status{State: state, Reason: c.Message}))
	}
	// The slots are free and the outcomes noted: jobs that waited get their tickets before start-jobs is woken.
	faults = append(faults, h.promoter.Promote(ctx), h.teller.Tell(ctx))
	return errors.Join(faults...)
}

// runs finds the runs that an event is about: a step's or job run's one, or all that a cluster had. A job run that ended before anybody
// wrote it down is found by start-jobs, which asks for it again: its events do not have its name.
func (h *handler) runs(ctx context.Context, kind string, c change) ([]job.Run, error) {
	switch kind {
	case "EMR Step Status Change":
		id, token, ours := engine.ParseStepName(h.stack, h.country, c.Name)
		if !ours {
			return nil, nil
		}
		r, err := h.ledger.Run(ctx, id, token)
		if errors.Is(err, ledger.ErrNoJob) {
			slog.WarnContext(ctx, "a step without a run", "step", c.Name)
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if r.StepID == "" {
			r.ClusterID, r.StepID = c.ClusterID, c.StepID // it ended before anybody wrote it down
		}
		if r.StepID != c.StepID {
			slog.WarnContext(ctx, "not the step of its run", "step", c.StepID, "run", r.StepID)
			return nil, nil
		}
		return []job.Run{r}, nil
	case "EMR Cluster State Change":
		return h.running(ctx, func(r job.Run) bool { return r.ClusterID == c.ClusterID && r.StepID != "" })
	case "EMR Serverless Job Run State Change":
		return h.running(ctx, func(r job.Run) bool { return r.ClusterID == c.ApplicationID && r.StepID == c.JobRunID })
	case "Glue Job State Change":
		return h.running(ctx, func(r job.Run) bool { return r.ClusterID == c.JobName && r.StepID == c.JobRunID })
	}
	return nil, fmt.Errorf("event %q is of no engine", kind)
}

// running are the runs in the country's slots that the event is about.
func (h *handler) running(ctx context.Context, wanted func(job.Run) bool) ([]job.Run, error) {
	b, err := h.ledger.Board(ctx)
	if err != nil {
		return nil, err
	}
	var runs []job.Run
	for _, id := range b.Slots {
		r, err := h.ledger.Run(ctx, id, b.Jobs[id].Token)
		if err != nil {
			return nil, err
		}
		if wanted(r) {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

// finish takes the engine's own word, which says more than the event, unless it lags behind the event.
func (h *handler) finish(ctx context.Context, r job.Run, told engine.Status) error {
	status, err := h.engine.Status(ctx, r)
	if err != nil {
		return err
	}
	if status.State == engine.Active {
		status = told
	}
	err = h.finisher.Finish(ctx, r, status)
	if errors.Is(err, ledger.ErrChanged) {
		err = h.finisher.Finish(ctx, r, status) // another day of the feed, or another function: once more on what is there now
	}
	return err
}
