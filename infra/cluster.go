package infra

import (
	"encoding/json"
	"maps"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/emr"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// TemplateKey is the launch template's key in the artifacts bucket.
const TemplateKey = "cluster/template.json"

// ClusterArgs is what a Cluster is made of.
type ClusterArgs struct {
	ClusterName     string             // ClusterName begins the names of clusters; who starts one adds its size.
	Account         string             // Account is the AWS account.
	Region          string             // Region is the AWS region.
	ReleaseLabel    string             // ReleaseLabel is EMR's release, for example "emr-7.13.0".
	PrimaryType     string             // PrimaryType is the primary node's instance type.
	CoreType        string             // CoreType is the core nodes' instance type; who starts a cluster says how many.
	IdleMinutes     int                // IdleMinutes is how long a cluster waits for work before it ends itself, 15 by default.
	Steps           int                // Steps is how many steps a cluster runs at once, 5 by default.
	Network         *Network           // Network is where clusters run: its first private subnet.
	CIDR            string             // CIDR is the network's block, which nodes may talk to.
	KeyARN          pulumi.StringInput // KeyARN is the key that nodes encrypt their disks and objects with.
	ArtifactsBucket pulumi.StringInput // ArtifactsBucket is the bucket that takes the launch template.
	LogsBucket      pulumi.StringInput // LogsBucket is the bucket that takes the clusters' logs, below emr/.
	JobPolicy       pulumi.StringInput // JobPolicy is what jobs may do on the nodes.
	Tags            map[string]string  // Tags go on everything that takes tags, and on the clusters.
}

// Cluster is the definition that a country's EMR clusters are started from: a launch template in the artifacts bucket, with the
// roles, security groups and security configuration that it names. No cluster runs by it alone.
type Cluster struct {
	pulumi.ResourceState

	ServiceRoleARN pulumi.StringOutput // ServiceRoleARN is the role of EMR itself.
	NodeRoleARN    pulumi.StringOutput // NodeRoleARN is the role of the nodes and the jobs on them.
	Template       pulumi.StringOutput // Template is the launch template: RunJobFlow's input as JSON, without node counts.
}

// NewCluster creates a Cluster.
func NewCluster(ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption) (*Cluster, error) {
	c := &Cluster{}
	if err := register(ctx, "sluice:compute:Cluster", name, c, opts); err != nil {
		return nil, err
	}
	profile, err := c.nodeRole(ctx, name+"-node", args)
	if err != nil {
		return nil, err
	}
	service, err := c.serviceRole(ctx, name+"-service", args)
	if err != nil {
		return nil, err
	}
	groups, err := c.securityGroups(ctx, name, args)
	if err != nil {
		return nil, err
	}
	security, err := emr.NewSecurityConfiguration(ctx, name, &emr.SecurityConfigurationArgs{Configuration: securityConfiguration(args.KeyARN)}, pulumi.Parent(c))
	if err != nil {
		return nil, err
	}
	c.Template = pulumi.StringMap{
		"service": service.Arn, "profile": profile.Name, "security": security.Name, "logs": args.LogsBucket,
		"subnet": args.Network.PrivateSubnetIDs.Index(pulumi.Int(0)), "primary": groups.primary, "core": groups.core, "access": groups.service,
	}.ToStringMapOutput().ApplyT(args.template).(pulumi.StringOutput)
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
		Policy: document(func(s []string) policies.Document { return policies.ClusterService(s[0], s[1]) }, c.NodeRoleARN, args.KeyARN)}, pulumi.Parent(c))
	c.ServiceRoleARN = role.Arn
	return role, err
}

// groups are the security groups of a cluster's nodes.
type groups struct{ primary, core, service pulumi.StringOutput }

// securityGroups creates the groups of primary and core nodes, which reach the network, S3 and DynamoDB and nothing else, and the
// group through which EMR reaches the nodes. What the groups let in among each other EMR adds itself when a cluster starts, which
// is why they have no rules inline: those would be taken away again.
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
	}
	return g, nil
}

// waysOut lets a group of nodes reach the network itself, S3 and DynamoDB.
func (c *Cluster) waysOut(ctx *pulumi.Context, name string, group pulumi.StringInput, args *ClusterArgs) error {
	for _, rule := range []struct {
		child string
		args  vpc.SecurityGroupEgressRuleArgs
	}{
		{"network", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("the network"), CidrIpv4: pulumi.String(args.CIDR), IpProtocol: pulumi.String("-1")}},
		{"s3", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("S3"), PrefixListId: args.Network.S3PrefixListID.ToStringPtrOutput(),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443)}},
		{"dynamodb", vpc.SecurityGroupEgressRuleArgs{Description: pulumi.String("DynamoDB"), PrefixListId: args.Network.DynamoDBPrefixListID.ToStringPtrOutput(),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443)}},
	} {
		rule.args.SecurityGroupId, rule.args.Tags = group, tagged(args.Tags)
		if _, err := vpc.NewSecurityGroupEgressRule(ctx, name+"-to-"+rule.child, &rule.args, pulumi.Parent(c)); err != nil {
			return err
		}
	}
	return nil
}

// securityConfiguration encrypts what nodes write, to S3 and to their disks, and gives credentials only to who asks twice (IMDSv2).
func securityConfiguration(keyARN pulumi.StringInput) pulumi.StringOutput {
	return keyARN.ToStringOutput().ApplyT(func(key string) (string, error) {
		type object = map[string]any
		text, err := json.Marshal(object{
			"EncryptionConfiguration": object{
				"EnableInTransitEncryption": false, // wants a certificate; the nodes' traffic stays in private subnets
				"EnableAtRestEncryption":    true,
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

// template renders the launch template from the ids and names that it refers to.
func (args *ClusterArgs) template(id map[string]string) (string, error) {
	type object = map[string]any
	tags := []object{}
	all := maps.Clone(EMRManaged)
	maps.Copy(all, args.Tags)
	for _, key := range sortedNames(all) {
		tags = append(tags, object{"Key": key, "Value": all[key]})
	}
	steps := withDefault(args.Steps, 5)
	text, err := json.MarshalIndent(object{
		"Name":                  args.ClusterName,
		"ReleaseLabel":          args.ReleaseLabel,
		"LogUri":                "s3://" + id["logs"] + "/emr/",
		"Applications":          []object{{"Name": "Spark"}},
		"ServiceRole":           id["service"],
		"JobFlowRole":           id["profile"],
		"SecurityConfiguration": id["security"],
		"ScaleDownBehavior":     "TERMINATE_AT_TASK_COMPLETION",
		"StepConcurrencyLevel":  steps,
		"AutoTerminationPolicy": object{"IdleTimeout": 60 * withDefault(args.IdleMinutes, 15)},
		"VisibleToAllUsers":     true,
		"Configurations": []object{
			{"Classification": "iceberg-defaults", "Properties": object{"iceberg.enabled": "true"}},
			{"Classification": "spark-defaults", "Properties": object{"spark.sql.session.timeZone": "UTC"}},
		},
		"Instances": object{
			"Ec2SubnetId":                   id["subnet"],
			"EmrManagedMasterSecurityGroup": id["primary"],
			"EmrManagedSlaveSecurityGroup":  id["core"],
			"ServiceAccessSecurityGroup":    id["access"],
			"KeepJobFlowAliveWhenNoSteps":   true,
			"TerminationProtected":          false,
			"UnhealthyNodeReplacement":      true,
			"InstanceGroups": []object{
				{"Name": "primary", "InstanceRole": "MASTER", "InstanceType": args.PrimaryType, "Market": "ON_DEMAND"},
				{"Name": "core", "InstanceRole": "CORE", "InstanceType": args.CoreType, "Market": "ON_DEMAND"},
			},
		},
		"Tags": tags,
	}, "", "  ")
	return string(text), err
}
