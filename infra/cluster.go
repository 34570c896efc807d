package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/emr"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/spark"
	"github.com/sluice-data/sluice/policies"
)

// TemplateKey is the launch template's key in the artifacts bucket.
const TemplateKey = "cluster/template.json"

// ClusterArgs is what a Cluster is made of.
type ClusterArgs struct {
	ClusterName     string              // ClusterName begins the names of clusters; who starts one adds its size.
	Account         string              // Account is the AWS account.
	Region          string              // Region is the AWS region.
	ReleaseLabel    string              // ReleaseLabel is EMR's release, for example "emr-7.13.0".
	PrimaryType     string              // PrimaryType is the instance type that is asked for first for the primary node; InstanceTypes lists what stands for it.
	CoreType        string              // CoreType is the one for core and task nodes; who starts a cluster says how many.
	Missing         map[string][]string // Missing are the zones of the network that have not a type, by type; fleets do without such a type.
	IdleMinutes     int                 // IdleMinutes is how long a cluster that was started for work waits for more before it ends itself, 15 by default.
	Steps           int                 // Steps is how many steps a cluster runs at once, 5 by default.
	Network         *Network            // Network is where clusters run: in that of its private subnets that has room.
	CIDR            string              // CIDR is the network's block, which nodes may talk to.
	KeyARN          pulumi.StringInput  // KeyARN is the key that nodes encrypt their disks and objects with.
	LogKeyARN       pulumi.StringInput  // LogKeyARN is the key that clusters' logs are encrypted with; the one of records would keep operators from them.
	ArtifactsBucket pulumi.StringInput  // ArtifactsBucket is the bucket that takes the launch template.
	LogsBucket      pulumi.StringInput  // LogsBucket is the bucket that takes the clusters' logs, below emr/.
	JobPolicy       pulumi.StringInput  // JobPolicy is what jobs may do on the nodes.
	Tags            map[string]string   // Tags go on everything that takes tags, and on the clusters.
}

// Cluster is the definition of a country's EMR clusters, with the roles, security groups and security configuration that it names. It is
// used twice: as a launch template in the artifacts bucket, from which clusters are started when there is work, and by Standing. No
// cluster runs by it alone.
type Cluster struct {
	pulumi.ResourceState

	ServiceRoleARN pulumi.StringOutput // ServiceRoleARN is the role of EMR itself.
	NodeRoleARN    pulumi.StringOutput // NodeRoleARN is the role of the nodes and the jobs on them.
	Template       pulumi.StringOutput // Template is the launch template: RunJobFlow's input as JSON, without the number of core nodes.

	args     *ClusterArgs
	fleets   []fleet
	profile  pulumi.StringOutput
	security pulumi.StringOutput
	groups   groups
}

// CertificateKey is the certificate's key in the artifacts bucket; the function keep-certificate makes it.
const CertificateKey = "cluster/certificate.zip"

// fleet is an instance fleet: several types of machine that EMR chooses from. Each counts as one unit.
type fleet struct {
	name, kind string // kind is MASTER, CORE or TASK.
	types      []string
	onDemand   int // onDemand is how many units are bought at the list price; 0: who starts the cluster says.
	spot       int // spot is how many units are bought at the price of the day, and can be taken away any time.
}

// spotMinutes is how long EMR looks for spot capacity before it takes machines at the list price.
const spotMinutes = 10

// machines are the fleets of a cluster. Primary and core nodes hold what a cluster cannot lose and are on demand; task nodes only
// compute. One task node is there from the start, as EMR makes no empty fleet; managed scaling takes it away when there is no work for it.
func (args *ClusterArgs) machines() ([]fleet, error) {
	primary, processor, err := offeredTypes(args.PrimaryType, args.Missing)
	if err != nil {
		return nil, fmt.Errorf("primary type %w", err)
	}
	core, coreProcessor, err := offeredTypes(args.CoreType, args.Missing)
	if err != nil {
		return nil, fmt.Errorf("core type %w", err)
	}
	if processor != coreProcessor {
		return nil, fmt.Errorf("primary type %s is %s, core type %s is %s; take the same for both", args.PrimaryType, processor, args.CoreType, coreProcessor)
	}
	return []fleet{{"primary", "MASTER", primary, 1, 0}, {"core", "CORE", core, 0, 0}, {"task", "TASK", core, 0, 1}}, nil
}

// NewCluster creates a Cluster.
func NewCluster(ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption) (*Cluster, error) {
	c := &Cluster{args: args}
	if err := register(ctx, "sluice:compute:Cluster", name, c, opts); err != nil {
		return nil, err
	}
	var err error
	if c.fleets, err = args.machines(); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	profile, err := c.nodeRole(ctx, name+"-node", args)
	if err != nil {
		return nil, err
	}
	service, err := c.serviceRole(ctx, name+"-service", args)
	if err != nil {
		return nil, err
	}
	if c.groups, err = c.securityGroups(ctx, name, args); err != nil {
		return nil, err
	}
	security, err := emr.NewSecurityConfiguration(ctx, name, &emr.SecurityConfigurationArgs{Configuration: securityConfiguration(args.KeyARN, args.ArtifactsBucket)}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	c.profile, c.security = profile.Name, security.Name
	c.Template = pulumi.All(pulumi.StringMap{
		"service": service.Arn, "profile": c.profile, "security": c.security, "logs": args.LogsBucket, "logsKey": args.LogKeyARN,
		"primary": c.groups.primary, "core": c.groups.core, "access": c.groups.service,
	}, args.Network.PrivateSubnetIDs).ApplyT(func(known []any) (string, error) {
		return c.template(known[0].(map[string]string), known[1].([]string))
	}).(pulumi.StringOutput)
	if _, err := s3.NewBucketObjectv2(ctx, name+"-template", &s3.BucketObjectv2Args{Bucket: args.ArtifactsBucket, Key: pulumi.String(TemplateKey),
		ContentType: pulumi.String("application/json"), Content: c.Template}, pulumi.Parent(c)); err != nil {
		return nil, err
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"serviceRoleArn": c.ServiceRoleARN, "nodeRoleArn": c.NodeRoleARN})
}

// nodeRole creates the role that nodes, and so the jobs on them, act with.
func (c *Cluster) nodeRole(ctx *pulumi.Context, name string, args *ClusterArgs) (*iam.InstanceProfile, error) {
	trust, err := policies.AssumedBy("ec2.amazonaws.com").JSON()
	if err != nil {
		return nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{AssumeRolePolicy: pulumi.String(trust), Tags: tagged(args.Tags)}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	if _, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Role: role.Name, Policy: args.JobPolicy}, pulumi.Parent(c)); err != nil {
		return nil, err
	}
	c.NodeRoleARN = role.Arn
	return iam.NewInstanceProfile(ctx, name, &iam.InstanceProfileArgs{Role: role.Name, Tags: tagged(args.Tags)}, pulumi.Parent(c))
}

// serviceRole creates the role that EMR itself acts with: its managed policy, which reaches only what carries the tag EMRManaged,
// and the country's own roles and key.
func (c *Cluster) serviceRole(ctx *pulumi.Context, name string, args *ClusterArgs) (*iam.Role, error) {
	trust, err := policies.AssumedByEMR(args.Account, args.Region).JSON()
	if err != nil {
		return nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{AssumeRolePolicy: pulumi.String(trust), Tags: tagged(args.Tags)}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	if _, err := iam.NewRolePolicyAttachment(ctx, name, &iam.RolePolicyAttachmentArgs{Role: role.Name,
		PolicyArn: pulumi.String("arn:aws:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2")}, pulumi.Parent(c)); err != nil {
		return nil, err
	}
	_, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Role: role.Name,
		Policy: document(func(s []string) policies.Document { return policies.ClusterService(args.Account, s[0], s[1]) }, c.NodeRoleARN, args.KeyARN)}, pulumi.Parent(c))
	c.ServiceRoleARN = role.Arn
	return role, err
}

// groups are the security groups of a cluster's nodes.
type groups struct{ primary, core, service pulumi.StringOutput }

// securityGroups creates the groups of primary and core nodes, which reach the network, S3 and DynamoDB and nothing else, and the
// group through which EMR reaches the nodes. What the groups let in among each other EMR adds itself when a cluster starts, except for the ways
// from the nodes to EMR. They have no rules inline, because those would take EMR's away again.
func (c *Cluster) securityGroups(ctx *pulumi.Context, name string, args *ClusterArgs) (groups, error) {
	var g groups
	for _, group := range []struct {
		child, description string
		id                 *pulumi.StringOutput
	}{
		{name + "-primary", "Primary nodes of EMR clusters", &g.primary},
		{name + "-core", "Core nodes of EMR clusters", &g.core},
		{name + "-service", "How EMR reaches the nodes of its clusters", &g.service},
	} {
		created, err := ec2.NewSecurityGroup(ctx, group.child, &ec2.SecurityGroupArgs{
			VpcId:               args.Network.VPCID,
			Description:         pulumi.String(group.description),
			RevokeRulesOnDelete: pulumi.Bool(true), // the rules that EMR added refer to each other and would block deletion
			Tags:                tagged(args.Tags, EMRManaged, named(group.child)),
		}, pulumi.Parent(c))
		if err != nil {
			return g, err
		}
		*group.id = created.ID().ToStringOutput()
	}
	for _, way := range []struct {
		child string
		group pulumi.StringOutput
	}{{name + "-primary", g.primary}, {name + "-core", g.core}} {
		if err := c.waysOut(ctx, way.child, way.group, args); err != nil {
			return g, err
		}
		if _, err := vpc.NewSecurityGroupEgressRule(ctx, name+"-service-to"+strings.TrimPrefix(way.child, name), &vpc.SecurityGroupEgressRuleArgs{
			SecurityGroupId: g.service, Description: pulumi.String("EMR to the cluster"), ReferencedSecurityGroupId: way.group,
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(8443), ToPort: pulumi.Int(8443), Tags: tagged(args.Tags)}, pulumi.Parent(c)); err != nil {
			return g, err
		}
	}
	// EMR looks for these by the group, whatever else the nodes may reach, where a group does not let everything out.
	// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-man-sec-groups.html
	for _, way := range []struct {
		child string
		group pulumi.StringOutput
		port  int
	}{{name + "-primary-to-service", g.primary, 9443}, {name + "-primary-to-service-tls", g.primary, 443}, {name + "-core-to-service-tls", g.core, 443}} {
		if _, err := vpc.NewSecurityGroupEgressRule(ctx, way.child, &vpc.SecurityGroupEgressRuleArgs{
			SecurityGroupId: way.group, Description: pulumi.String("the cluster to EMR"), ReferencedSecurityGroupId: g.service,
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(way.port), ToPort: pulumi.Int(way.port), Tags: tagged(args.Tags)}, pulumi.Parent(c)); err != nil {
			return g, err
		}
	}
	// Without it EMR ends a cluster in private subnets with VALIDATION_ERROR; it adds the rule to no group but its own default one.
	_, err := vpc.NewSecurityGroupIngressRule(ctx, name+"-service-from-primary", &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId: g.service, Description: pulumi.String("the cluster to EMR"), ReferencedSecurityGroupId: g.primary,
		IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(9443), ToPort: pulumi.Int(9443), Tags: tagged(args.Tags)}, pulumi.Parent(c))
	return g, err
}

// waysOut lets a group of nodes reach the network itself, S3 and DynamoDB, and where else the network has routes to.
func (c *Cluster) waysOut(ctx *pulumi.Context, name string, group pulumi.StringInput, args *ClusterArgs) error {
	type way struct {
		child string
		args  vpc.SecurityGroupEgressRuleArgs
	}
	ways := []way{
		{"network", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("the network"), CidrIpv4: pulumi.String(args.CIDR), IpProtocol: pulumi.String("-1")}},
		{"s3", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("S3"), PrefixListId: args.Network.S3PrefixListID.ToStringPtrOutput(),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443)}},
		{"dynamodb", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("DynamoDB"), PrefixListId: args.Network.DynamoDBPrefixListID.ToStringPtrOutput(),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443)}},
	}
	for _, out := range args.Network.WaysOut {
		ways = append(ways, way{out.Name, vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("the " + out.Name), CidrIpv4: pulumi.String(out.CIDR),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(out.FromPort), ToPort: pulumi.Int(out.ToPort)}})
	}
	for _, rule := range ways {
		rule.args.SecurityGroupId, rule.args.Tags = group, tagged(args.Tags)
		if _, err := vpc.NewSecurityGroupEgressRule(ctx, name+"-to-"+rule.child, &rule.args, pulumi.Parent(c)); err != nil {
			return err
		}
	}
	return nil
}

// glueMetastore is what EMR has in place of a metastore of its own.
const glueMetastore = "com.amazonaws.glue.catalog.metastore.AWSGlueDataCatalogHiveClientFactory"

// securityConfiguration encrypts what nodes write, to S3 and to their disks, and what they tell each other, and gives credentials only to
// who asks twice (IMDSv2).
func securityConfiguration(keyARN, artifactsBucket pulumi.StringInput) pulumi.StringOutput {
	return pulumi.All(keyARN, artifactsBucket).ApplyT(func(known []any) (string, error) {
		key, bucket := known[0].(string), known[1].(string)
		type object = map[string]any
		text, err := json.Marshal(object{
			"EncryptionConfiguration": object{
				"EnableInTransitEncryption": true,
				"InTransitEncryptionConfiguration": object{
					"TLSCertificateConfiguration": object{"CertificateProviderType": "PEM", "S3Object": "s3://" + bucket + "/" + CertificateKey},
				},
				"EnableAtRestEncryption": true,
				"AtRestEncryptionConfiguration": object{
					"S3EncryptionConfiguration":        object{"EncryptionMode": "SSE-KMS", "AwsKmsKey": key},
					"LocalDiskEncryptionConfiguration": object{"EncryptionKeyProviderType": "AwsKms", "AwsKmsKey": key, "EnableEbsEncryption": true},
				},
			},
			"InstanceMetadataServiceConfiguration": object{"MinimumInstanceMetadataServiceVersion": 2, "HttpPutResponseHopLimit": 1},
		})
		return string(text), err
	}).(pulumi.StringOutput)
}

// applications are what EMR installs.
var applications = []string{"Hive", "Spark"}

// configuration is what the applications' files say. The launch template and the standing cluster write it each in its own way.
func (args *ClusterArgs) configuration() []map[string]any {
	return []map[string]any{
		{"Classification": "core-site", "Properties": spark.Hadoop(args.Region)},
		{"Classification": "iceberg-defaults", "Properties": map[string]string{"iceberg.enabled": "true"}},
		// Hive, and Spark where it is asked for Hive's tables, have the catalog that Athena has.
		{"Classification": "hive-site", "Properties": map[string]string{"hive.metastore.client.factory.class": glueMetastore, "iceberg.engine.hive.enabled": "true"}},
		{"Classification": "spark-hive-site", "Properties": map[string]string{"hive.metastore.client.factory.class": glueMetastore}},
		{"Classification": "spark-defaults", "Properties": map[string]string{
			"spark.sql.session.timeZone": "UTC",
			// A task that failed is tried again, three times; a node on which tasks fail gets no more of them for a while; a task that takes
			// far longer than its like is tried on another node beside it. Spot nodes come and go.
			"spark.task.maxFailures":         "4",
			"spark.excludeOnFailure.enabled": "true",
			"spark.speculation":              "true",
		}},
	}
}

const (
	scaleDown = "TERMINATE_AT_TASK_COMPLETION"

	onDemandStrategy = "lowest-price"
	spotStrategy     = "price-capacity-optimized" // the cheapest of those that are not about to be taken away
	spotTimeout      = "SWITCH_TO_ON_DEMAND"
)

// steps is how many steps a cluster runs at once.
func (args *ClusterArgs) steps() int { return withDefault(args.Steps, 5) }

// logs is where a cluster's logs go.
func (args *ClusterArgs) logs(bucket string) string { return "s3://" + bucket + "/emr/" }

// template renders the launch template from the ids and names that it refers to.
func (c *Cluster) template(id map[string]string, subnets []string) (string, error) {
	type object = map[string]any
	tags := []object{}
	all := maps.Clone(EMRManaged)
	maps.Copy(all, c.args.Tags)
	for _, key := range sortedNames(all) {
		tags = append(tags, object{"Key": key, "Value": all[key]})
	}
	apps := []object{}
	for _, name := range applications {
		apps = append(apps, object{"Name": name})
	}
	fleets := []object{}
	for _, f := range c.fleets {
		types := []object{}
		for _, name := range f.types {
			types = append(types, object{"InstanceType": name, "WeightedCapacity": 1})
		}
		launch := object{"OnDemandSpecification": object{"AllocationStrategy": onDemandStrategy}}
		rendered := object{"Name": f.name, "InstanceFleetType": f.kind, "InstanceTypeConfigs": types, "LaunchSpecifications": launch}
		if f.onDemand > 0 {
			rendered["TargetOnDemandCapacity"] = f.onDemand
		}
		if f.spot > 0 {
			rendered["TargetSpotCapacity"] = f.spot
			launch["SpotSpecification"] = object{"TimeoutDurationMinutes": spotMinutes, "TimeoutAction": spotTimeout, "AllocationStrategy": spotStrategy}
		}
		fleets = append(fleets, rendered)
	}
	text, err := json.MarshalIndent(object{
		"Name":                  c.args.ClusterName,
		"ReleaseLabel":          c.args.ReleaseLabel,
		"LogUri":                c.args.logs(id["logs"]),
		"LogEncryptionKmsKeyId": id["logsKey"],
		"Applications":          apps,
		"ServiceRole":           id["service"],
		"JobFlowRole":           id["profile"],
		"SecurityConfiguration": id["security"],
		"ScaleDownBehavior":     scaleDown,
		"StepConcurrencyLevel":  c.args.steps(),
		"AutoTerminationPolicy": object{"IdleTimeout": 60 * withDefault(c.args.IdleMinutes, 15)},
		"VisibleToAllUsers":     true,
		"Configurations":        c.args.configuration(),
		"Instances": object{
			"Ec2SubnetIds":                  subnets,
			"EmrManagedMasterSecurityGroup": id["primary"],
			"EmrManagedSlaveSecurityGroup":  id["core"],
			"ServiceAccessSecurityGroup":    id["access"],
			"KeepJobFlowAliveWhenNoSteps":   true,
			"TerminationProtected":          false,
			"UnhealthyNodeReplacement":      true,
			"InstanceFleets":                fleets,
		},
		"Tags": tags,
	}, "", "  ")
	return string(text), err
}
