package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// SharedNetwork is a network that was there before, with what countries share: a metastore, a warehouse, a way to the office.
type SharedNetwork struct {
	VPCID         string                  // VPCID is its id.
	CIDR          string                  // CIDR is its IPv4 block, which no country's may overlap.
	Account       string                  // Account is the AWS account that owns it.
	Region        string                  // Region is the region that it is in.
	RouteTableIDs []string                // RouteTableIDs are its route tables that get the way back.
	Provider      pulumi.ProviderResource // Provider reaches it, to accept and to write the way back; without one its owner does both.
}

// peer connects the network with the shared one: the private subnets get the way there, its route tables the way back. Countries see
// what is shared, and not each other, because peering does not pass on.
func (n *Network) peer(ctx *pulumi.Context, name string, args *NetworkArgs, parent pulumi.ResourceOption) error {
	shared := args.Shared
	if shared == nil {
		return nil
	}
	n.WaysOut = append(n.WaysOut, WayOut{Name: "shared", CIDR: shared.CIDR, FromPort: 0, ToPort: 65535})
	connection, err := ec2.NewVpcPeeringConnection(ctx, name, &ec2.VpcPeeringConnectionArgs{
		VpcId: n.VPCID, PeerVpcId: pulumi.String(shared.VPCID), PeerOwnerId: pulumi.String(shared.Account), PeerRegion: pulumi.String(shared.Region),
		Tags: tagged(args.Tags, named(name))}, parent)
	if err != nil {
		return err
	}
	id := connection.ID().ToStringOutput()
	for zone, table := range n.PrivateRouteTableIDs {
		// While the connection waits to be accepted the route leads nowhere, and comes alive with it.
		if _, err := ec2.NewRoute(ctx, fmt.Sprintf("%s-%d", name, zone), &ec2.RouteArgs{RouteTableId: table, DestinationCidrBlock: pulumi.String(shared.CIDR),
			VpcPeeringConnectionId: id}, parent); err != nil {
			return err
		}
	}
	if shared.Provider == nil {
		return nil
	}
	there := []pulumi.ResourceOption{parent, pulumi.Provider(shared.Provider)}
	accepter, err := ec2.NewVpcPeeringConnectionAccepter(ctx, name, &ec2.VpcPeeringConnectionAccepterArgs{VpcPeeringConnectionId: id, AutoAccept: pulumi.Bool(true),
		Tags: tagged(args.Tags, named(name))}, there...)
	if err != nil {
		return err
	}
	for i, table := range shared.RouteTableIDs {
		if _, err := ec2.NewRoute(ctx, fmt.Sprintf("%s-back-%d", name, i), &ec2.RouteArgs{RouteTableId: pulumi.String(table), DestinationCidrBlock: pulumi.String(args.CIDR.String()),
			VpcPeeringConnectionId: accepter.VpcPeeringConnectionId}, there...); err != nil {
			return err
		}
	}
	return nil
}
