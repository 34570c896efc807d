package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
)

// desk is the intake and the promoter.
type desk struct {
	keys     []job.File
	changed  bool
	err      error
	promoted int
}

func (d *desk) Keys(_ context.Context, keys []job.File) (bool, []error) {
	d.keys = keys
	return d.changed, []error{d.err}
}

func (d *desk) Promote(context.Context) error {
	d.promoted++
	return nil
}

func read[T any](t *testing.T, name string) T {
	t.Helper()
	var event T
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		err = json.Unmarshal(text, &event)
	}
	if err != nil {
		t.Fatal(err)
	}
	return event
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
		if err := h.Handle(t.Context(), read[notification](t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(d.keys, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, d.keys, want)
		}
		if d.promoted != 0 {
			t.Errorf("%s: a plan was made although no job changed", name)
		}
	}
}

func TestNewJobIsPromotedEvenWhenAnotherFileFailed(t *testing.T) {
	d := &desk{changed: true, err: errors.New("another file")}
	h := &handler{bucket: "landing", intake: d, promoter: d}
	if err := h.Handle(t.Context(), read[notification](t, "put")); !errors.Is(err, d.err) {
		t.Errorf("got %v", err)
	}
	if d.promoted != 1 {
		t.Errorf("promoted %d times", d.promoted)
	}
}
