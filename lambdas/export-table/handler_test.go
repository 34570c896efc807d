package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/sluice-data/sluice/internal/job"
)

type exports []string

func (e *exports) Export(_ context.Context, id job.ID) error {
	*e = append(*e, id.String())
	return nil
}

func TestDayThatSucceededIsExported(t *testing.T) {
	for name, c := range map[string]struct {
		replace, by string
		want        exports
		err         string
	}{
		"as it comes":         {"", "", exports{"flights/2013-01-01"}, ""},
		"another type":        {"job.succeeded", "job.failed", nil, ""},
		"another version":     {`\"version\":1`, `\"version\":2`, nil, "event: version 2 is not 1: deploy all functions together"},
		"another country":     {`\"us\"`, `\"br\"`, nil, `event of country "br" came to "us"`},
		"a day that is none":  {"2013-01-01\\\"", "2013-02-30\\\"", nil, `job "flights/2013-02-30": day "2013-02-30" is not a date of the form yyyy-mm-dd`},
		"a feed that is none": {`\"flights\"`, `\"../x\"`, nil, `job "../x/2013-01-01" is not of the form feed/yyyy-mm-dd`},
	} {
		text, err := os.ReadFile("testdata/succeeded.json")
		if err != nil {
			t.Fatal(err)
		}
		if c.replace != "" {
			text = bytes.ReplaceAll(text, []byte(c.replace), []byte(c.by))
		}
		var event events.SNSEvent
		if err := json.Unmarshal(text, &event); err != nil {
			t.Fatal(err)
		}
		var got exports
		err = (&handler{"us", &got}).Handle(t.Context(), event)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}
