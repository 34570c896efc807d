package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// declared is a stack as its program declares it: inputs by name, by type.
type declared map[string]map[string]map[string]any

func declare(t *testing.T, registered map[string]string) declared {
	t.Helper()
	d := declared{}
	for id, text := range registered {
		kind, name, _ := strings.Cut(id, " ")
		if d[kind] == nil {
			d[kind] = map[string]map[string]any{}
		}
		d[kind][name] = inputs(t, text)
	}
	return d
}

// heard tells which functions a rule of the stack wakes by an event.
func (d declared) heard(event map[string]any) []string {
	var functions []string
	for name, target := range d["aws:cloudwatch/eventTarget:EventTarget"] {
		text, _ := d["aws:cloudwatch/eventRule:EventRule"][name]["eventPattern"].(string)
		var pattern map[string]any
		if json.Unmarshal([]byte(text), &pattern) == nil && matches(pattern, event) {
			functions = append(functions, strings.TrimPrefix(target["arn"].(string), "arn-of-"))
		}
	}
	slices.Sort(functions)
	return functions
}

// matches does what EventBridge does, as far as the stack's patterns ask for it: a value of a list, or its beginning.
func matches(pattern, event map[string]any) bool {
	for field, want := range pattern {
		if inner, ok := want.(map[string]any); ok {
			if below, ok := event[field].(map[string]any); !ok || !matches(inner, below) {
				return false
			}
			continue
		}
		value, _ := event[field].(string)
		if !slices.ContainsFunc(want.([]any), func(one any) bool {
			if prefix, ok := one.(map[string]any); ok {
				return strings.HasPrefix(value, prefix["prefix"].(string))
			}
			return one == value
		}) {
			return false
		}
	}
	return true
}

// failures are the events of a stack's failures, by what failed. Ends of runs are none when a polling driver asks for them.
func (d declared) failures(polling bool) map[string]map[string]any {
	event := func(source, kind string, detail map[string]any) map[string]any {
		return map[string]any{"source": source, "detail-type": kind, "detail": detail}
	}
	all := map[string]map[string]any{
		"the standing cluster": event("aws.emr", "EMR Cluster State Change", map[string]any{"name": "sluice-test-us-standing-small", "state": "TERMINATED_WITH_ERRORS"}),
		"a step":               event("aws.emr", "EMR Step Status Change", map[string]any{"name": "sluice/test/us/orders/2024-02-29#1", "state": "FAILED"}),
		"a cluster":            event("aws.emr", "EMR Cluster State Change", map[string]any{"name": "sluice-test-us-small", "state": "TERMINATED_WITH_ERRORS"}),
		"any state machine":    event("aws.states", "Step Functions Execution Status Change", map[string]any{"stateMachineArn": machineARN("sluice-test-us-any"), "status": "FAILED"}),
	}
	if polling {
		delete(all, "a step")
		delete(all, "a cluster")
	}
	for name, job := range d["aws:glue/job:Job"] {
		if polling && name == "us-records" {
			continue
		}
		for _, state := range []string{"FAILED", "TIMEOUT"} {
			all["Glue job "+name+" "+state] = event("aws.glue", "Glue Job State Change", map[string]any{"jobName": job["name"], "state": state})
		}
	}
	for name, crawler := range d["aws:glue/crawler:Crawler"] {
		all["crawler "+name] = event("aws.glue", "Glue Crawler State Change", map[string]any{"crawlerName": crawler["name"], "state": "Failed"})
	}
	for name := range d["aws:emrserverless/application:Application"] {
		if polling {
			break
		}
		all["application "+name] = event("aws.emr-serverless", "EMR Serverless Job Run State Change", map[string]any{"applicationId": "id-of-" + name, "state": "FAILED"})
	}
	for name, machine := range d["aws:sfn/stateMachine:StateMachine"] {
		for _, status := range []string{"FAILED", "TIMED_OUT", "ABORTED"} {
			all["state machine "+name+" "+status] = event("aws.states", "Step Functions Execution Status Change",
				map[string]any{"stateMachineArn": machineARN(fmt.Sprint(machine["name"])), "status": status})
		}
	}
	return all
}

func machineARN(name string) string {
	return "arn:aws:states:eu-west-1:000011112222:stateMachine:" + name
}

// unheard are kinds of things that run and fail; whoever declares the first of one says in this test how people hear of it.
var unheard = regexp.MustCompile(`^aws:(batch|ecs|kinesisanalyticsv2|msk|mwaa|pipes|sagemaker|scheduler)/`)

func TestWhateverFailsHasARouteToTheAlertsTopic(t *testing.T) {
	for _, driver := range []string{"push", "polling"} {
		t.Run(driver, func(t *testing.T) { everythingHasARoute(t, driver) })
	}
}

func everythingHasARoute(t *testing.T, driver string) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	standing := strings.Replace(us, "}\n", ", compute: {standing: true}, driver: "+driver+"}\n", 1)
	registered, err := deployed(t, "test", head+"  sluice:countries:\n"+standing, root, &recorder{zones: 3,
		arn: func(kind, _ string, inputs resource.PropertyMap) string {
			if kind == "aws:sfn/stateMachine:StateMachine" {
				return machineARN(inputs["name"].StringValue())
			}
			return ""
		}})
	if err != nil {
		t.Fatal(err)
	}
	d, alarms := declare(t, registered), watched(t, registered)
	const alerts, teller, deadLetters = "arn-of-us-alerts", "arn-of-us-tell-fault", "arn-of-us-dead-letters"

	functions := d["aws:lambda/function:Function"]
	for name, function := range functions {
		invoke := fmt.Sprint(d["aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"][name]["destinationConfig"])
		policy := fmt.Sprint(d["aws:iam/rolePolicy:RolePolicy"][name]["policy"])
		switch {
		case name == "us-tell-fault":
			if !strings.Contains(policy, `"sns:Publish"`) || !strings.Contains(policy, alerts) || !alarms["sluice-test-us-tell-fault"]["Errors"] {
				t.Errorf("%s cannot tell people, or nobody hears that it does not: %s", name, policy)
			}
		case invoke != fmt.Sprint(map[string]any{"onFailure": map[string]any{"destination": teller}}):
			t.Errorf("nobody is told of what %s gives up: %s", name, invoke)
		case !strings.Contains(policy, `"lambda:InvokeFunction"`) || !strings.Contains(policy, ":function:sluice-test-us-tell-fault"):
			t.Errorf("%s may not tell what it gives up: %s", name, policy)
		}
		if got := fmt.Sprint(function["deadLetterConfig"]); got != fmt.Sprint(map[string]any{"targetArn": deadLetters}) {
			t.Errorf("events that %s gives up are lost: %s", name, got)
		}
	}
	for name := range d["aws:sqs/queue:Queue"] {
		if len(alarms["name-of-"+name]) == 0 {
			t.Errorf("nobody is told of queue %s", name)
		}
	}
	tellers := []string{"us-finish-job", "us-stop-cluster", "us-tell-fault"}
	failures := d.failures(driver == "polling")
	for what, event := range failures {
		if heard := d.heard(event); !slices.ContainsFunc(heard, func(function string) bool { return slices.Contains(tellers, function) }) {
			t.Errorf("nobody is told of %s: %v wakes %q", what, event, heard)
		}
	}
	for name, subscription := range d["aws:sns/topicSubscription:TopicSubscription"] {
		if policy, _ := subscription["redrivePolicy"].(string); subscription["protocol"] == "lambda" && !strings.Contains(policy, deadLetters) {
			t.Errorf("messages that %s cannot deliver are lost", name)
		}
	}
	for name, target := range d["aws:cloudwatch/eventTarget:EventTarget"] {
		if got := fmt.Sprint(target["deadLetterConfig"]); got != fmt.Sprint(map[string]any{"arn": deadLetters}) {
			t.Errorf("events that rule %s cannot deliver are lost: %s", name, got)
		}
	}
	for kind := range d {
		if unheard.MatchString(kind) {
			t.Errorf("%s: say in this test how people hear of its failures", kind)
		}
	}
	if want := map[string]int{"push": 10, "polling": 8}[driver]; len(functions) < 9 || len(failures) < want || len(d["aws:sqs/queue:Queue"]) < 2 {
		t.Errorf("%d functions, %d failures: the test looks at the wrong thing", len(functions), len(failures))
	}
}
