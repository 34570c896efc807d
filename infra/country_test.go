package infra

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
)

var tags = map[string]string{"Product": "sluice", "Stack": "prod", "Country": "us"}

// example is a country's components, each made as package main makes it.
type example struct {
	protect bool
	enabled bool // enabled switches on what costs by the hour.
	polling bool // polling takes the polling driver.
	warm    int  // warm is how many executors are kept ready.
	root    string

	home pulumi.ProviderResource // home is the environment's region, where that is another one.
}

// known is what a country's document has without any resource.
var known = discovery.Country{Stack: "prod", Country: "us", Account: "111122223333", Region: "eu-west-1", TimeZone: "UTC", Parallel: 5,
	Google: discovery.Google{Project: "sluice-prod", Location: "EU"}}

func (e example) network(ctx *pulumi.Context) (*Network, error) {
	return NewNetwork(ctx, "us", &NetworkArgs{CIDR: netip.MustParsePrefix("10.16.0.0/16"), Zones: []string{"eu-west-1a", "eu-west-1b"},
		Account: "111122223333", Region: "eu-west-1", NAT: NATPerZone, NATEnabled: true, EndpointsEnabled: true, FlowLogsARN: pulumi.String("arn:aws:s3:::logs/flow/"), Tags: tags})
}

func (e example) keys(ctx *pulumi.Context) (*Keys, error) {
	return NewKeys(ctx, "us", &KeysArgs{Account: "111122223333", Region: "eu-west-1", Stack: "prod", Country: "us", Alias: "sluice/prod/us", Polling: e.polling, Protect: e.protect, Tags: tags})
}

func (e example) lake(ctx *pulumi.Context) (*DataLake, error) {
	return NewDataLake(ctx, "us", &DataLakeArgs{Prefix: "sluice-prod-us", Suffix: pulumi.String("1a2b3c4d"), Account: "111122223333", Region: "eu-west-1",
		KeyARN: pulumi.String("arn:key"), Protect: e.protect, Tags: tags})
}

func (e example) messaging(ctx *pulumi.Context) (*Messaging, error) {
	return NewMessaging(ctx, "us", &MessagingArgs{Account: "111122223333", Region: "eu-west-1", KeyARN: pulumi.String("arn:key"), LandingARN: pulumi.String("arn:landing"), Emails: []string{"ops@example.com"}, Tags: tags})
}

func (e example) ledger(ctx *pulumi.Context) (*Ledger, error) {
	return NewLedger(ctx, "us", &LedgerArgs{KeyARN: pulumi.String("arn:key"), Protect: e.protect, Tags: tags, Feeds: []Feed{
		{Name: "airports", ContractKey: "contracts/airports.json", Hash: "aa", Completeness: "count", ExpectedFiles: 1, Engine: "auto"},
		{Name: "flights", ContractKey: "contracts/flights.json", Hash: "ff", Completeness: "marker", Prerequisites: []string{"airports"}, Engine: "emr"}}})
}

func (e example) warehouse(ctx *pulumi.Context) (*Warehouse, error) {
	return NewWarehouse(ctx, "us", &WarehouseArgs{Project: "sluice-prod", Location: "EU", Dataset: "sluice_prod_us", Prefix: "sluice-prod-us",
		Suffix: pulumi.String("1a2b3c4d"), AWSAccount: "111122223333", AWSRole: "sluice-prod-us-export-table", Protect: e.protect,
		Tables: map[string][]Column{"airports": {{Name: "faa", Type: "STRING", Mode: "NULLABLE"}}}, Labels: map[string]string{"country": "us"}})
}

// parts are what the components below are made of.
type parts struct {
	network   *Network
	keys      *Keys
	lake      *DataLake
	messaging *Messaging
	ledger    *Ledger
	warehouse *Warehouse
	access    Access
}

func (e example) parts(ctx *pulumi.Context) (p parts, err error) {
	if p.network, err = e.network(ctx); err != nil {
		return p, err
	}
	if p.keys, err = e.keys(ctx); err != nil {
		return p, err
	}
	if p.lake, err = e.lake(ctx); err != nil {
		return p, err
	}
	if p.messaging, err = e.messaging(ctx); err != nil {
		return p, err
	}
	if p.ledger, err = e.ledger(ctx); err != nil {
		return p, err
	}
	p.warehouse, err = e.warehouse(ctx)
	p.access = Access{Account: "111122223333", Region: "eu-west-1", Stack: "prod", Country: "us", Keys: p.keys, Lake: p.lake, Ledger: p.ledger, Messaging: p.messaging}
	return p, err
}

func (e example) catalog(ctx *pulumi.Context, p parts) (*Catalog, error) {
	return NewCatalog(ctx, "us", &CatalogArgs{Name: "sluice_prod_us", Lake: p.lake, KeyARN: p.keys.DataARN, Protect: e.protect, Tags: tags})
}

func (e example) cluster(ctx *pulumi.Context, p parts) (*Cluster, error) {
	return NewCluster(ctx, "us", &ClusterArgs{ClusterName: "sluice-prod-us", Account: "111122223333", Region: "eu-west-1", ReleaseLabel: "emr-7.13.0",
		PrimaryType: "m6g.xlarge", CoreType: "r6g.2xlarge", Network: p.network, CIDR: "10.16.0.0/16", KeyARN: p.keys.DataARN, LogKeyARN: p.keys.LogsARN,
		ArtifactsBucket: p.lake.Names["artifacts"], LogsBucket: p.lake.Names["logs"], JobPolicy: p.access.Job("sluice_prod_us_validated"), Tags: tags})
}

func (e example) serverless(ctx *pulumi.Context, p parts) (*Serverless, error) {
	return NewServerless(ctx, "us", &ServerlessArgs{Name: "sluice-prod-us", Account: "111122223333", Region: "eu-west-1", ReleaseLabel: "emr-7.13.0",
		JobPolicy: p.access.ServerlessJob("sluice_prod_us_validated"), WarmExecutors: e.warm, Enabled: e.enabled, Tags: tags})
}

func (e example) glue(ctx *pulumi.Context, p parts) (*Glue, error) {
	return NewGlue(ctx, "us", &GlueArgs{Prefix: "sluice-prod-us", Account: "111122223333", Region: "eu-west-1", Parallel: 5, KeyARN: p.keys.DataARN, LogKeyARN: p.keys.LogsARN,
		ArtifactsBucket: p.lake.Names["artifacts"], MainKey: "jobs/0123456789abcdef/main.py", JobPolicy: p.access.GlueJob(GlueLogs("sluice-prod-us"), "sluice_prod_us_validated"), Tags: tags})
}

func (e example) nightly(ctx *pulumi.Context, p parts, catalog *Catalog, glue *Glue, jobs *JobPackage) (*Nightly, error) {
	return NewNightly(ctx, "us", &NightlyArgs{Prefix: "sluice-prod-us", Enabled: e.enabled, Feeds: map[string]string{"airports": ",", "flights": ",", "weather": ";"},
		Landing: p.lake.Names["landing"], LandingDatabase: catalog.Databases["landing"], Databases: []string{"sluice_prod_us_validated", "sluice_prod_us_curated"},
		CrawlerPolicy: p.access.Crawler("sluice_prod_us_landing"), UpkeepPolicy: p.access.UpkeepJob(GlueLogs("sluice-prod-us"), "sluice_prod_us_validated"),
		Glue: glue, Jobs: jobs, Curated: p.lake.Names["curated"], Tags: tags})
}

func (e example) engines(ctx *pulumi.Context, p parts) (engines Engines, err error) {
	if engines.Cluster, err = e.cluster(ctx, p); err != nil {
		return engines, err
	}
	if engines.Serverless, err = e.serverless(ctx, p); err != nil {
		return engines, err
	}
	engines.Glue, err = e.glue(ctx, p)
	return engines, err
}

func (e example) jobs(ctx *pulumi.Context, p parts) (*JobPackage, error) {
	packed, err := PackJobs(e.root, filepath.Join(e.root, "out"))
	if err != nil {
		return nil, err
	}
	return NewJobPackage(ctx, "us", &JobPackageArgs{Bucket: p.lake.Names["artifacts"], Root: e.root, Package: packed, Contracts: map[string]string{"flights": `{"name":"flights"}`}})
}

func (e example) pipeline(ctx *pulumi.Context, p parts) (*Pipeline, *Cluster, error) {
	catalog, err := e.catalog(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	engines, err := e.engines(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	jobs, err := e.jobs(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if _, err := e.nightly(ctx, p, catalog, engines.Glue, jobs); err != nil {
		return nil, nil, err
	}
	packages := map[string]string{}
	for _, folder := range Functions {
		packages[folder] = filepath.Join(e.root, folder+".zip")
		if err := os.WriteFile(packages[folder], []byte(folder), 0o644); err != nil {
			return nil, nil, err
		}
	}
	found, err := NewDiscovery(ctx, "us", &DiscoveryArgs{Country: known, Lake: p.lake, Ledger: p.ledger, Messaging: p.messaging, Catalog: catalog, Keys: p.keys,
		Warehouse: p.warehouse, Jobs: jobs, Engines: engines, Home: e.home, Tags: tags})
	if err != nil {
		return nil, nil, err
	}
	pipeline, err := NewPipeline(ctx, "us", &PipelineArgs{Prefix: "sluice-prod-us", StepPrefix: "sluice/prod/us/", Packages: packages, Architecture: "arm64", Polling: e.polling, Network: p.network, Access: p.access, Engines: engines,
		Discovery: found.Parameter, Tags: tags})
	return pipeline, engines.Cluster, err
}

// standing is a standing cluster with the values that are no defaults left out.
func (e example) standing(ctx *pulumi.Context, p parts, args StandingArgs) error {
	pipeline, cluster, err := e.pipeline(ctx, p)
	if err != nil {
		return err
	}
	args.Stack, args.Country, args.Account, args.KeyARN, args.Tags = "prod", "us", "111122223333", p.keys.StateARN, tags
	args.Cluster, args.Network, args.Pipeline = cluster, p.network, pipeline
	_, err = NewStanding(ctx, "us-standing", &args)
	return err
}

// all registers every component of a country.
func (e example) all(ctx *pulumi.Context) error {
	p, err := e.parts(ctx)
	if err != nil {
		return err
	}
	return e.standing(ctx, p, StandingArgs{Enabled: true})
}

func newExample(t *testing.T) example {
	return example{root: module(t, map[string]string{"jobs/__init__.py": "", "jobs/records/main.py": "x = 1\n", "jobs/upkeep/main.py": "x = 2\n"})}
}

func TestEverythingOfACountryHasAParentAndItsTags(t *testing.T) {
	// What AWS gives no tags to.
	untagged := map[string]bool{}
	for _, kind := range []string{"cloudwatch/eventTarget:EventTarget", "dynamodb/tableItem:TableItem", "ec2/route:Route", "ec2/routeTableAssociation:RouteTableAssociation",
		"emr/instanceFleet:InstanceFleet", "emr/managedScalingPolicy:ManagedScalingPolicy",
		"emr/securityConfiguration:SecurityConfiguration", "glue/classifier:Classifier", "glue/securityConfiguration:SecurityConfiguration", "lambda/invocation:Invocation", "iam/rolePolicy:RolePolicy", "iam/rolePolicyAttachment:RolePolicyAttachment", "kms/alias:Alias",
		"lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "lambda/permission:Permission", "s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
		"s3/bucketLoggingV2:BucketLoggingV2", "s3/bucketNotification:BucketNotification", "s3/bucketObjectv2:BucketObjectv2", "s3/bucketOwnershipControls:BucketOwnershipControls",
		"s3/bucketPolicy:BucketPolicy", "s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
		"s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2", "s3/bucketVersioningV2:BucketVersioningV2",
		"sns/topicPolicy:TopicPolicy", "sns/topicSubscription:TopicSubscription", "sqs/queuePolicy:QueuePolicy"} {
		untagged["aws:"+kind] = true
	}
	e := newExample(t)
	e.polling = true // which takes away nothing that has tags but rules, of which there are others
	for _, r := range record(t, e.all) {
		if r.Parent == "" && r.Type[:7] != "sluice:" {
			t.Errorf("%s %s has no parent", r.Type, r.Name)
		}
		if r.Type[:4] != "aws:" || untagged[r.Type] {
			continue
		}
		got, _ := r.Inputs["tags"].(map[string]any)
		for key, value := range tags {
			if got[key] != value {
				t.Errorf("%s %s: tag %s is %v", r.Type, r.Name, key, got[key])
			}
		}
	}
}

func TestProtectionCoversWhatHoldsData(t *testing.T) {
	// Everything whose deletion loses records or what is known of them. Log groups, queues and the bucket that loads pass through hold
	// nothing that these do not hold as well.
	data := []string{
		"aws:dynamodb/table:Table us-feeds", "aws:dynamodb/table:Table us-files", "aws:dynamodb/table:Table us-jobs", "aws:dynamodb/table:Table us-progress", "aws:dynamodb/table:Table us-runs",
		"aws:glue/catalogDatabase:CatalogDatabase us-curated", "aws:glue/catalogDatabase:CatalogDatabase us-invalid", "aws:glue/catalogDatabase:CatalogDatabase us-landing",
		"aws:glue/catalogDatabase:CatalogDatabase us-validated", "aws:glue/catalogDatabase:CatalogDatabase us-versioned",
		"aws:kms/key:Key us-data", "aws:kms/key:Key us-logs", "aws:kms/key:Key us-state",
		"aws:s3/bucketV2:BucketV2 us-artifacts", "aws:s3/bucketV2:BucketV2 us-curated", "aws:s3/bucketV2:BucketV2 us-invalid", "aws:s3/bucketV2:BucketV2 us-landing",
		"aws:s3/bucketV2:BucketV2 us-logs", "aws:s3/bucketV2:BucketV2 us-validated", "aws:s3/bucketV2:BucketV2 us-versioned",
		"gcp:bigquery/dataset:Dataset us", "gcp:bigquery/table:Table us-airports",
	}
	for _, protect := range []bool{true, false} {
		e := newExample(t)
		e.protect = protect
		held := []string{}
		for _, r := range record(t, e.all) {
			if r.Protect {
				held = append(held, r.Type+" "+r.Name)
			}
			for _, forced := range []string{"forceDestroy", "deleteContentsOnDestroy"} {
				if (r.Type == "aws:s3/bucketV2:BucketV2" || r.Type == "gcp:bigquery/dataset:Dataset") && r.Inputs[forced] == protect {
					t.Errorf("protect %v: %s %s has %s %v", protect, r.Type, r.Name, forced, protect)
				}
			}
		}
		want := data
		if !protect {
			want = []string{}
		}
		if !slices.Equal(held, want) {
			t.Errorf("protect %v: protected are\n%s\nwant\n%s", protect, strings.Join(held, "\n"), strings.Join(want, "\n"))
		}
	}
}
