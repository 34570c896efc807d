package adapter

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/glue"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// playedGlue is Glue's API over job runs in memory, two a page, the newest first.
type playedGlue struct {
	runs    []map[string]any // Id, Arguments, JobRunState, ErrorMessage, StartedOn
	inputs  map[string]map[string]any
	calls   []string
	refuses string // refuses is the code of what stopping answers
}

func (p *playedGlue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSGlue.")
	text, _ := io.ReadAll(r.Body)
	var in map[string]any
	_ = json.Unmarshal(text, &in)
	p.calls = append(p.calls, op)
	p.inputs[op] = in
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	out := map[string]any{}
	switch op {
	case "GetJobRuns":
		start := 0
		if token, ok := in["NextToken"].(string); ok {
			_, _ = fmt.Sscan(token, &start)
		}
		out["JobRuns"] = p.runs[start:min(start+2, len(p.runs))]
		if start+2 < len(p.runs) {
			out["NextToken"] = fmt.Sprint(start + 2)
		}
	case "StartJobRun":
		id := fmt.Sprintf("jr_%d", len(p.runs)+1)
		p.runs = append([]map[string]any{{"Id": id, "Arguments": in["Arguments"], "JobRunState": "STARTING", "StartedOn": run.StartedAt.Unix()}}, p.runs...)
		out["JobRunId"] = id
	case "GetJobRun":
		for _, r := range p.runs {
			if r["Id"] == in["RunId"] {
				out["JobRun"] = r
			}
		}
		if out["JobRun"] == nil {
			w.WriteHeader(http.StatusBadRequest)
			out["__type"], out["message"] = "EntityNotFoundException", "no such run"
		}
	case "BatchStopJobRun":
		if p.refuses != "" {
			out["Errors"] = []any{map[string]any{"ErrorDetail": map[string]any{"ErrorCode": p.refuses, "ErrorMessage": "no"}}}
		}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func newPlayedGlue(t *testing.T) (*playedGlue, *Glue) {
	t.Helper()
	p := &playedGlue{inputs: map[string]map[string]any{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	c := country
	c.Compute.GlueJob = "sluice-prod-us-records"
	return p, NewGlue(glue.New(glue.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), c)
}

func TestGlueRunIsFoundByItsArgumentOrStarted(t *testing.T) {
	p, g := newPlayedGlue(t)
	for i := range 3 { // other runs, so that ours is not on the first page
		p.runs = append(p.runs, map[string]any{"Id": fmt.Sprintf("jr_x%d", i), "Arguments": map[string]any{"--run": "other#1"}, "StartedOn": run.StartedAt.Unix()})
	}
	var saved []string
	first, err := g.Start(t.Context(), run, notes(&saved))
	if err != nil || first.ClusterID != "sluice-prod-us-records" || first.StepID != "jr_4" {
		t.Fatalf("got %+v, %v", first, err)
	}
	slices.Reverse(p.runs)
	again, err := g.Start(t.Context(), run, notes(&saved)) // died before it was written down
	if err != nil || again != first || len(p.runs) != 4 {
		t.Errorf("got %+v, %v; runs %v", again, err, p.runs)
	}
	if want := "sluice-prod-us-records jr_4"; !slices.Equal(saved, []string{want, want}) {
		t.Errorf("saved %q", saved)
	}
}

func TestGlueRunsOfDaysAgoAreNotLookedThrough(t *testing.T) {
	p, g := newPlayedGlue(t)
	for i := range 9 {
		p.runs = append(p.runs, map[string]any{"Id": fmt.Sprintf("jr_x%d", i), "StartedOn": run.StartedAt.Add(-time.Hour).Unix()})
	}
	var saved []string
	if _, err := g.Start(t.Context(), run, notes(&saved)); err != nil || !slices.Equal(p.calls, []string{"GetJobRuns", "StartJobRun"}) {
		t.Errorf("%v, calls %v", err, p.calls)
	}
}

func TestGlueRunHasItsWorkersAndArguments(t *testing.T) {
	p, g := newPlayedGlue(t)
	medium := run
	medium.Sizing.Size = "medium"
	var saved []string
	if _, err := g.Start(t.Context(), medium, notes(&saved)); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(p.inputs["StartJobRun"], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/glue.json")
	if err != nil || string(got)+"\n" != string(want) {
		t.Errorf("testdata/glue.json: %v; the request is now\n%s", err, got)
	}
	if _, err := g.Start(t.Context(), job.Run{ID: run.ID, Token: 4, Sizing: sizing.Decision{Size: "huge"}}, notes(&saved)); err == nil || err.Error() != `glue: no size "huge"` {
		t.Error(err)
	}
}

func TestGlueStatus(t *testing.T) {
	for state, want := range map[string]engine.Status{
		"STARTING": {State: engine.Active}, "RUNNING": {State: engine.Active}, "STOPPING": {State: engine.Active}, "WAITING": {State: engine.Active},
		"SUCCEEDED": {State: engine.Succeeded}, "FAILED": {State: engine.Failed, Reason: "SystemExit: 1"}, "TIMEOUT": {State: engine.Failed, Reason: "SystemExit: 1"}, "ERROR": {State: engine.Failed, Reason: "SystemExit: 1"},
		"EXPIRED": {State: engine.Failed, Reason: "SystemExit: 1"}, "STOPPED": {State: engine.Cancelled, Reason: "SystemExit: 1"},
	} {
		p, g := newPlayedGlue(t)
		p.runs = []map[string]any{{"Id": "jr_1", "JobRunState": state, "ErrorMessage": "SystemExit: 1\n"}}
		if got, err := g.Status(t.Context(), job.Run{ClusterID: "j", StepID: "jr_1"}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", state, got, err)
		}
	}
}

func TestGlueRunOfAJobThatWasTakenDownHasEnded(t *testing.T) {
	_, g := newPlayedGlue(t)
	if got, err := g.Status(t.Context(), job.Run{ClusterID: "j", StepID: "jr_1"}); err != nil || got != (engine.Status{State: engine.Failed, Reason: "the job j of job run jr_1 was taken down"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestGlueCancelTellsWhatGlueRefused(t *testing.T) {
	p, g := newPlayedGlue(t)
	if err := g.Cancel(t.Context(), job.Run{ClusterID: "j", StepID: "jr_1"}); err != nil {
		t.Error(err)
	}
	p.refuses = "JobRunNotInTerminalStateException"
	if err := g.Cancel(t.Context(), job.Run{ClusterID: "j", StepID: "jr_1"}); err == nil || err.Error() != "glue: stop run jr_1 of job j: JobRunNotInTerminalStateException: no" {
		t.Error(err)
	}
}
