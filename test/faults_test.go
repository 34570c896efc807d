//go:build engine

package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// held is what the local cloud keeps from going on: steps or requests, until they are let go or who sent them is gone.
type held struct {
	address string
	letGo   func() // letGo does so; it may be called again.
}

// hold has the local cloud keep what fits a pattern, until it is let go or the test ends: "steps" by their command, "requests" by caller,
// method, path, operation and body. What happens meanwhile is tested without hoping that something is slow.
func (d deployment) hold(t *testing.T, kind, pattern string) held {
	t.Helper()
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(kind+pattern)))[:16]
	h := held{address: decode[status](t, d, "local", "status").Endpoints["aws"] + "/_local/holds/" + name}
	text, err := json.Marshal(map[string]string{kind: pattern})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	if _, err := h.ask(ctx, http.MethodPut, text); err != nil {
		t.Fatal(err)
	}
	h.letGo = func() {
		if _, err := h.ask(ctx, http.MethodDelete, nil); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(h.letGo)
	return h
}

func (h held) ask(ctx context.Context, method string, body []byte) (kept []string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, h.address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, h.address, answer.Status, text)
	}
	var hold struct{ Held []string }
	return hold.Held, errors.Join(err, json.Unmarshal(text, &hold))
}

// keeps waits until something is held, or nothing any more.
func (h held) keeps(ctx context.Context, something bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		kept, err := h.ask(ctx, http.MethodGet, nil)
		return (len(kept) > 0) == something, err
	})
	if err != nil {
		return fmt.Errorf("held: %v, want %v: %w", !something, something, err)
	}
	return nil
}

// killEach kills each of these functions of a country once, in the middle of an invocation: when it sends the request that is named
// beside it, which never arrives. The returned function waits until all of them died, or ends the test.
func (d deployment) killEach(t *testing.T, country string, when map[string]string) func(t *testing.T) {
	t.Helper()
	running, deployed := decode[status](t, d, "local", "status"), decodeOutputs(t, d).Countries[country]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	deaths := make(chan error, len(when))
	for folder, request := range when {
		name := deployed.Functions[folder]
		asks := d.hold(t, "requests", "/"+name+" "+request)
		go func() { deaths <- killFunction(ctx, running, name, asks) }()
	}
	return func(t *testing.T) {
		t.Helper()
		for range when {
			if err := <-deaths; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// killFunction kills the processes of a function while its request is held.
func killFunction(ctx context.Context, running status, name string, asks held) error {
	defer asks.letGo()
	if err := asks.keeps(ctx, true); err != nil {
		return fmt.Errorf("function %s does not ask: %w", name, err)
	}
	if err := kill(ctx, running, func(p *process.Process) bool {
		env, err := p.EnvironWithContext(ctx)
		return err == nil && slices.Contains(env, "AWS_LAMBDA_FUNCTION_NAME="+name)
	}); err != nil {
		return fmt.Errorf("function %s: %w", name, err)
	}
	if err := asks.keeps(ctx, false); err != nil {
		return fmt.Errorf("function %s still asks: %w", name, err)
	}
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		failed, err := errorsOf(ctx, running, name)
		return failed > 0, err
	})
	if err != nil {
		return fmt.Errorf("nobody noticed that function %s died: %w", name, err)
	}
	return nil
}

// kill kills the processes that fit, of those that the local AWS started: functions and steps. There must be one.
func kill(ctx context.Context, running status, fits func(*process.Process) bool) error {
	server, err := process.NewProcessWithContext(ctx, int32(running.PIDs["aws"]))
	if err != nil {
		return err
	}
	children, err := server.ChildrenWithContext(ctx)
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(children, func(p *process.Process) bool { return !fits(p) })
	if len(found) == 0 {
		return errors.New("there is no process")
	}
	for _, p := range found {
		if err := p.KillWithContext(ctx); err != nil {
			return err
		}
	}
	return nil
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

// killStep kills the Spark process of a run once it has written records of the day, when it asks the ledger whether it may publish them.
func (d deployment) killStep(t *testing.T, country, feed, day string, token int, start func()) {
	t.Helper()
	running, bucket := decode[status](t, d, "local", "status"), decodeOutputs(t, d).Countries[country].Buckets["validated"]
	buckets := s3.NewFromConfig(account(running), func(o *s3.Options) { o.UsePathStyle = true })
	files := func() int {
		t.Helper()
		got, err := buckets.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(feed + "/data/_day=" + day + "/")})
		if err != nil {
			t.Fatal(err)
		}
		return int(*got.KeyCount)
	}
	ctx := t.Context()
	claims, before := d.hold(t, "requests", `/i-[^ ]* POST .*UpdateItem .*"committing"`), files()
	start()
	order := fmt.Sprintf("/runs/%s/%s/%d/order.json", feed, day, token)
	if err := claims.keeps(ctx, true); err != nil {
		t.Fatalf("%s: does not ask whether it may publish: %v", order, err)
	}
	if now := files(); now <= before {
		t.Errorf("%s: %d files of the day, before it %d: no records are written", order, now, before)
	}
	if err := kill(ctx, running, func(p *process.Process) bool {
		line, err := p.CmdlineWithContext(ctx)
		return err == nil && strings.Contains(line, order)
	}); err != nil {
		t.Fatalf("%s: %v", order, err)
	}
	if err := claims.keeps(ctx, false); err != nil {
		t.Fatalf("%s: still asks: %v", order, err)
	}
	claims.letGo()
}
