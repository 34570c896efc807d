// Command publish-cpu is woken by the clock. It publishes the mean processor use of the standing cluster's machines, and whether EMR
// calls it idle, under the country's name.
package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/lambdaenv"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	return (&handler{clusters{emr.NewFromConfig(cfg), country}, watch{cloudwatch.NewFromConfig(cfg), country}, time.Now}).Handle, nil
}

// clusters is EMR.
type clusters struct {
	emr     *emr.Client
	country discovery.Country
}

func (c clusters) Standing(ctx context.Context) (string, error) {
	ids := []string{}
	pages := emr.NewListClustersPaginator(c.emr, &emr.ListClustersInput{ClusterStates: []emrtypes.ClusterState{emrtypes.ClusterStateRunning, emrtypes.ClusterStateWaiting}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("clusters: %w", err)
		}
		for _, found := range page.Clusters {
			if name, ours := cluster.ParseName(c.country.Stack, c.country.Country, aws.ToString(found.Name)); ours && name.Standing {
				ids = append(ids, aws.ToString(found.Id))
			}
		}
	}
	if len(ids) == 0 {
		return "", nil
	}
	return slices.Min(ids), nil // two while one takes the other's place: runs choose the same
}

func (c clusters) Instances(ctx context.Context, clusterID string) ([]string, error) {
	var ids []string
	pages := emr.NewListInstancesPaginator(c.emr, &emr.ListInstancesInput{ClusterId: &clusterID, InstanceStates: []emrtypes.InstanceState{emrtypes.InstanceStateRunning}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("instances of cluster %s: %w", clusterID, err)
		}
		for _, i := range page.Instances {
			ids = append(ids, aws.ToString(i.Ec2InstanceId))
		}
	}
	return ids, nil
}

// watch is CloudWatch.
type watch struct {
	cloudwatch *cloudwatch.Client
	country    discovery.Country
}

// maxQueries is how many metrics one call may ask for.
const maxQueries = 500

func (w watch) CPU(ctx context.Context, instances []string, since time.Time) ([][]cluster.Point, error) {
	queries := []types.MetricDataQuery{}
	for i, id := range instances {
		queries = append(queries, query(i, "AWS/EC2", "CPUUtilization", "InstanceId", id, "Average"))
	}
	var all [][]cluster.Point
	for some := range slices.Chunk(queries, maxQueries) {
		points, err := w.ask(ctx, some, since)
		if err != nil {
			return nil, err
		}
		all = append(all, points...)
	}
	return all, nil
}

func (w watch) Idle(ctx context.Context, clusterID string, since time.Time) ([]cluster.Point, error) {
	points, err := w.ask(ctx, []types.MetricDataQuery{query(0, "AWS/ElasticMapReduce", "IsIdle", "JobFlowId", clusterID, "Minimum")}, since)
	if err != nil || len(points) == 0 {
		return nil, err
	}
	return points[0], nil
}

func query(i int, namespace, metric, dimension, value, statistic string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: aws.String(fmt.Sprintf("m%d", i)), MetricStat: &types.MetricStat{
		Period: aws.Int32(60), Stat: &statistic, // a metric that comes every five minutes has a value in one of five
		Metric: &types.Metric{Namespace: &namespace, MetricName: &metric, Dimensions: []types.Dimension{{Name: &dimension, Value: &value}}}}}
}

// ask returns the values of each query that has any.
func (w watch) ask(ctx context.Context, queries []types.MetricDataQuery, since time.Time) ([][]cluster.Point, error) {
	byQuery := map[string][]cluster.Point{}
	pages := cloudwatch.NewGetMetricDataPaginator(w.cloudwatch, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries, StartTime: &since, EndTime: aws.Time(time.Now().Add(time.Minute))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		for _, result := range page.MetricDataResults {
			for i, at := range result.Timestamps {
				byQuery[aws.ToString(result.Id)] = append(byQuery[aws.ToString(result.Id)], cluster.Point{At: at, Value: result.Values[i]})
			}
		}
	}
	var all [][]cluster.Point
	for _, q := range queries {
		if points := byQuery[*q.Id]; len(points) > 0 {
			all = append(all, points)
		}
	}
	return all, nil
}

func (w watch) Publish(ctx context.Context, at time.Time, values map[string]float64) error {
	in := &cloudwatch.PutMetricDataInput{Namespace: aws.String(cluster.Namespace)}
	for name, value := range values {
		unit := types.StandardUnitNone
		if name == cluster.CPUMetric {
			unit = types.StandardUnitPercent
		}
		in.MetricData = append(in.MetricData, types.MetricDatum{MetricName: &name, Timestamp: &at, Value: &value, Unit: unit,
			Dimensions: []types.Dimension{{Name: aws.String("Stack"), Value: &w.country.Stack}, {Name: aws.String("Country"), Value: &w.country.Country}}})
	}
	if _, err := w.cloudwatch.PutMetricData(ctx, in); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
