package infra

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// standing is what a standing cluster registers by itself.
func standing(t *testing.T, args StandingArgs) []registration {
	t.Helper()
	e := newExample(t)
	return slices.DeleteFunc(record(t, func(ctx *pulumi.Context) error {
		p, err := e.parts(ctx)
		if err != nil {
			return err
		}
		return e.standing(ctx, p, args)
	}), func(r registration) bool { return !strings.HasPrefix(r.Name, "us-standing") })
}

func TestStandingClusterRegistersExactlyItsInventory(t *testing.T) {
	matchesInventory(t, "standing", standing(t, StandingArgs{Enabled: true}))
}

// hourly are the types that cost by the hour, or are about one that does.
var hourly = []string{"aws:emr/cluster:Cluster", "aws:emr/instanceFleet:InstanceFleet", "aws:emr/managedScalingPolicy:ManagedScalingPolicy", "aws:lambda/invocation:Invocation"}

func TestSwitchedOffClusterIsNotThereAndAllElseIs(t *testing.T) {
	names := func(all []registration) map[string]bool {
		found := map[string]bool{}
		for _, r := range all {
			found[r.Type+" "+r.Name] = true
		}
		return found
	}
	on, off := names(standing(t, StandingArgs{Enabled: true})), names(standing(t, StandingArgs{}))
	for _, id := range slices.Sorted(maps.Keys(on)) {
		kind, _, _ := strings.Cut(id, " ")
		if off[id] == slices.Contains(hourly, kind) {
			t.Errorf("%s: there without the cluster: %v", id, off[id])
		}
	}
	if len(on)-len(off) != len(hourly) {
		t.Errorf("%d with and %d without the cluster", len(on), len(off))
	}
}

// When a country goes, what is after something goes before it.
func TestNothingStartsClustersAnyMoreWhenTheLastAreEnded(t *testing.T) {
	after := map[string][]string{}
	for _, r := range record(t, newExample(t).all) {
		after[r.Type+" "+r.Name] = r.After
	}
	if !slices.Contains(after["aws:lambda/function:Function us-start-jobs"], "us-last") {
		t.Error("start-jobs may still be there when the clusters are ended")
	}
	for id, needs := range map[string][]string{
		"aws:lambda/invocation:Invocation us-last": nil,
		"aws:emr/cluster:Cluster us-standing":      {"us-last"}, // both have stop-cluster called, which does one thing at a time
	} {
		for _, needed := range append(needs, "us-primary", "us-core", "us-service", "us-node", "us-glue", "us-kms") {
			if !slices.Contains(after[id], needed) {
				t.Errorf("%s: %s may go before the clusters have ended", id, needed)
			}
		}
	}
}

func TestStandingClusterThatEndedByItselfIsReplaced(t *testing.T) {
	for ended, want := range map[string]any{"": nil, "j-1": "j-1"} {
		all := standing(t, StandingArgs{Enabled: true, Ended: ended})
		c := only(all, "aws:emr/cluster:Cluster")[0]
		if got := c.Inputs["tags"].(map[string]any)["InPlaceOf"]; got != want || !slices.Equal(c.Replaced, []string{"tags.InPlaceOf"}) {
			t.Errorf("after %q: tag %v, another one when one of %q changes", ended, got, c.Replaced)
		}
		for _, r := range all { // EMR refuses to change what belongs to a cluster that has ended
			if of := strings.HasPrefix(r.Type, "aws:emr/") && r.Inputs["clusterId"] != nil; r.Retained != of {
				t.Errorf("%s %s: forgotten rather than deleted: %v", r.Type, r.Name, r.Retained)
			}
		}
	}
}

func TestStandingClusterAndLaunchTemplateAreOneDefinition(t *testing.T) {
	all := record(t, newExample(t).all)
	cluster := only(all, "aws:emr/cluster:Cluster")[0].Inputs
	task := only(all, "aws:emr/instanceFleet:InstanceFleet")[0].Inputs
	var template map[string]any
	for _, r := range only(all, "aws:s3/bucketObjectv2:BucketObjectv2") {
		if r.Name == "us-template" {
			template = r.Inputs["content"].(map[string]any)
		}
	}
	types := func(configs any, key string) (names []string) {
		for _, c := range configs.([]any) {
			names = append(names, c.(map[string]any)[key].(string))
		}
		return names
	}
	instances := template["Instances"].(map[string]any)
	fleets := instances["InstanceFleets"].([]any)
	for i, got := range []any{cluster["masterInstanceFleet"], cluster["coreInstanceFleet"], task} {
		if want := types(fleets[i].(map[string]any)["InstanceTypeConfigs"], "InstanceType"); !reflect.DeepEqual(types(got.(map[string]any)["instanceTypeConfigs"], "instanceType"), want) {
			t.Errorf("fleet %d differs from %v", i, want)
		}
	}
	text, err := json.Marshal(template["Configurations"])
	if err != nil {
		t.Fatal(err)
	}
	var configurations any
	if err := json.Unmarshal([]byte(cluster["configurationsJson"].(string)), &configurations); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(configurations); err != nil || string(again) != string(text) {
		t.Errorf("configurations differ: %s, %s, %v", again, text, err)
	}
	for ours, theirs := range map[string]string{"releaseLabel": "ReleaseLabel", "logUri": "LogUri", "logEncryptionKmsKeyId": "LogEncryptionKmsKeyId", "serviceRole": "ServiceRole",
		"securityConfiguration": "SecurityConfiguration", "scaleDownBehavior": "ScaleDownBehavior", "stepConcurrencyLevel": "StepConcurrencyLevel"} {
		if cluster[ours] == nil || !reflect.DeepEqual(cluster[ours], template[theirs]) {
			t.Errorf("%s: %v and %v", ours, cluster[ours], template[theirs])
		}
	}
	attributes := cluster["ec2Attributes"].(map[string]any)
	for ours, theirs := range map[string]string{"subnetIds": "Ec2SubnetIds", "emrManagedMasterSecurityGroup": "EmrManagedMasterSecurityGroup",
		"emrManagedSlaveSecurityGroup": "EmrManagedSlaveSecurityGroup", "serviceAccessSecurityGroup": "ServiceAccessSecurityGroup"} {
		if !reflect.DeepEqual(attributes[ours], instances[theirs]) {
			t.Errorf("%s: %v and %v", ours, attributes[ours], instances[theirs])
		}
	}
	if attributes["keyName"] != nil || instances["Ec2KeyName"] != nil {
		t.Error("a key pair would let people in by SSH")
	}
}

func TestNodesEncryptEverythingAndGiveCredentialsOnlyToWhoAsksTwice(t *testing.T) {
	configuration := only(record(t, newExample(t).all), "aws:emr/securityConfiguration:SecurityConfiguration")[0].Inputs["configuration"].(map[string]any)
	var want map[string]any
	if err := json.Unmarshal([]byte(`{
		"EncryptionConfiguration": {
			"EnableInTransitEncryption": true,
			"InTransitEncryptionConfiguration": {"TLSCertificateConfiguration": {"CertificateProviderType": "PEM", "S3Object": "s3://sluice-prod-us-artifacts-1a2b3c4d/cluster/certificate.zip"}},
			"EnableAtRestEncryption": true,
			"AtRestEncryptionConfiguration": {
				"S3EncryptionConfiguration": {"EncryptionMode": "SSE-KMS", "AwsKmsKey": "arn:Key:us-data"},
				"LocalDiskEncryptionConfiguration": {"EncryptionKeyProviderType": "AwsKms", "AwsKmsKey": "arn:Key:us-data", "EnableEbsEncryption": true}}},
		"InstanceMetadataServiceConfiguration": {"MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": 1}}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(configuration, want) {
		t.Errorf("security configuration: %v", configuration)
	}
}

func TestIdleAlarmTakesItsNumbersFromTheConfiguration(t *testing.T) {
	for _, c := range []struct {
		args                               StandingArgs
		threshold, period, values, timeout float64
		schedule                           string
	}{
		{StandingArgs{}, 40, 300, 6, 3600, "rate(5 minutes)"},
		{StandingArgs{QuietPercent: 20, QuietMinutes: 60, EndMinutes: 90}, 20, 300, 12, 5400, "rate(5 minutes)"},
		{StandingArgs{QuietMinutes: 2}, 40, 60, 2, 240, "rate(1 minute)"},
	} {
		c.args.Enabled = true
		all := standing(t, c.args)
		for _, alarm := range only(all, "aws:cloudwatch/metricAlarm:MetricAlarm") {
			want := map[string]float64{"us-standing-idle-quiet": c.threshold, "us-standing-idle-idle": 1}[alarm.Name]
			if alarm.Inputs["threshold"] != want || alarm.Inputs["period"] != c.period || alarm.Inputs["evaluationPeriods"] != c.values || alarm.Inputs["datapointsToAlarm"] != c.values ||
				alarm.Inputs["treatMissingData"] != "notBreaching" {
				t.Errorf("%s: %v", alarm.Name, alarm.Inputs)
			}
		}
		rule := only(all, "aws:cloudwatch/compositeAlarm:CompositeAlarm")[0].Inputs["alarmRule"]
		if rule != `ALARM("sluice-prod-us-standing-quiet") AND ALARM("sluice-prod-us-standing-idle")` {
			t.Errorf("rule %v", rule)
		}
		policy := only(all, "aws:emr/cluster:Cluster")[0].Inputs["autoTerminationPolicy"].(map[string]any)
		if policy["idleTimeout"] != c.timeout {
			t.Errorf("ends after %v s, want %v", policy["idleTimeout"], c.timeout)
		}
		for _, r := range only(all, "aws:cloudwatch/eventRule:EventRule") {
			if r.Inputs["scheduleExpression"] != nil && r.Inputs["scheduleExpression"] != c.schedule {
				t.Errorf("measured at %v", r.Inputs["scheduleExpression"])
			}
		}
	}
}

func TestStandingClustersLimitsAreItsSizesUnlessTheConfigurationHasOthers(t *testing.T) {
	for _, c := range []struct {
		args                             StandingArgs
		core, least, most, onDemand, max float64
	}{
		{StandingArgs{}, 1, 1, 3, 1, 1},
		{StandingArgs{Size: "medium"}, 3, 3, 9, 3, 3},
		{StandingArgs{Size: "medium", MinUnits: 4, MaxUnits: 20, OnDemandUnits: 5}, 3, 4, 20, 5, 3},
	} {
		c.args.Enabled = true
		all := standing(t, c.args)
		if got := only(all, "aws:emr/cluster:Cluster")[0].Inputs["coreInstanceFleet"].(map[string]any)["targetOnDemandCapacity"]; got != c.core {
			t.Errorf("%d core nodes", got)
		}
		limits := only(all, "aws:emr/managedScalingPolicy:ManagedScalingPolicy")[0].Inputs["computeLimits"].([]any)[0].(map[string]any)
		want := map[string]any{"unitType": "InstanceFleetUnits", "minimumCapacityUnits": c.least, "maximumCapacityUnits": c.most, "maximumOndemandCapacityUnits": c.onDemand,
			"maximumCoreCapacityUnits": c.max}
		if !reflect.DeepEqual(limits, want) {
			t.Errorf("limits %v, want %v", limits, want)
		}
	}
}
