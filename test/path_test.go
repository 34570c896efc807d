//go:build engine

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	gluetypes "github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
)

// status is what `sluice local status --json` prints, as far as the tests read it.
type status struct {
	Running   bool
	Account   string
	Region    string
	Endpoints map[string]string
	PIDs      map[string]int
}

// keptHome names the variable with the folder of a stack that is there already, or is to stay: for work on one part, which `-run` names.
const keptHome = "SLUICE_TEST_HOME"

// TestFileBecomesRecordsAndRows is one story on one deployment; each part begins where the one before it ended.
func TestFileBecomesRecordsAndRows(t *testing.T) {
	d := deployment{root: checkout(t), home: os.Getenv(keptHome)}
	if d.home == "" {
		d.home = t.TempDir()
		t.Cleanup(func() { stop(t, d) })
	}

	d.sluice(t, "local", "up")
	d.pulumi(t, "up", "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress", "--parallel", "64")
	noNight(t, d)
	inputs := makeInputs(t, d)

	elsewhere := deployment{root: clone(t, d.root), home: d.home}
	var gone []string // gone is what went while compute was off.
	parts := []struct {
		promise string
		prove   func(t *testing.T)
	}{
		{"SecondPreviewShowsNoChangeAlsoFromAnotherFolder", func(t *testing.T) { elsewhere.pulumi(t, "preview", "--expect-no-changes") }},
		{"FilesBecomeRowsWhateverDiesOrIsLost", func(t *testing.T) { filesBecomeRows(t, d, inputs) }},
		{"ClosedDayIsRefusedAndNothingChanges", func(t *testing.T) { closedDayIsRefused(t, d, inputs) }},
		{"ClosedDayIsRestatedThoughItsStepDies", func(t *testing.T) { closedDayIsRestated(t, d, inputs) }},
		{"RolesDoWhatTheTableSays", func(t *testing.T) { rolesDoWhatTheTableSays(t, d) }},
		{"WhateverFailsIsHeardOfOnce", func(t *testing.T) { whateverFailsIsHeardOf(t, d) }},
		{"JobsDoAsTheyAreTold", func(t *testing.T) { jobsDoAsTheyAreTold(t, d, inputs) }},
		{"ComputeGoesAndNothingElse", func(t *testing.T) { gone = computeGoesAndNothingElse(t, d, inputs) }},
		{"NewFeedIsAContractAndALineOnAnyEngineAndDriver", func(t *testing.T) { newFeeds(t, elsewhere, inputs) }},
		{"ComputeIsBackAndWhatWaitedIsDone", func(t *testing.T) { computeIsBack(t, elsewhere, gone) }},
		{"FailedDriverIsHeardOfOnce", func(t *testing.T) { failedMachineIsHeardOf(t, elsewhere) }},
		{"LandingIsDescribedEveryNight", func(t *testing.T) { landingIsDescribed(t, elsewhere) }},
		{"DestroyLeavesNothing", func(t *testing.T) { destroyLeavesNothing(t, elsewhere) }},
	}
	for _, part := range parts {
		if !t.Run(part.promise, part.prove) {
			logs = d.logs()
			t.Fatalf("stopped after %s", part.promise)
		}
	}
}

// noNight has the nightly workflows not begin by themselves until the next deployment that switches them on: at half past three they would run
// beside whatever the test does.
func noNight(t *testing.T, d deployment) {
	t.Helper()
	client := glue.NewFromConfig(account(decode[status](t, d, "local", "status")))
	triggers, err := client.GetTriggers(t.Context(), &glue.GetTriggersInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, trigger := range triggers.Triggers {
		if trigger.Type != gluetypes.TriggerTypeScheduled {
			continue
		}
		if _, err := client.StopTrigger(t.Context(), &glue.StopTriggerInput{Name: trigger.Name}); err != nil {
			t.Fatal(err)
		}
	}
}

// stop ends the local cloud, whatever became of the test.
func stop(t *testing.T, d deployment) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	if out, err := d.command(ctx, "bin/sluice", "local", "down").CombinedOutput(); err != nil {
		t.Errorf("sluice local down: %v\n%s", err, out)
	}
}

// makeInputs makes the demo's files, and returns the folder that holds them.
func makeInputs(t *testing.T, d deployment) string {
	t.Helper()
	folder := filepath.Join(d.home, "demo")
	d.run(t, 0, ".venv/bin/python", "-m", "local.demo", "make", "--out", folder)
	return folder
}

// recount is what a second tool, which shares no code with the job, counts in the same files.
type recount struct {
	Country, Feed, Day                                                     string
	Input, Validated, Invalid, New, Changed, Unchanged, Duplicate, Deleted int64
}

// dayFiles are the paths of a day's input files.
func dayFiles(t *testing.T, inputs, country, feed, day string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(inputs, country, feed, day, "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no input for %s %s %s: %v", country, feed, day, err)
	}
	return paths
}

func (d deployment) put(t *testing.T, wantExit int, country, feed, day string, paths ...string) string {
	t.Helper()
	return d.run(t, wantExit, "bin/sluice", append([]string{"put", "--country", country, "--feed", feed, "--day", day}, paths...)...)
}

// filesBecomeRows puts three days of a feed, with every kind of record in them. Meanwhile each function on the way dies once in the middle
// of its work, and nobody is told of the last day's file. What the jobs counted is compared with four independent answers.
func filesBecomeRows(t *testing.T, d deployment, inputs string) {
	const country, feed = "us", "airlines"
	days := []string{"2013-01-01", "2013-01-02", "2013-01-03"}
	jobs := decodeOutputs(t, d).Countries[country].Tables["jobs"]
	deaths := d.killEach(t, country, map[string]string{
		"receive-file": `.*DynamoDB.*(Put|Update|Write)Item.*"` + jobs + `"`,       // the file is recorded, its job is not
		"start-jobs":   `PUT /.*/runs/.*/order\.json`,                              // the job has its slot, and no step
		"finish-job":   `.*DynamoDB.*(Put|Update|Write)Item.*"` + jobs + `"`,       // the run's end is read, and not recorded
		"export-table": `.*DynamoDB.*UpdateItem.*"` + jobs + `".*"SET exported = `, // BigQuery has the rows, the ledger does not know
	})
	for _, day := range days[:2] {
		d.put(t, 0, country, feed, day, dayFiles(t, inputs, country, feed, day)...)
	}
	there := func(job) bool { return true }
	for _, day := range days[:2] {
		d.await(t, country, feed, day, there)
	}
	d.untold(t, country, func() {
		d.put(t, 0, country, feed, days[2], dayFiles(t, inputs, country, feed, days[2])...)
		d.await(t, country, feed, days[2], there)
	})
	d.compareDays(t, inputs, country, feed, days...)
	deaths(t)
}

// compareDays waits for jobs, and compares what they counted with four independent answers: the recount of the CSV files, the two
// equations, Athena's counts of each stage, and the rows that Google's client reads from BigQuery.
func (d deployment) compareDays(t *testing.T, inputs, country, feed string, days ...string) {
	t.Helper()
	var expected []recount
	text := d.run(t, 0, ".venv/bin/python", "-m", "local.demo", "recount", inputs)
	if err := json.Unmarshal([]byte(text), &expected); err != nil {
		t.Fatalf("recount: %v\n%s", err, text)
	}
	for _, day := range days {
		d.compareDay(t, expected, country, feed, day)
	}
}

func (d deployment) compareDay(t *testing.T, expected []recount, country, feed, day string) {
	t.Helper()
	j := d.ended(t, country, feed, day)
	if j.State != "succeeded" {
		t.Fatalf("job %s %s: %s: %s", feed, day, j.State, j.Reason)
	}
	i := slices.IndexFunc(expected, func(r recount) bool { return r.Country == country && r.Feed == feed && r.Day == day })
	if i < 0 {
		t.Fatalf("the recount knows nothing of %s %s %s", country, feed, day)
	}
	got := recount{country, feed, day, *j.Input, *j.Validated, *j.Invalid, *j.New, *j.Changed, *j.Unchanged, *j.Duplicate, *j.Deleted}
	if got != expected[i] {
		t.Errorf("the job counted %+v, the recount %+v", got, expected[i])
	}
	if got.Input != got.Validated+got.Invalid || got.Validated != got.New+got.Changed+got.Unchanged+got.Duplicate {
		t.Errorf("records were lost or counted twice: %+v", got)
	}
	if found, want := d.stored(t, country, feed, day), (stored{got.Validated, got.Invalid, got.New + got.Changed, *j.Exported}); found != want {
		t.Errorf("the tables of %s hold %+v of %s, want %+v", feed, found, day, want)
	}
	rows := bigQueryRows(t, d, country, feed, day)
	if int64(len(rows)) != *j.Exported {
		t.Errorf("BigQuery holds %d rows of %s %s, the ledger says %d", len(rows), feed, day, *j.Exported)
	}
	type row struct{ Carrier, Name, Change string }
	curated := decode[[]row](t, d, "query", fmt.Sprintf("select carrier, name, _change as change from %s where _day = date '%s' order by carrier", feed, day), "--country", country, "--stage", "curated")
	exported := []row{}
	for _, r := range rows {
		exported = append(exported, row{r["carrier"].(string), r["name"].(string), r["_change"].(string)})
	}
	slices.SortFunc(exported, func(a, b row) int { return strings.Compare(a.Carrier, b.Carrier) })
	if !slices.Equal(exported, curated) {
		t.Errorf("BigQuery and the curated table differ for %s %s", feed, day)
	}
}

// stored is how many rows the tables of a feed hold of a day; those versions are counted that begin on it.
type stored struct{ Validated, Invalid, Versioned, Curated int64 }

func (d deployment) stored(t *testing.T, country, feed, day string) stored {
	t.Helper()
	count := func(stage, column string) string {
		return fmt.Sprintf("(select count(*) from sluice_local_%s_%s.%s where %s = date '%s') %s", country, stage, feed, column, day, stage)
	}
	sql := "select " + strings.Join([]string{count("validated", "_day"), count("invalid", "_day"), count("versioned", "valid_from"), count("curated", "_day")}, ", ")
	return decode[[]stored](t, d, "query", sql, "--country", country, "--stage", "curated")[0]
}

// number asks for one number with SQL.
func (d deployment) number(t *testing.T, country, stage, sql string) int64 {
	t.Helper()
	rows := decode[[]map[string]int64](t, d, "query", sql, "--country", country, "--stage", stage)
	if len(rows) != 1 {
		t.Fatalf("%s: %d rows, want 1", sql, len(rows))
	}
	return rows[0]["n"]
}

// bigQueryRows reads a day of a feed with Google's own client.
func bigQueryRows(t *testing.T, d deployment, country, feed, day string) []map[string]bigquery.Value {
	t.Helper()
	c := decodeOutputs(t, d).Countries[country]
	endpoint := decode[status](t, d, "local", "status").Endpoints["bigquery"]
	client, err := bigquery.NewClient(t.Context(), c.GoogleProject, option.WithEndpoint(endpoint+"/bigquery/v2/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }() // it only read
	rows, err := client.Query(fmt.Sprintf("select * from `%s.%s.%s` where _day = '%s'", c.GoogleProject, c.Dataset, feed, day)).Read(t.Context())
	if err != nil {
		t.Fatalf("bigquery: %v", err)
	}
	var all []map[string]bigquery.Value
	for {
		row := map[string]bigquery.Value{}
		switch err := rows.Next(&row); {
		case errors.Is(err, iterator.Done):
			return all
		case err != nil:
			t.Fatalf("bigquery: %v", err)
		}
		all = append(all, row)
	}
}

// closedDayIsRefused puts a file for a day that succeeded: it lands and is recorded as late, and nothing else changes.
func closedDayIsRefused(t *testing.T, d deployment, inputs string) {
	const country, feed, day = "us", "airlines", "2013-01-01"
	before := d.sluice(t, "jobs", "--json")
	// A new airline, and one that the day has already.
	d.putLate(t, inputs, country, feed, day, "late.csv", "carrier,name\nZY,Zephyr Airways\nUA,United Air Lines Inc.\n")
	if after := d.sluice(t, "jobs", "--json"); after != before {
		t.Errorf("jobs before:\n%s\nafter:\n%s", before, after)
	}
}

// putLate puts another file for a day that is closed. From now on it is among the day's input.
func (d deployment) putLate(t *testing.T, inputs, country, feed, day, name, text string) {
	t.Helper()
	path := filepath.Join(inputs, country, feed, day, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d.put(t, 3, country, feed, day, path)
	d.becomes(t, country, feed+"/"+day+"/"+name, "late")
}

// until waits for something that an event brings about.
func (d deployment) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// newFeeds adds a feed to a copy of the checkout, once for each engine, with a contract file and a line of YAML each, deploys them, and runs
// the same day of all: the same counts and the same rows. The deployment also brings back what compute is made of, and has the country polled,
// which changes no job that was there.
func newFeeds(t *testing.T, d deployment, inputs string) {
	addFeeds(t, d)
	addSealedFeed(t, d)
	sameJobs := switchDriver(t, d, "us", "polling")
	d.sluice(t, "compute", "on")
	d.pulumi(t, "up", "--yes", "--skip-preview", "--suppress-outputs", "--suppress-progress", "--parallel", "64")
	noNight(t, d)
	sameJobs(t)
	file := filepath.Join(t.TempDir(), "seats.csv")
	if err := os.WriteFile(file, []byte("plane,seats\nN10156,55\nN102UW,182\nN103US,many\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for feed := range newFeedEngines {
		d.put(t, 0, "us", feed, "2013-01-01", file)
	}
	d.polls(t, "us")
	type row struct {
		Plane, Change, Hash string
		Seats               int64
	}
	var rows []row
	for feed, engine := range newFeedEngines {
		j := d.ended(t, "us", feed, "2013-01-01")
		if j.State != "succeeded" || j.Engine != engine || *j.Input != 3 || *j.Validated != 2 || *j.Invalid != 1 || *j.New != 2 || *j.Exported != 2 {
			t.Errorf("job of the new feed on %s: %+v", engine, j)
		}
		sql := "select c.plane, c.seats, c._change change, v._hash hash from " + feed + " c join sluice_local_us_versioned." + feed + " v on c.plane = v.plane order by c.plane"
		got := decode[[]row](t, d, "query", sql, "--country", "us", "--stage", "curated")
		if rows == nil {
			rows = got
		}
		if len(got) != 2 || got[0].Hash == "" || !slices.Equal(got, rows) {
			t.Errorf("%s made %+v, another engine %+v", engine, got, rows)
		}
	}
	sealedFileGivesTheSameCounts(t, d, inputs)
}

// landingIsDescribed runs the nightly workflow: landed files can be queried by day afterwards, and what reads the tables sees no change.
func landingIsDescribed(t *testing.T, d deployment) {
	before := d.sluice(t, "query", "select plane, seats from seats order by plane", "--country", "us", "--stage", "curated", "--json")
	jobs := glue.NewFromConfig(account(decode[status](t, d, "local", "status")))
	name := aws.String("sluice-local-us-nightly")
	started, err := jobs.StartWorkflowRun(t.Context(), &glue.StartWorkflowRunInput{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	d.until(t, "the nightly workflow has ended", func() bool {
		got, err := jobs.GetWorkflowRun(t.Context(), &glue.GetWorkflowRunInput{Name: name, RunId: started.RunId})
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Run.Statistics; s.FailedActions > 0 {
			t.Fatalf("actions of the workflow failed: %+v", s)
		}
		return got.Run.Status == gluetypes.WorkflowRunStatusCompleted && got.Run.Statistics.SucceededActions == 2
	})
	if n := d.number(t, "us", "landing", "select count(*) n from seats where partition_0 = '2013-01-01' and seats = 'many'"); n != 1 {
		t.Errorf("%d landed records have many seats, want 1", n)
	}
	if after := d.sluice(t, "query", "select plane, seats from seats order by plane", "--country", "us", "--stage", "curated", "--json"); after != before {
		t.Errorf("the upkeep changed what readers see:\n%s\nwas\n%s", after, before)
	}
}

// account is how the local AWS is reached with the account's own rights.
func account(running status) aws.Config {
	return aws.Config{
		Region:       running.Region,
		BaseEndpoint: aws.String(running.Endpoints["aws"]),
		Credentials:  credentials.NewStaticCredentialsProvider(running.Account, "local", ""),
	}
}

// resources lists what a country is made of, as the local AWS sees it.
func resources(t *testing.T, running status) []string {
	t.Helper()
	cfg := account(running)
	found := []string{}
	buckets, err := s3.NewFromConfig(cfg).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets.Buckets {
		found = append(found, "bucket "+*b.Name)
	}
	functions, err := lambda.NewFromConfig(cfg).ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range functions.Functions {
		found = append(found, "function "+*f.FunctionName)
	}
	tables, err := dynamodb.NewFromConfig(cfg).ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tables.TableNames {
		found = append(found, "table "+name)
	}
	queues, err := sqs.NewFromConfig(cfg).ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range queues.QueueUrls {
		found = append(found, "queue "+u)
	}
	return found
}

// destroyLeavesNothing destroys the stack, stops the cloud, and looks for what is left.
func destroyLeavesNothing(t *testing.T, d deployment) {
	d.pulumi(t, "destroy", "--yes", "--skip-preview", "--suppress-progress", "--parallel", "64")
	running := decode[status](t, d, "local", "status")
	if left := resources(t, running); len(left) != 0 {
		t.Errorf("the destroy left %q", left)
	}
	d.sluice(t, "local", "down")
	for name, endpoint := range running.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", u.Host); err == nil {
			_ = c.Close()
			t.Errorf("%s still answers at %s", name, u.Host)
		}
	}
	for name, pid := range running.PIDs {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("process %d of %s is still there", pid, name)
		}
	}
	if got := decode[status](t, d, "local", "status"); got.Running {
		t.Error("the local cloud still runs")
	}
	locks, err := filepath.Glob(filepath.Join(d.home, "state", ".pulumi", "locks", "*", "*", "*", "*.json"))
	if err != nil || len(locks) != 0 {
		t.Errorf("locks are left: %q, %v", locks, err)
	}
}

// seatsContract is a feed that the checkout does not have.
const seatsContract = `apiVersion: v3.1.0
kind: DataContract
id: seats
name: seats
version: 1.0.0
status: active
customProperties:
  - property: sluice.completeness
    value: count
  - property: sluice.expectedFiles
    value: 1
schema:
  - name: seats
    logicalType: object
    properties:
      - name: plane
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
      - name: seats
        logicalType: integer
        required: true
`

// newFeedEngines are the new feeds, and the engine of each.
var newFeedEngines = map[string]string{"seats": "emr", "seats_serverless": "emr-serverless", "seats_glue": "glue"}

// addFeeds adds the feeds the way the documentation says: a contract file and a line in the stack's YAML each.
func addFeeds(t *testing.T, d deployment) {
	t.Helper()
	for feed, engine := range newFeedEngines {
		contract := strings.NewReplacer("id: seats", "id: "+feed, "name: seats\nversion", "name: "+feed+"\nversion", "- name: seats\n    logicalType: object", "- name: "+feed+"\n    logicalType: object").Replace(seatsContract)
		if err := os.WriteFile(filepath.Join(d.root, "contracts", feed+".yaml"), []byte(contract), 0o644); err != nil {
			t.Fatal(err)
		}
		addFeedLine(t, d, "{name: "+feed+", engine: "+engine+"}")
	}
}

// addFeedLine names another feed in the stack's YAML.
func addFeedLine(t *testing.T, d deployment, feed string) {
	t.Helper()
	path := filepath.Join(d.root, "Pulumi.local.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const before = "        - airlines\n"
	changed := strings.Replace(string(text), before, before+"        - "+feed+"\n", 1)
	if changed == string(text) {
		t.Fatalf("%s names no feed airlines to put another one after", path)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}
