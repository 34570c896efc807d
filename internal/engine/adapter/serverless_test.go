package adapter

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

// playedServerless is EMR Serverless's API over job runs in memory: a client token is good once, for one request.
type playedServerless struct {
	runs     []map[string]any  // applicationId, id, name, state, stateDetails
	tokens   map[string]string // the request that each token came with
	requests []map[string]any
	calls    []string
}

func (p *playedServerless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.calls = append(p.calls, r.Method+" "+r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // applications/<id>/jobruns/<id>
	switch {
	case r.Method == http.MethodPost:
		text, _ := io.ReadAll(r.Body)
		var in map[string]any
		_ = json.Unmarshal(text, &in)
		token := in["clientToken"].(string)
		if before, used := p.tokens[token]; used && before != string(text) {
			w.Header().Set("X-Amzn-ErrorType", "ConflictException")
			answer(http.StatusConflict, map[string]any{"message": "the token was used with other parameters"})
			return
		}
		id := "run" + token[:4]
		if _, used := p.tokens[token]; !used {
			p.tokens[token] = string(text)
			p.requests = append(p.requests, in)
			p.runs = append(p.runs, map[string]any{"applicationId": path[1], "id": id, "name": in["name"], "state": "SUBMITTED"})
		}
		answer(http.StatusOK, map[string]any{"applicationId": path[1], "jobRunId": id, "arn": "arn"})
	case r.Method == http.MethodGet && len(path) == 3:
		answer(http.StatusOK, map[string]any{"jobRuns": p.runs})
	case r.Method == http.MethodGet:
		for _, run := range p.runs {
			if run["id"] == path[3] {
				answer(http.StatusOK, map[string]any{"jobRun": run})
				return
			}
		}
		w.Header().Set("X-Amzn-ErrorType", "ResourceNotFoundException")
		answer(http.StatusNotFound, map[string]any{"message": "no such job run"})
	default:
		answer(http.StatusOK, map[string]any{})
	}
}

func newPlayedServerless(t *testing.T) (*playedServerless, *Serverless) {
	t.Helper()
	p := &playedServerless{tokens: map[string]string{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	c := country
	c.Compute.Serverless.ApplicationID, c.Compute.Serverless.RoleARN = "00app", "arn:aws:iam::123456789012:role/serverless"
	return p, NewServerless(emrserverless.New(emrserverless.Options{Region: "us-east-1", BaseEndpoint: aws.String(server.URL),
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), c)
}

func TestServerlessRunIsStartedOnce(t *testing.T) {
	p, s := newPlayedServerless(t)
	var saved []string
	first, err := s.Start(t.Context(), run, notes(&saved))
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Start(t.Context(), run, notes(&saved)) // died before it was written down
	if err != nil || again != first || len(p.runs) != 1 || first.ClusterID != "00app" {
		t.Errorf("first %+v, again %+v, %v; runs %v", first, again, err, p.runs)
	}
	if want := "00app " + first.StepID; !slices.Equal(saved, []string{want, want}) {
		t.Errorf("saved %q", saved)
	}
	next := run
	next.Token++
	if other, err := s.Start(t.Context(), next, notes(&saved)); err != nil || other.StepID == first.StepID {
		t.Errorf("another attempt got %+v, %v", other, err)
	}
}

func TestServerlessRunIsFoundAfterADeploymentChangedTheJob(t *testing.T) {
	p, s := newPlayedServerless(t)
	var saved []string
	first, err := s.Start(t.Context(), run, notes(&saved))
	if err != nil {
		t.Fatal(err)
	}
	s.country.Compute.PackageKey = "jobs/newer.zip"
	again, err := s.Start(t.Context(), run, notes(&saved))
	if err != nil || again != first || len(p.runs) != 1 {
		t.Errorf("got %+v, %v; runs %v", again, err, p.runs)
	}
	p.runs[0]["name"] = "another"
	if _, err := s.Start(t.Context(), run, notes(&saved)); err == nil || !strings.HasPrefix(err.Error(), "emr serverless: job run sluice/prod/us/flights/2013-01-01#2: ") {
		t.Errorf("a token of something else: %v", err)
	}
}

func TestServerlessRunHasItsRoleItsWorkersAndItsLogs(t *testing.T) {
	p, s := newPlayedServerless(t)
	var saved []string
	if _, err := s.Start(t.Context(), run, notes(&saved)); err != nil {
		t.Fatal(err)
	}
	delete(p.requests[0], "clientToken")
	got, err := json.MarshalIndent(p.requests[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/serverless.json")
	if err != nil || string(got)+"\n" != string(want) {
		t.Errorf("testdata/serverless.json: %v; the request is now\n%s", err, got)
	}
	medium := run
	medium.Token, medium.Sizing.Size = 3, "medium"
	if _, err := s.Start(t.Context(), medium, notes(&saved)); err != nil {
		t.Fatal(err)
	}
	submit := p.requests[1]["jobDriver"].(map[string]any)["sparkSubmit"].(map[string]any)["sparkSubmitParameters"].(string)
	if !strings.Contains(submit, "--conf spark.dynamicAllocation.maxExecutors=8 ") {
		t.Errorf("a medium day got %s", submit)
	}
	if _, err := s.Start(t.Context(), job.Run{ID: run.ID, Token: 4, Sizing: sizing.Decision{Size: "huge"}}, notes(&saved)); err == nil || err.Error() != `emr serverless: no size "huge"` {
		t.Error(err)
	}
}

func TestServerlessStatus(t *testing.T) {
	for state, want := range map[string]engine.Status{
		"SUBMITTED": {State: engine.Active}, "QUEUED": {State: engine.Active}, "PENDING": {State: engine.Active}, "SCHEDULED": {State: engine.Active}, "RUNNING": {State: engine.Active}, "CANCELLING": {State: engine.Active},
		"SUCCESS": {State: engine.Succeeded}, "FAILED": {State: engine.Failed, Reason: "out of memory"}, "CANCELLED": {State: engine.Cancelled, Reason: "out of memory"},
	} {
		p, s := newPlayedServerless(t)
		p.runs = []map[string]any{{"applicationId": "00app", "id": "1", "state": state, "stateDetails": "out of memory\n"}}
		if got, err := s.Status(t.Context(), job.Run{ClusterID: "00app", StepID: "1"}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", state, got, err)
		}
	}
	p, s := newPlayedServerless(t)
	p.runs = []map[string]any{{"applicationId": "00app", "id": "1", "state": "FAILED"}}
	if got, err := s.Status(t.Context(), job.Run{ClusterID: "00app", StepID: "1"}); err != nil || got.Reason != "the job run is FAILED; its log is in the logs bucket" {
		t.Errorf("without words: %+v, %v", got, err)
	}
}

func TestServerlessRunOfAnApplicationThatWasTakenDownHasEnded(t *testing.T) {
	p, s := newPlayedServerless(t)
	if got, err := s.Status(t.Context(), job.Run{ClusterID: "00app", StepID: "1"}); err != nil || got != (engine.Status{State: engine.Failed, Reason: "the application 00app of job run 1 was taken down"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	p.calls = nil
	if got, err := s.Status(t.Context(), job.Run{ClusterID: "00old", StepID: "1"}); err != nil || got != (engine.Status{State: engine.Failed, Reason: "the application 00old of job run 1 was taken down"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if len(p.calls) != 0 {
		t.Errorf("asked for another application, which its role may not: %v", p.calls)
	}
}

func TestServerlessCancel(t *testing.T) {
	p, s := newPlayedServerless(t)
	if err := s.Cancel(t.Context(), job.Run{ClusterID: "00app", StepID: "1"}); err != nil || !slices.Equal(p.calls, []string{"DELETE /applications/00app/jobruns/1"}) {
		t.Errorf("%v, calls %v", err, p.calls)
	}
}
