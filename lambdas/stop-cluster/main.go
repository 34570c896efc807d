// Command stop-cluster ends the standing cluster when its alarm says that it is idle, or the polling driver that all jobs are done, and nothing
// is on it, and records when it is gone.
// The deployment invokes it, too, before it takes clusters away.
package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	serverlesstypes "github.com/aws/aws-sdk-go-v2/service/emrserverless/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	cfg = lambdaenv.NewRole(cfg) // a deployment invokes it right after it made or changed the role
	h := &handler{
		country: country.Country, patience: time.Duration(country.Compute.QuietMinutes) * time.Minute,
		clusters: api{emr.NewFromConfig(cfg), country, pause}, serverless: stopper{emrserverless.NewFromConfig(cfg), country.Compute.Serverless.ApplicationID, pause}, ledger: ledger.New(dynamodb.NewFromConfig(cfg), country.Tables),
		compute: standing{ssm.NewFromConfig(cfg), country},
		alerts:  messages.NewTopics(sns.NewFromConfig(cfg), country), now: time.Now,
	}
	return h.Handle, nil
}

// pause is how long is waited before it is looked again whether something ended.
const pause = 2 * time.Second

// api is EMR.
type api struct {
	emr     *emr.Client
	country discovery.Country
	pause   time.Duration // pause is how long Gone waits before it looks again.
}

// up are the states of a cluster that costs money and is not ending.
var up = []types.ClusterState{types.ClusterStateStarting, types.ClusterStateBootstrapping, types.ClusterStateRunning, types.ClusterStateWaiting}

func (a api) Up(ctx context.Context) ([]running, error) { return a.list(ctx, up) }

func (a api) Gone(ctx context.Context) error {
	there := append(slices.Clone(up), types.ClusterStateTerminating)
	for {
		left, err := a.list(ctx, there)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster %s is still ending; try again: %w", left[0].ID, ctx.Err())
		case <-time.After(a.pause):
		}
	}
}

// list returns the country's clusters that are in one of the states.
func (a api) list(ctx context.Context, states []types.ClusterState) ([]running, error) {
	var all []running
	pages := emr.NewListClustersPaginator(a.emr, &emr.ListClustersInput{ClusterStates: states})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("clusters: %w", err)
		}
		for _, c := range page.Clusters {
			name, ours := cluster.ParseName(a.country.Stack, a.country.Country, aws.ToString(c.Name))
			if !ours || c.Status == nil {
				continue
			}
			r := running{ID: aws.ToString(c.Id), Standing: name.Standing, Waiting: c.Status.State == types.ClusterStateWaiting}
			if c.Status.Timeline != nil {
				r.ReadyAt = aws.ToTime(c.Status.Timeline.ReadyDateTime)
			}
			all = append(all, r)
		}
	}
	return all, nil
}

func (a api) Steps(ctx context.Context, id string) (int, error) {
	n := 0
	pages := emr.NewListStepsPaginator(a.emr, &emr.ListStepsInput{ClusterId: &id,
		StepStates: []types.StepState{types.StepStatePending, types.StepStateRunning, types.StepStateCancelPending}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("steps of cluster %s: %w", id, err)
		}
		n += len(page.Steps)
	}
	return n, nil
}

// maxTerminated is how many clusters one call may end: https://docs.aws.amazon.com/emr/latest/APIReference/API_TerminateJobFlows.html
const maxTerminated = 10

func (a api) Terminate(ctx context.Context, ids ...string) error {
	for some := range slices.Chunk(ids, maxTerminated) {
		if _, err := a.emr.TerminateJobFlows(ctx, &emr.TerminateJobFlowsInput{JobFlowIds: some}); err != nil {
			return fmt.Errorf("end clusters %v: %w", some, err)
		}
	}
	return nil
}

// stopper stops an application on EMR Serverless.
type stopper struct {
	client *emrserverless.Client
	id     string
	pause  time.Duration // pause is how long it waits before it looks again.
}

// Stop asks again until the application is stopped: until its last run is cancelled it may not be.
func (s stopper) Stop(ctx context.Context) error {
	for {
		got, err := s.client.GetApplication(ctx, &emrserverless.GetApplicationInput{ApplicationId: &s.id})
		if err != nil {
			return fmt.Errorf("application %s: %w", s.id, err)
		}
		switch got.Application.State {
		case serverlesstypes.ApplicationStateStarting, serverlesstypes.ApplicationStateStarted:
			if err := s.stop(ctx); err != nil {
				return err
			}
		case serverlesstypes.ApplicationStateCreating, serverlesstypes.ApplicationStateStopping:
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("application %s is %s: %w", s.id, got.Application.State, ctx.Err())
		case <-time.After(s.pause):
		}
	}
}

// stop cancels what runs, and stops the application when nothing does.
func (s stopper) stop(ctx context.Context) error {
	pages := emrserverless.NewListJobRunsPaginator(s.client, &emrserverless.ListJobRunsInput{ApplicationId: &s.id, States: []serverlesstypes.JobRunState{
		serverlesstypes.JobRunStateSubmitted, serverlesstypes.JobRunStatePending, serverlesstypes.JobRunStateScheduled, serverlesstypes.JobRunStateQueued,
		serverlesstypes.JobRunStateRunning, serverlesstypes.JobRunStateCancelling}})
	busy := false
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("application %s: %w", s.id, err)
		}
		for _, run := range page.JobRuns {
			busy = true
			if run.State == serverlesstypes.JobRunStateCancelling {
				continue
			}
			if _, err := s.client.CancelJobRun(ctx, &emrserverless.CancelJobRunInput{ApplicationId: &s.id, JobRunId: run.Id}); err != nil {
				return fmt.Errorf("application %s: run %s: %w", s.id, aws.ToString(run.Id), err)
			}
		}
	}
	if busy {
		return nil
	}
	if _, err := s.client.StopApplication(ctx, &emrserverless.StopApplicationInput{ApplicationId: &s.id}); err != nil {
		return fmt.Errorf("application %s: %w", s.id, err)
	}
	return nil
}

// standing is the switch of the country's standing cluster.
type standing struct {
	ssm     *ssm.Client
	country discovery.Country
}

// Off switches it off first: with only the note, the next deployment would make a cluster that nobody asked for.
func (s standing) Off(ctx context.Context, clusterID string) error {
	for _, p := range []struct{ name, value string }{
		{compute.ParameterName(s.country.Stack, s.country.Country, compute.Standing), compute.Off},
		{compute.EndedName(s.country.Stack, s.country.Country), clusterID},
	} {
		if _, err := s.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &p.name, Value: &p.value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)}); err != nil {
			return fmt.Errorf("compute switch %s: %w", p.name, err)
		}
	}
	return nil
}
