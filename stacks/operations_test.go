package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// inputs are a registered resource's inputs, read back.
func inputs(t *testing.T, registered string) map[string]any {
	t.Helper()
	var read map[string]any
	if err := json.Unmarshal([]byte(registered[strings.Index(registered, "{"):]), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

// sdk is the folder of the AWS SDK's packages.
func sdk(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi-aws/sdk/v6").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "go", "aws")
}

func TestEverythingThatTakesTagsSaysWhoseItIs(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	registered, err := deployed(t, "test", head+"  sluice:alerts: {emails: [ops@example.com]}\n  sluice:countries:\n"+us+uy, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	folder, tagged := sdk(t), 0
	takesTags := map[string]bool{}
	for id, text := range registered {
		kind, name, _ := strings.Cut(id, " ")
		if !strings.HasPrefix(kind, "aws:") || kind == "aws:s3/bucketObjectv2:BucketObjectv2" { // each tag of an object costs, its bucket's say the same
			continue
		}
		if _, known := takesTags[kind]; !known {
			file := kind[len("aws:"):strings.LastIndex(kind, ":")]
			source, err := os.ReadFile(filepath.Join(folder, file+".go"))
			if err != nil {
				t.Fatal(err)
			}
			arguments := regexp.MustCompile(`(?s)\ntype \w+Args struct \{\n(.*?)\n\}`).FindString(string(source))
			takesTags[kind] = strings.Contains(arguments, "`pulumi:\"tags\"`")
		}
		if !takesTags[kind] {
			continue
		}
		tagged++
		country := name[:2]
		if strings.HasPrefix(name, "shared-") {
			country = "shared"
		}
		got, _ := inputs(t, text)["tags"].(map[string]any)
		for key, want := range map[string]string{"Product": "sluice", "Stack": "test", "Country": country, "Owner": "data"} {
			if got[key] != want {
				t.Errorf("%s: tag %s is %v, want %s", id, key, got[key], want)
			}
		}
	}
	if tagged < 100 {
		t.Errorf("only %d resources take tags: the test looks at the wrong thing", tagged)
	}
}

func TestTagsOfTheEnvironmentCannotReplaceOurs(t *testing.T) {
	c := Config{Stack: "prod", AWS: AWS{Tags: map[string]string{"Country": "everywhere", "Owner": "data"}}}
	if got := c.tags("us"); got["Country"] != "us" || got["Owner"] != "data" || c.AWS.Tags["Country"] != "everywhere" {
		t.Errorf("got %v, of %v", got, c.AWS.Tags)
	}
}

func TestStackWithoutAnOwnerIsRefused(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	for replacement, want := range map[string]string{
		"tags: {CostCenter: a}":                            "  aws.tags: missing property 'Owner'",
		"roleArn: 'arn:aws:iam::000011112222:role/deploy'": "  aws: missing property 'tags'",
	} {
		_, err := ReadConfig("test", values(t, strings.Replace(head, "tags: {Owner: data}", replacement, 1)+"  sluice:countries:\n"+us), root)
		if err == nil || !slices.Contains(strings.Split(err.Error(), "\n"), want) {
			t.Errorf("%s: %v", replacement, err)
		}
	}
}

// watched are the metrics with an alarm, by the function or queue that they are of.
func watched(t *testing.T, registered map[string]string) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	for id, text := range registered {
		if !strings.HasPrefix(id, "aws:cloudwatch/metricAlarm:MetricAlarm ") {
			continue
		}
		alarm := inputs(t, text)
		if alarm["treatMissingData"] == nil {
			t.Errorf("%s does not say what missing data means", id)
		}
		dimensions := alarm["dimensions"].(map[string]any)
		for _, dimension := range []string{"FunctionName", "QueueName"} {
			of, ok := dimensions[dimension].(string)
			if !ok {
				continue
			}
			told, _ := json.Marshal([]any{alarm["alarmActions"], alarm["insufficientDataActions"]})
			if !strings.Contains(string(told), "arn-of-us-alerts") {
				t.Errorf("%s tells %s", id, told)
			}
			if all[of] == nil {
				all[of] = map[string]bool{}
			}
			all[of][alarm["metricName"].(string)] = true
		}
	}
	return all
}

func TestNoFunctionAndNoQueueIsWithoutAlarms(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	registered, err := deployed(t, "test", head+"  sluice:countries:\n"+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	alarms, functions, queues := watched(t, registered), 0, 0
	for id, text := range registered {
		kind, name, _ := strings.Cut(id, " ")
		var physical string
		var want []string
		switch kind {
		case "aws:lambda/function:Function":
			functions++
			physical = inputs(t, text)["name"].(string)
			want = []string{"Errors", "Duration", "AsyncEventAge"}
			if name != "us-tell-fault" {
				want = append(want, "DestinationDeliveryFailures")
			}
			if inputs(t, text)["reservedConcurrentExecutions"] != 1.0 {
				want = append(want, "Throttles")
			}
		case "aws:sqs/queue:Queue":
			queues++
			physical, want = "name-of-"+name, []string{"ApproximateAgeOfOldestMessage"}
			if strings.HasSuffix(name, "dead-letters") {
				want = []string{"ApproximateNumberOfMessagesVisible"}
			}
		}
		for _, metric := range want {
			if !alarms[physical][metric] {
				t.Errorf("%s has no alarm on %s", id, metric)
			}
		}
	}
	if functions < 5 || queues < 2 {
		t.Errorf("%d functions and %d queues: the test looks at the wrong thing", functions, queues)
	}
	if !alarms["sluice-test-us-start-jobs"]["Invocations"] {
		t.Error("nobody hears when the clock stops")
	}
}

func TestEveryAccountHasOneTrailThatNamesNoCountry(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	countries := "  sluice:countries:\n" + us +
		"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders], region: sa-east-1}\n" +
		"    - {code: br, cidr: 10.19.0.0/16, feeds: [orders], accountRoleArn: 'arn:aws:iam::333344445555:role/deploy', region: sa-east-1}\n"
	registered, err := deployed(t, "test", head+countries, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	trails := []string{}
	for id, text := range registered {
		kind, name, _ := strings.Cut(id, " ")
		if kind == "aws:cloudtrail/trail:Trail" {
			trails = append(trails, name)
		}
		if strings.HasPrefix(name, "shared-") && regexp.MustCompile(`[-_/](us|ar|br)\b`).MatchString(text) {
			t.Errorf("%s names a country: %s", id, text)
		}
	}
	slices.Sort(trails)
	if want := []string{"shared-000011112222", "shared-333344445555"}; !slices.Equal(trails, want) {
		t.Errorf("trails %v, want %v", trails, want)
	}
	if got := registered["aws:cloudtrail/trail:Trail shared-333344445555"]; !strings.Contains(got, "::aws-333344445555-eu-west-1::") {
		t.Errorf("not in the environment's region: %s", got)
	}

	without, err := deployed(t, "test", head+"  sluice:trail: {enabled: false}\n"+countries, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	for id := range without {
		if strings.Contains(id, " shared-") {
			t.Errorf("%s is there although the trail is off", id)
		}
	}
}

func TestAlertsAndBudgetAreTheCountrysOwnWhereItSaysSo(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	registered, err := deployed(t, "test", head+"  sluice:alerts: {emails: [ops@example.com]}\n  sluice:countries:\n"+us+
		"    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders], budgetUSD: 90, alerts: {emails: [uy@example.com, more@example.com]}}\n", root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	const subscription = "aws:sns/topicSubscription:TopicSubscription "
	found := []string{}
	for id, text := range registered {
		if strings.HasPrefix(id, subscription) && inputs(t, text)["protocol"] == "email" {
			found = append(found, id[len(subscription):])
		}
	}
	slices.Sort(found)
	if want := []string{"us-ops@example.com", "uy-more@example.com", "uy-uy@example.com"}; !slices.Equal(found, want) {
		t.Errorf("subscribed are %v, want %v", found, want)
	}
	for country, want := range map[string]string{"us": "500", "uy": "90"} {
		budget := inputs(t, registered["aws:budgets/budget:Budget "+country])
		filter, _ := json.Marshal(budget["costFilters"])
		if budget["limitAmount"] != want || string(filter) != `[{"name":"TagKeyValue","values":["user:Country$`+country+`"]}]` {
			t.Errorf("%s: %v USD for %s", country, budget["limitAmount"], filter)
		}
	}
}

func TestTrailThatRecordsNothingOrCouldNotGoIsRefused(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	const country = "  sluice:countries:\n    - {code: us, cidr: 10.16.0.0/16, feeds: [orders]}\n"
	for text, want := range map[string]string{
		"  sluice:trail: {dataEvents: none, managementEvents: none}\n":                       "trail: neither data events nor management events: CloudTrail takes no trail that records nothing; take enabled: false",
		"  sluice:trail: {lockDays: 30}\n  sluice:dataProtection: false\n":                   "trail.lockDays: nobody can delete what is locked, so the trail could not be destroyed for 30 days; leave it out, or set sluice:dataProtection: true without trail in sluice:allowDataDeletion",
		"  sluice:trail: {lockDays: 400}\n":                                                  "trail.lockDays: 400 is more than the 365 days that records are kept (logDays)",
		"  sluice:trail: {lockDays: 400, logDays: 500}\n":                                    "",
		"  sluice:trail: {managementEvents: sometimes}\n":                                    "trail.managementEvents: value must be one of 'all', 'writeOnly', 'none'",
		"  sluice:trail: {managementEvents: writeOnly, kmsEvents: true, dataEvents: none}\n": "",
	} {
		_, err := ReadConfig("test", values(t, head+text+country), root)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
