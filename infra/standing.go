package infra

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/emr"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/policies"
)

// StandingArgs is what a Standing is made of.
type StandingArgs struct {
	Enabled  bool      // Enabled: the cluster runs. Without it, all that costs by the hour is left out; the alarm stays.
	Stack    string    // Stack is the Pulumi stack's name, a dimension of the country's metrics.
	Country  string    // Country is the country's code, the other dimension.
	Account  string    // Account is the AWS account.
	Cluster  *Cluster  // Cluster is the definition.
	Network  *Network  // Network is where the cluster is.
	Pipeline *Pipeline // Pipeline has the functions that measure and stop the cluster.
	Ended    string    // Ended is the id of the cluster that ended by itself last, "" by default. Another one means that the cluster made before is no more.

	Size          string // Size is one of package sizing's, "small" by default; days that are larger get clusters of their own.
	MinUnits      int    // MinUnits is how many core and task nodes the cluster keeps, the size's core nodes by default.
	MaxUnits      int    // MaxUnits is how many of them managed scaling may make of it, the size's by default.
	OnDemandUnits int    // OnDemandUnits is how many of them may be on demand, the size's core nodes by default; the rest is spot.

	QuietPercent int // QuietPercent is the mean processor use below which the cluster is quiet, 40 by default.
	QuietMinutes int // QuietMinutes is how long it must be quiet and idle before it is ended, 30 by default; a multiple of five, or less than five.
	EndMinutes   int // EndMinutes is how long it may be idle before EMR itself ends it, should the alarm not work; twice QuietMinutes by default.

	KeyARN pulumi.StringInput // KeyARN is the key that the alarm's messages are encrypted with.
	Tags   map[string]string  // Tags go on everything that takes tags.
}

// Standing is a country's standing EMR cluster, made by the same definition as those that are started when there is work, and the alarm
// that has it ended when it is idle. What ended is not made again before somebody switches it on.
type Standing struct {
	pulumi.ResourceState

	ID pulumi.StringOutput // ID is the cluster's id, "" while it is switched off.
}

// DefaultQuietMinutes is how long a standing cluster must be quiet before it is ended.
const DefaultQuietMinutes = 30

// StandingSize is the size that a standing cluster has by default.
const StandingSize = "small"

// endedTag is the tag with the id of the cluster in whose place one is.
const endedTag = "InPlaceOf"

// NewStanding creates a Standing.
func NewStanding(ctx *pulumi.Context, name string, args *StandingArgs, opts ...pulumi.ResourceOption) (*Standing, error) {
	s := &Standing{ID: pulumi.String("").ToStringOutput()}
	if err := register(ctx, "sluice:compute:Standing", name, s, opts); err != nil {
		return nil, err
	}
	if args.Enabled {
		if err := s.cluster(ctx, name, args); err != nil {
			return nil, err
		}
	}
	if err := s.idleAlarm(ctx, name+"-idle", args); err != nil {
		return nil, err
	}
	if err := s.recordsItsEnd(ctx, name+"-ended", args); err != nil {
		return nil, err
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"id": s.ID})
}

// cluster creates the cluster, its task nodes, and the limits of its size.
func (s *Standing) cluster(ctx *pulumi.Context, name string, args *StandingArgs) error {
	sizeName := args.Size
	if sizeName == "" {
		sizeName = StandingSize
	}
	size, ok := sizing.Named(sizeName)
	if !ok {
		return fmt.Errorf("standing cluster %q: no size %q", name, sizeName)
	}
	c := args.Cluster
	configurations, err := json.Marshal(c.args.configuration())
	if err != nil {
		return err
	}
	fleets := map[string]fleet{}
	for _, f := range c.fleets {
		fleets[f.kind] = f
	}
	primary, core, task := fleets["MASTER"], fleets["CORE"], fleets["TASK"]
	tags := map[string]string{"Size": size.Name}
	if args.Ended != "" {
		tags[endedTag] = args.Ended
	}
	made, err := emr.NewCluster(ctx, name, &emr.ClusterArgs{
		Name:                        pulumi.String(cluster.StandingName(args.Stack, args.Country, size.Name)),
		ReleaseLabel:                pulumi.String(c.args.ReleaseLabel),
		Applications:                pulumi.ToStringArray(applications),
		ConfigurationsJson:          pulumi.String(string(configurations)),
		ServiceRole:                 c.ServiceRoleARN,
		SecurityConfiguration:       c.security,
		LogUri:                      c.args.LogsBucket.ToStringOutput().ApplyT(c.args.logs).(pulumi.StringOutput),
		LogEncryptionKmsKeyId:       c.args.LogKeyARN.ToStringOutput().ToStringPtrOutput(),
		ScaleDownBehavior:           pulumi.String(scaleDown),
		StepConcurrencyLevel:        pulumi.Int(c.args.steps()),
		KeepJobFlowAliveWhenNoSteps: pulumi.Bool(true),
		TerminationProtection:       pulumi.Bool(false),
		UnhealthyNodeReplacement:    pulumi.Bool(true),
		AutoTerminationPolicy:       &emr.ClusterAutoTerminationPolicyArgs{IdleTimeout: pulumi.Int(60 * withDefault(args.EndMinutes, 2*args.quietMinutes()))},
		Ec2Attributes: &emr.ClusterEc2AttributesArgs{
			InstanceProfile:               c.profile,
			SubnetIds:                     c.args.Network.PrivateSubnetIDs,
			EmrManagedMasterSecurityGroup: c.groups.primary,
			EmrManagedSlaveSecurityGroup:  c.groups.core,
			ServiceAccessSecurityGroup:    c.groups.service,
		},
		MasterInstanceFleet: &emr.ClusterMasterInstanceFleetArgs{Name: pulumi.String(primary.name), TargetOnDemandCapacity: pulumi.Int(primary.onDemand),
			InstanceTypeConfigs: primaryTypes(primary.types),
			LaunchSpecifications: &emr.ClusterMasterInstanceFleetLaunchSpecificationsArgs{OnDemandSpecifications: emr.ClusterMasterInstanceFleetLaunchSpecificationsOnDemandSpecificationArray{
				&emr.ClusterMasterInstanceFleetLaunchSpecificationsOnDemandSpecificationArgs{AllocationStrategy: pulumi.String(onDemandStrategy)}}}},
		CoreInstanceFleet: &emr.ClusterCoreInstanceFleetArgs{Name: pulumi.String(core.name), TargetOnDemandCapacity: pulumi.Int(int(size.Core)),
			InstanceTypeConfigs: coreTypes(core.types),
			LaunchSpecifications: &emr.ClusterCoreInstanceFleetLaunchSpecificationsArgs{OnDemandSpecifications: emr.ClusterCoreInstanceFleetLaunchSpecificationsOnDemandSpecificationArray{
				&emr.ClusterCoreInstanceFleetLaunchSpecificationsOnDemandSpecificationArgs{AllocationStrategy: pulumi.String(onDemandStrategy)}}}},
		Tags: tagged(args.Tags, EMRManaged, tags),
	}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{c, args.Network, args.Pipeline.Certificate, args.Pipeline.Last}), // its roles' policies, its ways out, what nodes talk under; and others end after it
		// Nobody looks whether the cluster is still there before a deployment: without this, one that ended would not come back.
		pulumi.ReplaceOnChanges([]string{"tags." + endedTag}),
		// Managed scaling changes the number of nodes, and jobs add steps: neither is to be undone, least of all by a new cluster.
		pulumi.IgnoreChanges([]string{"coreInstanceFleet.targetOnDemandCapacity", "coreInstanceFleet.targetSpotCapacity", "steps"}))
	if err != nil {
		return err
	}
	s.ID = made.ID().ToStringOutput()
	// A cluster takes them with it. Of one that ended by itself EMR has nothing changed any more: a deployment that tried would stop there.
	withCluster := []pulumi.ResourceOption{pulumi.Parent(s), pulumi.RetainOnDelete(true)}
	scaling, err := emr.NewManagedScalingPolicy(ctx, name, &emr.ManagedScalingPolicyArgs{ClusterId: made.ID(), ComputeLimits: emr.ManagedScalingPolicyComputeLimitArray{
		&emr.ManagedScalingPolicyComputeLimitArgs{
			UnitType:                     pulumi.String("InstanceFleetUnits"),
			MinimumCapacityUnits:         pulumi.Int(withDefault(args.MinUnits, int(size.Core))),
			MaximumCapacityUnits:         pulumi.Int(withDefault(args.MaxUnits, int(size.MaxUnits))),
			MaximumOndemandCapacityUnits: pulumi.Int(withDefault(args.OnDemandUnits, int(size.Core))),
			MaximumCoreCapacityUnits:     pulumi.Int(int(size.Core)),
		}}}, withCluster...)
	if err != nil {
		return err
	}
	if _, err := emr.NewInstanceFleet(ctx, name+"-task", &emr.InstanceFleetArgs{ClusterId: made.ID(), Name: pulumi.String(task.name), TargetSpotCapacity: pulumi.Int(task.spot),
		InstanceTypeConfigs: taskTypes(task.types),
		LaunchSpecifications: &emr.InstanceFleetLaunchSpecificationsArgs{
			OnDemandSpecifications: emr.InstanceFleetLaunchSpecificationsOnDemandSpecificationArray{
				&emr.InstanceFleetLaunchSpecificationsOnDemandSpecificationArgs{AllocationStrategy: pulumi.String(onDemandStrategy)}},
			SpotSpecifications: emr.InstanceFleetLaunchSpecificationsSpotSpecificationArray{
				&emr.InstanceFleetLaunchSpecificationsSpotSpecificationArgs{AllocationStrategy: pulumi.String(spotStrategy), TimeoutAction: pulumi.String(spotTimeout),
					TimeoutDurationMinutes: pulumi.Int(spotMinutes)}}},
	}, append(withCluster, pulumi.IgnoreChanges([]string{"targetOnDemandCapacity", "targetSpotCapacity"}))...); err != nil {
		return err
	}
	// Before this cluster goes, or makes room for another, runs are kept off it: this is taken away, or changed, before it.
	_, err = lambda.NewInvocation(ctx, name, &lambda.InvocationArgs{FunctionName: args.Pipeline.Functions[StopCluster].Name, LifecycleScope: pulumi.String("CRUD"),
		Input: pulumi.JSONMarshal(pulumi.Map{"cluster": made.ID()})}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{scaling}))
	return err
}

// quietMinutes is how long the cluster must be quiet.
func (args *StandingArgs) quietMinutes() int {
	return withDefault(args.QuietMinutes, DefaultQuietMinutes)
}

// metricMinutes is how often EC2 and EMR have new values.
const metricMinutes = 5

// period is over how many minutes the alarm takes each value, and how many values in a row it wants.
func (args *StandingArgs) period() (minutes, values int) {
	quiet := args.quietMinutes()
	if quiet < metricMinutes {
		return 1, quiet
	}
	return metricMinutes, quiet / metricMinutes
}

// idleAlarm creates the alarm that has stop-cluster look at the cluster: it is on while two others are, which people can read one by one.
// A gap in the metrics is no quiet.
func (s *Standing) idleAlarm(ctx *pulumi.Context, name string, args *StandingArgs) error {
	period, values := args.period()
	prefix := cluster.Prefix(args.Stack, args.Country)
	alarm := func(child, description, metric, statistic, comparison string, threshold int) (*cloudwatch.MetricAlarm, error) {
		return cloudwatch.NewMetricAlarm(ctx, name+"-"+child, &cloudwatch.MetricAlarmArgs{
			Name: pulumi.String(prefix + "standing-" + child), AlarmDescription: pulumi.String(description),
			Namespace: pulumi.String(cluster.Namespace), MetricName: pulumi.String(metric), Statistic: pulumi.String(statistic),
			Dimensions:         pulumi.StringMap{"Stack": pulumi.String(args.Stack), "Country": pulumi.String(args.Country)},
			ComparisonOperator: pulumi.String(comparison), Threshold: pulumi.Float64(float64(threshold)),
			Period: pulumi.Int(60 * period), EvaluationPeriods: pulumi.Int(values), DatapointsToAlarm: pulumi.Int(values),
			TreatMissingData: pulumi.String("notBreaching"), Tags: tagged(args.Tags)}, pulumi.Parent(s))
	}
	percent := withDefault(args.QuietPercent, 40)
	quiet, err := alarm("quiet", fmt.Sprintf("The standing cluster used less than %d %% of its processors for %d minutes", percent, args.quietMinutes()),
		cluster.CPUMetric, "Average", "LessThanThreshold", percent)
	if err != nil {
		return err
	}
	idle, err := alarm("idle", fmt.Sprintf("EMR called the standing cluster idle for %d minutes", args.quietMinutes()), cluster.IdleMetric, "Minimum", "GreaterThanOrEqualToThreshold", 1)
	if err != nil {
		return err
	}
	topic, err := sns.NewTopic(ctx, name, &sns.TopicArgs{KmsMasterKeyId: args.KeyARN.ToStringOutput().ToStringPtrOutput(), Tags: tagged(args.Tags)}, pulumi.Parent(s))
	if err != nil {
		return err
	}
	if _, err := sns.NewTopicPolicy(ctx, name, &sns.TopicPolicyArgs{Arn: topic.Arn,
		Policy: document(func(a []string) policies.Document { return policies.AlertTopic(a[0], args.Account) }, topic.Arn)}, pulumi.Parent(s)); err != nil {
		return err
	}
	if err := args.Pipeline.Functions[StopCluster].onTopic(ctx, name, topic.Arn, "", s); err != nil {
		return err
	}
	if _, err := cloudwatch.NewCompositeAlarm(ctx, name, &cloudwatch.CompositeAlarmArgs{
		AlarmName: pulumi.String(prefix + "standing-stop"), AlarmDescription: pulumi.String("The standing cluster is quiet and idle: stop-cluster ends it if nothing is on it"),
		AlarmRule: pulumi.Sprintf("ALARM(%q) AND ALARM(%q)", quiet.Name, idle.Name), AlarmActions: pulumi.StringArray{topic.Arn}, Tags: tagged(args.Tags)}, pulumi.Parent(s)); err != nil {
		return err
	}
	measure := args.Pipeline.Functions[PublishCPU]
	return measure.onEvent(ctx, name+"-measure", &cloudwatch.EventRuleArgs{Description: pulumi.String("How busy the standing cluster is"), ScheduleExpression: every(period)}, args.Tags, s)
}

// recordsItsEnd has stop-cluster record it when the cluster ended by itself.
func (s *Standing) recordsItsEnd(ctx *pulumi.Context, name string, args *StandingArgs) error {
	type object = map[string]any
	pattern, err := json.Marshal(object{
		"source": []string{"aws.emr"}, "detail-type": []string{"EMR Cluster State Change"},
		"detail": object{"name": []object{{"prefix": cluster.StandingName(args.Stack, args.Country, "")}}, "state": []string{"TERMINATED", "TERMINATED_WITH_ERRORS"}},
	})
	if err != nil {
		return err
	}
	return args.Pipeline.Functions[StopCluster].onEvent(ctx, name, &cloudwatch.EventRuleArgs{Description: pulumi.String("The standing cluster ended"),
		EventPattern: pulumi.StringPtr(string(pattern))}, args.Tags, s)
}

// The SDK has a type of its own for the machines of each fleet.

func primaryTypes(names []string) (all emr.ClusterMasterInstanceFleetInstanceTypeConfigArray) {
	for _, name := range names {
		all = append(all, &emr.ClusterMasterInstanceFleetInstanceTypeConfigArgs{InstanceType: pulumi.String(name), WeightedCapacity: pulumi.Int(1)})
	}
	return all
}

func coreTypes(names []string) (all emr.ClusterCoreInstanceFleetInstanceTypeConfigArray) {
	for _, name := range names {
		all = append(all, &emr.ClusterCoreInstanceFleetInstanceTypeConfigArgs{InstanceType: pulumi.String(name), WeightedCapacity: pulumi.Int(1)})
	}
	return all
}

func taskTypes(names []string) (all emr.InstanceFleetInstanceTypeConfigArray) {
	for _, name := range names {
		all = append(all, &emr.InstanceFleetInstanceTypeConfigArgs{InstanceType: pulumi.String(name), WeightedCapacity: pulumi.Int(1)})
	}
	return all
}
