package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/glue"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// GlueLogs begins the names of the log groups of a country's Glue jobs; prefix begins the country's names.
func GlueLogs(prefix string) string { return "/aws-glue/jobs/" + prefix }

// GlueArgs is what a Glue is made of.
type GlueArgs struct {
	Prefix          string             // Prefix begins the jobs' names, for example "sluice-prod-us".
	Account         string             // Account is the AWS account.
	Region          string             // Region is the AWS region.
	Version         string             // Version is Glue's, "5.1" by default: the first with the Spark and the Iceberg of EMR 7.13.
	Parallel        int                // Parallel is how many runs there may be at once.
	TimeoutMinutes  int                // TimeoutMinutes ends a run, 720 by default.
	KeyARN          pulumi.StringInput // KeyARN is the key that objects and bookmarks are encrypted with.
	LogKeyARN       pulumi.StringInput // LogKeyARN is the key that logs are encrypted with.
	ArtifactsBucket pulumi.StringInput // ArtifactsBucket is the bucket that has the job.
	MainKey         string             // MainKey is the record job's start in it.
	JobPolicy       pulumi.StringInput // JobPolicy is what runs may do.
	LogDays         int                // LogDays is how long the runs' logs are kept, 30 by default.
	Tags            map[string]string  // Tags go on everything that takes tags.
}

// Glue is a country's record job on Glue, with a role of its own, and what every Glue job and crawler of the country shares: the security
// configuration, and the logs. Nothing of it costs while nothing runs.
//
// It is in no VPC, for the reason that Serverless is in none: a job without a connection reaches S3, DynamoDB, Glue and KMS.
type Glue struct {
	pulumi.ResourceState

	JobName               pulumi.StringOutput
	JobARN                pulumi.StringOutput
	SecurityConfiguration pulumi.StringOutput // SecurityConfiguration is the name of what jobs and crawlers encrypt with.

	args *GlueArgs
}

// NewGlue creates a Glue.
func NewGlue(ctx *pulumi.Context, name string, args *GlueArgs, opts ...pulumi.ResourceOption) (*Glue, error) {
	g := &Glue{args: args}
	if err := register(ctx, "sluice:compute:Glue", name, g, opts); err != nil {
		return nil, err
	}
	security, err := glue.NewSecurityConfiguration(ctx, name, &glue.SecurityConfigurationArgs{EncryptionConfiguration: &glue.SecurityConfigurationEncryptionConfigurationArgs{
		S3Encryption: &glue.SecurityConfigurationEncryptionConfigurationS3EncryptionArgs{
			S3EncryptionMode: pulumi.String("SSE-KMS"), KmsKeyArn: args.KeyARN.ToStringOutput().ToStringPtrOutput()},
		CloudwatchEncryption: &glue.SecurityConfigurationEncryptionConfigurationCloudwatchEncryptionArgs{
			CloudwatchEncryptionMode: pulumi.String("SSE-KMS"), KmsKeyArn: args.LogKeyARN.ToStringOutput().ToStringPtrOutput()},
		JobBookmarksEncryption: &glue.SecurityConfigurationEncryptionConfigurationJobBookmarksEncryptionArgs{
			JobBookmarksEncryptionMode: pulumi.String("CSE-KMS"), KmsKeyArn: args.KeyARN.ToStringOutput().ToStringPtrOutput()},
	}}, pulumi.Parent(g))
	if err != nil {
		return nil, err
	}
	g.SecurityConfiguration = security.Name
	job, err := g.job(ctx, name+"-records", &glueJob{
		name: args.Prefix + "-records", description: "Records of a day: validated, versioned, curated", key: args.MainKey, policy: args.JobPolicy,
		parallel: args.Parallel, timeoutMinutes: withDefault(args.TimeoutMinutes, 720)}, pulumi.Parent(g))
	if err != nil {
		return nil, err
	}
	g.JobName, g.JobARN = job.Name, job.Arn
	return g, ctx.RegisterResourceOutputs(g, pulumi.Map{"jobName": g.JobName, "securityConfiguration": g.SecurityConfiguration})
}

// glueJob is a job of the country on Glue: what differs between two of them.
type glueJob struct {
	name, description string
	key               string             // key is the script in the artifacts bucket.
	policy            pulumi.StringInput // policy is what runs may do.
	arguments         pulumi.StringMap   // arguments are the runs', on top of those that all jobs have.
	parallel          int                // parallel is how many runs there may be at once.
	timeoutMinutes    int
}

// job creates a job and its role.
func (g *Glue) job(ctx *pulumi.Context, name string, j *glueJob, parent pulumi.ResourceOption) (*glue.Job, error) {
	args := g.args
	role, err := glueRole(ctx, name, args.Account, args.Region, j.policy, args.Tags, parent)
	if err != nil {
		return nil, err
	}
	// Made here, although Glue would: its own are kept for ever. It names them after security configuration and role.
	// https://docs.aws.amazon.com/glue/latest/dg/monitor-continuous-logging.html
	for _, stream := range []string{"error", "output"} {
		if _, err := cloudwatch.NewLogGroup(ctx, name+"-"+stream, &cloudwatch.LogGroupArgs{
			Name:            pulumi.Sprintf("%s/%s-role/%s/%s", GlueLogs(args.Prefix), g.SecurityConfiguration, role.Name, stream),
			RetentionInDays: pulumi.Int(withDefault(args.LogDays, 30)), KmsKeyId: args.LogKeyARN.ToStringOutput().ToStringPtrOutput(), Tags: tagged(args.Tags)}, parent); err != nil {
			return nil, err
		}
	}
	arguments := pulumi.StringMap{
		"--TempDir":                pulumi.Sprintf("s3://%s/runs/glue/", args.ArtifactsBucket),
		"--custom-logGroup-prefix": pulumi.String(GlueLogs(args.Prefix)),
		"--datalake-formats":       pulumi.String("iceberg"),
		"--job-bookmark-option":    pulumi.String("job-bookmark-disable"), // the ledger knows what was read
		"--job-language":           pulumi.String("python"),
	}
	for key, value := range j.arguments {
		arguments[key] = value
	}
	return glue.NewJob(ctx, name, &glue.JobArgs{
		Name: pulumi.String(j.name), Description: pulumi.String(j.description), RoleArn: role.Arn, GlueVersion: pulumi.String(withDefaultText(args.Version, "5.1")),
		Command:               &glue.JobCommandArgs{Name: pulumi.String("glueetl"), PythonVersion: pulumi.String("3"), ScriptLocation: pulumi.Sprintf("s3://%s/%s", args.ArtifactsBucket, j.key)},
		DefaultArguments:      arguments,
		ExecutionProperty:     &glue.JobExecutionPropertyArgs{MaxConcurrentRuns: pulumi.Int(j.parallel)},
		ExecutionClass:        pulumi.String("STANDARD"), // not FLEX: people wait for a day's records
		WorkerType:            pulumi.String("G.1X"),     // the smallest; who starts a run for a larger day says so
		NumberOfWorkers:       pulumi.Int(2),
		MaxRetries:            pulumi.Int(0), // who started it starts it again, with a token of its own
		Timeout:               pulumi.Int(j.timeoutMinutes),
		SecurityConfiguration: g.SecurityConfiguration,
		Tags:                  tagged(args.Tags),
	}, parent)
}

// glueRole creates a role that Glue takes.
func glueRole(ctx *pulumi.Context, name, account, region string, policy pulumi.StringInput, tags map[string]string, parent pulumi.ResourceOption) (*iam.Role, error) {
	trust, err := policies.AssumedByGlue(account, region).JSON()
	if err != nil {
		return nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{AssumeRolePolicy: pulumi.String(trust), Tags: tagged(tags)}, parent)
	if err != nil {
		return nil, err
	}
	_, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Role: role.Name, Policy: policy}, parent)
	return role, err
}
