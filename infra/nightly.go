package infra

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/glue"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/spark"
)

// NightlyArgs is what a Nightly is made of.
type NightlyArgs struct {
	Prefix          string             // Prefix begins the names, for example "sluice-prod-us".
	Schedule        string             // Schedule is when it begins, a cron expression in UTC; "cron(30 3 * * ? *)" by default.
	Enabled         bool               // Enabled lets the schedule start it. Without it nothing starts by itself, and so nothing costs.
	SnapshotDays    int                // SnapshotDays is how long a table's old snapshots are kept, 30 by default.
	Feeds           map[string]string  // Feeds are the delimiters of the feeds' files, by feed.
	Landing         pulumi.StringInput // Landing is the bucket that files land in.
	LandingDatabase pulumi.StringInput // LandingDatabase is where landed files are described.
	Databases       []string           // Databases are the names of those that hold the stages' Iceberg tables.
	CrawlerPolicy   pulumi.StringInput // CrawlerPolicy is what the crawler may do.
	UpkeepPolicy    pulumi.StringInput // UpkeepPolicy is what the upkeep may do.
	Glue            *Glue              // Glue has what all jobs and crawlers of the country share.
	Jobs            *JobPackage        // Jobs has the upkeep job.
	Curated         pulumi.StringInput // Curated is the bucket that the Spark catalog calls its warehouse.
	Tags            map[string]string  // Tags go on everything that takes tags.
}

// Nightly is what is done once a day: a crawler describes the files that landed, so that landing can be queried as any other stage, and
// the upkeep drops what the tables do not need any more. Neither waits for the other, whose failure is no reason to leave it. A workflow
// shows both as one, and its runs.
type Nightly struct {
	pulumi.ResourceState

	Workflow pulumi.StringOutput // Workflow is the workflow's name.
	Crawler  pulumi.StringOutput // Crawler is the crawler's name.
}

// NewNightly creates a Nightly.
func NewNightly(ctx *pulumi.Context, name string, args *NightlyArgs, opts ...pulumi.ResourceOption) (*Nightly, error) {
	n := &Nightly{}
	if err := register(ctx, "sluice:analytics:Nightly", name, n, opts); err != nil {
		return nil, err
	}
	crawler, err := n.crawler(ctx, name+"-landing", args)
	if err != nil {
		return nil, err
	}
	upkeep, err := n.upkeep(ctx, name+"-upkeep", args)
	if err != nil {
		return nil, err
	}
	workflow, err := glue.NewWorkflow(ctx, name+"-nightly", &glue.WorkflowArgs{Name: pulumi.String(args.Prefix + "-nightly"),
		Description: pulumi.String("Describes what landed, and drops what the tables do not need any more"), MaxConcurrentRuns: pulumi.Int(1), Tags: tagged(args.Tags)}, pulumi.Parent(n))
	if err != nil {
		return nil, err
	}
	if _, err := glue.NewTrigger(ctx, name+"-nightly", &glue.TriggerArgs{Name: pulumi.String(args.Prefix + "-nightly"), WorkflowName: workflow.Name,
		Type: pulumi.String("SCHEDULED"), Schedule: pulumi.String(withDefaultText(args.Schedule, "cron(30 3 * * ? *)")), Enabled: pulumi.Bool(args.Enabled),
		Actions: glue.TriggerActionArray{&glue.TriggerActionArgs{CrawlerName: crawler.Name}, &glue.TriggerActionArgs{JobName: upkeep.Name}}, Tags: tagged(args.Tags)},
		pulumi.Parent(n)); err != nil {
		return nil, err
	}
	n.Workflow, n.Crawler = workflow.Name, crawler.Name
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"workflow": n.Workflow, "crawler": n.Crawler})
}

// crawler creates the crawler of landed files: a table a feed, a partition a day, every column text. What a value means is the contract's
// to say, and is found out after landing.
//
// It crawls the bucket, not the feeds' folders: a crawl fails on a folder that is not there, which a feed's is not before its first file.
// Of each day it reads the beginning of one file, because what is read of days in a colder storage class is paid by the byte, and a
// crawler cannot leave a class out. Crawls of new folders only make no tables after the first one, so no new feed's.
// https://docs.aws.amazon.com/glue/latest/dg/incremental-crawls.html
func (n *Nightly) crawler(ctx *pulumi.Context, name string, args *NightlyArgs) (*glue.Crawler, error) {
	role, err := glueRole(ctx, name, args.Glue.args.Account, args.Glue.args.Region, args.CrawlerPolicy, args.Tags, pulumi.Parent(n))
	if err != nil {
		return nil, err
	}
	classifiers, known := pulumi.StringArray{}, map[string]bool{}
	targets := glue.CrawlerS3TargetArray{&glue.CrawlerS3TargetArgs{Path: pulumi.Sprintf("s3://%s", args.Landing), SampleSize: pulumi.Int(1),
		Exclusions: pulumi.StringArray{pulumi.String("**/" + job.Marker)}}}
	for _, feed := range sortedNames(args.Feeds) {
		delimiter := args.Feeds[feed]
		if known[delimiter] {
			continue
		}
		known[delimiter] = true
		child := fmt.Sprintf("%s-%x", name, delimiter)
		classifier, err := glue.NewClassifier(ctx, child, &glue.ClassifierArgs{Name: pulumi.String(fmt.Sprintf("%s-%x", args.Prefix, delimiter)), CsvClassifier: &glue.ClassifierCsvClassifierArgs{
			ContainsHeader: pulumi.String("PRESENT"), Delimiter: pulumi.String(delimiter), QuoteSymbol: pulumi.String(`"`), Serde: pulumi.String("OpenCSVSerDe"),
			CustomDatatypeConfigured: pulumi.Bool(true), CustomDatatypes: pulumi.StringArray{pulumi.String("STRING")}, DisableValueTrimming: pulumi.Bool(true)}}, pulumi.Parent(n))
		if err != nil {
			return nil, err
		}
		classifiers = append(classifiers, classifier.Name)
	}
	configuration, err := json.Marshal(map[string]any{
		"Version":       1.0,
		"CrawlerOutput": map[string]any{"Partitions": map[string]string{"AddOrUpdateBehavior": "InheritFromTable"}}, // a day with another header changes no other day
		// The bucket is the first level, the feed the second: whatever the files of a feed look like, they are one table.
		"Grouping": map[string]any{"TableGroupingPolicy": "CombineCompatibleSchemas", "TableLevelConfiguration": 2},
	})
	if err != nil {
		return nil, err
	}
	return glue.NewCrawler(ctx, name, &glue.CrawlerArgs{
		Name: pulumi.String(args.Prefix + "-landing"), Description: pulumi.String("Describes the files that landed"), Role: role.Arn,
		DatabaseName: args.LandingDatabase, S3Targets: targets, Classifiers: classifiers, Configuration: pulumi.String(string(configuration)),
		SchemaChangePolicy:    &glue.CrawlerSchemaChangePolicyArgs{UpdateBehavior: pulumi.String("UPDATE_IN_DATABASE"), DeleteBehavior: pulumi.String("LOG")},
		RecrawlPolicy:         &glue.CrawlerRecrawlPolicyArgs{RecrawlBehavior: pulumi.String("CRAWL_EVERYTHING")},
		SecurityConfiguration: args.Glue.SecurityConfiguration,
		Tags:                  tagged(args.Tags),
	}, pulumi.Parent(n))
}

// upkeep creates the job that drops old snapshots.
func (n *Nightly) upkeep(ctx *pulumi.Context, name string, args *NightlyArgs) (*glue.Job, error) {
	conf := pulumi.StringMap{"curated": args.Curated, "key": args.Glue.args.KeyARN}.ToStringMapOutput().ApplyT(func(v map[string]string) string {
		return spark.GlueConf(discovery.Country{Region: args.Glue.args.Region, Buckets: discovery.Buckets{Curated: v["curated"]}, Compute: discovery.Compute{KMSKeyARN: v["key"]}})
	}).(pulumi.StringOutput)
	return args.Glue.job(ctx, name, &glueJob{
		name: args.Prefix + "-upkeep", description: "Drops old snapshots of the stages' tables", key: args.Jobs.UpkeepKey, policy: args.UpkeepPolicy,
		parallel: 1, timeoutMinutes: 120, arguments: pulumi.StringMap{
			"--conf": conf, "--extra-py-files": pulumi.Sprintf("s3://%s/%s", args.Glue.args.ArtifactsBucket, args.Jobs.PackageKey),
			"--databases": pulumi.String(strings.Join(args.Databases, ",")), "--days": pulumi.String(strconv.Itoa(withDefault(args.SnapshotDays, 30)))}}, pulumi.Parent(n))
}
