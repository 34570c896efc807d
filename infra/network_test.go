package infra

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// changedNetwork is a network in three zones, with other arguments than usual.
func changedNetwork(ctx *pulumi.Context, change func(args *NetworkArgs)) (*Network, error) {
	args := &NetworkArgs{CIDR: netip.MustParsePrefix("10.16.0.0/16"), Zones: []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"},
		Account: "111122223333", Region: "eu-west-1", NATEnabled: true, EndpointsEnabled: true, FlowLogsARN: pulumi.String("arn:aws:s3:::logs/flow/"), Tags: tags}
	change(args)
	return NewNetwork(ctx, "us", args)
}

// networkWith is a program with such a network alone.
func networkWith(change func(args *NetworkArgs)) func(ctx *pulumi.Context) error {
	return func(ctx *pulumi.Context) error { _, err := changedNetwork(ctx, change); return err }
}

// routes are the private subnets' routes, as "table destination target", in order.
func routes(registered []registration) []string {
	lines := []string{}
	for _, r := range only(registered, "aws:ec2/route:Route") {
		if r.Name == "us-internet" {
			continue
		}
		target := r.Inputs["natGatewayId"]
		if target == nil {
			target = r.Inputs["vpcPeeringConnectionId"]
		}
		lines = append(lines, strings.Join([]string{r.Inputs["routeTableId"].(string), r.Inputs["destinationCidrBlock"].(string), target.(string)}, " "))
	}
	return lines
}

// names are the names of what was registered of a type.
func names(registered []registration, kind string) []string {
	list := []string{}
	for _, r := range only(registered, kind) {
		list = append(list, r.Name)
	}
	return list
}

func TestPrivateSubnetsReachTheInternetByTheGatewaysThatNATSays(t *testing.T) {
	for _, c := range []struct {
		nat      string
		gateways []string
		routes   []string
	}{
		{"", []string{}, []string{}},
		{NATNone, []string{}, []string{}},
		{NATOne, []string{"us-nat-0"}, []string{
			"id:RouteTable:us-private-0 0.0.0.0/0 id:NatGateway:us-nat-0",
			"id:RouteTable:us-private-1 0.0.0.0/0 id:NatGateway:us-nat-0",
			"id:RouteTable:us-private-2 0.0.0.0/0 id:NatGateway:us-nat-0"}},
		{NATPerZone, []string{"us-nat-0", "us-nat-1", "us-nat-2"}, []string{
			"id:RouteTable:us-private-0 0.0.0.0/0 id:NatGateway:us-nat-0",
			"id:RouteTable:us-private-1 0.0.0.0/0 id:NatGateway:us-nat-1",
			"id:RouteTable:us-private-2 0.0.0.0/0 id:NatGateway:us-nat-2"}},
	} {
		registered := record(t, networkWith(func(args *NetworkArgs) { args.NAT = c.nat }))
		if got := routes(registered); !slices.Equal(got, c.routes) {
			t.Errorf("nat %q: routes %q", c.nat, got)
		}
		for _, kind := range []string{"aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip"} {
			if got := names(registered, kind); !slices.Equal(got, c.gateways) {
				t.Errorf("nat %q: %s %q", c.nat, kind, got)
			}
		}
		for i, r := range only(registered, "aws:ec2/natGateway:NatGateway") {
			if want := "id:Subnet:us-public-" + string(rune('0'+i)); r.Inputs["subnetId"] != want {
				t.Errorf("%s is in %v", r.Name, r.Inputs["subnetId"])
			}
		}
	}
}

func TestUnknownNATIsRefused(t *testing.T) {
	err := pulumi.RunErr(networkWith(func(args *NetworkArgs) { args.NAT = "two" }), pulumi.WithMocks("sluice", "prod", &recorder{}))
	if err == nil || !strings.Contains(err.Error(), `network "us": nat "two": take none, one or perZone`) {
		t.Error(err)
	}
}

func TestSwitchedOffNetworkHasNothingThatCostsByTheHour(t *testing.T) {
	on := record(t, networkWith(func(args *NetworkArgs) { args.NAT = NATPerZone }))
	off := record(t, networkWith(func(args *NetworkArgs) { args.NAT, args.NATEnabled, args.EndpointsEnabled = NATPerZone, false, false }))
	gone := []string{}
	for _, r := range on {
		if !slices.ContainsFunc(off, func(o registration) bool { return o.Type == r.Type && o.Name == r.Name }) {
			gone = append(gone, strings.TrimPrefix(r.Type[strings.LastIndex(r.Type, ":"):], ":")+" "+r.Name)
		}
	}
	want := []string{"Eip us-nat-0", "Eip us-nat-1", "Eip us-nat-2", "NatGateway us-nat-0", "NatGateway us-nat-1", "NatGateway us-nat-2",
		"Route us-nat-0", "Route us-nat-1", "Route us-nat-2", "VpcEndpoint us-glue", "VpcEndpoint us-kms"}
	if !slices.Equal(gone, want) {
		t.Errorf("gone are %q", gone)
	}
	if len(off)+len(gone) != len(on) {
		t.Errorf("%d resources when on, %d when off: something came", len(on), len(off))
	}
}

func TestEndpointsAreThoseThatJobsCallUnlessOthersAreNamed(t *testing.T) {
	for _, c := range []struct{ endpoints, want []string }{
		{nil, []string{"us-dynamodb", "us-glue", "us-kms", "us-s3"}},
		{[]string{}, []string{"us-dynamodb", "us-s3"}},
		{[]string{"sts", "logs"}, []string{"us-dynamodb", "us-logs", "us-s3", "us-sts"}},
	} {
		registered := record(t, networkWith(func(args *NetworkArgs) { args.Endpoints = c.endpoints }))
		if got := names(registered, "aws:ec2/vpcEndpoint:VpcEndpoint"); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.endpoints, got, c.want)
		}
	}
	err := pulumi.RunErr(networkWith(func(args *NetworkArgs) { args.Endpoints = []string{"gluee"} }), pulumi.WithMocks("sluice", "prod", &recorder{}))
	if err == nil || !strings.Contains(err.Error(), `endpoint "gluee": take one of athena, dynamodb,`) {
		t.Error(err)
	}
}

func TestDefaultRouteTableLeadsNowhere(t *testing.T) {
	tables := only(record(t, newExample(t).all), "aws:ec2/defaultRouteTable:DefaultRouteTable")
	if len(tables) != 1 || tables[0].Inputs["routes"] != nil || tables[0].Inputs["defaultRouteTableId"] != "defaultRouteTableId:Vpc:us" {
		t.Errorf("default tables: %v", tables)
	}
}

func TestEveryConnectionIsLogged(t *testing.T) {
	logs := only(record(t, newExample(t).all), "aws:ec2/flowLog:FlowLog")
	if len(logs) != 1 || logs[0].Inputs["trafficType"] != "ALL" || logs[0].Inputs["vpcId"] != "id:Vpc:us" || logs[0].Inputs["iamRoleArn"] != nil {
		t.Errorf("flow logs: %v", logs)
	}
}

func TestFlowLogWaitsUntilTheBucketLetsItIn(t *testing.T) {
	order := []string{}
	r := &recorder{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		lake, err := newExample(t).lake(ctx)
		if err != nil {
			return err
		}
		return networkWith(func(args *NetworkArgs) { args.FlowLogsARN = lake.FlowLogsARN })(ctx)
	}, pulumi.WithMocks("sluice", "prod", r))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range r.list { // in the order of registration
		if one.Type == "aws:ec2/flowLog:FlowLog" || one.Type == "aws:s3/bucketPolicy:BucketPolicy" && one.Name == "us-logs" {
			order = append(order, one.Type)
		}
		if one.Type == "aws:ec2/flowLog:FlowLog" && one.Inputs["logDestination"] != "arn:aws:s3:::sluice-prod-us-logs-1a2b3c4d/flow/" {
			t.Errorf("flow logs go to %v", one.Inputs["logDestination"])
		}
	}
	if !slices.Equal(order, []string{"aws:s3/bucketPolicy:BucketPolicy", "aws:ec2/flowLog:FlowLog"}) {
		t.Errorf("order: %q", order)
	}
}

// shared is a network of another account and region.
func shared(provider pulumi.ProviderResource) *SharedNetwork {
	return &SharedNetwork{VPCID: "vpc-5", CIDR: "10.0.0.0/20", Account: "444455556666", Region: "eu-central-1", RouteTableIDs: []string{"rtb-1", "rtb-2"}, Provider: provider}
}

func TestPeeringHasRoutesBothWays(t *testing.T) {
	r := &recorder{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		var there struct{ pulumi.ProviderResourceState }
		if err := ctx.RegisterResource("pulumi:providers:aws", "there", pulumi.Map{}, &there); err != nil {
			return err
		}
		return networkWith(func(args *NetworkArgs) { args.Shared = shared(&there) })(ctx)
	}, pulumi.WithMocks("sluice", "prod", r))
	if err != nil {
		t.Fatal(err)
	}
	connection := only(r.list, "aws:ec2/vpcPeeringConnection:VpcPeeringConnection")[0].Inputs
	for field, want := range map[string]any{"vpcId": "id:Vpc:us", "peerVpcId": "vpc-5", "peerOwnerId": "444455556666", "peerRegion": "eu-central-1", "autoAccept": nil} {
		if connection[field] != want {
			t.Errorf("%s: %v", field, connection[field])
		}
	}
	accepter := only(r.list, "aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter")[0]
	if accepter.Inputs["autoAccept"] != true || !strings.Contains(accepter.Provider, "::there::") {
		t.Errorf("accepter: %v by %s", accepter.Inputs, accepter.Provider)
	}
	got := routes(r.list)
	slices.Sort(got)
	id := "id:VpcPeeringConnection:us-shared"
	want := []string{"id:RouteTable:us-private-0 10.0.0.0/20 " + id, "id:RouteTable:us-private-1 10.0.0.0/20 " + id, "id:RouteTable:us-private-2 10.0.0.0/20 " + id,
		"rtb-1 10.16.0.0/16 " + id, "rtb-2 10.16.0.0/16 " + id}
	if !slices.Equal(got, want) {
		t.Errorf("routes %q", got)
	}
	for _, route := range only(r.list, "aws:ec2/route:Route") {
		if back := strings.Contains(route.Name, "-back-"); back != strings.Contains(route.Provider, "::there::") {
			t.Errorf("%s is made by %q", route.Name, route.Provider)
		}
	}
}

func TestPeeringThatNobodyHereMayAcceptIsOnlyRequested(t *testing.T) {
	registered := record(t, networkWith(func(args *NetworkArgs) { args.Shared = shared(nil) }))
	if n := len(only(registered, "aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter")); n != 0 {
		t.Errorf("%d accepters", n)
	}
	for _, route := range routes(registered) {
		if strings.HasPrefix(route, "rtb-") {
			t.Errorf("a way back: %s", route)
		}
	}
}

func TestNodesMayGoWhereTheNetworkHasRoutesTo(t *testing.T) {
	for _, c := range []struct {
		nat    string
		shared *SharedNetwork
		want   []string
	}{
		{NATNone, nil, []string{}},
		{NATOne, nil, []string{"0.0.0.0/0 443-443"}},
		{NATOne, shared(nil), []string{"0.0.0.0/0 443-443", "10.0.0.0/20 0-65535"}},
	} {
		r := &recorder{}
		err := pulumi.RunErr(func(ctx *pulumi.Context) error {
			e := newExample(t)
			p, err := e.parts(ctx)
			if err != nil {
				return err
			}
			if p.network, err = changedNetwork(ctx, func(args *NetworkArgs) { args.NAT, args.Shared = c.nat, c.shared }); err != nil {
				return err
			}
			_, err = e.cluster(ctx, p)
			return err
		}, pulumi.WithMocks("sluice", "prod", r))
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, rule := range only(r.list, "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule") {
			if cidr, _ := rule.Inputs["cidrIpv4"].(string); strings.HasPrefix(rule.Name, "us-core-") && cidr != "" && cidr != "10.16.0.0/16" {
				got = append(got, fmt.Sprintf("%s %v-%v", cidr, rule.Inputs["fromPort"], rule.Inputs["toPort"]))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("nat %s: nodes reach %q, want %q", c.nat, got, c.want)
		}
	}
}
