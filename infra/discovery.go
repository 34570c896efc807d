package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
)

// DiscoveryArgs is what a Discovery is made of; each part says what it is in package discovery.
type DiscoveryArgs struct {
	Country   discovery.Country // Country has what is known without any resource.
	Lake      *DataLake
	Ledger    *Ledger
	Messaging *Messaging
	Catalog   *Catalog
	Keys      *Keys
	Warehouse *Warehouse
	Jobs      *JobPackage
	Engines   Engines

	QuietMinutes int                     // QuietMinutes is how long a standing cluster must be quiet before it is ended, 30 by default.
	Home         pulumi.ProviderResource // Home reaches the environment's region in the country's account, where the command looks first; nil where the country is there.
	Tags         map[string]string       // Tags go on everything that takes tags.
}

// Discovery is the document by which functions, command and console find the parts of a country, in a parameter of AWS Systems Manager. It
// is in the country's region, for its functions, and in the environment's, so that who looks there sees every country of the account.
//
// The parameter is plain text: the document has names and limits, and whoever reads it under a key of ours would need a right to that key.
type Discovery struct {
	pulumi.ResourceState

	Document  pulumi.Output       // Document is the discovery.Country.
	Parameter pulumi.StringOutput // Parameter is the parameter's name and version in the country's region, "/sluice/prod/countries/us:7".
}

// NewDiscovery creates a Discovery.
func NewDiscovery(ctx *pulumi.Context, name string, args *DiscoveryArgs, opts ...pulumi.ResourceOption) (*Discovery, error) {
	d := &Discovery{}
	if err := register(ctx, "sluice:operations:Discovery", name, d, opts); err != nil {
		return nil, err
	}
	d.Document = args.document()
	text := d.Document.ApplyT(func(c any) (string, error) { return c.(discovery.Country).JSON() }).(pulumi.StringOutput)
	parameter := func(name string, opts ...pulumi.ResourceOption) (*ssm.Parameter, error) {
		return ssm.NewParameter(ctx, name, &ssm.ParameterArgs{
			Name: pulumi.String(discovery.ParameterName(args.Country.Stack, args.Country.Country)), Type: ssm.ParameterTypeString,
			Tier:        pulumi.String("Standard"), // else the account's default may be a tier that costs
			Description: pulumi.String("Names of the country's parts, for functions and the command sluice"), Value: text, Tags: tagged(args.Tags)}, append(opts, pulumi.Parent(d))...)
	}
	here, err := parameter(name)
	if err != nil {
		return nil, err
	}
	if args.Home != nil {
		if _, err := parameter(name+"-home", pulumi.Provider(args.Home)); err != nil {
			return nil, err
		}
	}
	d.Parameter = pulumi.Sprintf("%s:%d", here.Name, here.Version)
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{"parameter": d.Parameter})
}

// document is an output of the discovery.Country.
func (args *DiscoveryArgs) document() pulumi.Output {
	c := args.Country
	c.Version = discovery.Version
	c.Compute.TemplateKey, c.Compute.CertificateKey = TemplateKey, CertificateKey
	c.Compute.QuietMinutes = withDefault(args.QuietMinutes, DefaultQuietMinutes)
	c.Compute.MainKey, c.Compute.PackageKey = args.Jobs.MainKey, args.Jobs.PackageKey
	lake, tables, databases := args.Lake.Names, args.Ledger.Names, args.Catalog.Databases
	parts := []struct {
		field *string
		value pulumi.StringInput
	}{
		{&c.Buckets.Landing, lake["landing"]}, {&c.Buckets.Validated, lake["validated"]}, {&c.Buckets.Invalid, lake["invalid"]}, {&c.Buckets.Versioned, lake["versioned"]},
		{&c.Buckets.Curated, lake["curated"]}, {&c.Buckets.Artifacts, lake["artifacts"]}, {&c.Buckets.Logs, lake["logs"]},
		{&c.Databases.Landing, databases["landing"]}, {&c.Databases.Validated, databases["validated"]}, {&c.Databases.Invalid, databases["invalid"]},
		{&c.Databases.Versioned, databases["versioned"]}, {&c.Databases.Curated, databases["curated"]}, {&c.Workgroup, args.Catalog.Workgroup},
		{&c.Tables.Feeds, tables["feeds"]}, {&c.Tables.Jobs, tables["jobs"]}, {&c.Tables.Runs, tables["runs"]}, {&c.Tables.Files, tables["files"]}, {&c.Tables.Progress, tables["progress"]},
		{&c.Queues.Landed, args.Messaging.LandedURL}, {&c.Queues.Tickets, args.Messaging.TicketsURL}, {&c.Queues.DeadLetters, args.Messaging.DeadLettersURL},
		{&c.Topics.Jobs, args.Messaging.JobsARN}, {&c.Topics.Alerts, args.Messaging.AlertsARN},
		{&c.Compute.KMSKeyARN, args.Keys.DataARN}, {&c.Compute.LogKeyARN, args.Keys.LogsARN}, {&c.Compute.GlueJob, args.Engines.Glue.JobName},
		{&c.Compute.Serverless.ApplicationID, args.Engines.Serverless.ApplicationID}, {&c.Compute.Serverless.RoleARN, args.Engines.Serverless.RoleARN},
		{&c.Google.Dataset, args.Warehouse.Dataset}, {&c.Google.LoadBucket, args.Warehouse.LoadBucket}, {&c.Google.Audience, args.Warehouse.Audience},
		{&c.Google.ServiceAccount, args.Warehouse.ServiceAccount},
	}
	values := pulumi.StringArray{}
	for _, p := range parts {
		values = append(values, p.value)
	}
	return values.ToStringArrayOutput().ApplyT(func(values []string) discovery.Country {
		for i, p := range parts {
			*p.field = values[i]
		}
		return c
	})
}

// CheckDiscoveryFits says by how much a country's document would be larger than its parameter; names that AWS and Google choose are counted
// as long as they choose them.
func CheckDiscoveryFits(c discovery.Country) error {
	_, err := longest(c).JSON()
	return err
}

// longest is the document with names as long as they can be.
func longest(c discovery.Country) discovery.Country {
	prefix, catalog := "sluice-"+c.Stack+"-"+c.Country, discovery.Catalog(c.Stack, c.Country)
	bucket := func(word string) string { return prefix + "-" + word + "-12345678" }
	table := func(word string) string { return c.Country + "-" + word + "-1234567" }
	queue := func(word string) string {
		return "https://sqs." + c.Region + ".amazonaws.com/" + c.Account + "/" + c.Country + "-" + word + "-1234567"
	}
	topic := func(word string) string {
		return "arn:aws:sns:" + c.Region + ":" + c.Account + ":" + c.Country + "-" + word + "-1234567"
	}
	key := "arn:aws:kms:" + c.Region + ":" + c.Account + ":key/12345678-1234-1234-1234-123456789012"
	c.Buckets = discovery.Buckets{Landing: bucket("landing"), Validated: bucket("validated"), Invalid: bucket("invalid"), Versioned: bucket("versioned"),
		Curated: bucket("curated"), Artifacts: bucket("artifacts"), Logs: bucket("logs")}
	c.Databases = discovery.Databases{Landing: DatabaseName(catalog, "landing"), Validated: DatabaseName(catalog, "validated"), Invalid: DatabaseName(catalog, "invalid"),
		Versioned: DatabaseName(catalog, "versioned"), Curated: DatabaseName(catalog, "curated")}
	c.Workgroup = catalog
	c.Tables = discovery.Tables{Feeds: table("feeds"), Jobs: table("jobs"), Runs: table("runs"), Files: table("files"), Progress: table("progress")}
	c.Queues = discovery.Queues{Landed: queue("landed"), Tickets: queue("tickets"), DeadLetters: queue("dead-letters")}
	c.Topics = discovery.Topics{Jobs: topic("jobs"), Alerts: topic("alerts")}
	c.Compute = discovery.Compute{TemplateKey: TemplateKey, MainKey: "jobs/0123456789abcdef/main.py", PackageKey: "jobs/0123456789abcdef/jobs.zip", KMSKeyARN: key, LogKeyARN: key,
		CertificateKey: CertificateKey, QuietMinutes: 1_000_000, GlueJob: prefix + "-records",
		Serverless: discovery.Serverless{ApplicationID: "00f1234567890123", RoleARN: "arn:aws:iam::" + c.Account + ":role/" + c.Country + "-serverless-1234567"}}
	account, pool := "123456789012345678901234567890", "12345678901234567890123456789012" // the most that Google takes
	c.Google.Dataset, c.Google.LoadBucket = catalog, bucket("load")
	c.Google.Audience = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/" + pool + "/providers/" + pool
	c.Google.ServiceAccount = account + "@" + c.Google.Project + ".iam.gserviceaccount.com"
	return c
}
