package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

// memory remembers faults.
type memory interface {
	Fault(ctx context.Context, name string) (job.Fault, error)
	SaveFault(ctx context.Context, name string, was, is job.Fault) error
}

// people are told.
type people interface {
	Alert(ctx context.Context, e messages.Event) error
}

// handler tells people of what failed and has nobody else to say so.
type handler struct {
	stack, country string
	memory         memory
	people         people
	now            func() time.Time
}

// failure is all that the events say that wake the function.
type failure struct {
	// The record of an event that a function gave up, as Lambda sends it to a destination.
	Context *struct {
		FunctionARN string `json:"functionArn"`
		Condition   string `json:"condition"` // Condition is RetriesExhausted or EventAgeExceeded.
	} `json:"requestContext"`
	Request  json.RawMessage `json:"requestPayload"`
	Response json.RawMessage `json:"responsePayload"`

	// An event of EventBridge.
	DetailType string `json:"detail-type"`
	Detail     struct {
		State   string `json:"state"`
		Message string `json:"message"`

		JobName  string `json:"jobName"`  // of Glue Job State Change
		JobRunID string `json:"jobRunId"` // of the same

		CrawlerName  string `json:"crawlerName"` // of Glue Crawler State Change
		ErrorMessage string `json:"errorMessage"`

		Status       string `json:"status"` // of Step Functions Execution Status Change
		ExecutionARN string `json:"executionArn"`
		MachineARN   string `json:"stateMachineArn"`
		Error        string `json:"error"`
		Cause        string `json:"cause"`
	} `json:"detail"`
}

// maxReason is how much of a reason people are told; the log has the whole.
const maxReason = 1000

// Handle tells people of one failure, unless they know. They are told before it is remembered: a function that dies in between tells
// twice.
func (h *handler) Handle(ctx context.Context, text json.RawMessage) error {
	e, err := h.event(text)
	if err != nil {
		return err
	}
	slog.WarnContext(ctx, "failure", "source", e.Source, "feed", e.Feed, "day", e.Day, "reason", e.Reason)
	if len(e.Reason) > maxReason {
		e.Reason = strings.ToValidUTF8(e.Reason[:maxReason], "") + " …"
	}
	name := e.Source + "/" + e.Feed
	was, err := h.memory.Fault(ctx, name)
	if err != nil {
		return err
	}
	is, tell := was.Again(h.now())
	if tell {
		e.Reason += was.Before()
		if err := h.people.Alert(ctx, e); err != nil {
			return err
		}
	}
	if err := h.memory.SaveFault(ctx, name, was, is); !errors.Is(err, ledger.ErrChanged) { // somebody else remembers it
		return err
	}
	return nil
}

// event is what people are told of a failure.
func (h *handler) event(text json.RawMessage) (messages.Event, error) {
	var f failure
	if err := json.Unmarshal(text, &f); err != nil {
		return messages.Event{}, fmt.Errorf("event: %w", err)
	}
	d := f.Detail
	switch {
	case f.Context != nil:
		function := name(f.Context.FunctionARN, 6)
		e := messages.Event{Type: "function.failed", Source: strings.TrimPrefix(function, cluster.Prefix(h.stack, h.country)), Reason: f.reason(),
			Next: "its log /aws/lambda/" + function + " says more; mend the cause, then sluice redrive --dead-letters, which has the event"}
		e.Feed, e.Day, e.File = h.about(f.Request)
		return e, nil
	case f.DetailType == "Glue Job State Change":
		return messages.Event{Type: "nightly.failed", Source: d.JobName, Reason: d.State + ": " + d.Message,
			Next: "read the log of run " + d.JobRunID + " in the Glue console; the next night does it again"}, nil
	case f.DetailType == "Glue Crawler State Change":
		return messages.Event{Type: "nightly.failed", Source: d.CrawlerName, Reason: d.State + ": " + cmp.Or(d.ErrorMessage, d.Message),
			Next: "read the crawler's log /aws-glue/crawlers; landing cannot be queried as it is now, and the upkeep waits for the next night"}, nil
	case f.DetailType == "Step Functions Execution Status Change":
		return messages.Event{Type: "machine.failed", Source: name(d.MachineARN, 6), Reason: strings.TrimSuffix(d.Status+": "+strings.TrimSuffix(d.Error+": "+d.Cause, ": "), ": "),
			Next: "look at execution " + d.ExecutionARN + " in the Step Functions console; mend the cause and start the state machine again"}, nil
	}
	return messages.Event{}, fmt.Errorf("event: neither an invocation that failed, nor a state of Glue or Step Functions: %.200s", text)
}

// name is a part of an ARN.
func name(arn string, part int) string {
	parts := strings.Split(arn, ":")
	return parts[min(part, len(parts)-1)]
}

// reason is what a function failed with, in its own words where it had some.
func (f failure) reason() string {
	var answer struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal(f.Response, &answer) == nil && answer.Message != "" {
		return answer.Message
	}
	if f.Context.Condition == "EventAgeExceeded" {
		return "the event waited for the function longer than it is good for"
	}
	return "the function ended without an answer"
}

// about finds the feed and the day that a given-up event is about, and the file; all are empty for an event that is about none.
func (h *handler) about(request json.RawMessage) (feed, day, file string) {
	var e struct {
		Records []struct {
			S3 struct {
				Object struct {
					Key string `json:"key"`
				} `json:"object"`
			} `json:"s3"`
			SNS struct{ Message string } `json:"Sns"`
		} `json:"Records"`
		Detail struct {
			Name string `json:"name"`
		} `json:"detail"`
	}
	if json.Unmarshal(request, &e) != nil {
		return "", "", ""
	}
	if len(e.Records) == 0 {
		// The name of a step: sluice/<stack>/<country>/<feed>/<day>#<token>.
		run, _ := strings.CutPrefix(e.Detail.Name, "sluice/"+h.stack+"/"+h.country+"/")
		text, _, _ := strings.Cut(run, "#")
		id, _ := job.ParseID(text) // none: the name of something else
		return id.Feed, string(id.Day), ""
	}
	r := e.Records[0]
	if key, err := url.QueryUnescape(r.S3.Object.Key); err == nil && key != "" {
		id, _, _ := job.ParseKey(key)
		return id.Feed, string(id.Day), key
	}
	told, _ := messages.ParseEvent(r.SNS.Message)
	return told.Feed, told.Day, ""
}
