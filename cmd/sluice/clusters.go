package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/sluice-data/sluice/internal/cluster"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
)

// emrClusters are the EMR clusters of one country.
type emrClusters struct {
	client         *emr.Client
	ledger         *ledgers.Ledger
	stack, country string
}

// EndIdle ends the clusters that have no step left, except for the standing one, which the deployment made.
func (c emrClusters) EndIdle(ctx context.Context) ([]string, error) {
	up, err := c.up(ctx, false)
	if err != nil {
		return nil, err
	}
	var ended []string
	var faults []error
	for _, id := range up {
		idle, err := c.endIdle(ctx, id)
		if err != nil {
			faults = append(faults, fmt.Errorf("emr cluster %s: %w", id, err))
		}
		if idle {
			ended = append(ended, id)
		}
	}
	return ended, errors.Join(faults...)
}

// up returns the ids of the country's clusters that are up: the standing ones, or the others.
func (c emrClusters) up(ctx context.Context, standing bool) ([]string, error) {
	var ids []string
	pages := emr.NewListClustersPaginator(c.client, &emr.ListClustersInput{
		ClusterStates: []types.ClusterState{types.ClusterStateStarting, types.ClusterStateBootstrapping, types.ClusterStateRunning, types.ClusterStateWaiting}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("emr clusters: %w", err)
		}
		for _, found := range page.Clusters {
			name, ours := cluster.ParseName(c.stack, c.country, aws.ToString(found.Name))
			if ours && name.Standing == standing {
				ids = append(ids, aws.ToString(found.Id))
			}
		}
	}
	return ids, nil
}

func (c emrClusters) endIdle(ctx context.Context, id string) (bool, error) {
	steps, err := c.client.ListSteps(ctx, &emr.ListStepsInput{ClusterId: &id,
		StepStates: []types.StepState{types.StepStatePending, types.StepStateCancelPending, types.StepStateRunning}})
	if err != nil || len(steps.Steps) > 0 {
		return false, err
	}
	_, err = c.client.TerminateJobFlows(ctx, &emr.TerminateJobFlowsInput{JobFlowIds: []string{id}})
	return err == nil, err
}

// CloseStanding writes down that the standing clusters are about to be ended, which every run looks at before it begins on one.
func (c emrClusters) CloseStanding(ctx context.Context) error {
	return c.eachStanding(ctx, c.ledger.Close)
}

// KeepStanding takes back what CloseStanding wrote.
func (c emrClusters) KeepStanding(ctx context.Context) error {
	return c.eachStanding(ctx, c.ledger.Keep)
}

func (c emrClusters) eachStanding(ctx context.Context, do func(context.Context, string) error) error {
	up, err := c.up(ctx, true)
	for _, id := range up {
		err = errors.Join(err, do(ctx, id))
	}
	return err
}

// OnStanding returns the jobs whose runs chose a standing cluster, also those whose step is not written down.
func (c emrClusters) OnStanding(ctx context.Context) ([]jobs.ID, error) {
	up, err := c.up(ctx, true)
	if err != nil {
		return nil, err
	}
	var on []jobs.ID
	for _, id := range up {
		runs, err := c.ledger.RunsOn(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			on = append(on, r.ID)
		}
	}
	return on, nil
}
