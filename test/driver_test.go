//go:build engine

package test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// endedJobs are the jobs to which nothing happens by itself, as sluice prints them.
func endedJobs(t *testing.T, d deployment) []map[string]any {
	t.Helper()
	return slices.DeleteFunc(decode[[]map[string]any](t, d, "jobs"), func(j map[string]any) bool {
		return !slices.Contains([]any{"succeeded", "failed", "dead", "cancelled"}, j["state"])
	})
}

// switchDriver names a country's driver in the stack's YAML. The returned function looks, after a deployment, whether the jobs are what they were.
func switchDriver(t *testing.T, d deployment, country, driver string) func(t *testing.T) {
	t.Helper()
	path := filepath.Join(d.root, "Pulumi.local.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := "    - code: " + country + "\n"
	changed := strings.Replace(string(text), line, line+"      driver: "+driver+"\n", 1)
	if changed == string(text) {
		t.Fatalf("%s has no country %s", path, country)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	before := endedJobs(t, d)
	if len(before) == 0 {
		t.Fatal("no job has ended yet")
	}
	return func(t *testing.T) {
		t.Helper()
		id := func(j map[string]any) [3]any { return [3]any{j["country"], j["feed"], j["day"]} }
		after := slices.DeleteFunc(endedJobs(t, d), func(j map[string]any) bool { // what waited may have ended meanwhile
			return !slices.ContainsFunc(before, func(b map[string]any) bool { return id(b) == id(j) })
		})
		if !reflect.DeepEqual(after, before) {
			t.Errorf("with the driver %s, jobs are\n%+v\nand were\n%+v", driver, after, before)
		}
	}
}

// states does something with the executions of a state machine: Go's client of Step Functions would be there for this only. An execution
// that ended before it could be stopped was not stopped, so that another one is.
const states = `
import sys, boto3
verb, machine, endpoint, account, region = sys.argv[1:]
states = boto3.Session(account, "local", region_name=region).client("stepfunctions", endpoint_url=endpoint)
def execution():
    running = [e["executionArn"] for e in states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]]
    return running[-1] if verb == "stop" and running else states.start_execution(stateMachineArn=machine)["executionArn"]
def stopped(arn):
    try:
        states.stop_execution(executionArn=arn)
    except states.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
    return states.describe_execution(executionArn=arn)["status"] == "ABORTED"
found = execution()
while verb == "stop" and not stopped(found):
    found = execution()
`

// machine starts or stops an execution of the polling driver of a country.
func (d deployment) machine(t *testing.T, verb, country string) {
	t.Helper()
	running := decode[status](t, d, "local", "status")
	d.run(t, 0, ".venv/bin/python", "-c", states, verb, decodeOutputs(t, d).Countries[country].StateMachine, running.Endpoints["aws"], running.Account, running.Region)
}

// polls looks whether a country's landed files are told to nobody, and has its driver look at once rather than with its schedule.
func (d deployment) polls(t *testing.T, country string) {
	t.Helper()
	files := s3.NewFromConfig(account(decode[status](t, d, "local", "status")), func(o *s3.Options) { o.UsePathStyle = true })
	told, err := files.GetBucketNotificationConfiguration(t.Context(), &s3.GetBucketNotificationConfigurationInput{Bucket: aws.String(decodeOutputs(t, d).Countries[country].Buckets["landing"])})
	if err != nil {
		t.Fatal(err)
	}
	if len(told.QueueConfigurations)+len(told.LambdaFunctionConfigurations)+len(told.TopicConfigurations) > 0 {
		t.Errorf("landed files are told of: %+v", told)
	}
	d.machine(t, "start", country)
}

// failedMachineIsHeardOf aborts the polling driver. One message tells of it.
func failedMachineIsHeardOf(t *testing.T, d deployment) {
	e := listen(t, d, "machine-ear")
	d.machine(t, "stop", "us")
	e.hears(t, d, "machine.failed sluice-local-us-polling")
}
