package infra

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func TestEachComponentRegistersExactlyItsInventory(t *testing.T) {
	e := newExample(t)
	for name, program := range map[string]func(ctx *pulumi.Context) error{
		"network":   func(ctx *pulumi.Context) error { _, err := e.network(ctx); return err },
		"keys":      func(ctx *pulumi.Context) error { _, err := e.keys(ctx); return err },
		"datalake":  func(ctx *pulumi.Context) error { _, err := e.lake(ctx); return err },
		"messaging": func(ctx *pulumi.Context) error { _, err := e.messaging(ctx); return err },
		"ledger":    func(ctx *pulumi.Context) error { _, err := e.ledger(ctx); return err },
		"trail":     func(ctx *pulumi.Context) error { _, err := e.trail(ctx); return err },
		"warehouse": func(ctx *pulumi.Context) error { _, err := e.warehouse(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) { matchesInventory(t, name, record(t, program)) })
	}
	// The others are made of those above, which are left out of their inventories.
	for name, c := range map[string]struct {
		program func(ctx *pulumi.Context, p parts) error
		tokens  []string
	}{
		"catalog":    {func(ctx *pulumi.Context, p parts) error { _, err := e.catalog(ctx, p); return err }, []string{"aws:glue", "aws:athena"}},
		"cluster":    {func(ctx *pulumi.Context, p parts) error { _, err := e.cluster(ctx, p); return err }, []string{"aws:emr", "aws:iam", "aws:vpc", "aws:s3/bucketObjectv2"}},
		"serverless": {func(ctx *pulumi.Context, p parts) error { _, err := e.serverless(ctx, p); return err }, []string{"aws:emrserverless", "aws:iam"}},
		"glue":       {func(ctx *pulumi.Context, p parts) error { _, err := e.glue(ctx, p); return err }, []string{"aws:glue", "aws:iam", "aws:cloudwatch"}},
		"nightly": {func(ctx *pulumi.Context, p parts) error {
			catalog, err := e.catalog(ctx, p)
			if err != nil {
				return err
			}
			glue, err := e.glue(ctx, p)
			if err != nil {
				return err
			}
			jobs, err := e.jobs(ctx, p)
			if err == nil {
				_, err = e.nightly(ctx, p, catalog, glue, jobs)
			}
			return err
		}, []string{"aws:glue/crawler", "aws:glue/classifier", "aws:glue/trigger", "aws:glue/workflow", "aws:glue/job:Job", "aws:iam"}},
		"jobpackage": {func(ctx *pulumi.Context, p parts) error { _, err := e.jobs(ctx, p); return err }, []string{"aws:s3/bucketObjectv2"}},
		"pipeline":   {func(ctx *pulumi.Context, p parts) error { _, _, err := e.pipeline(ctx, p); return err }, []string{"aws:lambda", "aws:cloudwatch", "aws:s3/bucketNotification", "aws:sns/topicSubscription"}},
		"discovery":  {func(ctx *pulumi.Context, p parts) error { _, _, err := e.pipeline(ctx, p); return err }, []string{"aws:ssm", "sluice:operations:Discovery"}},
		"alarms":     {e.operations, []string{"aws:cloudwatch/metricAlarm"}},
		"budget":     {e.operations, []string{"aws:budgets"}},
		"dashboard":  {e.operations, []string{"aws:cloudwatch/dashboard"}},
	} {
		t.Run(name, func(t *testing.T) {
			registered := record(t, func(ctx *pulumi.Context) error {
				p, err := e.parts(ctx)
				if err != nil {
					return err
				}
				return c.program(ctx, p)
			})
			own := []registration{}
			for _, r := range registered {
				for _, token := range c.tokens {
					if strings.HasPrefix(r.Type, token) && !strings.HasPrefix(r.Name, "us-endpoints") {
						own = append(own, r)
					}
				}
			}
			matchesInventory(t, name, own)
		})
	}
}

// TestLogsOfEveryKindLeave looks for the places in the logs bucket that any policy or setting names: what is written there has to leave one day.
func TestLogsOfEveryKindLeave(t *testing.T) {
	written, leave := map[string]bool{}, map[string]bool{}
	for _, r := range record(t, newExample(t).all) {
		text, err := json.Marshal(r.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range regexp.MustCompile(`us-logs(?:-1a2b3c4d)?/([a-z-]+/)`).FindAllStringSubmatch(string(text), -1) {
			written[place[1]] = true
		}
		if r.Type != "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2" || r.Name != "us-logs" {
			continue
		}
		for _, rule := range r.Inputs["rules"].([]any) {
			rule := rule.(map[string]any)
			if expiration, _ := rule["expiration"].(map[string]any); expiration["days"] != nil {
				leave[rule["filter"].(map[string]any)["prefix"].(string)] = true
			}
		}
	}
	if len(written) < 4 || !maps.Equal(written, leave) {
		t.Errorf("logs are written to %v, and leave from %v", slices.Sorted(maps.Keys(written)), slices.Sorted(maps.Keys(leave)))
	}
}

func TestDefaultSecurityGroupLetsNothingThrough(t *testing.T) {
	registered := record(t, func(ctx *pulumi.Context) error { _, err := newExample(t).network(ctx); return err })
	groups := only(registered, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
	if len(groups) != 1 || groups[0].Inputs["ingress"] != nil || groups[0].Inputs["egress"] != nil {
		t.Errorf("default groups: %v", groups)
	}
}

func TestNoSecurityGroupHasRulesInline(t *testing.T) {
	for _, r := range only(record(t, newExample(t).all), "aws:ec2/securityGroup:SecurityGroup") {
		if r.Inputs["ingress"] != nil || r.Inputs["egress"] != nil {
			t.Errorf("%s has rules inline, which take EMR's own rules away", r.Name)
		}
	}
}

func TestLaunchTemplateIsTheInputOfRunJobFlow(t *testing.T) {
	for _, r := range only(record(t, newExample(t).all), "aws:s3/bucketObjectv2:BucketObjectv2") {
		if r.Name != "us-template" {
			continue
		}
		text, err := json.Marshal(r.Inputs["content"])
		if err != nil {
			t.Fatal(err)
		}
		var input emr.RunJobFlowInput
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&input); err != nil {
			t.Fatal(err)
		}
		for _, fleet := range input.Instances.InstanceFleets {
			if fleet.InstanceFleetType == "CORE" && (fleet.TargetOnDemandCapacity != nil || fleet.TargetSpotCapacity != nil) {
				t.Error("the core fleet has a size; who starts a cluster decides that")
			}
		}
		if *input.AutoTerminationPolicy.IdleTimeout != 900 || *input.StepConcurrencyLevel != 5 {
			t.Errorf("idle %d s, %d steps", *input.AutoTerminationPolicy.IdleTimeout, *input.StepConcurrencyLevel)
		}
		return
	}
	t.Fatal("no template was uploaded")
}

// Without it S3A asks us-east-2, wherever it runs.
func TestClustersAndUpkeepReadS3InTheirRegion(t *testing.T) {
	all := record(t, newExample(t).all)
	found := map[string]bool{}
	for _, r := range all {
		text, err := json.Marshal(r.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case r.Name == "us-template":
			found["template"] = strings.Contains(string(text), `{"Classification":"core-site","Properties":{"fs.s3a.endpoint.region":"eu-west-1"}}`)
		case r.Type == "aws:glue/job:Job" && r.Name == "us-upkeep":
			found["upkeep"] = strings.Contains(r.Inputs["defaultArguments"].(map[string]any)["--conf"].(string), "spark.hadoop.fs.s3a.endpoint.region=eu-west-1 --conf ")
		}
	}
	if want := map[string]bool{"template": true, "upkeep": true}; !reflect.DeepEqual(found, want) {
		t.Errorf("named by: %v", found)
	}
}

func TestOnlyTheExportersRoleIsLetInAtGoogle(t *testing.T) {
	registered := record(t, func(ctx *pulumi.Context) error { _, err := newExample(t).warehouse(ctx); return err })
	provider := only(registered, "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider")[0]
	if got := provider.Inputs["attributeCondition"]; got != "assertion.arn.startsWith('arn:aws:sts::111122223333:assumed-role/sluice-prod-us-export-table/')" {
		t.Errorf("condition: %v", got)
	}
	member := only(registered, "gcp:serviceaccount/iAMMember:IAMMember")[0]
	if got := member.Inputs["member"]; got != "principalSet://iam.googleapis.com/name:WorkloadIdentityPool:us/attribute.aws_role/arn:aws:sts::111122223333:assumed-role/sluice-prod-us-export-table" {
		t.Errorf("member: %v", got)
	}
}

func TestGoogleNamesFitWithTheLongestStack(t *testing.T) {
	subject := "arn:aws:sts::111122223333:assumed-role/" + FunctionName("sluice-abcdefghijk-us", ExportTable) + "/" + FunctionName("sluice-abcdefghijk-us", ExportTable)
	if len(subject) > 127 {
		t.Errorf("the subject has %d characters, Google takes 127", len(subject))
	}
}

func TestBigQueryTypes(t *testing.T) {
	for _, c := range []struct{ logical, physical, want string }{
		{"string", "", "STRING"}, {"integer", "", "INTEGER"}, {"number", "", "FLOAT"}, {"boolean", "", "BOOLEAN"}, {"date", "", "DATE"}, {"timestamp", "", "TIMESTAMP"},
		{"number", "decimal(12,2)", "NUMERIC"}, {"number", "DECIMAL(38, 9)", "NUMERIC"}, {"number", "numeric(20,10)", "BIGNUMERIC"},
	} {
		if got, err := BigQueryType(c.logical, c.physical); err != nil || got.Type != c.want {
			t.Errorf("%s %s: %s %v, want %s", c.logical, c.physical, got.Type, err, c.want)
		}
	}
	if _, err := BigQueryType("object", ""); err == nil || !strings.HasPrefix(err.Error(), `logicalType "object": take one of boolean`) {
		t.Error(err)
	}
}

func TestWorkersAreKeptReadyOnlyWhenAskedForAndSwitchedOn(t *testing.T) {
	for _, c := range []struct {
		enabled bool
		warm    int
		want    []any
	}{
		{true, 0, nil}, {false, 3, nil},
		{true, 3, []any{map[string]any{"initialCapacityType": "Driver", "initialCapacityConfig": map[string]any{"workerCount": 1.0, "workerConfiguration": map[string]any{"cpu": "4 vCPU", "memory": "16 GB"}}},
			map[string]any{"initialCapacityType": "Executor", "initialCapacityConfig": map[string]any{"workerCount": 3.0, "workerConfiguration": map[string]any{"cpu": "4 vCPU", "memory": "16 GB"}}}}},
	} {
		e := newExample(t)
		e.enabled, e.warm = c.enabled, c.warm
		application := only(record(t, e.all), "aws:emrserverless/application:Application")[0]
		if got, _ := application.Inputs["initialCapacities"].([]any); !reflect.DeepEqual(got, c.want) {
			t.Errorf("enabled %v, %d executors: %v", c.enabled, c.warm, got)
		}
	}
}

func TestScheduleIsPausedWhenSwitchedOff(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		e := newExample(t)
		e.enabled = enabled
		triggers := only(record(t, e.all), "aws:glue/trigger:Trigger")
		if len(triggers) != 1 {
			t.Fatalf("%d triggers", len(triggers))
		}
		for _, trigger := range triggers {
			if trigger.Inputs["enabled"] != enabled {
				t.Errorf("enabled %v: trigger %s is %v", enabled, trigger.Name, trigger.Inputs["enabled"])
			}
		}
	}
}

func TestCrawlAndUpkeepDoNotWaitForEachOther(t *testing.T) {
	registered := record(t, newExample(t).all)
	var started []any
	for _, trigger := range only(registered, "aws:glue/trigger:Trigger") {
		if trigger.Inputs["type"] != "SCHEDULED" || trigger.Inputs["predicate"] != nil {
			t.Errorf("trigger %s waits for something: %v", trigger.Name, trigger.Inputs)
		}
		started = append(started, trigger.Inputs["actions"].([]any)...)
	}
	if want := []any{map[string]any{"crawlerName": "sluice-prod-us-landing"}, map[string]any{"jobName": "sluice-prod-us-upkeep"}}; !reflect.DeepEqual(started, want) {
		t.Errorf("the night starts %v, want %v", started, want)
	}
}

// A crawl fails on a folder that is not there, which the folder of a feed is not before its first file; and what is read of a colder
// class is paid.
func TestCrawlerNamesNoFolderAndReadsOneFileADay(t *testing.T) {
	for _, crawler := range only(record(t, newExample(t).all), "aws:glue/crawler:Crawler") {
		for _, target := range crawler.Inputs["s3Targets"].([]any) {
			target := target.(map[string]any)
			if path := target["path"].(string); strings.Count(path, "/") != 2 || target["sampleSize"] != 1.0 {
				t.Errorf("target %v", target)
			}
		}
	}
}

func TestQueriesAreLimitedAndCannotLeaveTheirPlace(t *testing.T) {
	group := only(record(t, newExample(t).all), "aws:athena/workgroup:Workgroup")[0].Inputs["configuration"].(map[string]any)
	if group["enforceWorkgroupConfiguration"] != true || group["bytesScannedCutoffPerQuery"] != 100e9 {
		t.Errorf("workgroup: %v", group)
	}
}

func TestTablesAreWhatIAMSaysWhateverLakeFormationsDefault(t *testing.T) {
	for _, database := range only(record(t, newExample(t).all), "aws:glue/catalogDatabase:CatalogDatabase") {
		want := []any{map[string]any{"permissions": []any{"ALL"}, "principal": map[string]any{"dataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"}}}
		if got := database.Inputs["createTableDefaultPermissions"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", database.Name, got)
		}
	}
}

// refusing is a cloud that refuses one resource.
type refusing struct {
	*recorder
	refused string
}

func (r refusing) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if args.TypeToken+" "+args.Name == r.refused {
		return "", nil, errors.New("refused")
	}
	return r.recorder.NewResource(args)
}

// What AWS or a control wants to be there before something else is known by what is not asked for without it.
func TestNothingIsAskedForBeforeWhatItNeeds(t *testing.T) {
	for needed, waits := range map[string]string{
		"aws:s3/bucketPolicy:BucketPolicy us-logs":                                                                "aws:s3/bucketLoggingV2:BucketLoggingV2", // S3 looks whether it may write
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2 us-artifacts": "aws:s3/bucketObjectv2:BucketObjectv2",   // else it would be under S3's own key
	} {
		if len(only(record(t, newExample(t).all), waits)) == 0 {
			t.Errorf("there is no %s", waits)
		}
		r := &recorder{}
		if err := pulumi.RunErr(newExample(t).all, pulumi.WithMocks("sluice", "prod", refusing{r, needed})); err == nil {
			t.Errorf("%s was not refused", needed)
		}
		for _, early := range only(r.list, waits) {
			t.Errorf("%s %s does not wait for %s", early.Type, early.Name, needed)
		}
	}
}
