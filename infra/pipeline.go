package infra

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The functions of a country: folders below lambdas.
const (
	ReceiveFile = "receive-file"
	QueueJobs   = "queue-jobs"
	StartJobs   = "start-jobs"
	FinishJob   = "finish-job"
	ExportTable = "export-table"

	PublishCPU      = "publish-cpu"
	StopCluster     = "stop-cluster"
	KeepCertificate = "keep-certificate"

	TellFault = "tell-fault"
)

// Functions are the folders of a country's functions.
var Functions = []string{TellFault, ReceiveFile, QueueJobs, StartJobs, FinishJob, ExportTable, PublishCPU, StopCluster, KeepCertificate}

// needs are what a function takes, where it is not Function's default.
var needs = map[string]FunctionArgs{
	ReceiveFile: {},
	QueueJobs:   {TimeoutSeconds: 300, Single: true},
	StartJobs:   {TimeoutSeconds: 300, Single: true}, // two at once would look for free slots twice and start no more
	FinishJob:   {},
	ExportTable: {TimeoutSeconds: 900, MemoryMB: 512},

	PublishCPU:      {},
	StopCluster:     {TimeoutSeconds: 900, Single: true}, // two at once would end a cluster twice; EMR takes minutes to end all of them
	KeepCertificate: {TimeoutSeconds: 120},               // it waits until what its new role may do has got around

	TellFault: {Single: true}, // two at once would tell twice
}

// PipelineArgs is what a Pipeline is made of.
type PipelineArgs struct {
	Prefix       string             // Prefix begins the functions' names, for example "sluice-prod-us".
	StepPrefix   string             // StepPrefix begins the names of the country's EMR steps, for example "sluice/prod/us/".
	Packages     map[string]string  // Packages are the paths of the built functions, by folder.
	Architecture string             // Architecture is "arm64" or "x86_64".
	LogDays      int                // LogDays is how long the functions' logs are kept, 30 by default.
	SweepMinutes int                // SweepMinutes is how often queue-jobs looks for what events missed, or polling begins, 15 by default.
	Polling      bool               // Polling has a state machine ask every ten seconds, instead of each function be woken by what happens.
	Network      *Network           // Network is where clusters are.
	Access       Access             // Access says what the functions may do, and has what they are wired to.
	Engines      Engines            // Engines are what start-jobs starts runs on, and what tells finish-job of their ends.
	Discovery    pulumi.StringInput // Discovery is the name and version of the parameter with the country's document.
	Tags         map[string]string  // Tags go on everything that takes tags.
}

// Pipeline is a country's functions and what wakes them: a file that landed, a job that was announced, a step that ended, and the
// clock for whatever an event missed; or the polling driver instead of all these. A day that succeeded is announced to export-table in both.
type Pipeline struct {
	pulumi.ResourceState

	Functions   map[string]*Function // Functions are the country's functions by folder.
	Polling     *Polling             // Polling is the polling driver, nil without one.
	Last        pulumi.Resource      // Last goes when all clusters have ended: what is after it goes before.
	Certificate pulumi.Resource      // Certificate is there when the certificate is that clusters' nodes talk to each other under.
}

// DefaultSweepMinutes is how often files are looked for that no event told of.
const DefaultSweepMinutes = 15

// FunctionName is the physical name of the function in this folder, and of its role.
func FunctionName(prefix, folder string) string { return prefix + "-" + folder }

// NewPipeline creates a Pipeline.
func NewPipeline(ctx *pulumi.Context, name string, args *PipelineArgs, opts ...pulumi.ResourceOption) (*Pipeline, error) {
	p := &Pipeline{Functions: map[string]*Function{}}
	if err := register(ctx, "sluice:compute:Pipeline", name, p, opts); err != nil {
		return nil, err
	}
	for _, folder := range []string{TellFault, StopCluster} { // what others need
		if err := p.function(ctx, name, folder, args); err != nil {
			return nil, err
		}
	}
	var err error
	if p.Last, err = p.endsClusters(ctx, name+"-last", args); err != nil {
		return nil, err
	}
	for _, folder := range Functions {
		var after []pulumi.Resource
		switch folder {
		case TellFault, StopCluster:
			continue
		case StartJobs:
			after = append(after, p.Last) // else it would start others while the country's clusters are ended
		}
		if err := p.function(ctx, name, folder, args, after...); err != nil {
			return nil, err
		}
	}
	taken, err := p.takesEvents(ctx, name+"-landed", args)
	if err != nil {
		return nil, err
	}
	if args.Polling {
		err = p.poll(ctx, name, args)
	} else {
		err = p.push(ctx, name, taken, args)
	}
	if err != nil {
		return nil, err
	}
	if err := p.onMessage(ctx, name+"-succeeded", ExportTable, []string{"job.succeeded"}, args); err != nil {
		return nil, err
	}
	if err := p.failures(ctx, name, args); err != nil {
		return nil, err
	}
	if p.Certificate, err = lambda.NewInvocation(ctx, name+"-certificate", &lambda.InvocationArgs{FunctionName: p.Functions[KeepCertificate].Name, Input: pulumi.String("{}")},
		pulumi.Parent(p)); err != nil {
		return nil, err
	}
	outputs := pulumi.Map{}
	for folder, function := range p.Functions {
		outputs[folder] = function.Name
	}
	return p, ctx.RegisterResourceOutputs(p, outputs)
}

// push has each function woken by what happens.
func (p *Pipeline) push(ctx *pulumi.Context, name string, taken pulumi.Resource, args *PipelineArgs) error {
	if err := p.onLandedFile(ctx, name+"-landed", taken, args); err != nil {
		return err
	}
	// A job that ended frees a slot.
	if err := p.onMessage(ctx, name+"-jobs", StartJobs, []string{"job.ready", "job.succeeded", "job.retry", "job.failed", "job.dead", "job.cancelled", "job.cancel"}, args); err != nil {
		return err
	}
	for _, wake := range []struct {
		child, folder string
		rule          cloudwatch.EventRuleArgs
	}{
		{name + "-tick", StartJobs, cloudwatch.EventRuleArgs{Description: pulumi.String("Starts what a message missed"), ScheduleExpression: every(1)}},
		{name + "-sweep", QueueJobs, cloudwatch.EventRuleArgs{Description: pulumi.String("Finds files that an event missed, and days that ended"), ScheduleExpression: every(withDefault(args.SweepMinutes, DefaultSweepMinutes))}},
		{name + "-ended", FinishJob, cloudwatch.EventRuleArgs{Description: pulumi.String("EMR steps and clusters of the country that ended"), EventPattern: endedPattern(args)}},
		{name + "-ended-serverless", FinishJob, cloudwatch.EventRuleArgs{Description: pulumi.String("EMR Serverless runs of the country that ended"),
			EventPattern: endedRunPattern("aws.emr-serverless", "EMR Serverless Job Run State Change", "applicationId", args.Engines.Serverless.ApplicationID, "SUCCESS", "FAILED", "CANCELLED")}},
		{name + "-ended-glue", FinishJob, cloudwatch.EventRuleArgs{Description: pulumi.String("Runs of the country's Glue job that ended"),
			EventPattern: endedRunPattern("aws.glue", "Glue Job State Change", "jobName", args.Engines.Glue.JobName, "SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED")}},
	} {
		if err := p.onEvent(ctx, wake.child, wake.folder, &wake.rule, args); err != nil {
			return err
		}
	}
	return nil
}

// poll has a state machine invoke the functions.
func (p *Pipeline) poll(ctx *pulumi.Context, name string, args *PipelineArgs) (err error) {
	p.Polling, err = NewPolling(ctx, name+"-polling", &PollingArgs{MachineName: PollingName(args.Prefix), Account: args.Access.Account, Region: args.Access.Region,
		Functions: p.Functions, Minutes: args.SweepMinutes, KeyARN: args.Access.Keys.StateARN, LogKeyARN: args.Access.Keys.LogsARN, LogDays: args.LogDays, Tags: args.Tags}, pulumi.Parent(p))
	return err
}

// function creates the function in a folder.
func (p *Pipeline) function(ctx *pulumi.Context, name, folder string, args *PipelineArgs, after ...pulumi.Resource) error {
	function := needs[folder]
	function.FunctionName, function.After = FunctionName(args.Prefix, folder), after
	function.Package, function.Architecture, function.LogDays, function.Tags = args.Packages[folder], args.Architecture, args.LogDays, args.Tags
	function.Policy, function.Discovery = args.Access.Function(folder, function.FunctionName, args.Engines), args.Discovery
	function.KeyARN, function.LogKeyARN = args.Access.Keys.StateARN, args.Access.Keys.LogsARN
	function.DeadLettersARN = args.Access.Messaging.DeadLettersARN
	if tell := p.Functions[TellFault]; tell != nil {
		function.FailuresARN = tell.ARN
	}
	created, err := NewFunction(ctx, name+"-"+folder, &function, pulumi.Parent(p))
	p.Functions[folder] = created
	return err
}

// failures has people told of what runs without a job, which has nobody else to say that it failed.
func (p *Pipeline) failures(ctx *pulumi.Context, name string, args *PipelineArgs) error {
	machines := "arn:aws:states:" + args.Access.Region + ":" + args.Access.Account + ":stateMachine:" + args.Prefix + "-"
	for _, failed := range []struct {
		child, description string
		pattern            pulumi.StringPtrInput
	}{
		{"-failed-upkeep", "Runs of the country's upkeep that failed",
			failedPattern("aws.glue", "Glue Job State Change", "jobName", args.Prefix+"-upkeep", "state", "FAILED", "TIMEOUT", "ERROR")},
		{"-failed-crawler", "Crawlers of the country that failed", failedPattern("aws.glue", "Glue Crawler State Change", "crawlerName", args.Prefix+"-", "state", "Failed")},
		{"-failed-machine", "State machines of the country that failed",
			failedPattern("aws.states", "Step Functions Execution Status Change", "stateMachineArn", machines, "status", "FAILED", "TIMED_OUT", "ABORTED")},
	} {
		rule := cloudwatch.EventRuleArgs{Description: pulumi.String(failed.description), EventPattern: failed.pattern}
		if err := p.onEvent(ctx, name+failed.child, TellFault, &rule, args); err != nil {
			return err
		}
	}
	return nil
}

// takesEvents has receive-file take the events of landed files from their queue, where a delivery of many files waits rather than start as
// many functions, and an event that failed is tried again by itself. With the polling driver it takes those that were on their way when
// the driver was switched.
func (p *Pipeline) takesEvents(ctx *pulumi.Context, name string, args *PipelineArgs) (pulumi.Resource, error) {
	return lambda.NewEventSourceMapping(ctx, name, &lambda.EventSourceMappingArgs{
		EventSourceArn: args.Access.Messaging.LandedARN, FunctionName: p.Functions[ReceiveFile].ARN, BatchSize: pulumi.Int(eventBatch),
		FunctionResponseTypes: pulumi.StringArray{pulumi.String("ReportBatchItemFailures")}, Tags: tagged(args.Tags),
		ScalingConfig: &lambda.EventSourceMappingScalingConfigArgs{MaximumConcurrency: pulumi.Int(eventFunctions)},
	}, pulumi.Parent(p))
}

// onLandedFile has every new object of the landing bucket told to the queue of events, which is taken already.
func (p *Pipeline) onLandedFile(ctx *pulumi.Context, name string, taken pulumi.Resource, args *PipelineArgs) error {
	_, err := s3.NewBucketNotification(ctx, name, &s3.BucketNotificationArgs{Bucket: args.Access.Lake.Names["landing"],
		Queues: s3.BucketNotificationQueueArray{&s3.BucketNotificationQueueArgs{
			Id: pulumi.String(ReceiveFile), QueueArn: args.Access.Messaging.LandedARN, Events: pulumi.StringArray{pulumi.String("s3:ObjectCreated:*")}}},
	}, pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{args.Access.Messaging, taken})) // S3 tries whether it may send to the queue, and nothing is sent that nobody takes
	return err
}

const (
	// eventBatch is how many events a function takes at once. More than ten would have each wait for a second.
	eventBatch = 10
	// eventFunctions is how many do at the same time. Lambda would start up to 1000, as many as an account has for all its functions, and most
	// of them would wait for each other's changes of the same day's job.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	eventFunctions = 10
)

// onMessage has a function woken by the messages of these types on the topic of jobs.
func (p *Pipeline) onMessage(ctx *pulumi.Context, name, folder string, types []string, args *PipelineArgs) error {
	filter, err := json.Marshal(map[string][]string{"type": types})
	if err != nil {
		return err
	}
	return p.Functions[folder].onTopic(ctx, name, args.Access.Messaging.JobsARN, string(filter), p)
}

// onEvent has a function woken by a rule of the default event bus.
func (p *Pipeline) onEvent(ctx *pulumi.Context, name, folder string, rule *cloudwatch.EventRuleArgs, args *PipelineArgs) error {
	return p.Functions[folder].onEvent(ctx, name, rule, args.Tags, p)
}

// endsClusters has every cluster ended that jobs started, when the country goes: the deployment knows none of them, and their network could
// not be deleted under them. The Serverless application is stopped as well.
func (p *Pipeline) endsClusters(ctx *pulumi.Context, name string, args *PipelineArgs) (pulumi.Resource, error) {
	return lambda.NewInvocation(ctx, name, &lambda.InvocationArgs{FunctionName: p.Functions[StopCluster].Name, LifecycleScope: pulumi.String("CRUD"),
		Input: pulumi.String("{}")}, pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{args.Network, args.Engines.Cluster, args.Engines.Serverless})) // so it is taken away before the clusters' ways out, roles and groups, and the application
}

// every is a schedule expression.
func every(minutes int) pulumi.StringPtrInput {
	if minutes == 1 {
		return pulumi.StringPtr("rate(1 minute)")
	}
	return pulumi.StringPtr(fmt.Sprintf("rate(%d minutes)", minutes))
}

// endedPattern matches the end of the country's own steps and clusters, which are told by how their names begin.
func endedPattern(args *PipelineArgs) pulumi.StringPtrInput {
	type object = map[string]any
	text, _ := json.Marshal(object{ // maps of strings always marshal
		"source":      []string{"aws.emr"},
		"detail-type": []string{"EMR Step Status Change", "EMR Cluster State Change"},
		"detail": object{
			"name":  []object{{"prefix": args.StepPrefix}, {"prefix": args.Prefix + "-"}},
			"state": []string{"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED", "TERMINATED", "TERMINATED_WITH_ERRORS"},
		},
	})
	return pulumi.StringPtr(string(text))
}

// endedRunPattern matches the end of job runs: events of a kind from a source, whose detail has one value in a field and one of these
// states.
func endedRunPattern(source, kind, field string, value pulumi.StringInput, states ...string) pulumi.StringPtrInput {
	return value.ToStringOutput().ApplyT(func(value string) (*string, error) {
		text, err := json.Marshal(map[string]any{
			"source": []string{source}, "detail-type": []string{kind}, "detail": map[string][]string{field: {value}, "state": states}})
		pattern := string(text)
		return &pattern, err
	}).(pulumi.StringPtrOutput)
}

// failedPattern matches the failure of what the country has by the beginning of its name: events of a kind from a source.
func failedPattern(source, kind, field, prefix, stateField string, states ...string) pulumi.StringPtrInput {
	text, _ := json.Marshal(map[string]any{ // maps of strings always marshal
		"source": []string{source}, "detail-type": []string{kind},
		"detail": map[string]any{field: []map[string]string{{"prefix": prefix}}, stateField: states}})
	return pulumi.StringPtr(string(text))
}
