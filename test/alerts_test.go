//go:build engine

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// noFeed begins the keys that whateverFailsIsHeardOf puts.
const noFeed = "no-feed-"

// ear is a queue that takes what a country's alerts topic tells.
type ear struct {
	queues *sqs.Client
	url    *string
}

// alert is what the alerts topic tells: a function's message, or an alarm's.
type alert struct {
	Type, Source, Country, Feed, Day, File, Reason, Next string
	AlarmName, NewStateValue, AlarmDescription           string
}

// about is the type, source, feed and day of a function's message, or an alarm's name.
func (a alert) about() string {
	return strings.Join(strings.Fields(a.AlarmName+" "+a.Type+" "+a.Source+" "+a.Feed+" "+a.Day), " ")
}

// complete tells whether an alert says where it comes from, what happened, and what to do.
func (a alert) complete() bool {
	if a.AlarmName != "" {
		return a.NewStateValue == "ALARM" && strings.HasPrefix(a.AlarmDescription, "Country us: ") && strings.Contains(a.AlarmDescription, ". Next: ")
	}
	return a.Country == "us" && a.Reason != "" && a.Next != ""
}

// listen subscribes an ear to the alerts of the country us until the test ends. A message comes through only when the deployed policies of
// topic and key let its sender in.
func listen(t *testing.T, d deployment, name string) *ear {
	t.Helper()
	cfg := account(decode[status](t, d, "local", "status"))
	queues, topics := sqs.NewFromConfig(cfg), sns.NewFromConfig(cfg)
	made, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:sqs:us-east-1:000000000000:" + name
	let := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"` + arn + `"}]}`
	if _, err := queues.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: made.QueueUrl, Attributes: map[string]string{"Policy": let}}); err != nil {
		t.Fatal(err)
	}
	hears, err := topics.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: aws.String(decodeOutputs(t, d).Countries["us"].Topics["alerts"]), Protocol: aws.String("sqs"),
		Endpoint: &arn, ReturnSubscriptionArn: true, Attributes: map[string]string{"RawMessageDelivery": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := topics.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: hears.SubscriptionArn}); err != nil {
			t.Error(err)
		}
		if _, err := queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: made.QueueUrl}); err != nil {
			t.Error(err)
		}
	})
	return &ear{queues: queues, url: made.QueueUrl}
}

// hears waits until people were told of each of these, and of nothing else: once, with all that they need.
func (e *ear) hears(t *testing.T, d deployment, want ...string) {
	t.Helper()
	var heard []string
	d.until(t, "these are told: "+strings.Join(want, ", "), func() bool {
		got, err := e.queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: e.url, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got.Messages {
			// Else SQS hands it out again after half a minute, and it would count twice.
			if _, err := e.queues.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: e.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				t.Fatal(err)
			}
			var a alert
			if err := json.Unmarshal([]byte(*m.Body), &a); err != nil {
				t.Fatalf("%v: %s", err, *m.Body)
			}
			if a.File != "" && !strings.HasPrefix(a.File, noFeed) {
				continue // of a file that a part before put
			}
			if !a.complete() {
				t.Errorf("told without country, reason or next step: %s", *m.Body)
			}
			heard = append(heard, a.about())
		}
		return !slices.ContainsFunc(want, func(one string) bool { return !slices.Contains(heard, one) })
	})
	slices.Sort(heard)
	slices.Sort(want)
	if !slices.Equal(heard, want) {
		t.Errorf("people were told of %q, not %q", heard, want)
	}
}

// whateverFailsIsHeardOf breaks what has a way of its own to people: an event that a function gives up, the nightly upkeep, keys that
// name no file, and a queue with a message that nobody could handle. One message tells of each.
func whateverFailsIsHeardOf(t *testing.T, d deployment) {
	cfg, country := account(decode[status](t, d, "local", "status")), decodeOutputs(t, d).Countries["us"]
	e := listen(t, d, "ear")

	function := country.Functions["export-table"]
	event := `{"Records":[{"Sns":{"Message":"{\"version\":1,\"type\":\"job.succeeded\",\"country\":\"xx\",\"feed\":\"planes\",\"day\":\"2012-12-31\"}"}}]}`
	for range 2 {
		if _, err := lambda.NewFromConfig(cfg).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &function, InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(event)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := glue.NewFromConfig(cfg).StartJobRun(t.Context(), &glue.StartJobRunInput{JobName: aws.String("sluice-local-us-upkeep"), Arguments: map[string]string{"--days": "none"}}); err != nil {
		t.Fatal(err)
	}
	landing := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	for n := range 20 {
		if _, err := landing.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(country.Buckets["landing"]), Key: aws.String(fmt.Sprintf("%s%d/2012-12-31/x.csv", noFeed, n)), Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
	}
	e.hears(t, d, "function.failed export-table planes 2012-12-31", "nightly.failed sluice-local-us-upkeep", "file.rejected", "sluice-local-us-dead-letters")
	d.until(t, "all rejected keys are recorded", func() bool {
		return len(decode[[]struct{ Key string }](t, d, "files", noFeed, "--country", "us")) == 20
	})
	e.hears(t, d)

	for _, want := range [][]string{{event, event}, {}} {
		got := []string{}
		for _, letter := range decode[[]struct{ Body string }](t, d, "redrive", "--dead-letters", "--country", "us") {
			var body bytes.Buffer
			if err := json.Compact(&body, []byte(letter.Body)); err != nil {
				t.Fatalf("%v: %s", err, letter.Body)
			}
			got = append(got, body.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("dead letters: %q, want %q", got, want)
		}
	}
}
