package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
)

// played is EMR Serverless with one application; what stops or ends does so after it was asked for.
type played struct {
	state string   // of the application
	runs  []string // states of its runs
	calls []string // what changed something
}

func (p *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodGet {
		p.calls = append(p.calls, r.Method+" "+r.URL.Path)
	}
	var out any = map[string]any{}
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/jobruns"):
		runs := []any{}
		for i, state := range p.runs {
			if slices.Contains(r.URL.Query()["states"], state) {
				runs = append(runs, map[string]any{"id": string(rune('a' + i)), "state": state})
			}
			if state == "CANCELLING" {
				p.runs[i] = "CANCELLED"
			}
		}
		out = map[string]any{"jobRuns": runs}
	case r.Method == http.MethodGet:
		out = map[string]any{"application": map[string]any{"state": p.state}}
		if p.state == "STOPPING" {
			p.state = "STOPPED"
		}
	case r.Method == http.MethodDelete:
		p.runs[r.URL.Path[len(r.URL.Path)-1]-'a'] = "CANCELLING"
	default:
		p.state = "STOPPING"
	}
	_ = json.NewEncoder(w).Encode(out)
}

func stop(t *testing.T, ctx context.Context, p *played) error {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return stopper{emrserverless.New(emrserverless.Options{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}),
		"00app", time.Millisecond}.Stop(ctx)
}

func TestApplicationIsStoppedAfterItsRunsAreCancelled(t *testing.T) {
	for name, c := range map[string]struct {
		played
		want []string
	}{
		"never started": {played{state: "CREATED"}, nil},
		"stopped":       {played{state: "STOPPED"}, nil},
		"stopping":      {played{state: "STOPPING"}, nil},
		"idle":          {played{state: "STARTED", runs: []string{"SUCCESS"}}, []string{"POST /applications/00app/stop"}},
		"at work": {played{state: "STARTED", runs: []string{"FAILED", "RUNNING", "CANCELLING"}},
			[]string{"DELETE /applications/00app/jobruns/b", "POST /applications/00app/stop"}},
	} {
		p := c.played
		if err := stop(t, t.Context(), &p); err != nil || !slices.Equal(p.calls, c.want) {
			t.Errorf("%s: %q, %v", name, p.calls, err)
		}
	}
}

func TestApplicationThatDoesNotStopInTimeIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := stop(t, ctx, &played{state: "CREATING"}); err == nil || !strings.HasPrefix(err.Error(), "application 00app") {
		t.Error(err)
	}
}
