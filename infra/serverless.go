package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/emrserverless"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// ServerlessArgs is what a Serverless is made of.
type ServerlessArgs struct {
	Name          string             // Name is the application's name, for example "sluice-prod-us".
	Account       string             // Account is the AWS account.
	Region        string             // Region is the AWS region.
	ReleaseLabel  string             // ReleaseLabel is EMR's release, for example "emr-7.13.0".
	JobPolicy     pulumi.StringInput // JobPolicy is what runs may do.
	MaxVCPUs      int                // MaxVCPUs is how many vCPUs all runs together may have, 64 by default; with 4 GB each.
	IdleMinutes   int                // IdleMinutes is how long the application waits for work before it stops itself, 15 by default.
	WarmExecutors int                // WarmExecutors is how many executors, and one driver, are kept ready while the application is started; none by default. They cost by the hour.
	Enabled       bool               // Enabled keeps workers ready where WarmExecutors asks for it. The application itself stays without it, as it costs nothing; that no run starts is the functions' to see to.
	Tags          map[string]string  // Tags go on everything that takes tags.
}

// Serverless is a country's application on EMR Serverless, and the role that its runs have. Nothing of it costs while nothing runs,
// unless workers are kept ready.
//
// It is in no VPC: the record job talks to S3, DynamoDB, Glue and KMS only, which the service reaches without one, and in a VPC each
// of the last two would need an endpoint that costs by the hour.
type Serverless struct {
	pulumi.ResourceState

	ApplicationID  pulumi.StringOutput
	ApplicationARN pulumi.StringOutput
	RoleARN        pulumi.StringOutput // RoleARN is the role of runs.
}

// The workers that sizing gives to a small day; others of its sizes do not fit those that are kept ready.
const workerCPU, workerMemory = "4 vCPU", "16 GB"

// NewServerless creates a Serverless.
func NewServerless(ctx *pulumi.Context, name string, args *ServerlessArgs, opts ...pulumi.ResourceOption) (*Serverless, error) {
	s := &Serverless{}
	if err := register(ctx, "sluice:compute:Serverless", name, s, opts); err != nil {
		return nil, err
	}
	trust, err := policies.AssumedByServerless(args.Account, args.Region).JSON()
	if err != nil {
		return nil, err
	}
	role, err := iam.NewRole(ctx, name+"-serverless", &iam.RoleArgs{AssumeRolePolicy: pulumi.String(trust), Tags: tagged(args.Tags)}, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	if _, err := iam.NewRolePolicy(ctx, name+"-serverless", &iam.RolePolicyArgs{Role: role.Name, Policy: args.JobPolicy}, pulumi.Parent(s)); err != nil {
		return nil, err
	}
	vcpus := withDefault(args.MaxVCPUs, 64)
	application, err := emrserverless.NewApplication(ctx, name, &emrserverless.ApplicationArgs{
		Name: pulumi.String(args.Name), Type: pulumi.String("spark"), ReleaseLabel: pulumi.String(args.ReleaseLabel),
		Architecture:           pulumi.String("ARM64"), // a fifth cheaper, and the job is Python and Java
		AutoStartConfiguration: &emrserverless.ApplicationAutoStartConfigurationArgs{Enabled: pulumi.Bool(true)},
		AutoStopConfiguration:  &emrserverless.ApplicationAutoStopConfigurationArgs{Enabled: pulumi.Bool(true), IdleTimeoutMinutes: pulumi.Int(withDefault(args.IdleMinutes, 15))},
		MaximumCapacity:        &emrserverless.ApplicationMaximumCapacityArgs{Cpu: pulumi.String(fmt.Sprintf("%d vCPU", vcpus)), Memory: pulumi.String(fmt.Sprintf("%d GB", 4*vcpus))},
		InitialCapacities:      args.warm(),
		Tags:                   tagged(args.Tags),
	}, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	s.ApplicationID, s.ApplicationARN, s.RoleARN = application.ID().ToStringOutput(), application.Arn, role.Arn
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"applicationId": s.ApplicationID, "roleArn": s.RoleARN})
}

// warm are the workers that are kept ready.
func (args *ServerlessArgs) warm() emrserverless.ApplicationInitialCapacityArray {
	if !args.Enabled || args.WarmExecutors == 0 {
		return nil
	}
	workers := func(kind string, count int) *emrserverless.ApplicationInitialCapacityArgs {
		return &emrserverless.ApplicationInitialCapacityArgs{InitialCapacityType: pulumi.String(kind), InitialCapacityConfig: &emrserverless.ApplicationInitialCapacityInitialCapacityConfigArgs{
			WorkerCount: pulumi.Int(count), WorkerConfiguration: &emrserverless.ApplicationInitialCapacityInitialCapacityConfigWorkerConfigurationArgs{
				Cpu: pulumi.String(workerCPU), Memory: pulumi.String(workerMemory)}}}
	}
	return emrserverless.ApplicationInitialCapacityArray{workers("Driver", 1), workers("Executor", args.WarmExecutors)}
}
