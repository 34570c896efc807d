package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/discovery/documents"
	jobs "github.com/sluice-data/sluice/internal/job"
)

var update = flag.Bool("update", false, "write the golden files anew")

// asProcess makes the test binary a process that only waits for a signal: a stand-in for the processes of a local cloud.
const asProcess = "SLUICE_TEST_PROCESS"

// testdata is absolute, because some tests run in a folder of their own.
var testdata = func() string {
	path, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return path
}()

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		_, _ = os.Stdout.WriteString("ready\n")
		<-signals
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(testdata, name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

// fakeLedger serves fixed records. After closeAfter readings of Jobs, every job it serves has succeeded.
type fakeLedger struct {
	jobs       []job
	runs       []attempt
	files      []file
	rejected   []file
	closeAfter int
	readings   int
}

func (l *fakeLedger) Jobs(_ context.Context, feed, day string) ([]job, error) {
	l.readings++
	var found []job
	for _, j := range l.jobs {
		if (feed == "" || j.Feed == feed) && (day == "" || j.Day == day) {
			if l.closeAfter > 0 && l.readings > l.closeAfter {
				j.State, j.closed = stateSucceeded, true
			}
			found = append(found, j)
		}
	}
	return found, nil
}

func (l *fakeLedger) Runs(_ context.Context, _, _ string) ([]attempt, error) { return l.runs, nil }

func (l *fakeLedger) Files(_ context.Context, feed, day string) ([]file, error) {
	var found []file
	for _, f := range l.files {
		if strings.HasPrefix(f.Key, feed+"/"+day+"/") {
			found = append(found, f)
		}
	}
	return found, nil
}

func (l *fakeLedger) Feeds(context.Context) (map[string]feed, error) {
	return map[string]feed{
		"flights":  {Completeness: "marker", Marker: "_COMPLETE"},
		"airports": {Completeness: "count"},
		"parcels":  {Completeness: "marker", Marker: "_COMPLETE", ClientSide: true},
	}, nil
}

func (l *fakeLedger) Rejected(context.Context) ([]file, error) { return l.rejected, nil }

// fakeSwitchboard keeps what is off, and what was done, in order.
type fakeSwitchboard struct {
	off      []string
	log      []string
	err      error
	written  func()    // written is called after a write.
	standing []jobs.ID // standing are the jobs that run on the standing cluster.
}

func (s *fakeSwitchboard) Read(context.Context) (compute.Switches, error) {
	return compute.Read(s.off, slices.Repeat([]string{compute.Off}, len(s.off)))
}

func (s *fakeSwitchboard) Write(_ context.Context, part string, on bool) error {
	if s.err == nil {
		s.log = append(s.log, fmt.Sprintf("%s %v", part, on))
	}
	if s.written != nil {
		s.written()
	}
	return s.err
}

// Stop stops an application that is started.
func (s *fakeSwitchboard) Stop(context.Context) (bool, error) {
	s.log = append(s.log, "stop the application")
	return true, nil
}

func (s *fakeSwitchboard) CloseStanding(context.Context) error {
	s.log = append(s.log, "close the standing cluster")
	return nil
}

func (s *fakeSwitchboard) KeepStanding(context.Context) error {
	s.log = append(s.log, "keep the standing cluster")
	return nil
}

func (s *fakeSwitchboard) OnStanding(context.Context) ([]jobs.ID, error) { return s.standing, nil }

// EndIdle ends one cluster.
func (s *fakeSwitchboard) EndIdle(context.Context) ([]string, error) {
	s.log = append(s.log, "end idle clusters")
	return []string{"j-1"}, nil
}

// fakeObjects keeps what was uploaded, in order.
type fakeObjects struct {
	log      []string
	uploaded func() error // uploaded is called after an upload, whose answer is what it returns.
}

func (o *fakeObjects) Upload(_ context.Context, bucket, key string, body io.Reader) error {
	text, err := io.ReadAll(body)
	o.log = append(o.log, bucket+"/"+key+"="+string(text))
	if o.uploaded != nil {
		err = o.uploaded()
	}
	return err
}

func (o *fakeObjects) Seal(_ context.Context, bucket, key, keyARN string, body io.ReadSeeker) error {
	text, err := io.ReadAll(body)
	o.log = append(o.log, bucket+"/"+key+"="+keyARN+"("+string(text)+")")
	return err
}

// fakeAthena answers one query: with rows, page by page, after it was asked for its state a few times.
type fakeAthena struct {
	asked   *athena.StartQueryExecutionInput
	states  []types.QueryExecutionState
	reason  string
	kind    types.StatementType
	columns []types.ColumnInfo
	pages   [][]types.Row
	stopped string
}

func (f *fakeAthena) StartQueryExecution(_ context.Context, in *athena.StartQueryExecutionInput, _ ...func(*athena.Options)) (*athena.StartQueryExecutionOutput, error) {
	f.asked = in
	return &athena.StartQueryExecutionOutput{QueryExecutionId: aws.String("q-1")}, nil
}

func (f *fakeAthena) GetQueryExecution(context.Context, *athena.GetQueryExecutionInput, ...func(*athena.Options)) (*athena.GetQueryExecutionOutput, error) {
	state := f.states[0]
	if len(f.states) > 1 {
		f.states = f.states[1:]
	}
	return &athena.GetQueryExecutionOutput{QueryExecution: &types.QueryExecution{
		StatementType: f.kind,
		Status:        &types.QueryExecutionStatus{State: state, StateChangeReason: aws.String(f.reason)},
	}}, nil
}

func (f *fakeAthena) StopQueryExecution(_ context.Context, in *athena.StopQueryExecutionInput, _ ...func(*athena.Options)) (*athena.StopQueryExecutionOutput, error) {
	f.stopped = *in.QueryExecutionId
	return &athena.StopQueryExecutionOutput{}, nil
}

func (f *fakeAthena) GetQueryResults(_ context.Context, in *athena.GetQueryResultsInput, _ ...func(*athena.Options)) (*athena.GetQueryResultsOutput, error) {
	page := 0
	if in.NextToken != nil {
		page = len(*in.NextToken)
	}
	out := &athena.GetQueryResultsOutput{ResultSet: &types.ResultSet{
		ResultSetMetadata: &types.ResultSetMetadata{ColumnInfo: f.columns}, Rows: f.pages[page],
	}}
	if page+1 < len(f.pages) {
		out.NextToken = aws.String(strings.Repeat("n", page+1))
	}
	return out, nil
}

// stage is a stack of two countries whose services are fakes.
type stage struct {
	us, pr  *fakeLedger
	objects *fakeObjects
	athena  *fakeAthena

	usSwitch, prSwitch fakeSwitchboard
	desk               fakeDesk

	unusable map[string]error // unusable are the countries whose document cannot be used, and why.
}

func newStage() *stage {
	return &stage{us: &fakeLedger{}, pr: &fakeLedger{}, objects: &fakeObjects{}, athena: &fakeAthena{}}
}

// run executes a command line on the stage and returns its exit code and what it printed.
func (s *stage) run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	return s.runContext(t.Context(), args...)
}

func (s *stage) runContext(ctx context.Context, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	a := newApp(&o, &e)
	a.now = func() time.Time { return *at("2013-01-04T16:00:00Z") } // already the fifth in Tokyo
	named := func(code string) discovery.Country {
		return discovery.Country{
			Stack: "local", Country: code, Account: "000000000000", TimeZone: "Asia/Tokyo",
			Buckets:   discovery.Buckets{Landing: "landing-" + code},
			Databases: discovery.Databases{Curated: "sluice_local_" + code + "_curated"},
			Workgroup: "group-" + code,
			Compute:   discovery.Compute{KMSKeyARN: "key-" + code},
		}
	}
	a.discover = func(context.Context, string) (deployed, error) {
		found := deployed{"us": {Country: named("us")}, "pr": {Country: named("pr")}}
		for code, err := range s.unusable {
			found[code] = documents.Found{Err: err}
		}
		return found, nil
	}
	a.table = func(context.Context, string) (map[string]access.Person, error) {
		return map[string]access.Person{"operator": {Who: "operator"}, "analysts": {Who: "analysts", May: []access.Grant{
			{Country: "all", Stage: "curated", Verbs: []access.Verb{access.Query}},
			{Country: "all", Stage: "landing", Feed: "flights", Verbs: []access.Verb{access.Read}},
		}}, "trainspotters": {Who: "trainspotters", May: []access.Grant{{Country: "all", Stage: "curated", Feed: "trains", Verbs: []access.Verb{access.Query}}}}}, nil
	}
	a.connect = func(_ context.Context, c discovery.Country) (place, error) {
		switched := map[string]*fakeSwitchboard{"us": &s.usSwitch, "pr": &s.prSwitch}[c.Country]
		return place{desk: &s.desk, code: c.Country, Country: c, ledger: map[string]ledger{"us": s.us, "pr": s.pr}[c.Country], objects: s.objects, athena: s.athena,
			switchboard: switched, clusters: switched, application: switched}, nil
	}
	exit := run(ctx, a, args)
	return exit, o.String(), e.String()
}

func n(i int64) *int64 { return &i }

func at(text string) *time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return &t
}
