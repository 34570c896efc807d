package policies

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/access"
)

var update = flag.Bool("update", false, "write the goldens in testdata anew")

func country() Country {
	bucket := func(stage string) string { return "arn:aws:s3:::sluice-prod-us-" + stage + "-1a2b3c4d" }
	table := func(name string) string { return "arn:aws:dynamodb:eu-west-1:111122223333:table/us-" + name }
	return Country{
		Account: "111122223333", Region: "eu-west-1", Stack: "prod", Code: "us",
		DataKeyARN: "arn:aws:kms:eu-west-1:111122223333:key/data", StateKeyARN: "arn:aws:kms:eu-west-1:111122223333:key/state", LogsKeyARN: "arn:aws:kms:eu-west-1:111122223333:key/logs",
		LandingARN: bucket("landing"), ValidatedARN: bucket("validated"), InvalidARN: bucket("invalid"), VersionedARN: bucket("versioned"),
		CuratedARN: bucket("curated"), ArtifactsARN: bucket("artifacts"), LogsARN: bucket("logs"),
		FeedsARN: table("feeds"), JobsARN: table("jobs"), RunsARN: table("runs"), FilesARN: table("files"), ProgressARN: table("progress"),
		LandedARN: "arn:aws:sqs:eu-west-1:111122223333:us-landed", TicketsARN: "arn:aws:sqs:eu-west-1:111122223333:us-tickets", DeadLettersARN: "arn:aws:sqs:eu-west-1:111122223333:us-dead-letters",
		JobsTopicARN: "arn:aws:sns:eu-west-1:111122223333:us-jobs", AlertsTopicARN: "arn:aws:sns:eu-west-1:111122223333:us-alerts",
		ClusterServiceRoleARN: "arn:aws:iam::111122223333:role/us-emr", ClusterNodeRoleARN: "arn:aws:iam::111122223333:role/us-job",
		ServerlessARN: "arn:aws:emr-serverless:eu-west-1:111122223333:/applications/00f1", ServerlessRoleARN: "arn:aws:iam::111122223333:role/us-serverless",
		GlueJobARN: "arn:aws:glue:eu-west-1:111122223333:job/sluice-prod-us-records",
	}
}

// neighbour is another country of the same account, made of the same things.
func neighbour(c Country) Country {
	c.Code = "uy"
	for _, arn := range []*string{&c.LandingARN, &c.ValidatedARN, &c.InvalidARN, &c.VersionedARN, &c.CuratedARN, &c.ArtifactsARN, &c.LogsARN} {
		*arn = strings.Replace(*arn, "-us-", "-uy-", 1)
	}
	for _, arn := range []*string{&c.FeedsARN, &c.JobsARN, &c.RunsARN, &c.FilesARN, &c.ProgressARN} {
		*arn = strings.Replace(*arn, "/us-", "/uy-", 1)
	}
	for _, arn := range []*string{&c.LandedARN, &c.TicketsARN, &c.DeadLettersARN} {
		*arn = strings.Replace(*arn, ":us-", ":uy-", 1)
	}
	c.DataKeyARN, c.StateKeyARN, c.LogsKeyARN = c.DataKeyARN+"-of-uy", c.StateKeyARN+"-of-uy", c.LogsKeyARN+"-of-uy"
	return c
}

// documents is every document of the package, by the name of its golden.
func documents(t *testing.T) map[string]Document {
	c := country()
	all := map[string]Document{
		"data-key": DataKey(c.Account, c.Region, c.Stack, c.Code, "arn:aws:iam::111122223333:role/sluice-prod-operator"), "state-key": StateKey(c.Account, c.Region), "logs-key": LogsKey(c.Account, c.Region),
		"bucket": Bucket(c.LandingARN, c.DataKeyARN), "log-bucket": LogBucket(c.LogsARN, c.Account, c.Region, c.LandingARN, c.CuratedARN),
		"queue": Queue(c.TicketsARN), "event-queue": EventQueue(c.LandedARN, c.Account, c.LandingARN), "dead-letters": DeadLetters(c.DeadLettersARN, c.Account, c.Region), "topic": Topic(c.JobsTopicARN), "alert-topic": AlertTopic(c.AlertsTopicARN, c.Account),
		"trail-key":    TrailKey(c.Account, "arn:aws:cloudtrail:eu-west-1:111122223333:trail/sluice-prod"),
		"trail-bucket": TrailBucket("arn:aws:s3:::sluicetrail-prod-1a2b3c4d", "arn:aws:kms:eu-west-1:111122223333:key/t", c.Account, "arn:aws:cloudtrail:eu-west-1:111122223333:trail/sluice-prod"),
		"trust-lambda": AssumedBy("lambda.amazonaws.com"), "trust-emr": AssumedByEMR(c.Account, c.Region),
		"s3-endpoint":     S3Endpoint(c.Account, c.Region),
		"cluster-service": ClusterService(c.Account, c.ClusterNodeRoleARN, c.DataKeyARN), "job": Job(c, "sluice_prod_us_validated", "sluice_prod_us_curated"),
		"serverless-job": ServerlessJob(c, "sluice_prod_us_validated", "sluice_prod_us_curated"), "glue-job": GlueJob(c, "/aws-glue/jobs/sluice-prod-us", "sluice_prod_us_validated", "sluice_prod_us_curated"),
		"upkeep-job": UpkeepJob(c, "/aws-glue/jobs/sluice-prod-us", "sluice_prod_us_validated", "sluice_prod_us_curated"), "crawler": Crawler(c, "sluice_prod_us_landing"),
		"trust-serverless": AssumedByServerless(c.Account, c.Region), "trust-glue": AssumedByGlue(c.Account, c.Region),
		"trust-states": AssumedByStateMachines(c.Account, c.Region), "trust-rules": AssumedByRules(c.Account, c.Region), "polled-state-key": PolledStateKey(c.Account, c.Region),
		"polling": Polling(c.Account, c.Region, "arn:aws:states:eu-west-1:111122223333:stateMachine:sluice-prod-us-polling", c.StateKeyARN,
			"arn:aws:lambda:eu-west-1:111122223333:function:sluice-prod-us-queue-jobs", "arn:aws:lambda:eu-west-1:111122223333:function:sluice-prod-us-start-jobs"),
		"start-polling": StartPolling("arn:aws:states:eu-west-1:111122223333:stateMachine:sluice-prod-us-polling"),
		"read-prefix":   New(ReadPrefix(c.CuratedARN, "flights/")...),
	}
	for name, d := range people(c) {
		all[name] = d
	}
	for _, service := range []string{"dynamodb", "glue", "monitoring"} {
		d, ok := Endpoint(service, c.Account)
		if !ok {
			t.Fatalf("endpoint of %s has no document", service)
		}
		all["endpoint-"+service] = d
	}
	for _, name := range []string{"receive-file", "queue-jobs", "start-jobs", "finish-job", "export-table", "publish-cpu", "stop-cluster", "keep-certificate", "tell-fault"} {
		d, ok := Function(name, "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/sluice-prod-us-"+name, c)
		if !ok {
			t.Fatalf("function %s has no document", name)
		}
		all["function-"+name] = d
	}
	return all
}

// people is the documents that an access table compiles to: an analyst's with every verb, a feeder's, the operators', and each trust.
func people(c Country) map[string]Document {
	c.DataKeyARN, c.StateKeyARN = "arn:aws:kms:eu-west-1:111122223333:key/data", "arn:aws:kms:eu-west-1:111122223333:key/state"
	databases := map[string]string{"validated": "sluice_prod_us_validated", "curated": "sluice_prod_us_curated"}
	workgroup := "arn:aws:athena:eu-west-1:111122223333:workgroup/sluice_prod_us_"
	here := access.Country{Code: "us", Feeds: []string{"flights", "weather"}, Sealed: []string{"weather"}}
	analyst := access.Person{Who: "analysts", May: []access.Grant{
		{Country: "all", Stage: "curated", Verbs: []access.Verb{access.Query}},
		{Country: "us", Stage: "validated", Feed: "flights", Verbs: []access.Verb{access.Query}},
		{Country: "us", Stage: "landing", Prefix: "flights/2013-01-", Verbs: []access.Verb{access.List, access.Read}},
	}}
	polled, other, elsewhere := c, neighbour(c), map[string]string{"curated": "sluice_prod_uy_curated"}
	polled.PollingARN = "arn:aws:states:eu-west-1:111122223333:stateMachine:sluice-prod-us-polling"
	there := access.Country{Code: "uy", Feeds: []string{"flights"}}
	feeder := access.Person{Who: "feeder", May: []access.Grant{{Country: "us", Stage: "landing", Feed: "weather", Verbs: []access.Verb{access.Read, access.Write, access.Delete}}}}
	return map[string]Document{
		"person-analysts":    Person(c, analyst.Who, workgroup+"analysts", databases, analyst.Rules(here)),
		"person-feeder":      Person(c, feeder.Who, workgroup+"feeder", databases, feeder.Rules(here)),
		"find-countries":     FindCountries(c.Account, c.Stack),
		"operator":           Operator(c.Account, c.Stack),
		"operator-country":   OperatorIn(c),
		"operator-polled":    OperatorIn(polled),
		"operator-countries": Join(OperatorIn(c), OperatorIn(other)),
		"person-countries":   Join(Person(c, analyst.Who, workgroup+"analysts", databases, analyst.Rules(here)), Person(other, analyst.Who, strings.ReplaceAll(workgroup, "_us_", "_uy_")+"analysts", elsewhere, analyst.Rules(there))),
		"trust-saml":         AssumedByPeople(access.Trust{SAML: "arn:aws:iam::444455556666:saml-provider/staff"}, c.Account),
		"trust-oidc":         AssumedByPeople(access.Trust{OIDC: "arn:aws:iam::111122223333:oidc-provider/login.example.com/tenant", Audience: "sluice", Subject: "team:data"}, c.Account),
		"trust-account":      AssumedByPeople(access.Trust{Account: "444455556666", Principals: []string{"arn:aws:iam::444455556666:role/data", "arn:aws:iam::444455556666:user/ana"}, MFA: true}, c.Account),
		"trust-account-open": AssumedByPeople(access.Trust{Account: "444455556666"}, c.Account),
	}
}

func TestEachDocumentIsItsGolden(t *testing.T) {
	goldens, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	all := documents(t)
	if len(goldens) != len(all) && !*update {
		t.Errorf("%d goldens for %d documents", len(goldens), len(all))
	}
	for name, d := range all {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		pretty.WriteByte('\n')
		path := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(path, pretty.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, pretty.Bytes()) {
			t.Errorf("%s is now:\n%s\nif that is meant: go test ./policies -update", path, pretty.String())
		}
	}
}

func TestRolesNameWhatTheyTouch(t *testing.T) {
	// Actions of AWS that know no resource: the only ones that a role may have on "*".
	unbound := map[string]bool{"elasticmapreduce:ListClusters": true, "elasticmapreduce:RunJobFlow": true,
		"cloudwatch:GetMetricData": true, "cloudwatch:PutMetricData": true,
		"cloudwatch:DescribeAlarmHistory": true, "cloudwatch:DescribeAlarms": true, "cloudwatch:GetDashboard": true, "cloudwatch:GetMetricStatistics": true,
		"cloudwatch:ListDashboards": true, "cloudwatch:ListMetrics": true, "logs:CreateLogDelivery": true, "logs:DeleteLogDelivery": true, "logs:DescribeResourcePolicies": true, "logs:GetLogDelivery": true, "logs:ListLogDeliveries": true,
		"logs:PutResourcePolicy": true, "logs:UpdateLogDelivery": true, "emr-serverless:ListApplications": true, "logs:DescribeLogGroups": true, "glue:GetSecurityConfiguration": true}
	for name, d := range documents(t) {
		if !strings.HasPrefix(name, "function-") && !strings.HasPrefix(name, "person-") && !strings.HasPrefix(name, "operator") && !strings.HasSuffix(name, "job") && !strings.HasSuffix(name, "polling") && name != "crawler" && name != "cluster-service" {
			continue
		}
		for _, s := range d.Statement {
			for _, a := range s.Action {
				if strings.HasSuffix(a, ":*") {
					t.Errorf("%s: statement %s allows every action %s", name, s.Sid, a)
				}
				for _, r := range s.Resource {
					if r == "*" && !unbound[a] {
						t.Errorf("%s: statement %s allows %s on everything", name, s.Sid, a)
					}
				}
			}
		}
	}
}

func TestDocumentsFitTheirLimits(t *testing.T) {
	const inlineRolePolicy = 10240 // characters over all inline policies of a role; IAM does not count white space
	for name, d := range documents(t) {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > inlineRolePolicy {
			t.Errorf("%s has %d characters, more than %d", name, len(text), inlineRolePolicy)
		}
	}
}

func TestUnknownFunctionHasNoDocument(t *testing.T) {
	if _, ok := Function("drop-tables", "", Country{}); ok {
		t.Error("drop-tables has a document")
	}
}

func TestUnknownServiceHasNoEndpoint(t *testing.T) {
	if _, ok := Endpoint("s3-of-others", "111122223333"); ok {
		t.Error("an endpoint to s3-of-others has a document")
	}
}

func TestNoServiceMayUseTheKeyOfRecordsButForServerlessDisks(t *testing.T) {
	disks := Condition{"StringEquals": {"aws:SourceAccount": {"111122223333"}, "kms:EncryptionContext:sluice:disks": {"prod/us"}},
		"ArnLike": {"aws:SourceArn": {"arn:aws:emr-serverless:eu-west-1:111122223333:/applications/*"}}}
	for _, s := range DataKey("111122223333", "eu-west-1", "prod", "us", "arn:aws:iam::111122223333:role/sluice-prod-operator").Statement {
		if s.Effect != "Allow" || len(s.Principal.Service) == 0 && !s.Principal.Any {
			continue
		}
		if !slices.Equal(s.Principal.Service, Strings{"emr-serverless.amazonaws.com"}) || !slices.Equal(s.Action, Strings{"kms:Decrypt", "kms:GenerateDataKey"}) || !reflect.DeepEqual(s.Condition, disks) {
			t.Errorf("statement %s lets %v do %v where %v", s.Sid, s.Principal, s.Action, s.Condition)
		}
	}
}

func TestServicesUseKeysForTheirOwnAccountOnly(t *testing.T) {
	for name, d := range map[string]Document{"state": PolledStateKey("111122223333", "eu-west-1"), "logs": LogsKey("111122223333", "eu-west-1")} {
		for _, s := range d.Statement {
			if len(s.Principal.Service) == 0 {
				continue
			}
			ours := slices.Equal(s.Condition["StringEqualsIfExists"]["aws:SourceAccount"], Strings{"111122223333"}) ||
				strings.Contains(strings.Join(s.Condition["ArnLike"]["kms:EncryptionContext:aws:logs:arn"], " "), ":111122223333:") ||
				strings.Contains(strings.Join(s.Condition["StringEquals"]["kms:EncryptionContext:SourceArn"], " "), ":111122223333:") ||
				strings.Contains(strings.Join(s.Condition["StringLike"]["aws:SourceArn"], " "), ":111122223333:")
			if !ours {
				t.Errorf("%s key: statement %s lets %v in for any account", name, s.Sid, s.Principal.Service)
			}
		}
	}
}

// EventBridge does not tell KMS for which account it asks: a statement that wants to hear it shuts EventBridge out, and only an event that
// could not be delivered would show it.
func TestNoStatementOfTheStateKeyWantsToHearWhatServicesDoNotTell(t *testing.T) {
	for _, s := range PolledStateKey("111122223333", "eu-west-1").Statement {
		for operator, keys := range s.Condition {
			for key := range keys {
				if strings.HasPrefix(key, "aws:Source") && !strings.HasSuffix(operator, "IfExists") {
					t.Errorf("statement %s: %s %s", s.Sid, operator, key)
				}
			}
		}
	}
}

func TestNodesReachTheSystemLogsBucketOfTheirRegion(t *testing.T) {
	for region, want := range map[string]string{"us-east-1": "arn:aws:s3:::aws157-logs-prod/*", "eu-west-1": "arn:aws:s3:::aws157-logs-prod-eu-west-1/*"} {
		statements := S3Endpoint("111122223333", region).Statement
		if got := statements[len(statements)-1].Resource; !slices.Equal(got, Strings{want}) {
			t.Errorf("%s: %v, want %s", region, got, want)
		}
	}
}

// The data key denies operators, so logs that are written under it are logs that they may see and cannot open.
func TestOperatorsOpenTheLogsOfClusters(t *testing.T) {
	c := country()
	names := func(d Document, action, key string) bool {
		return slices.ContainsFunc(d.Statement, func(s Statement) bool {
			return s.Effect == "Allow" && slices.Contains(s.Action, action) && slices.Contains(s.Resource, key)
		})
	}
	starter, _ := Function("start-jobs", "", c)
	for who, d := range map[string]Document{"nodes": Job(c), "Serverless runs": ServerlessJob(c), "who starts Serverless runs": starter} {
		if !names(d, "kms:GenerateDataKey", c.LogsKeyARN) {
			t.Errorf("%s cannot write logs under the logs key", who)
		}
	}
	if operators := OperatorIn(c); !names(operators, "kms:Decrypt", c.LogsKeyARN) || names(operators, "kms:Decrypt", c.DataKeyARN) {
		t.Error("operators open other than the logs of clusters")
	}
}
