package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

// office is the people and the memory of a country.
type office struct {
	faults map[string]job.Fault
	told   []messages.Event
	deaf   error // what telling answers
	dead   error // what remembering answers
}

func (o *office) Fault(_ context.Context, name string) (job.Fault, error) { return o.faults[name], nil }

func (o *office) SaveFault(_ context.Context, name string, was, is job.Fault) error {
	if o.dead == nil && o.faults[name] == was {
		o.faults[name] = is
	}
	return o.dead
}

func (o *office) Alert(_ context.Context, e messages.Event) error {
	if o.deaf == nil {
		o.told = append(o.told, e)
	}
	return o.deaf
}

// desk is a handler of country us, its people, and its clock.
func desk() (*handler, *office, *time.Time) {
	o, now := &office{faults: map[string]job.Fault{}}, time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	return &handler{"prod", "us", o, o, func() time.Time { return now }}, o, &now
}

func event(t *testing.T, name string) json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestFailureIsToldWithFeedDayReasonAndNextStep(t *testing.T) {
	const logs = "its log /aws/lambda/sluice-prod-us-%s says more; mend the cause, then sluice redrive --dead-letters, which has the event"
	for name, want := range map[string]messages.Event{
		"file": {Type: "function.failed", Source: "receive-file", Feed: "orders", Day: "2024-02-29", File: "orders/2024-02-29/a b.csv",
			Reason: "ledger: job orders/2024-02-29: access denied", Next: fmt.Sprintf(logs, "receive-file")},
		"message": {Type: "function.failed", Source: "export-table", Feed: "orders", Day: "2024-02-29",
			Reason: "2024-03-01T12:00:00Z 4a1f Task timed out after 900.00 seconds", Next: fmt.Sprintf(logs, "export-table")},
		"step": {Type: "function.failed", Source: "finish-job", Feed: "orders", Day: "2024-02-29", Reason: "the function ended without an answer", Next: fmt.Sprintf(logs, "finish-job")},
		"tick": {Type: "function.failed", Source: "start-jobs", Reason: "the event waited for the function longer than it is good for", Next: fmt.Sprintf(logs, "start-jobs")},
		"upkeep": {Type: "nightly.failed", Source: "sluice-prod-us-upkeep", Reason: "TIMEOUT: Job run timed out",
			Next: "read the log of run jr_1 in the Glue console; the next night does it again"},
		"crawler": {Type: "nightly.failed", Source: "sluice-prod-us-landing", Reason: "Failed: Insufficient Lake Formation permission(s)",
			Next: "read the crawler's log /aws-glue/crawlers; landing cannot be queried as it is now, and the upkeep waits for the next night"},
		"machine": {Type: "machine.failed", Source: "sluice-prod-us-drive", Reason: "TIMED_OUT: States.Timeout: it took an hour",
			Next: "look at execution arn:aws:states:eu-west-1:111122223333:execution:sluice-prod-us-drive:e1 in the Step Functions console; mend the cause and start the state machine again"},
	} {
		h, o, _ := desk()
		if err := h.Handle(t.Context(), event(t, name)); err != nil || !reflect.DeepEqual(o.told, []messages.Event{want}) {
			t.Errorf("%s: %v, told %+v, want %+v", name, err, o.told, want)
		}
	}
}

func TestFaultThatLastsIsToldOnceADay(t *testing.T) {
	h, o, now := desk()
	for range 25 * 60 { // a tick a minute
		if err := h.Handle(t.Context(), event(t, "tick")); err != nil {
			t.Fatal(err)
		}
		*now = now.Add(time.Minute)
	}
	if len(o.told) != 2 || !strings.HasSuffix(o.told[1].Reason, "good for (and 1439 more times since 2024-03-01T12:00:00Z)") {
		t.Errorf("told %+v", o.told)
	}
}

func TestFailureAfterAnHourThatWorkedIsAnotherFault(t *testing.T) {
	h, o, now := desk()
	for range 3 {
		if err := h.Handle(t.Context(), event(t, "tick")); err != nil {
			t.Fatal(err)
		}
		*now = now.Add(time.Hour)
	}
	if len(o.told) != 3 {
		t.Errorf("told %+v", o.told)
	}
}

func TestFunctionsAndFeedsAreToldEachByItself(t *testing.T) {
	h, o, _ := desk()
	other := json.RawMessage(strings.ReplaceAll(string(event(t, "file")), "orders", "returns"))
	for _, text := range []json.RawMessage{event(t, "file"), event(t, "message"), event(t, "tick"), other, other} {
		if err := h.Handle(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.told) != 4 {
		t.Errorf("told %+v", o.told)
	}
}

func TestWhatWasNotToldIsTriedAgain(t *testing.T) {
	h, o, _ := desk()
	o.deaf = errors.New("throttled")
	if err := h.Handle(t.Context(), event(t, "tick")); !errors.Is(err, o.deaf) || len(o.faults) != 0 {
		t.Errorf("%v, remembered %+v", err, o.faults)
	}
	o.deaf, o.dead = nil, errors.New("throttled") // it dies before it remembers
	if err := h.Handle(t.Context(), event(t, "tick")); !errors.Is(err, o.dead) {
		t.Errorf("got %v", err)
	}
	o.dead = fmt.Errorf("fault: %w", ledger.ErrChanged) // another one remembered it
	if err := h.Handle(t.Context(), event(t, "tick")); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestReasonIsCutAtTheLimitOfAMessage(t *testing.T) {
	h, o, _ := desk()
	text := strings.ReplaceAll(string(event(t, "file")), "access denied", strings.Repeat("é", 2*maxReason))
	if err := h.Handle(t.Context(), json.RawMessage(text)); err != nil || len(o.told) != 1 || len(o.told[0].Reason) > maxReason+10 || !strings.HasSuffix(o.told[0].Reason, "é …") {
		t.Errorf("%v, told %+v", err, o.told)
	}
}

func TestEventThatSaysNothingOfAFailureIsAnError(t *testing.T) {
	h, o, _ := desk()
	for _, text := range []string{`{}`, `{"detail-type":"Object Created","detail":{}}`, `[]`, `"x"`} {
		if err := h.Handle(t.Context(), json.RawMessage(text)); err == nil || len(o.told) != 0 {
			t.Errorf("%s: %v, told %+v", text, err, o.told)
		}
	}
}
