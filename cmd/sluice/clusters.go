package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/sluice-data/sluice/internal/sizing"
)

// emrClusters are the EMR clusters that the jobs of one country started. The standing cluster is none of them: the deployment made it.
type emrClusters struct {
	client *emr.Client
	prefix string // prefix begins the clusters' names; a size follows.
}

// EndIdle ends the clusters that have no step left.
func (c emrClusters) EndIdle(ctx context.Context) ([]string, error) {
	var ended []string
	var faults []error
	pages := emr.NewListClustersPaginator(c.client, &emr.ListClustersInput{
		ClusterStates: []types.ClusterState{types.ClusterStateStarting, types.ClusterStateBootstrapping, types.ClusterStateRunning, types.ClusterStateWaiting}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return ended, fmt.Errorf("emr clusters: %w", err)
		}
		for _, cluster := range page.Clusters {
			size, ours := strings.CutPrefix(aws.ToString(cluster.Name), c.prefix)
			if _, known := sizing.Named(size); !ours || !known {
				continue
			}
			idle, err := c.endIdle(ctx, cluster.Id)
			if err != nil {
				faults = append(faults, fmt.Errorf("emr cluster %s: %w", aws.ToString(cluster.Id), err))
			}
			if idle {
				ended = append(ended, aws.ToString(cluster.Id))
			}
		}
	}
	return ended, errors.Join(faults...)
}

func (c emrClusters) endIdle(ctx context.Context, id *string) (bool, error) {
	steps, err := c.client.ListSteps(ctx, &emr.ListStepsInput{ClusterId: id,
		StepStates: []types.StepState{types.StepStatePending, types.StepStateCancelPending, types.StepStateRunning}})
	if err != nil || len(steps.Steps) > 0 {
		return false, err
	}
	_, err = c.client.TerminateJobFlows(ctx, &emr.TerminateJobFlowsInput{JobFlowIds: []string{*id}})
	return err == nil, err
}
