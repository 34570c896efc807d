package infra

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// operations is what people run a country with.
func (e example) operations(ctx *pulumi.Context, p parts) error {
	pipeline, _, err := e.pipeline(ctx, p)
	if err != nil {
		return err
	}
	alarms, err := NewAlarms(ctx, "us", &AlarmsArgs{Prefix: "sluice-prod-us", Stack: "prod", Country: "us", AlertsARN: p.messaging.AlertsARN,
		Functions: pipeline.Functions, Queues: p.messaging.Queues, Polling: pipeline.Polling, Tags: tags})
	if err != nil {
		return err
	}
	if _, err := NewDashboard(ctx, "us", &DashboardArgs{DashboardName: "sluice-prod-us", Stack: "prod", Country: "us", Account: "111122223333", Region: "eu-west-1",
		Functions: pipeline.Functions, Queues: p.messaging.Queues, Alarms: alarms.Names}); err != nil {
		return err
	}
	_, err = NewBudget(ctx, "us", &BudgetArgs{BudgetName: "sluice-prod-us", Country: "us", AlertsARN: p.messaging.AlertsARN, Tags: tags})
	return err
}

func (e example) trail(ctx *pulumi.Context) (*Trail, error) {
	return NewTrail(ctx, "shared-111122223333", &TrailArgs{TrailName: "sluice-prod", Account: "111122223333", Region: "eu-west-1",
		BucketName: pulumi.String("sluicetrail-prod-1a2b3c4d"), LakePrefix: "sluice-prod-", Protect: e.protect,
		Tags: map[string]string{"Product": "sluice", "Stack": "prod", "Country": "shared"}})
}

func TestEveryAlarmIsInTheRunbook(t *testing.T) {
	runbook, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	e := newExample(t)
	operations := func(ctx *pulumi.Context) error {
		p, err := e.parts(ctx)
		if err != nil {
			return err
		}
		return e.operations(ctx, p)
	}
	registered := record(t, operations)
	e.polling = true
	registered = append(registered, record(t, operations)...)
	for _, r := range only(registered, "aws:cloudwatch/metricAlarm:MetricAlarm") {
		name := strings.TrimPrefix(r.Name, "us-")
		for _, folder := range Functions {
			if kind, of := strings.CutPrefix(name, folder+"-"); of && kind != "silent" {
				name = "<function>-" + kind
			}
		}
		if !strings.Contains(string(runbook), "`"+name+"`") {
			t.Errorf("docs/operations.md does not say what to do about %s", name)
		}
	}
}

func TestWhatAMessageTellsOfNoAlarmTellsAgain(t *testing.T) {
	told := map[string]bool{}
	for _, r := range only(driven(t, true), "aws:cloudwatch/metricAlarm:MetricAlarm") {
		_, actions := r.Inputs["alarmActions"]
		switch namespace, metric := r.Inputs["namespace"], r.Inputs["metricName"].(string); {
		case namespace == "Sluice":
			told[metric] = true
			if actions {
				t.Errorf("%s tells of what the functions tell of", r.Name)
			}
		case namespace == "AWS/States" && metric != "ExecutionsStarted":
			t.Errorf("%s tells of what %s tells of", r.Name, TellFault)
		}
	}
	if want := []string{"ExportsFailed", "JobsBlocked", "JobsDead", "JobsFailed", "JobsHeld"}; !slices.Equal(slices.Sorted(maps.Keys(told)), want) {
		t.Errorf("alarms on %v, not %v", told, want)
	}
}

func TestBucketOfTheTrailIsNoneThatItRecords(t *testing.T) {
	registered := record(t, func(ctx *pulumi.Context) error { _, err := newExample(t).trail(ctx); return err })
	trail := only(registered, "aws:cloudtrail/trail:Trail")[0]
	text, err := json.Marshal(trail.Inputs["advancedEventSelectors"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `{"field":"resources.ARN","startsWiths":["arn:aws:s3:::sluice-prod-"]}`) {
		t.Errorf("selectors: %s", text)
	}
	if bucket := trail.Inputs["s3BucketName"].(string); strings.HasPrefix(bucket, "sluice-prod-") {
		t.Errorf("each delivery to %s would be recorded, and delivered", bucket)
	}
	for _, kind := range []string{AllDataEvents, DataWrites, NoDataEvents} {
		if got, want := len(selectors(&TrailArgs{DataEvents: kind})), map[string]int{AllDataEvents: 2, DataWrites: 2, NoDataEvents: 1}[kind]; got != want {
			t.Errorf("%s: %d selectors, want %d", kind, got, want)
		}
	}
}

func TestTrailRecordsWhatIsChosen(t *testing.T) {
	const lake = `{"fieldSelectors":[{"equals":["Data"],"field":"eventCategory"},{"equals":["AWS::S3::Object"],"field":"resources.type"},{"field":"resources.ARN","startsWiths":["arn:aws:s3:::sluice-"]}],"name":"Objects of the lake"}`
	manages := func(more string) string {
		return `{"fieldSelectors":[{"equals":["Management"],"field":"eventCategory"}` + more + `],"name":"What manages resources"}`
	}
	const writes, noKeys = `,{"equals":["false"],"field":"readOnly"}`, `,{"field":"eventSource","notEquals":["kms.amazonaws.com"]}`
	for name, c := range map[string]struct {
		args TrailArgs
		want string
	}{
		"by default":   {TrailArgs{}, "[" + manages(noKeys) + "," + lake + "]"},
		"changes only": {TrailArgs{ManagementEvents: ManagementWrites}, "[" + manages(writes+noKeys) + "," + lake + "]"},
		"objects only": {TrailArgs{ManagementEvents: NoManagementEvents}, "[" + lake + "]"},
		"uses of keys": {TrailArgs{KMSEvents: true}, "[" + manages("") + "," + lake + "]"},
		"no objects":   {TrailArgs{DataEvents: NoDataEvents}, "[" + manages(noKeys) + "]"},
	} {
		registered := record(t, func(ctx *pulumi.Context) error {
			args := c.args
			args.TrailName, args.Account, args.Region, args.BucketName, args.LakePrefix = "sluice-prod", "111122223333", "eu-west-1", pulumi.String("records"), "sluice-"
			_, err := NewTrail(ctx, "shared", &args)
			return err
		})
		got, err := json.Marshal(only(registered, "aws:cloudtrail/trail:Trail")[0].Inputs["advancedEventSelectors"])
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

func TestRecordsAreLockedForAsLongAsIsChosen(t *testing.T) {
	for days, want := range map[int]string{0: "", 30: `{"defaultRetention":{"days":30,"mode":"COMPLIANCE"}}`} {
		registered := record(t, func(ctx *pulumi.Context) error {
			_, err := NewTrail(ctx, "shared", &TrailArgs{TrailName: "sluice-prod", Account: "111122223333", Region: "eu-west-1", BucketName: pulumi.String("records"), LakePrefix: "sluice-", LockDays: days, Protect: true})
			return err
		})
		rule := ""
		for _, lock := range only(registered, "aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2") {
			text, err := json.Marshal(lock.Inputs["rule"])
			if err != nil {
				t.Fatal(err)
			}
			rule += string(text)
		}
		if rule != want {
			t.Errorf("%d days: %s, want %s", days, rule, want)
		}
	}
}
