package infra

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/policies"
)

// FunctionArgs is what a Function is made of.
type FunctionArgs struct {
	FunctionName   string             // FunctionName is the function's physical name, and its role's, which Google's side trusts by name.
	Package        string             // Package is the path of the built package.
	Architecture   string             // Architecture is "arm64" or "x86_64", as the package was built for.
	Policy         pulumi.StringInput // Policy is what the function may do.
	Discovery      pulumi.StringInput // Discovery is the name and version of the parameter with the country's document.
	KeyARN         pulumi.StringInput // KeyARN is the key that the function's environment is encrypted with.
	LogKeyARN      pulumi.StringInput // LogKeyARN is the key that the log is encrypted with.
	FailuresARN    pulumi.StringInput // FailuresARN is the function that is told of events that failed for good; nil: none is.
	DeadLettersARN pulumi.StringInput // DeadLettersARN is the queue that keeps those events.
	MemoryMB       int                // MemoryMB is the memory in megabytes, 256 by default; processor time grows with it.
	TimeoutSeconds int                // TimeoutSeconds ends an invocation, DefaultTimeoutSeconds by default.
	Single         bool               // Single runs one invocation at a time.
	After          []pulumi.Resource  // After are resources that are made before the function, and go only after it.
	LogDays        int                // LogDays is how long the log is kept, 30 by default.
	Tags           map[string]string  // Tags go on everything that takes tags.
}

// Function is a Lambda function with a role and a log of its own, and a place for the events that it could not handle.
type Function struct {
	pulumi.ResourceState

	Name pulumi.StringOutput
	ARN  pulumi.StringOutput

	TimeoutSeconds int  // TimeoutSeconds ends an invocation.
	Single         bool // Single runs one invocation at a time.

	deadLettersARN pulumi.StringInput
}

// DefaultTimeoutSeconds is how long an invocation may take unless a function needs more.
const DefaultTimeoutSeconds = 60

// LogGroupARN is the log of the function with this physical name.
func LogGroupARN(account, region, functionName string) string {
	return "arn:aws:logs:" + region + ":" + account + ":log-group:/aws/lambda/" + functionName
}

// NewFunction creates a Function.
func NewFunction(ctx *pulumi.Context, name string, args *FunctionArgs, opts ...pulumi.ResourceOption) (*Function, error) {
	content, err := os.ReadFile(args.Package)
	if err != nil {
		return nil, fmt.Errorf("function %q: %w", name, err)
	}
	hash := sha256.Sum256(content)
	f := &Function{TimeoutSeconds: withDefault(args.TimeoutSeconds, DefaultTimeoutSeconds), Single: args.Single, deadLettersARN: args.DeadLettersARN}
	if err := register(ctx, "sluice:compute:Function", name, f, opts); err != nil {
		return nil, err
	}
	log, err := cloudwatch.NewLogGroup(ctx, name, &cloudwatch.LogGroupArgs{
		Name:            pulumi.String("/aws/lambda/" + args.FunctionName),
		RetentionInDays: pulumi.Int(withDefault(args.LogDays, 30)),
		KmsKeyId:        args.LogKeyARN.ToStringOutput().ToStringPtrOutput(),
		Tags:            tagged(args.Tags),
	}, pulumi.Parent(f))
	if err != nil {
		return nil, err
	}
	role, access, err := f.role(ctx, name, args)
	if err != nil {
		return nil, err
	}
	function, err := lambda.NewFunction(ctx, name, &lambda.FunctionArgs{
		Name:             pulumi.String(args.FunctionName),
		Role:             role.Arn,
		Runtime:          pulumi.String("provided.al2023"),
		Handler:          pulumi.String("bootstrap"),
		Architectures:    pulumi.StringArray{pulumi.String(args.Architecture)},
		Code:             pulumi.NewFileArchive(args.Package),
		SourceCodeHash:   pulumi.String(base64.StdEncoding.EncodeToString(hash[:])),
		MemorySize:       pulumi.Int(withDefault(args.MemoryMB, 256)),
		Timeout:          pulumi.Int(f.TimeoutSeconds),
		KmsKeyArn:        args.KeyARN.ToStringOutput().ToStringPtrOutput(),
		Environment:      &lambda.FunctionEnvironmentArgs{Variables: pulumi.StringMap{discovery.EnvVar: args.Discovery}},
		DeadLetterConfig: &lambda.FunctionDeadLetterConfigArgs{TargetArn: args.DeadLettersARN},
		LoggingConfig:    &lambda.FunctionLoggingConfigArgs{LogFormat: pulumi.String("JSON"), LogGroup: log.Name},
		Tags:             tagged(args.Tags),

		ReservedConcurrentExecutions: f.concurrency(args),
	}, pulumi.Parent(f), pulumi.DependsOn(append(args.After, access))) // Lambda checks that the role may send to the dead letters
	if err != nil {
		return nil, err
	}
	retries := &lambda.FunctionEventInvokeConfigArgs{FunctionName: function.Name, MaximumRetryAttempts: pulumi.Int(2), MaximumEventAgeInSeconds: pulumi.Int(6 * 60 * 60)}
	if args.FailuresARN != nil {
		retries.DestinationConfig = &lambda.FunctionEventInvokeConfigDestinationConfigArgs{
			OnFailure: &lambda.FunctionEventInvokeConfigDestinationConfigOnFailureArgs{Destination: args.FailuresARN}}
	}
	if _, err := lambda.NewFunctionEventInvokeConfig(ctx, name, retries, pulumi.Parent(f)); err != nil {
		return nil, err
	}
	f.Name, f.ARN = function.Name, function.Arn
	return f, ctx.RegisterResourceOutputs(f, pulumi.Map{"name": f.Name, "arn": f.ARN})
}

// role creates the function's own role and what it may do.
func (f *Function) role(ctx *pulumi.Context, name string, args *FunctionArgs) (*iam.Role, *iam.RolePolicy, error) {
	trust, err := policies.AssumedBy("lambda.amazonaws.com").JSON()
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(args.FunctionName), AssumeRolePolicy: pulumi.String(trust), Tags: tagged(args.Tags)}, pulumi.Parent(f))
	if err != nil {
		return nil, nil, err
	}
	access, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Role: role.Name, Policy: args.Policy}, pulumi.Parent(f))
	return role, access, err
}

func (f *Function) concurrency(args *FunctionArgs) pulumi.IntPtrInput {
	if args.Single {
		return pulumi.IntPtr(1)
	}
	return nil
}

// allowInvoke lets a service invoke the function on behalf of one source, whose ARN says whose account it is in: not every service tells
// Lambda the account itself (AddPermission, SourceAccount).
func (f *Function) allowInvoke(ctx *pulumi.Context, name, service string, sourceARN pulumi.StringInput) (*lambda.Permission, error) {
	return lambda.NewPermission(ctx, name, &lambda.PermissionArgs{
		Function:    f.Name,
		Action:      pulumi.String("lambda:InvokeFunction"),
		Principal:   pulumi.String(service),
		SourceArn:   sourceARN.ToStringOutput().ToStringPtrOutput(),
		StatementId: pulumi.String(name),
	}, pulumi.Parent(f))
}

// onTopic has the function woken by the messages of a topic; filter, where there is one, says by which. What the topic cannot deliver is a
// dead letter.
func (f *Function) onTopic(ctx *pulumi.Context, name string, topicARN pulumi.StringInput, filter string, parent pulumi.Resource) error {
	if _, err := f.allowInvoke(ctx, name, "sns.amazonaws.com", topicARN); err != nil {
		return err
	}
	subscription := &sns.TopicSubscriptionArgs{Topic: topicARN, Protocol: pulumi.String("lambda"), Endpoint: f.ARN,
		RedrivePolicy: pulumi.JSONMarshal(pulumi.Map{"deadLetterTargetArn": f.deadLettersARN})}
	if filter != "" {
		subscription.FilterPolicy, subscription.FilterPolicyScope = pulumi.String(filter), pulumi.String("MessageAttributes")
	}
	_, err := sns.NewTopicSubscription(ctx, name, subscription, pulumi.Parent(parent))
	return err
}

// onEvent has the function woken by a rule of the default event bus, which becomes a child of parent. What the rule cannot deliver is a
// dead letter.
func (f *Function) onEvent(ctx *pulumi.Context, name string, rule *cloudwatch.EventRuleArgs, tags map[string]string, parent pulumi.Resource) error {
	rule.Tags = tagged(tags)
	created, err := cloudwatch.NewEventRule(ctx, name, rule, pulumi.Parent(parent))
	if err != nil {
		return err
	}
	if _, err := f.allowInvoke(ctx, name, "events.amazonaws.com", created.Arn); err != nil {
		return err
	}
	_, err = cloudwatch.NewEventTarget(ctx, name, &cloudwatch.EventTargetArgs{Rule: created.Name, TargetId: pulumi.String(name), Arn: f.ARN,
		DeadLetterConfig: &cloudwatch.EventTargetDeadLetterConfigArgs{Arn: f.deadLettersARN.ToStringOutput().ToStringPtrOutput()}}, pulumi.Parent(parent))
	return err
}
