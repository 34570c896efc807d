package infra

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// EMRManaged is the tag that EMR's managed service policy wants on every subnet, security group and cluster that EMR works with.
var EMRManaged = map[string]string{"for-use-with-amazon-emr-managed-policies": "true"}

// NetworkArgs is what a Network is made of.
type NetworkArgs struct {
	CIDR    netip.Prefix      // CIDR is the network's IPv4 block, /16 to /24.
	Zones   []string          // Zones are the availability zones to span, one to three.
	Account string            // Account is the AWS account, which endpoint policies name.
	Region  string            // Region is the AWS region, which endpoint names contain.
	Tags    map[string]string // Tags go on everything that takes tags.

	NAT        string // NAT is how private subnets reach the internet: NATNone, by default, NATOne or NATPerZone. Gateways and their addresses cost by the hour.
	NATEnabled bool   // NATEnabled is whether the gateways are there; without them subnets, routes to other places and rules stay.

	Endpoints        []string // Endpoints are the services that private subnets reach by an interface endpoint, DefaultEndpoints when nil. Each costs by the hour and zone.
	EndpointsEnabled bool     // EndpointsEnabled is whether the interface endpoints are there; without them their security group stays.

	FlowLogsARN pulumi.StringInput // FlowLogsARN is the place in a bucket that records of every connection go to, made or refused.
	Shared      *SharedNetwork     // Shared is a network that this one is peered with, none by default.
}

// What NAT can be.
const (
	NATNone    = "none"    // NATNone gives private subnets no way to the internet.
	NATOne     = "one"     // NATOne shares a gateway in the first zone; the others lose the internet with that zone, and pay for traffic to it.
	NATPerZone = "perZone" // NATPerZone gives each zone a gateway of its own.
)

// DefaultEndpoints are the services that jobs on nodes in private subnets call, besides S3 and DynamoDB: the catalog, and the keys of
// the nodes' disks.
var DefaultEndpoints = []string{"glue", "kms"}

// WayOut is a place that private subnets have routes to, for the rules of security groups.
type WayOut struct {
	Name     string // Name is a word for the place: "internet", "shared".
	CIDR     string // CIDR is the place's addresses.
	FromPort int    // FromPort and ToPort are the TCP ports that are of use there.
	ToPort   int
}

// Network is a country's VPC: private and public subnets, the ways out of the private ones that need no internet, and nothing that
// talks by default.
type Network struct {
	pulumi.ResourceState

	VPCID                pulumi.StringOutput
	PrivateSubnetIDs     pulumi.StringArrayOutput
	PublicSubnetIDs      pulumi.StringArrayOutput
	PrivateRouteTableIDs []pulumi.StringOutput // PrivateRouteTableIDs are the private subnets' route tables, one a zone.
	WaysOut              []WayOut              // WaysOut are the places beyond the network that private subnets have routes to.
	S3PrefixListID       pulumi.StringOutput   // S3PrefixListID is S3's addresses, for rules of security groups.
	DynamoDBPrefixListID pulumi.StringOutput   // DynamoDBPrefixListID is DynamoDB's addresses.
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
	// The default group and route table cannot be deleted, only emptied: who forgets to name one gets one that lets nothing through. The
	// default network ACL stays as it is, open: security groups decide, and every subnet uses it.
	if _, err := ec2.NewDefaultSecurityGroup(ctx, name+"-default", &ec2.DefaultSecurityGroupArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name+"-default"))}, parent); err != nil {
		return nil, err
	}
	if _, err := ec2.NewDefaultRouteTable(ctx, name+"-default", &ec2.DefaultRouteTableArgs{DefaultRouteTableId: main.DefaultRouteTableId, Tags: tagged(args.Tags, named(name+"-default"))}, parent); err != nil {
		return nil, err
	}
	if err := n.privateSubnets(ctx, name, args, private, parent); err != nil {
		return nil, err
	}
	internet, err := n.publicSubnets(ctx, name, args, public, parent)
	if err != nil {
		return nil, err
	}
	for _, part := range []func() error{
		func() error { return n.nat(ctx, name, args, internet, parent) },
		func() error { return n.gatewayEndpoints(ctx, name, args, parent) },
		func() error { return n.interfaceEndpoints(ctx, name, args, parent) },
		func() error { return n.flowLog(ctx, name, args, parent) },
		func() error { return n.peer(ctx, name+"-shared", args, parent) },
	} {
		if err := part(); err != nil {
			return nil, fmt.Errorf("network %q: %w", name, err)
		}
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"vpcId": n.VPCID, "privateSubnetIds": n.PrivateSubnetIDs, "publicSubnetIds": n.PublicSubnetIDs})
}

// privateSubnets creates the subnets that compute runs in. Each has a route table of its own, whatever NAT is, so that another NAT
// changes routes only.
func (n *Network) privateSubnets(ctx *pulumi.Context, name string, args *NetworkArgs, blocks []netip.Prefix, parent pulumi.ResourceOption) error {
	tables := []*ec2.RouteTable{}
	for zone := range blocks {
		child := fmt.Sprintf("%s-private-%d", name, zone)
		table, err := ec2.NewRouteTable(ctx, child, &ec2.RouteTableArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(child))}, parent)
		if err != nil {
			return err
		}
		tables = append(tables, table)
		n.PrivateRouteTableIDs = append(n.PrivateRouteTableIDs, table.ID().ToStringOutput())
	}
	var err error
	n.PrivateSubnetIDs, err = subnets(ctx, name+"-private", n.VPCID, tables, blocks, args, EMRManaged, parent)
	return err
}

// publicSubnets creates the subnets that the internet can reach, and its gateway; nothing gets a public address by itself.
func (n *Network) publicSubnets(ctx *pulumi.Context, name string, args *NetworkArgs, blocks []netip.Prefix, parent pulumi.ResourceOption) (*ec2.InternetGateway, error) {
	gateway, err := ec2.NewInternetGateway(ctx, name, &ec2.InternetGatewayArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name))}, parent)
	if err != nil {
		return nil, err
	}
	table, err := ec2.NewRouteTable(ctx, name+"-public", &ec2.RouteTableArgs{VpcId: n.VPCID, Tags: tagged(args.Tags, named(name+"-public"))}, parent)
	if err != nil {
		return nil, err
	}
	if _, err := ec2.NewRoute(ctx, name+"-internet", &ec2.RouteArgs{RouteTableId: table.ID(), DestinationCidrBlock: pulumi.String("0.0.0.0/0"), GatewayId: gateway.ID()}, parent); err != nil {
		return nil, err
	}
	n.PublicSubnetIDs, err = subnets(ctx, name+"-public", n.VPCID, slices.Repeat([]*ec2.RouteTable{table}, len(blocks)), blocks, args, nil, parent)
	return gateway, err
}

// nat creates the NAT gateways, each with an address of its own, and the private subnets' routes to them.
func (n *Network) nat(ctx *pulumi.Context, name string, args *NetworkArgs, internet *ec2.InternetGateway, parent pulumi.ResourceOption) error {
	count := 0
	switch args.NAT {
	case "", NATNone:
		return nil
	case NATOne:
		count = 1
	case NATPerZone:
		count = len(args.Zones)
	default:
		return fmt.Errorf("nat %q: take %s, %s or %s", args.NAT, NATNone, NATOne, NATPerZone)
	}
	n.WaysOut = append(n.WaysOut, WayOut{Name: "internet", CIDR: "0.0.0.0/0", FromPort: 443, ToPort: 443})
	if !args.NATEnabled {
		return nil
	}
	gateways := []*ec2.NatGateway{}
	for zone := range count {
		child := fmt.Sprintf("%s-nat-%d", name, zone)
		address, err := ec2.NewEip(ctx, child, &ec2.EipArgs{Domain: pulumi.String("vpc"), Tags: tagged(args.Tags, named(child))}, parent)
		if err != nil {
			return err
		}
		gateway, err := ec2.NewNatGateway(ctx, child, &ec2.NatGatewayArgs{AllocationId: address.AllocationId, SubnetId: n.PublicSubnetIDs.Index(pulumi.Int(zone)),
			Tags: tagged(args.Tags, named(child))}, parent, pulumi.DependsOn([]pulumi.Resource{internet})) // AWS refuses one in a network without internet
		if err != nil {
			return err
		}
		gateways = append(gateways, gateway)
	}
	for zone, table := range n.PrivateRouteTableIDs {
		if _, err := ec2.NewRoute(ctx, fmt.Sprintf("%s-nat-%d", name, zone), &ec2.RouteArgs{RouteTableId: table, DestinationCidrBlock: pulumi.String("0.0.0.0/0"),
			NatGatewayId: gateways[zone%count].ID()}, parent); err != nil {
			return err
		}
	}
	return nil
}

// flowLog records every connection, made or refused, in files that Athena reads.
func (n *Network) flowLog(ctx *pulumi.Context, name string, args *NetworkArgs, parent pulumi.ResourceOption) error {
	_, err := ec2.NewFlowLog(ctx, name, &ec2.FlowLogArgs{
		VpcId:                  n.VPCID,
		TrafficType:            pulumi.String("ALL"),
		LogDestinationType:     pulumi.String("s3"), // half the price of a log group, and no role that could write elsewhere
		LogDestination:         args.FlowLogsARN.ToStringOutput().ToStringPtrOutput(),
		MaxAggregationInterval: pulumi.Int(600),
		DestinationOptions: &ec2.FlowLogDestinationOptionsArgs{
			FileFormat: pulumi.String("parquet"), HiveCompatiblePartitions: pulumi.Bool(true), PerHourPartition: pulumi.Bool(false)},
		Tags: tagged(args.Tags, named(name)),
	}, parent)
	return err
}

// subnets creates one subnet a zone and gives it the routes of the table in the same place.
func subnets(ctx *pulumi.Context, name string, vpcID pulumi.StringInput, tables []*ec2.RouteTable, blocks []netip.Prefix, args *NetworkArgs, tags map[string]string, parent pulumi.ResourceOption) (pulumi.StringArrayOutput, error) {
	ids := pulumi.StringArray{}
	for i, block := range blocks {
		child := fmt.Sprintf("%s-%d", name, i)
		subnet, err := ec2.NewSubnet(ctx, child, &ec2.SubnetArgs{VpcId: vpcID, CidrBlock: pulumi.String(block.String()),
			AvailabilityZone: pulumi.String(args.Zones[i]), Tags: tagged(args.Tags, tags, named(child))}, parent)
		if err != nil {
			return pulumi.StringArrayOutput{}, err
		}
		if _, err := ec2.NewRouteTableAssociation(ctx, child, &ec2.RouteTableAssociationArgs{SubnetId: subnet.ID(), RouteTableId: tables[i].ID()}, parent); err != nil {
			return pulumi.StringArrayOutput{}, err
		}
		ids = append(ids, subnet.ID())
	}
	return ids.ToStringArrayOutput(), nil
}

// gatewayEndpoints creates the ways to S3 and DynamoDB, which cost nothing.
func (n *Network) gatewayEndpoints(ctx *pulumi.Context, name string, args *NetworkArgs, parent pulumi.ResourceOption) error {
	dynamodb, ok := policies.Endpoint("dynamodb", args.Account)
	if !ok {
		return errors.New("endpoint dynamodb: no policy")
	}
	for _, service := range []struct {
		name   string
		policy policies.Document
		prefix *pulumi.StringOutput
	}{
		{"s3", policies.S3Endpoint(args.Account, args.Region), &n.S3PrefixListID},
		{"dynamodb", dynamodb, &n.DynamoDBPrefixListID},
	} {
		policy, err := service.policy.JSON()
		if err != nil {
			return err
		}
		endpoint, err := ec2.NewVpcEndpoint(ctx, name+"-"+service.name, &ec2.VpcEndpointArgs{
			VpcId:           n.VPCID,
			VpcEndpointType: pulumi.String("Gateway"),
			ServiceName:     pulumi.String("com.amazonaws." + args.Region + "." + service.name),
			RouteTableIds:   pulumi.ToStringArrayOutput(n.PrivateRouteTableIDs),
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
	services := args.Endpoints
	if services == nil {
		services = DefaultEndpoints
	}
	if len(services) == 0 {
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
	if !args.EndpointsEnabled {
		return nil
	}
	for _, service := range services {
		document, ok := policies.Endpoint(service, args.Account)
		if !ok {
			return fmt.Errorf("endpoint %q: take one of %s", service, strings.Join(policies.EndpointServices(), ", "))
		}
		policy, err := document.JSON()
		if err != nil {
			return err
		}
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
