package adapter

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/spark"
)

var country = discovery.Country{
	Stack: "prod", Country: "us", Region: "us-east-1",
	Buckets: discovery.Buckets{Artifacts: "artifacts", Curated: "curated", Logs: "logs"},
	Compute: discovery.Compute{MainKey: "jobs/main.py", PackageKey: "jobs/jobs.zip", KMSKeyARN: "arn:aws:kms:us-east-1:123456789012:key/1", LogKeyARN: "arn:aws:kms:us-east-1:123456789012:key/2"},
}

var run = job.Run{StartedAt: time.Date(2013, 1, 2, 5, 0, 0, 0, time.UTC), ID: job.ID{Feed: "flights", Day: "2013-01-01"}, Token: 2, Order: "s3://artifacts/runs/flights/2013-01-01/2/order.json", Sizing: sizing.Decision{Size: "small"}}

// played is EMR's API over clusters and steps in memory.
type played struct {
	clusters []map[string]any // Id, Name, State
	steps    map[string][]map[string]any
	calls    []string
	inputs   map[string]map[string]any
	refuse   []string // messages of validation errors that RunJobFlow answers with first
	closing  []string // ids of clusters that are about to be ended

	waited    []time.Duration // how long the engine waited before it asked
	throttled bool            // it answers nothing
	hidden    any             // hidden: clusters that are started are not listed yet
	running   []job.Run       // what the ledger says that runs
	told      []string        // types that people heard of
	forgotten []string        // ids of clusters that ended so long ago that EMR does not know them any more
}

func (p *played) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "ElasticMapReduce.")
	text, _ := io.ReadAll(r.Body)
	var in map[string]any
	_ = json.Unmarshal(text, &in)
	p.calls = append(p.calls, op)
	p.inputs[op] = in
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	var out any
	if id := fmt.Sprint(in["ClusterId"]); slices.Contains(p.forgotten, id) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"__type": "InvalidRequestException", "Message": "Cluster id '" + id + "' is not valid."})
		return
	}
	if p.throttled {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"__type": "ValidationException", "message": "Rate exceeded"})
		return
	}
	switch op {
	case "ListClusters":
		var found []map[string]any
		for _, c := range p.clusters {
			if slices.Contains(in["ClusterStates"].([]any), c["State"]) && c["Hidden"] == nil {
				found = append(found, map[string]any{"Id": c["Id"], "Name": c["Name"], "Status": map[string]any{"State": c["State"], "StateChangeReason": map[string]any{"Code": c["Code"], "Message": c["Reason"]}}})
			}
		}
		out = map[string]any{"Clusters": found}
	case "RunJobFlow":
		if len(p.refuse) > 0 {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]any{"__type": "ValidationException", "message": p.refuse[0]}
			p.refuse = p.refuse[1:]
			break
		}
		id := fmt.Sprintf("j-%d", len(p.clusters)+1)
		p.clusters = append(p.clusters, map[string]any{"Id": id, "Name": in["Name"], "State": "STARTING", "Hidden": p.hidden})
		out = map[string]any{"JobFlowId": id}
	case "ListSteps":
		var found []map[string]any
		states, filtered := in["StepStates"].([]any)
		for _, s := range p.steps[in["ClusterId"].(string)] {
			if !filtered || slices.Contains(states, s["Status"].(map[string]any)["State"]) {
				found = append(found, s)
			}
		}
		out = map[string]any{"Steps": found}
	case "AddJobFlowSteps":
		id, step := in["JobFlowId"].(string), in["Steps"].([]any)[0].(map[string]any)
		made := map[string]any{"Id": fmt.Sprintf("s-%d", len(p.steps[id])+1), "Name": step["Name"], "Status": map[string]any{"State": "PENDING"}}
		p.steps[id] = append(p.steps[id], made)
		out = map[string]any{"StepIds": []any{made["Id"]}}
	case "DescribeStep":
		for _, s := range p.steps[in["ClusterId"].(string)] {
			if s["Id"] == in["StepId"] {
				out = map[string]any{"Step": s}
			}
		}
	case "DescribeCluster":
		for _, c := range p.clusters {
			if c["Id"] == in["ClusterId"] {
				out = map[string]any{"Cluster": map[string]any{"Name": c["Name"], "Status": map[string]any{"State": c["State"], "StateChangeReason": map[string]any{"Message": c["Reason"]}}}}
			}
		}
	case "CancelSteps":
		out = map[string]any{}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func newPlayed(t *testing.T) (*played, *EMR) {
	t.Helper()
	p := &played{steps: map[string][]map[string]any{}, inputs: map[string]map[string]any{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	e := NewEMR(emr.New(emr.Options{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), country,
		EMRArgs{
			Template: func(context.Context) ([]byte, error) { return os.ReadFile("testdata/template.json") },
			Runs:     func(context.Context) ([]job.Run, error) { return p.running, nil },
			Closing:  func(context.Context) ([]string, error) { return p.closing, nil },
			Refused: func(_ context.Context, name, why string) error {
				p.told = append(p.told, name+": "+why)
				return nil
			},
		})
	e.pause = func(context.Context, int) error { return nil }
	e.wait = func(_ context.Context, d time.Duration) error {
		p.waited = append(p.waited, d)
		return nil
	}
	return p, e
}

// notes collects what is saved on the way.
func notes(saved *[]string) func(job.Run) error {
	return func(r job.Run) error {
		*saved = append(*saved, r.ClusterID+" "+r.StepID)
		return nil
	}
}

func TestFirstRunStartsAClusterAndItsStep(t *testing.T) {
	p, e := newPlayed(t)
	var saved []string
	r, err := e.Start(t.Context(), run, notes(&saved))
	if err != nil || r.ClusterID != "j-1" || r.StepID != "s-1" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if want := []string{"j-1 ", "j-1 s-1"}; !slices.Equal(saved, want) {
		t.Errorf("saved %q", saved)
	}
	step := p.inputs["AddJobFlowSteps"]["Steps"].([]any)[0].(map[string]any)
	if step["Name"] != "sluice/prod/us/flights/2013-01-01#2" || step["ActionOnFailure"] != "CONTINUE" {
		t.Errorf("step: %v", step)
	}
	if p.inputs["RunJobFlow"]["Name"] != "sluice-prod-us-small" {
		t.Errorf("cluster: %v", p.inputs["RunJobFlow"]["Name"])
	}
}

func TestStartingTwiceIsStartingOnce(t *testing.T) {
	p, e := newPlayed(t)
	var saved []string
	first, err := e.Start(t.Context(), run, notes(&saved))
	if err != nil {
		t.Fatal(err)
	}
	// Died before the step was written down; before the cluster was written down.
	halfway := first
	halfway.StepID = ""
	for name, r := range map[string]job.Run{"cluster known": halfway, "nothing known": run} {
		got, err := e.Start(t.Context(), r, notes(&saved))
		if err != nil || !reflect.DeepEqual(got, first) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if len(p.clusters) != 1 || len(p.steps["j-1"]) != 1 {
		t.Errorf("clusters %v, steps %v", p.clusters, p.steps)
	}
}

func TestRunningClusterOfTheSizeIsUsed(t *testing.T) {
	p, e := newPlayed(t)
	p.clusters = []map[string]any{
		{"Id": "j-a", "Name": "sluice-prod-us-small", "State": "TERMINATED"},
		{"Id": "j-b", "Name": "sluice-prod-br-small", "State": "WAITING"},
		{"Id": "j-c", "Name": "sluice-prod-us-medium", "State": "WAITING"},
		{"Id": "j-e", "Name": "sluice-prod-us-small", "State": "WAITING"},
		{"Id": "j-d", "Name": "sluice-prod-us-small", "State": "RUNNING"},
		{"Id": "j-f", "Name": "sluice-prod-us-notebooks", "State": "RUNNING"},
	}
	if got, err := e.Sizes(t.Context()); err != nil || !slices.Equal(got, []string{"medium", "small"}) {
		t.Errorf("sizes: %v, %v", got, err)
	}
	var saved []string
	r, err := e.Start(t.Context(), run, notes(&saved))
	if err != nil || r.ClusterID != "j-d" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestStandingClusterIsPreferredUntilItIsAboutToEnd(t *testing.T) {
	p, e := newPlayed(t)
	p.clusters = []map[string]any{
		{"Id": "j-a", "Name": "sluice-prod-us-small", "State": "WAITING"},
		{"Id": "j-b", "Name": "sluice-prod-us-standing-small", "State": "WAITING"},
		{"Id": "j-c", "Name": "sluice-prod-us-standing-medium", "State": "WAITING"},
	}
	var saved []string
	if r, err := e.Start(t.Context(), run, notes(&saved)); err != nil || r.ClusterID != "j-b" {
		t.Errorf("got %+v, %v", r, err)
	}
	p.closing = []string{"j-b", "j-c"}
	if got, err := e.Sizes(t.Context()); err != nil || !slices.Equal(got, []string{"small"}) {
		t.Errorf("sizes: %v, %v", got, err)
	}
	another := run
	another.Token = 3
	if r, err := e.Start(t.Context(), another, notes(&saved)); err != nil || r.ClusterID != "j-a" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestClusterThatIsAboutToEndAfterItWasChosenIsLeftAlone(t *testing.T) {
	p, e := newPlayed(t)
	p.clusters = []map[string]any{{"Id": "j-a", "Name": "sluice-prod-us-standing-small", "State": "WAITING"}}
	var saved []string
	r, err := e.Start(t.Context(), run, func(r job.Run) error {
		p.closing = []string{"j-a"} // between the choice and the step
		return notes(&saved)(r)
	})
	if err != nil || r.ClusterID != "j-2" || len(p.steps["j-a"]) != 0 || len(p.steps["j-2"]) != 1 {
		t.Errorf("got %+v, %v; steps %v", r, err, p.steps)
	}
	if want := []string{"j-a ", "j-2 ", "j-2 s-1"}; !slices.Equal(saved, want) {
		t.Errorf("saved %q", saved)
	}
}

func TestStepOfAClusterThatEndedIsNotStartedElsewhere(t *testing.T) {
	p, e := newPlayed(t)
	p.clusters = []map[string]any{{"Id": "j-1", "Name": "sluice-prod-us-small", "State": "TERMINATED"}}
	p.steps["j-1"] = []map[string]any{{"Id": "s-7", "Name": "sluice/prod/us/flights/2013-01-01#2", "Status": map[string]any{"State": "CANCELLED"}}}
	halfway := run
	halfway.ClusterID = "j-1"
	var saved []string
	r, err := e.Start(t.Context(), halfway, notes(&saved))
	if err != nil || r.StepID != "s-7" || slices.Contains(p.calls, "RunJobFlow") {
		t.Errorf("got %+v, %v, calls %v", r, err, p.calls)
	}
}

func TestNewRolesAreWaitedForAndOtherRefusalsAreNot(t *testing.T) {
	p, e := newPlayed(t)
	p.refuse = []string{"Invalid InstanceProfile: sluice-node", "Service role arn:aws:iam::1:role/emr has insufficient EC2 permissions"}
	var saved []string
	if _, err := e.Start(t.Context(), run, notes(&saved)); err != nil {
		t.Errorf("got %v", err)
	}
	p, e = newPlayed(t)
	p.refuse = []string{"Instance type m9.huge is not supported", "x"}
	_, err := e.Start(t.Context(), run, notes(&saved))
	if err == nil || !strings.HasPrefix(err.Error(), "emr: start cluster sluice-prod-us-small: ") || len(p.refuse) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestClusterIsAskedForOnceATickHoweverManyRunsAreOnIt(t *testing.T) {
	p, e := newPlayed(t)
	p.clusters = []map[string]any{{"Id": "j-1", "State": "RUNNING"}, {"Id": "j-2", "State": "TERMINATED_WITH_ERRORS", "Reason": "no machine"}}
	var runs []job.Run
	for i := range 20 {
		id, step := []string{"j-1", "j-2"}[i%2], fmt.Sprintf("s-%d", i)
		p.steps[id] = append(p.steps[id], map[string]any{"Id": step, "Status": map[string]any{"State": "RUNNING"}})
		runs = append(runs, job.Run{ClusterID: id, StepID: step})
	}
	p.steps["j-1"][0]["Status"] = map[string]any{"State": "COMPLETED"}
	want := []engine.Status{{State: engine.Active}, {State: engine.Failed, Reason: "the cluster ended: no machine"}}
	for tick := range 3 {
		e.Begin()
		p.calls = nil
		for i, r := range runs {
			wanted := want[i%2]
			if i == 0 {
				wanted = engine.Status{State: engine.Succeeded}
			}
			if got, err := e.Status(t.Context(), r); err != nil || got != wanted {
				t.Fatalf("tick %d, run %d: got %+v, %v", tick, i, got, err)
			}
		}
		// Once for each cluster, and for the one step that has ended, after which it is not asked for again.
		if calls := []string{"ListSteps", "DescribeCluster", "DescribeStep", "ListSteps", "DescribeCluster"}; !slices.Equal(p.calls, calls) {
			t.Errorf("tick %d: %d runs were %q", tick, len(runs), p.calls)
		}
	}
}

func TestClusterThatDoesNotAnswerIsAskedOnceATick(t *testing.T) {
	p, e := newPlayed(t)
	e.Begin()
	p.throttled = true
	for range 3 {
		if _, err := e.Status(t.Context(), job.Run{ClusterID: "j-1", StepID: "s-1"}); err == nil || !strings.HasPrefix(err.Error(), "emr: steps of cluster j-1: ") {
			t.Fatalf("got %v", err)
		}
	}
	if len(p.calls) != 1 {
		t.Errorf("calls: %q", p.calls)
	}
}

func TestCountriesAskInTheirPartOfTheMinute(t *testing.T) {
	p, e := newPlayed(t)
	offsets := map[time.Duration]bool{}
	minute := time.Date(2013, 1, 2, 5, 7, 0, 0, time.UTC)
	for i := range 50 {
		e.country.Country = fmt.Sprintf("c%d", i)
		p.waited = nil
		for _, at := range []time.Duration{0, time.Millisecond, spread} { // whenever it is woken, not before its part, and then at once
			e.now = func() time.Time { return minute.Add(at) }
			e.Begin()
			e.look(t.Context(), "j-1")
			e.look(t.Context(), "j-2")
		}
		first := e.offset()
		if first < 0 || first >= spread || first > 0 && p.waited[0] != first || first > time.Millisecond && p.waited[1] != first-time.Millisecond || len(p.waited) > 2 {
			t.Errorf("%s waited %v for %s", e.country.Country, p.waited, first)
		}
		offsets[first] = true
	}
	if len(offsets) < 45 {
		t.Errorf("50 countries ask at %d times", len(offsets))
	}
}

func TestRunsShareAClusterThatEMRDoesNotListYet(t *testing.T) {
	p, e := newPlayed(t)
	p.hidden = true
	save := func(r job.Run) error {
		p.running = append(slices.DeleteFunc(p.running, func(other job.Run) bool { return other.ID == r.ID }), r)
		return nil
	}
	for i, feed := range []string{"flights", "planes", "airports"} {
		r := run
		r.ID.Feed, r.Engine = feed, sizing.EMR
		if r, err := e.Start(t.Context(), r, save); err != nil || r.ClusterID != "j-1" || r.StepID != fmt.Sprintf("s-%d", i+1) {
			t.Fatalf("%s: got %+v, %v", feed, r, err)
		}
	}
	p.clusters[0]["State"] = "TERMINATED" // another is started for whoever comes when it has ended, or is about to
	other := run
	other.ID.Feed, other.Engine = "carriers", sizing.EMR
	if r, err := e.Start(t.Context(), other, save); err != nil || r.ClusterID != "j-2" {
		t.Errorf("got %+v, %v", r, err)
	}
	p.closing = []string{"j-2"}
	other.ID.Feed = "weather"
	if r, err := e.Start(t.Context(), other, save); err != nil || r.ClusterID != "j-3" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// started are the types of each fleet that the last cluster was asked for with.
func (p *played) started() map[string][]string {
	all := map[string][]string{}
	for _, f := range p.inputs["RunJobFlow"]["Instances"].(map[string]any)["InstanceFleets"].([]any) {
		fleet := f.(map[string]any)
		for _, c := range fleet["InstanceTypeConfigs"].([]any) {
			kind := fleet["InstanceFleetType"].(string)
			all[kind] = append(all[kind], c.(map[string]any)["InstanceType"].(string))
		}
	}
	return all
}

func TestClusterStartsWithoutTheTypesThatEMRRefuses(t *testing.T) {
	const inZone = "The requested instance type r7g.xlarge is not supported in the requested availability zone. Learn more at https://docs.aws.amazon.com/console/elasticmapreduce/ERROR_noinstancetype"
	whole := map[string][]string{"MASTER": {"m6g.xlarge", "m7g.xlarge"}, "CORE": {"r6g.xlarge", "r7g.xlarge"}, "TASK": {"r6g.xlarge", "r7g.xlarge"}}
	for name, c := range map[string]struct {
		refuse  []string
		ended   string // the reason of a cluster of ours that EMR ended for it
		of      string // whose it was
		want    map[string][]string
		told    int
		refused string // why no cluster was started
	}{
		"at once":                  {refuse: []string{"Instance type 'm6g.xlarge' is not supported."}, want: map[string][]string{"MASTER": {"m7g.xlarge"}, "CORE": whole["CORE"], "TASK": whole["TASK"]}, told: 1},
		"one after the other":      {refuse: []string{"Instance type 'm6g.xlarge' is not supported.", "EBS optimization is not supported for instance type r6g.xlarge."}, want: map[string][]string{"MASTER": {"m7g.xlarge"}, "CORE": {"r7g.xlarge"}, "TASK": {"r7g.xlarge"}}, told: 2},
		"when the machines came":   {ended: inZone, of: "sluice-prod-us-small", want: map[string][]string{"MASTER": whole["MASTER"], "CORE": {"r6g.xlarge"}, "TASK": {"r6g.xlarge"}}, told: 1},
		"of another country":       {ended: inZone, of: "sluice-prod-pr-small", want: whole},
		"beside one that would do": {refuse: []string{"Instance type 'm6g.xlarge' is not supported. Choose m7g.xlarge."}, want: map[string][]string{"MASTER": {"m7g.xlarge"}, "CORE": whole["CORE"], "TASK": whole["TASK"]}, told: 1},
		"of no fleet":              {refuse: []string{"Instance type 'm9.huge' is not supported."}, refused: "m9.huge"},
		"until a fleet has none":   {refuse: []string{"Instance type 'm6g.xlarge' is not supported.", "Instance type 'm7g.xlarge' is not supported."}, refused: "m7g.xlarge"},
		"for something else":       {refuse: []string{"m6g.xlarge: the subnet does not exist"}, refused: "subnet"},
	} {
		p, e := newPlayed(t)
		p.refuse = c.refuse
		if c.ended != "" {
			p.clusters = append(p.clusters, map[string]any{"Id": "j-0", "Name": c.of, "State": "TERMINATED_WITH_ERRORS", "Code": "VALIDATION_ERROR", "Reason": c.ended})
		}
		var saved []string
		_, err := e.Start(t.Context(), run, notes(&saved))
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) || len(p.refuse) != 0 {
				t.Errorf("%s: got %v, %d refusals left", name, err, len(p.refuse))
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(p.started(), c.want) || len(p.told) != c.told {
			t.Errorf("%s: %v, started with %v, told of %q", name, err, p.started(), p.told)
		}
	}
}

func TestStatusIsTheStepsOrItsClusters(t *testing.T) {
	for name, c := range map[string]struct {
		step, cluster, reason string
		details               map[string]any
		want                  engine.Status
	}{
		"pending":                   {"PENDING", "STARTING", "", nil, engine.Status{State: engine.Active}},
		"running":                   {"RUNNING", "RUNNING", "", nil, engine.Status{State: engine.Active}},
		"completed":                 {"COMPLETED", "WAITING", "", nil, engine.Status{State: engine.Succeeded}},
		"failed":                    {"FAILED", "WAITING", "", map[string]any{"Message": "header lacks faa\n", "Reason": "Unknown Error."}, engine.Status{State: engine.Failed, Reason: "header lacks faa"}},
		"failed for a reason":       {"FAILED", "WAITING", "", map[string]any{"Reason": "Unknown Error."}, engine.Status{State: engine.Failed, Reason: "Unknown Error."}},
		"failed without words":      {"FAILED", "WAITING", "", nil, engine.Status{State: engine.Failed, Reason: "the step is FAILED; its log is in the logs bucket"}},
		"interrupted":               {"INTERRUPTED", "TERMINATED", "", nil, engine.Status{State: engine.Failed, Reason: "the step is INTERRUPTED; its log is in the logs bucket"}},
		"cancelled":                 {"CANCELLED", "WAITING", "", nil, engine.Status{State: engine.Cancelled, Reason: "the step is CANCELLED; its log is in the logs bucket"}},
		"pending on a dead cluster": {"PENDING", "TERMINATED_WITH_ERRORS", "Bootstrap failure", nil, engine.Status{State: engine.Failed, Reason: "the cluster ended: Bootstrap failure"}},
		"running on a dead cluster": {"RUNNING", "TERMINATED", "", nil, engine.Status{State: engine.Failed, Reason: "the cluster ended"}},
	} {
		p, e := newPlayed(t)
		p.clusters = []map[string]any{{"Id": "j-1", "State": c.cluster, "Reason": c.reason}}
		status := map[string]any{"State": c.step}
		if c.details != nil {
			status["FailureDetails"] = c.details
		}
		p.steps["j-1"] = []map[string]any{{"Id": "s-1", "Status": status}}
		if got, err := e.Status(t.Context(), job.Run{ClusterID: "j-1", StepID: "s-1"}); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestRunOnAClusterThatEMRHasForgottenIsOver(t *testing.T) {
	p, e := newPlayed(t)
	p.forgotten = []string{"j-0"}
	r := job.Run{ClusterID: "j-0", StepID: "s-1"}
	if got, err := e.Status(t.Context(), r); err != nil || got != (engine.Status{State: engine.Failed, Reason: "EMR does not know the cluster any more"}) {
		t.Errorf("its status is %+v, %v", got, err)
	}
	if err := e.Cancel(t.Context(), r); err != nil {
		t.Errorf("it cannot be cancelled: %v", err)
	}
	halfway := run
	halfway.ClusterID = "j-0"
	var saved []string
	if got, err := e.Start(t.Context(), halfway, notes(&saved)); err != nil || got.ClusterID != "j-1" || got.StepID != "s-1" {
		t.Errorf("a run that had chosen it starts as %+v, %v", got, err)
	}
}

func TestCancelEndsTheStepEvenWhenItRuns(t *testing.T) {
	p, e := newPlayed(t)
	if err := e.Cancel(t.Context(), job.Run{ClusterID: "j-1", StepID: "s-1"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"ClusterId": "j-1", "StepIds": []any{"s-1"}, "StepCancellationOption": "TERMINATE_PROCESS"}
	if got := p.inputs["CancelSteps"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestTemplateBecomesTheClusterOfASize(t *testing.T) {
	template, err := os.ReadFile("testdata/template.json")
	if err != nil {
		t.Fatal(err)
	}
	medium, _ := sizing.Named("medium")
	in, err := ClusterInput(template, "sluice-prod-us-medium", medium)
	if err != nil {
		t.Fatal(err)
	}
	if *in.Name != "sluice-prod-us-medium" || *in.ReleaseLabel != "emr-7.13.0" || *in.StepConcurrencyLevel != 5 || *in.AutoTerminationPolicy.IdleTimeout != 900 ||
		!*in.Instances.UnhealthyNodeReplacement {
		t.Errorf("got %+v", in)
	}
	fleets := map[types.InstanceFleetType][2]int32{} // on demand, spot
	for _, f := range in.Instances.InstanceFleets {
		fleets[f.InstanceFleetType] = [2]int32{aws.ToInt32(f.TargetOnDemandCapacity), aws.ToInt32(f.TargetSpotCapacity)}
	}
	if want := map[types.InstanceFleetType][2]int32{"MASTER": {1, 0}, "CORE": {3, 0}, "TASK": {0, 1}}; !reflect.DeepEqual(fleets, want) {
		t.Errorf("fleets: %v", fleets)
	}
	if l := in.ManagedScalingPolicy.ComputeLimits; *l.MinimumCapacityUnits != 3 || *l.MaximumCapacityUnits != 9 || l.UnitType != "InstanceFleetUnits" ||
		*l.MaximumOnDemandCapacityUnits != 3 || *l.MaximumCoreCapacityUnits != 3 {
		t.Errorf("limits: %+v", l)
	}
	tags := map[string]string{}
	for _, tag := range in.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if want := map[string]string{"Stack": "prod", "Country": "us", "Size": "medium"}; !reflect.DeepEqual(tags, want) {
		t.Errorf("tags: %v", tags)
	}
}

func TestTemplateThatEMRWouldNotUnderstandIsRefused(t *testing.T) {
	small, _ := sizing.Named("small")
	for text, want := range map[string]string{
		`{"Nmae": "x"}`:                  `emr: launch template: json: unknown field "Nmae"`,
		`{}`:                             "emr: launch template: Instances is missing",
		`{"Instances": {}}`:              "emr: launch template: Instances.InstanceFleets needs one fleet each of MASTER, CORE and TASK",
		`{"Instances": {"Subnet": "x"}}`: `emr: launch template: json: unknown field "Subnet"`,
		`{"Instances": {"InstanceFleets": [{"InstanceFleetType": "MASTER"}, {"InstanceFleetType": "MASTER"}]}}`: `emr: launch template: Instances.InstanceFleets[1]: a second or unknown fleet "MASTER"`,
	} {
		if _, err := ClusterInput([]byte(text), "x", small); err == nil || err.Error() != want {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestStepSubmitsTheRecordJob(t *testing.T) {
	want, err := os.ReadFile("testdata/step.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(spark.StepArgs(country, run.Order), "\n") + "\n"; got != string(want) {
		t.Errorf("got\n%s", got)
	}
}
