package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/spark"
)

// Glue runs each run as a job run of the country's Glue job, on workers of its own.
type Glue struct {
	client  *glue.Client
	country discovery.Country
}

var _ engine.Engine = (*Glue)(nil)

// NewGlue makes the engine of a country. It does not touch the network.
func NewGlue(client *glue.Client, country discovery.Country) *Glue { return &Glue{client, country} }

// Start finds the job run that carries the run's name among its arguments, or starts it. Glue has no token that would make starting
// twice starting once; that nobody starts at the same time is the caller's to see to.
func (g *Glue) Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	r.ClusterID = g.country.Compute.GlueJob
	size, ok := sizing.Named(r.Sizing.Size)
	if !ok {
		return r, fmt.Errorf("glue: no size %q", r.Sizing.Size)
	}
	name := engine.RunName(r.ID, r.Token)
	id, err := g.find(ctx, r.ClusterID, name, r.StartedAt)
	if err != nil {
		return r, err
	}
	if id == "" {
		started, err := g.client.StartJobRun(ctx, &glue.StartJobRunInput{
			JobName:         &r.ClusterID,
			Arguments:       spark.GlueArguments(g.country, r.Order, name),
			WorkerType:      types.WorkerType(size.Glue.Type),
			NumberOfWorkers: aws.Int32(size.Glue.Workers),
		})
		if err != nil {
			return r, fmt.Errorf("glue: run %s of job %s: %w", name, r.ClusterID, err)
		}
		id = aws.ToString(started.JobRunId)
	}
	r.StepID = id
	return r, save(r)
}

// find returns the id of the job run that was started for a run, or "". Glue lists the newest first.
func (g *Glue) find(ctx context.Context, job, run string, since time.Time) (string, error) {
	pages := glue.NewGetJobRunsPaginator(g.client, &glue.GetJobRunsInput{JobName: &job})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("glue: runs of job %s: %w", job, err)
		}
		for _, found := range page.JobRuns {
			if found.Arguments[spark.GlueRun] == run {
				return aws.ToString(found.Id), nil
			}
			if found.StartedOn != nil && found.StartedOn.Before(since.Add(-clockSkew)) {
				return "", nil
			}
		}
	}
	return "", nil
}

// Status asks for the run's job run. One that was taken down with its job has ended; should it compute on, the ledger refuses what it
// publishes.
func (g *Glue) Status(ctx context.Context, r job.Run) (engine.Status, error) {
	got, err := g.client.GetJobRun(ctx, &glue.GetJobRunInput{JobName: &r.ClusterID, RunId: &r.StepID})
	if missing := (*types.EntityNotFoundException)(nil); errors.As(err, &missing) {
		return engine.Status{State: engine.Failed, Reason: fmt.Sprintf("the job %s of job run %s was taken down", r.ClusterID, r.StepID)}, nil
	}
	if err != nil {
		return engine.Status{}, fmt.Errorf("glue: run %s of job %s: %w", r.StepID, r.ClusterID, err)
	}
	if got.JobRun == nil {
		return engine.Status{}, fmt.Errorf("glue: run %s of job %s: the answer is empty", r.StepID, r.ClusterID)
	}
	state := got.JobRun.JobRunState
	reason := strings.TrimSpace(aws.ToString(got.JobRun.ErrorMessage))
	if reason == "" {
		reason = fmt.Sprintf("the job run is %s; its log is in CloudWatch", state)
	}
	switch state {
	case types.JobRunStateSucceeded:
		return engine.Status{State: engine.Succeeded}, nil
	case types.JobRunStateFailed, types.JobRunStateTimeout, types.JobRunStateError, types.JobRunStateExpired:
		return engine.Status{State: engine.Failed, Reason: reason}, nil
	case types.JobRunStateStopped:
		return engine.Status{State: engine.Cancelled, Reason: reason}, nil
	}
	return engine.Status{State: engine.Active}, nil
}

// Cancel ends the run's job run.
func (g *Glue) Cancel(ctx context.Context, r job.Run) error {
	got, err := g.client.BatchStopJobRun(ctx, &glue.BatchStopJobRunInput{JobName: &r.ClusterID, JobRunIds: []string{r.StepID}})
	if err != nil {
		return fmt.Errorf("glue: stop run %s of job %s: %w", r.StepID, r.ClusterID, err)
	}
	for _, refused := range got.Errors {
		if d := refused.ErrorDetail; d != nil {
			return fmt.Errorf("glue: stop run %s of job %s: %s: %s", r.StepID, r.ClusterID, aws.ToString(d.ErrorCode), aws.ToString(d.ErrorMessage))
		}
	}
	return nil
}
