//go:build engine

package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/shirou/gopsutil/v4/process"
)

// midway is how many bytes a function has written when it is killed, about four requests: some of its calls are done, most are not.
const midway = 2 << 10

// killEach kills a process of each of a country's functions in the middle of an invocation, once. The returned function waits until all
// of them died, or ends the test.
func (d deployment) killEach(t *testing.T, country string, folders ...string) func(t *testing.T) {
	t.Helper()
	running, deployed := decode[status](t, d, "local", "status"), decodeOutputs(t, d).Countries[country]
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	deaths := make(chan error, len(folders))
	for _, folder := range folders {
		go func() { deaths <- killFunction(ctx, running, deployed.Functions[folder]) }()
	}
	return func(t *testing.T) {
		t.Helper()
		for range folders {
			if err := <-deaths; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// killFunction kills a function's process until an invocation has failed by it: one that had just answered dies unnoticed.
func killFunction(ctx context.Context, running status, name string) error {
	for {
		p, err := child(ctx, running, func(p *process.Process) bool {
			env, err := p.EnvironWithContext(ctx)
			return err == nil && slices.Contains(env, "AWS_LAMBDA_FUNCTION_NAME="+name)
		})
		if err != nil {
			return fmt.Errorf("function %s: no process: %w", name, err)
		}
		began := written(ctx, p)
		err = poll(ctx, time.Millisecond, func() (bool, error) { return written(ctx, p) >= began+midway, ctx.Err() })
		if err != nil {
			return fmt.Errorf("function %s is not invoked: %w", name, err)
		}
		_ = p.KillWithContext(ctx) // it may have ended by itself
		noticed, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = poll(noticed, 100*time.Millisecond, func() (bool, error) {
			failed, err := errorsOf(noticed, running, name)
			return failed > 0, err
		})
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("function %s: %w", name, err)
		}
	}
}

// written is how many bytes a process has written so far, to whatever; as many as it takes once it is gone.
func written(ctx context.Context, p *process.Process) uint64 {
	io, err := p.IOCountersWithContext(ctx)
	if err != nil {
		return 1 << 62
	}
	return io.WriteBytes
}

// child waits for a process that fits, of those that the local AWS started: functions and steps.
func child(ctx context.Context, running status, fits func(*process.Process) bool) (found *process.Process, err error) {
	server, err := process.NewProcessWithContext(ctx, int32(running.PIDs["aws"]))
	if err != nil {
		return nil, err
	}
	err = poll(ctx, 20*time.Millisecond, func() (bool, error) {
		children, err := server.ChildrenWithContext(ctx)
		if err != nil && !errors.Is(err, process.ErrorNoChildren) {
			return false, err
		}
		if i := slices.IndexFunc(children, fits); i >= 0 {
			found = children[i]
		}
		return found != nil, nil
	})
	return found, err
}

// poll asks until something holds, or the context ends.
func poll(ctx context.Context, every time.Duration, holds func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// errorsOf is how many invocations of a function failed, as CloudWatch has it.
func errorsOf(ctx context.Context, running status, function string) (int, error) {
	now := time.Now()
	got, err := cloudwatch.NewFromConfig(account(running)).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/Lambda"), MetricName: aws.String("Errors"), Dimensions: []cloudwatchtypes.Dimension{{Name: aws.String("FunctionName"), Value: &function}},
		StartTime: aws.Time(now.Add(-time.Hour)), EndTime: aws.Time(now.Add(time.Minute)), Period: aws.Int32(3600), Statistics: []cloudwatchtypes.Statistic{"Sum"},
	})
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, point := range got.Datapoints {
		sum += *point.Sum
	}
	return int(sum), nil
}

// untold does something while S3 tells nobody of what lands.
func (d deployment) untold(t *testing.T, country string, do func()) {
	t.Helper()
	buckets := s3.NewFromConfig(account(decode[status](t, d, "local", "status")), func(o *s3.Options) { o.UsePathStyle = true })
	bucket := decodeOutputs(t, d).Countries[country].Buckets["landing"]
	was, err := buckets.GetBucketNotificationConfiguration(t.Context(), &s3.GetBucketNotificationConfigurationInput{Bucket: &bucket})
	if err != nil || len(was.LambdaFunctionConfigurations)+len(was.QueueConfigurations) != 1 {
		t.Fatalf("notifications of %s: %+v, %v", bucket, was, err)
	}
	tell := func(c s3types.NotificationConfiguration) {
		t.Helper()
		if _, err := buckets.PutBucketNotificationConfiguration(t.Context(), &s3.PutBucketNotificationConfigurationInput{Bucket: &bucket, NotificationConfiguration: &c}); err != nil {
			t.Fatal(err)
		}
	}
	tell(s3types.NotificationConfiguration{})
	do()
	tell(s3types.NotificationConfiguration{LambdaFunctionConfigurations: was.LambdaFunctionConfigurations, QueueConfigurations: was.QueueConfigurations})
}

// killStep kills the Spark process of a run once it has written records of the day, and before it published them.
func (d deployment) killStep(t *testing.T, country, feed, day string, token int, start func()) {
	t.Helper()
	running, bucket := decode[status](t, d, "local", "status"), decodeOutputs(t, d).Countries[country].Buckets["validated"]
	buckets := s3.NewFromConfig(account(running), func(o *s3.Options) { o.UsePathStyle = true })
	files := func() (int, error) {
		got, err := buckets.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(feed + "/data/_day=" + day + "/")})
		if err != nil {
			return 0, err
		}
		return int(*got.KeyCount), nil
	}
	before, err := files()
	if err != nil {
		t.Fatal(err)
	}
	start()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	order := fmt.Sprintf("/runs/%s/%s/%d/order.json", feed, day, token)
	step, err := child(ctx, running, func(p *process.Process) bool {
		line, err := p.CmdlineWithContext(ctx)
		return err == nil && strings.Contains(line, order)
	})
	if err != nil {
		t.Fatalf("no process works on %s: %v", order, err)
	}
	if err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		now, err := files()
		return now > before, err
	}); err != nil {
		t.Fatalf("%s: no records of the day are written: %v", order, err)
	}
	if err := step.KillWithContext(ctx); err != nil {
		t.Fatalf("%s: its process could not be killed: %v", order, err)
	}
}
