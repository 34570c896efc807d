package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine/adapter"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/sizing"
)

// turns lets several actors make their calls one after the other, in an order that is drawn.
type turns struct {
	asked chan int // an actor wants to make a call, or ^actor: it is done
	grant []chan struct{}
}

// call waits for the actor's turn.
func (s *turns) call(actor int) {
	s.asked <- actor
	<-s.grant[actor]
}

// play runs the actors to their ends.
func play(draw func(n int) int, actors ...func(call func())) {
	s := &turns{asked: make(chan int)}
	for i := range actors {
		s.grant = append(s.grant, make(chan struct{}))
		go func() {
			actors[i](func() { s.call(i) })
			s.asked <- ^i
		}()
	}
	waiting, thinking := []int{}, len(actors)
	for {
		for ; thinking > 0; thinking-- {
			if a := <-s.asked; a >= 0 {
				waiting = append(waiting, a)
			}
		}
		if len(waiting) == 0 {
			return
		}
		slices.Sort(waiting)
		i := draw(len(waiting))
		a := waiting[i]
		waiting = slices.Delete(waiting, i, i+1)
		thinking = 1
		s.grant[a] <- struct{}{}
	}
}

// town is EMR and the ledger in memory: one standing cluster, and those that runs start.
type town struct {
	clusters []map[string]any
	steps    map[string][]map[string]any
	closing  []string
	runs     map[job.ID]job.Run
	faults   []string
}

// RoundTrip answers the calls that engine.EMR and api make.
func (w *town) RoundTrip(r *http.Request) (*http.Response, error) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	var out any
	switch op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "ElasticMapReduce."); op {
	case "ListClusters":
		found := []any{}
		for _, c := range w.clusters {
			if c["State"] == "WAITING" {
				found = append(found, map[string]any{"Id": c["Id"], "Name": c["Name"], "Status": map[string]any{"State": c["State"],
					"Timeline": map[string]any{"ReadyDateTime": noon.Add(-time.Hour).Unix()}}})
			}
		}
		out = map[string]any{"Clusters": found}
	case "RunJobFlow":
		id := fmt.Sprintf("j-%d", len(w.clusters)+1)
		w.clusters = append(w.clusters, map[string]any{"Id": id, "Name": in["Name"], "State": "WAITING"})
		out = map[string]any{"JobFlowId": id}
	case "ListSteps":
		out = map[string]any{"Steps": w.steps[in["ClusterId"].(string)]}
	case "AddJobFlowSteps":
		id := in["JobFlowId"].(string)
		for _, c := range w.clusters {
			if c["Id"] == id && c["State"] != "WAITING" {
				w.faults = append(w.faults, "a step for cluster "+id+", which was ended")
			}
		}
		step := fmt.Sprintf("s-%d", len(w.steps[id])+1)
		w.steps[id] = append(w.steps[id], map[string]any{"Id": step, "Name": in["Steps"].([]any)[0].(map[string]any)["Name"], "Status": map[string]any{"State": "PENDING"}})
		out = map[string]any{"StepIds": []any{step}}
	case "TerminateJobFlows":
		for _, id := range in["JobFlowIds"].([]any) {
			if len(w.steps[id.(string)]) > 0 {
				w.faults = append(w.faults, fmt.Sprintf("cluster %s was ended with steps on it", id))
			}
			for _, c := range w.clusters {
				if c["Id"] == id {
					c["State"] = "TERMINATING"
				}
			}
		}
		out = map[string]any{}
	default:
		return nil, fmt.Errorf("unexpected %s", op)
	}
	text, err := json.Marshal(out)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(string(text)))}, err
}

// actor is somebody who uses the town, a call at a time.
type actor struct {
	*town
	turn func()
}

func (a actor) Do(r *http.Request) (*http.Response, error) {
	a.turn()
	return a.RoundTrip(r)
}

func (a actor) emr() *emr.Client {
	return emr.New(emr.Options{Region: "us-east-1", HTTPClient: a, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
}

func (a actor) Close(_ context.Context, id string) error {
	a.turn()
	a.closing = append(a.closing, id)
	return nil
}

func (a actor) Keep(_ context.Context, id string) error {
	a.turn()
	a.closing = slices.DeleteFunc(a.closing, func(c string) bool { return c == id })
	return nil
}

func (a actor) Closing(context.Context) ([]string, error) {
	a.turn()
	return slices.Clone(a.closing), nil
}

func (a actor) RunsOn(_ context.Context, id string) (on []job.Run, err error) {
	a.turn()
	for _, r := range a.runs {
		if r.ClusterID == id {
			on = append(on, r)
		}
	}
	return on, nil
}

func (a actor) Off(context.Context, string) error { a.turn(); return nil }

func (a actor) Alert(context.Context, messages.Event) error { return nil }

const template = `{"Instances": {"InstanceFleets": [{"InstanceFleetType": "MASTER"}, {"InstanceFleetType": "CORE"}, {"InstanceFleetType": "TASK"}]}}`

// TestWhateverTheOrderOfCallsNoRunIsOnAClusterThatEnds lets the engine start runs while the alarm ends the standing cluster: the same
// code as in the functions, over every order of their calls that is drawn.
func TestWhateverTheOrderOfCallsNoRunIsOnAClusterThatEnds(t *testing.T) {
	country := discovery.Country{Stack: "prod", Country: "us"}
	round := func(draw func(n int) int) *town {
		w := &town{steps: map[string][]map[string]any{}, runs: map[job.ID]job.Run{},
			clusters: []map[string]any{{"Id": "j-1", "Name": "sluice-prod-us-standing-small", "State": "WAITING"}}}
		start := func(feed string) func(func()) {
			return func(turn func()) {
				a := actor{w, turn}
				e := adapter.NewEMR(a.emr(), country, adapter.EMRArgs{Template: func(context.Context) ([]byte, error) { return []byte(template), nil }, Closing: a.Closing})
				r := job.Run{ID: job.ID{Feed: feed, Day: "2013-01-01"}, Token: 1, Sizing: sizing.Decision{Size: "small"}}
				if _, err := e.Start(t.Context(), r, func(r job.Run) error { turn(); w.runs[r.ID] = r; return nil }); err != nil {
					w.faults = append(w.faults, err.Error())
				}
			}
		}
		stop := func(turn func()) {
			a := actor{w, turn}
			h := &handler{"us", 30 * time.Minute, api{emr: a.emr(), country: country}, nil, a, a, a, func() time.Time { return noon }}
			if err := h.alarm(t.Context(), `{"NewStateValue":"ALARM"}`); err != nil {
				w.faults = append(w.faults, err.Error())
			}
		}
		play(draw, start("airports"), stop, start("flights"))
		for id, r := range w.runs {
			if r.StepID == "" {
				w.faults = append(w.faults, fmt.Sprintf("run %s has no step", id))
			}
		}
		return w
	}
	// Who is asked first gets what it wants, or the orders drawn below would show nothing.
	alarmFirst := func(n int) int { return map[int]int{3: 1}[n] }
	if w := round(alarmFirst); len(w.faults) > 0 || w.clusters[0]["State"] == "WAITING" || len(w.steps["j-1"]) > 0 {
		t.Errorf("the alarm came first: %+v", w)
	}
	runsFirst := func(int) int { return 0 }
	if w := round(runsFirst); len(w.faults) > 0 || w.clusters[0]["State"] != "WAITING" || len(w.steps["j-1"]) != 2 {
		t.Errorf("a run came first: %+v", w)
	}
	rapid.Check(t, func(rt *rapid.T) {
		if w := round(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "turn") }); len(w.faults) > 0 {
			rt.Fatal(w.faults)
		}
	})
}
