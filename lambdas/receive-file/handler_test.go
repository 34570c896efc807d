package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/job"
)

// desk is the intake and the promoter.
type desk struct {
	keys     []job.File
	changed  bool
	broken   map[string]error // broken are the faults by key.
	stuck    error            // stuck is what promoting answers.
	promoted int
	gaveUp   []string // gaveUp are the events that people were told of.
}

func (d *desk) GaveUp(_ context.Context, key string, why error) error {
	d.gaveUp = append(d.gaveUp, key+": "+why.Error())
	return nil
}

func (d *desk) Keys(_ context.Context, keys []job.File) (bool, []error) {
	d.keys = keys
	var faults []error
	for _, f := range keys {
		faults = append(faults, d.broken[f.Key])
	}
	return d.changed, faults
}

func (d *desk) Promote(context.Context) error {
	d.promoted++
	return d.stuck
}

// batch is a batch of messages, each with the text of a file in testdata or a text of its own.
func batch(t *testing.T, bodies ...string) events.SQSEvent {
	t.Helper()
	var b events.SQSEvent
	for n, body := range bodies {
		if text, err := os.ReadFile(filepath.Join("testdata", body+".json")); err == nil {
			body = string(text)
		}
		b.Records = append(b.Records, events.SQSMessage{MessageId: fmt.Sprint("m-", n+1), Body: body})
	}
	return b
}

// landed is S3's event of one object.
func landed(key string) string {
	return `{"Records":[{"eventVersion":"2.1","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"landing"},"object":{"key":"` + key + `"}}}]}`
}

func TestEventNamesTheFilesToTakeIn(t *testing.T) {
	for name, want := range map[string][]job.File{
		"put": {
			{Bucket: "landing", Key: "flights/2013-01-01/flights.csv", Bytes: 842, ETag: "e1", VersionID: "v1", Sequencer: "0055AED6DCD90281E5",
				LandedAt: time.Date(2013, 1, 2, 0, 0, 1, 123000000, time.UTC)},
			{Bucket: "landing", Key: "flights/2013-01-01/a b+c Ü.csv", Bytes: 1, ETag: "e2", VersionID: "v2", Sequencer: "0055AED6DCD90281E6",
				LandedAt: time.Date(2013, 1, 2, 0, 0, 2, 0, time.UTC)},
		},
		"not-encoded": {{Bucket: "landing", Key: "../%zz", Bytes: 1, ETag: "e1", Sequencer: "01", LandedAt: time.Date(2013, 1, 2, 0, 0, 1, 0, time.UTC)}},
		"test-event":  nil,
	} {
		d := &desk{}
		h := &handler{bucket: "landing", intake: d, promoter: d}
		response, err := h.Handle(t.Context(), batch(t, name))
		if text, _ := json.Marshal(response); err != nil || string(text) != `{"batchItemFailures":[]}` {
			t.Errorf("%s: %s, %v", name, text, err)
		}
		if !reflect.DeepEqual(d.keys, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, d.keys, want)
		}
		if d.promoted != 0 {
			t.Errorf("%s: a plan was made although no job changed", name)
		}
	}
}

func TestMessageThatFailsIsTheOnlyOneThatIsReturned(t *testing.T) {
	d := &desk{changed: true, broken: map[string]error{"flights/2013-01-01/b.csv": errors.New("throttled")}}
	h := &handler{bucket: "landing", intake: d, promoter: d}
	response, err := h.Handle(t.Context(), batch(t, landed("flights/2013-01-01/a.csv"), landed("flights/2013-01-01/b.csv"), "not an event",
		strings.Replace(landed("flights/2013-01-01/c.csv"), `"2.1"`, `"3.0"`, 1), "test-event", landed("flights/2013-01-01/d.csv")))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(response)
	if want := `{"batchItemFailures":[{"itemIdentifier":"m-2"},{"itemIdentifier":"m-3"},{"itemIdentifier":"m-4"}]}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, not %s", text, err, want)
	}
	if len(d.keys) != 3 || d.promoted != 1 {
		t.Errorf("took in %+v, promoted %d times", d.keys, d.promoted)
	}
}

func TestEventThatIsGivenUpIsToldOfWithItsFile(t *testing.T) {
	bodies := []string{landed("flights/2013-01-01/a.csv"), landed("flights/2013-01-01/b.csv"), "not an event"}
	for receives, want := range map[string][]string{
		"4": nil,
		"5": {"flights/2013-01-01/b.csv: throttled", ": event: invalid character 'o' in literal null (expecting 'u')"},
	} {
		d := &desk{broken: map[string]error{"flights/2013-01-01/b.csv": errors.New("throttled")}}
		b := batch(t, bodies...)
		for n := range b.Records {
			b.Records[n].Attributes = map[string]string{"ApproximateReceiveCount": receives}
		}
		response, err := (&handler{bucket: "landing", intake: d, promoter: d}).Handle(t.Context(), b)
		if err != nil || len(response.BatchItemFailures) != 2 || !slices.Equal(d.gaveUp, want) {
			t.Errorf("received %s times: told of %q, %+v, %v", receives, d.gaveUp, response, err)
		}
	}
	d := &desk{changed: true, stuck: errors.New("no plan")}
	b := batch(t, bodies[0])
	b.Records[0].Attributes = map[string]string{"ApproximateReceiveCount": "5"}
	if _, err := (&handler{bucket: "landing", intake: d, promoter: d}).Handle(t.Context(), b); err == nil || !slices.Equal(d.gaveUp, []string{"flights/2013-01-01/a.csv: no plan"}) {
		t.Errorf("without a plan: told of %q, %v", d.gaveUp, err)
	}
}

func TestBatchIsRepeatedWhenNoPlanCouldBeMade(t *testing.T) {
	d := &desk{changed: true, stuck: errors.New("throttled")}
	h := &handler{bucket: "landing", intake: d, promoter: d}
	if _, err := h.Handle(t.Context(), batch(t, "put")); !errors.Is(err, d.stuck) {
		t.Errorf("got %v", err)
	}
}

func TestKeysAreReadAsS3WritesThem(t *testing.T) {
	for written, want := range map[string]string{
		"a+b.csv": "a b.csv", "a%2Bb.csv": "a+b.csv", "%252e%252e.csv": "%2e%2e.csv", "..%2F..%2Fx": "../../x", "caf%C3%A9": "caf\u00e9", "cafe%CC%81": "cafe\u0301",
		"%": "%", "%zz": "%zz",
	} {
		if got := decoded(written); got != want {
			t.Errorf("%s: got %q, not %q", written, got, want)
		}
	}
}
