package infra

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// EMRManaged is the tag that EMR's managed service policy wants on every subnet, security group and cluster that EMR works with.
var EMRManaged = map[string]string{"for-use-with-amazon-emr-managed-policies": "true"}

// NetworkArgs is what a Network is made of.
type NetworkArgs struct {
	CIDR      netip.Prefix      // CIDR is the network's IPv4 block, /16 to /24.
	Zones     []string          // Zones are the availability zones to span, one to three.
	Account   string            // Account is the AWS account, which endpoint policies name.
	Region    string            // Region is the AWS region, which endpoint names contain.
	Endpoints []string          // Endpoints are the services ("glue", "kms") that private subnets reach by an interface endpoint, none by default; each costs by the hour and zone.
	Tags      map[string]string // Tags go on everything that takes tags.
}

// Network is a country's VPC: private and public subnets, the ways out of the private ones that need no internet, and nothing that
// talks by default.
type Network struct {
	pulumi.ResourceState

	VPCID                pulumi.StringOutput
	PrivateSubnetIDs     pulumi.StringArrayOutput
	PublicSubnetIDs      pulumi.StringArrayOutput
	S3PrefixListID       pulumi.StringOutput // S3PrefixListID is S3's addresses, for rules of security groups.
	DynamoDBPrefixListID pulumi.StringOutput // DynamoDBPrefixListID is DynamoDB's addresses.
}

// NewNetwork creates a Network.
func NewNetwork(ctx *pulumi.Context, name string, args *NetworkArgs, opts ...pulumi.ResourceOption) (*Network, error) {
	private, public, err := Subnets(args.CIDR, len(args.Zones))
	if err != nil {
		return nil, fmt.Errorf("network %q: %w", name, err)
	}
	n := &Network{}
	if err := register(ctx, "sluice:network:Network", name, n, opts); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(n)
	main, err := ec2.NewVpc(ctx, name, &ec2.VpcArgs{
		CidrBlock:          pulumi.String(args.CIDR.String()),
		EnableDnsHostnames: pulumi.Bool(true), // private names of endpoints need both
		EnableDnsSupport:   pulumi.Bool(true),
		Tags:               tagged(args.Tags, named(name)),
	}, parent)
	if err != nil {
		return nil, err
	}
	n.VPCID = main.ID().ToStringOutput()
	// The default group cannot be deleted, only emptied: who forgets to name a group gets one that lets nothing through.
	if _, err := ec2.NewDefaultSecurityGroup(ctx, name+"-default", &ec2.DefaultSecurityGroupArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name+"-default"))}, parent); err != nil {
		return nil, err
	}
	privateRoutes, err := n.privateSubnets(ctx, name, args, private, parent)
	if err != nil {
		return nil, err
	}
	if err := n.publicSubnets(ctx, name, args, public, parent); err != nil {
		return nil, err
	}
	if err := n.gatewayEndpoints(ctx, name, args, privateRoutes, parent); err != nil {
		return nil, err
	}
	if err := n.interfaceEndpoints(ctx, name, args, parent); err != nil {
		return nil, err
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"vpcId": n.VPCID, "privateSubnetIds": n.PrivateSubnetIDs, "publicSubnetIds": n.PublicSubnetIDs})
}

// privateSubnets creates the subnets that compute runs in; their only routes are the endpoints'.
func (n *Network) privateSubnets(ctx *pulumi.Context, name string, args *NetworkArgs, blocks []netip.Prefix, parent pulumi.ResourceOption) (pulumi.StringOutput, error) {
	table, err := ec2.NewRouteTable(ctx, name+"-private", &ec2.RouteTableArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name+"-private"))}, parent)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	n.PrivateSubnetIDs, err = subnets(ctx, name+"-private", n.VPCID, table, blocks, args, EMRManaged, parent)
	return table.ID().ToStringOutput(), err
}

// publicSubnets creates the subnets that the internet can reach; nothing gets a public address by itself.
func (n *Network) publicSubnets(ctx *pulumi.Context, name string, args *NetworkArgs, blocks []netip.Prefix, parent pulumi.ResourceOption) error {
	gateway, err := ec2.NewInternetGateway(ctx, name, &ec2.InternetGatewayArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name))}, parent)
	if err != nil {
		return err
	}
	table, err := ec2.NewRouteTable(ctx, name+"-public", &ec2.RouteTableArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name+"-public"))}, parent)
	if err != nil {
		return err
	}
	if _, err := ec2.NewRoute(ctx, name+"-internet", &ec2.RouteArgs{RouteTableId: table.ID(), DestinationCidrBlock: pulumi.String("0.0.0.0/0"), GatewayId: gateway.ID()}, parent); err != nil {
		return err
	}
	n.PublicSubnetIDs, err = subnets(ctx, name+"-public", n.VPCID, table, blocks, args, nil, parent)
	return err
}

// subnets creates one subnet a zone and gives it the routes of table.
func subnets(ctx *pulumi.Context, name string, vpcID pulumi.StringInput, table *ec2.RouteTable, blocks []netip.Prefix, args *NetworkArgs, tags map[string]string, parent pulumi.ResourceOption) (pulumi.StringArrayOutput, error) {
	ids := pulumi.StringArray{}
	for i, block := range blocks {
		child := fmt.Sprintf("%s-%d", name, i)
		subnet, err := ec2.NewSubnet(ctx, child, &ec2.SubnetArgs{VpcId: vpcID, CidrBlock: pulumi.String(block.String()),
			AvailabilityZone: pulumi.String(args.Zones[i]), Tags: tagged(args.Tags, tags, named(child))}, parent)
		if err != nil {
			return pulumi.StringArrayOutput{}, err
		}
		if _, err := ec2.NewRouteTableAssociation(ctx, child, &ec2.RouteTableAssociationArgs{SubnetId: subnet.ID(), RouteTableId: table.ID()}, parent); err != nil {
			return pulumi.StringArrayOutput{}, err
		}
		ids = append(ids, subnet.ID())
	}
	return ids.ToStringArrayOutput(), nil
}

// gatewayEndpoints creates the ways to S3 and DynamoDB, which cost nothing.
func (n *Network) gatewayEndpoints(ctx *pulumi.Context, name string, args *NetworkArgs, routeTableID pulumi.StringInput, parent pulumi.ResourceOption) error {
	for _, service := range []struct {
		name   string
		policy policies.Document
		prefix *pulumi.StringOutput
	}{
		{"s3", policies.S3Endpoint(args.Account, args.Region), &n.S3PrefixListID},
		{"dynamodb", policies.Endpoint(args.Account), &n.DynamoDBPrefixListID},
	} {
		policy, err := service.policy.JSON()
		if err != nil {
			return err
		}
		endpoint, err := ec2.NewVpcEndpoint(ctx, name+"-"+service.name, &ec2.VpcEndpointArgs{
			VpcId:           n.VPCID,
			VpcEndpointType: pulumi.String("Gateway"),
			ServiceName:     pulumi.String("com.amazonaws." + args.Region + "." + service.name),
			RouteTableIds:   pulumi.StringArray{routeTableID},
			Policy:          pulumi.String(policy),
			Tags:            tagged(args.Tags, named(name+"-"+service.name)),
		}, parent)
		if err != nil {
			return err
		}
		*service.prefix = endpoint.PrefixListId
	}
	return nil
}

// interfaceEndpoints creates the ways to the services that have no gateway, reachable from the network only.
func (n *Network) interfaceEndpoints(ctx *pulumi.Context, name string, args *NetworkArgs, parent pulumi.ResourceOption) error {
	if len(args.Endpoints) == 0 {
		return nil
	}
	group, err := ec2.NewSecurityGroup(ctx, name+"-endpoints", &ec2.SecurityGroupArgs{
		VpcId: n.VPCID, Description: pulumi.String("TLS from the network to the endpoints of AWS services"), Tags: tagged(args.Tags, named(name+"-endpoints"))}, parent)
	if err != nil {
		return err
	}
	if _, err := vpc.NewSecurityGroupIngressRule(ctx, name+"-endpoints", &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId: group.ID(), Description: pulumi.String("TLS from the network"), CidrIpv4: pulumi.String(args.CIDR.String()),
		IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443), Tags: tagged(args.Tags)}, parent); err != nil {
		return err
	}
	policy, err := policies.Endpoint(args.Account).JSON()
	if err != nil {
		return err
	}
	for _, service := range args.Endpoints {
		if _, err := ec2.NewVpcEndpoint(ctx, name+"-"+service, &ec2.VpcEndpointArgs{
			VpcId:             n.VPCID,
			VpcEndpointType:   pulumi.String("Interface"),
			ServiceName:       pulumi.String("com.amazonaws." + args.Region + "." + service),
			SubnetIds:         n.PrivateSubnetIDs,
			SecurityGroupIds:  pulumi.StringArray{group.ID()},
			PrivateDnsEnabled: pulumi.Bool(true),
			Policy:            pulumi.String(policy),
			Tags:              tagged(args.Tags, named(name+"-"+service)),
		}, parent); err != nil {
			return err
		}
	}
	return nil
}
