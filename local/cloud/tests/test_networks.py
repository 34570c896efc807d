"""Networks: what was asked is described as it was asked, and what AWS refuses is refused."""

from __future__ import annotations

import json
from typing import Any

import botocore.exceptions
import pytest

from .conftest import Account, assert_fits

OTHER = "111111111111"


@pytest.fixture
def ec2(root: Account) -> Any:
    return root.client("ec2")


def denied(call: Any, **arguments: Any) -> str:
    """The error code with which a call is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return str(refused.value.response["Error"]["Code"])


def vpc_of(ec2: Any, block: str) -> str:
    return str(ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"])


def test_nat_gateway_takes_an_address_and_gives_it_back(ec2: Any) -> None:
    vpc = vpc_of(ec2, "10.20.0.0/16")
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/24")["Subnet"]["SubnetId"]
    internet = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    address = ec2.allocate_address(Domain="vpc")
    allocation = address["AllocationId"]
    lonely = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]
    assert (lonely["State"], lonely["FailureCode"]) == ("failed", "Gateway.NotAttached")
    ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=internet)
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    answer = ec2.describe_nat_gateways(NatGatewayIds=[made])
    assert_fits("ec2", "DescribeNatGateways", answer)
    (gateway,) = answer["NatGateways"]
    (held,) = gateway["NatGatewayAddresses"]
    assert (gateway["State"], gateway["SubnetId"], gateway["VpcId"]) == ("available", subnet, vpc)
    assert (held["AllocationId"], held["PublicIp"], held["IsPrimary"]) == (allocation, address["PublicIp"], True)
    assert denied(ec2.create_nat_gateway, SubnetId=subnet, AllocationId=allocation) == "Resource.AlreadyAssociated"
    assert denied(ec2.release_address, AllocationId=allocation) == "InvalidIPAddress.InUse"
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(**route, NatGatewayId=made)
    assert denied(ec2.create_route, **route, NatGatewayId=made) == "RouteAlreadyExists"
    ec2.replace_route(**route, GatewayId=internet)
    (there,) = [r for r in routes(ec2, table) if r["DestinationCidrBlock"] == "0.0.0.0/0"]
    assert (there["GatewayId"], there.get("NatGatewayId")) == (internet, None)
    ec2.delete_nat_gateway(NatGatewayId=made)
    ec2.release_address(AllocationId=allocation)
    assert denied(ec2.replace_route, **route, NatGatewayId=made) == "InvalidNatGatewayID.NotFound"
    assert denied(ec2.create_nat_gateway, SubnetId="subnet-0", AllocationId=allocation) == "InvalidSubnetID.NotFound"


def routes(ec2: Any, table: str) -> list[dict[str, Any]]:
    answer = ec2.describe_route_tables(RouteTableIds=[table])
    assert_fits("ec2", "DescribeRouteTables", answer)
    return list(answer["RouteTables"][0]["Routes"])


def test_only_the_other_side_accepts_a_peering(root: Account, ec2: Any) -> None:
    there = Account(root.endpoint, key=OTHER).client("ec2")
    ours, theirs = vpc_of(ec2, "10.21.0.0/16"), vpc_of(there, "10.22.0.0/16")
    asked = {"VpcId": ours, "PeerVpcId": theirs, "PeerOwnerId": OTHER}
    made = ec2.create_vpc_peering_connection(**asked)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    table = ec2.create_route_table(VpcId=ours)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.22.0.0/16", VpcPeeringConnectionId=made)
    assert [r["State"] for r in routes(ec2, table) if r.get("VpcPeeringConnectionId")] == ["blackhole"]
    assert denied(ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=made) == "OperationNotPermitted"
    there.accept_vpc_peering_connection(VpcPeeringConnectionId=made)
    for side in (ec2, there):
        answer = side.describe_vpc_peering_connections(VpcPeeringConnectionIds=[made])
        assert_fits("ec2", "DescribeVpcPeeringConnections", answer)
        (connection,) = answer["VpcPeeringConnections"]
        assert connection["Status"]["Code"] == "active"
        assert connection["RequesterVpcInfo"]["CidrBlock"] == "10.21.0.0/16"
        assert connection["AccepterVpcInfo"] | {"PeeringOptions": None} == {
            "VpcId": theirs,
            "OwnerId": OTHER,
            "Region": "us-east-1",
            "CidrBlock": "10.22.0.0/16",
            "PeeringOptions": None,
        }
    assert [r["State"] for r in routes(ec2, table) if r.get("VpcPeeringConnectionId")] == ["active"]


def test_peering_of_overlapping_or_missing_networks_fails(ec2: Any) -> None:
    ours, same = vpc_of(ec2, "10.23.0.0/16"), vpc_of(ec2, "10.23.128.0/17")
    for peer in (same, "vpc-0123456789abcdef0"):
        made = ec2.create_vpc_peering_connection(VpcId=ours, PeerVpcId=peer)["VpcPeeringConnection"]
        assert made["Status"]["Code"] == "failed"
        refused = denied(ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=made["VpcPeeringConnectionId"])
        assert refused == "InvalidStateTransition"
    assert denied(ec2.create_vpc_peering_connection, VpcId="vpc-0", PeerVpcId=ours) == "InvalidVpcID.NotFound"


def test_flow_log_needs_a_bucket_that_lets_it_in(root: Account, ec2: Any) -> None:
    vpc = vpc_of(ec2, "10.24.0.0/16")
    s3 = root.client("s3")
    s3.create_bucket(Bucket="flows")
    asked: dict[str, Any] = {
        "ResourceIds": [vpc],
        "ResourceType": "VPC",
        "TrafficType": "ALL",
        "LogDestinationType": "s3",
        "LogDestination": "arn:aws:s3:::flows/flow/",
        "MaxAggregationInterval": 60,
        "DestinationOptions": {"FileFormat": "parquet", "HiveCompatiblePartitions": True, "PerHourPartition": False},
        "TagSpecifications": [{"ResourceType": "vpc-flow-log", "Tags": [{"Key": "Country", "Value": "us"}]}],
    }
    refused = ec2.create_flow_logs(**asked)
    assert (refused["FlowLogIds"], len(refused["Unsuccessful"])) == ([], 1)
    deliver = {
        "Effect": "Allow",
        "Principal": {"Service": "delivery.logs.amazonaws.com"},
        "Action": ["s3:PutObject", "s3:GetBucketAcl"],
        "Resource": ["arn:aws:s3:::flows", "arn:aws:s3:::flows/flow/*"],
        "Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"}},
    }
    s3.put_bucket_policy(Bucket="flows", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deliver]}))
    (made,) = ec2.create_flow_logs(**asked)["FlowLogIds"]
    answer = ec2.describe_flow_logs(FlowLogIds=[made])
    assert_fits("ec2", "DescribeFlowLogs", answer)
    (log,) = answer["FlowLogs"]
    for name in ("TrafficType", "LogDestinationType", "LogDestination", "MaxAggregationInterval", "DestinationOptions"):
        assert log[name] == asked[name]
    assert (log["ResourceId"], log["Tags"]) == (vpc, [{"Key": "Country", "Value": "us"}])
    assert denied(ec2.create_flow_logs, **asked | {"LogDestinationType": "cloud-watch-logs"}) == "UnsupportedOperation"
