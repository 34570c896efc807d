"""Networks where MiniStack keeps less than was asked, or takes what AWS refuses: NAT gateways, routes, peerings, flow logs.

They are records: nothing is carried, so no flow log ever gets a line.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Iterable
from typing import Any
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import EvalContext
from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, s3

Data = dict[str, Any]
Handler = Callable[[Data], Any]

_TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "TransitGatewayId",
    "NetworkInterfaceId",
)


def install() -> None:
    """Puts the corrections in place."""
    ec2._ACTION_MAP |= {
        "CreateNatGateway": _create_nat_gateway,
        "DescribeNatGateways": _describe_nat_gateways,
        "DeleteNatGateway": _delete_nat_gateway,
        "ReleaseAddress": _release_address,
        "CreateRoute": _create_route,
        "ReplaceRoute": _replace_route,
        "CreateVpcPeeringConnection": _create_peering,
        "AcceptVpcPeeringConnection": _accept_peering,
        "DescribeVpcPeeringConnections": _describe_peerings,
        "CreateFlowLogs": _create_flow_logs,
        "DescribeFlowLogs": _describe_flow_logs,
    }


class _Refused(Exception):
    """What AWS answers instead: a code and a message."""


def _refusing(handler: Handler) -> Handler:
    def answer(params: Data) -> Any:
        try:
            return handler(params)
        except _Refused as refused:
            return ec2._error(*refused.args, 400)

    return answer


def _new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(9)[:17]}"


def _set(name: str, items: Iterable[str]) -> str:
    return f"<{name}>{''.join(f'<item>{item}</item>' for item in items)}</{name}>"


def _fields(values: Data) -> str:
    """Elements by name; what has no value is left out."""
    return "".join(
        f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items() if value not in (None, "")
    )


def _wanted(params: Data, store: Iterable[Data], id_name: str, filters: dict[str, Callable[[Data], str]]) -> list[Data]:
    """The records that a description asks for, by ids, tags and the named filters."""
    ids, asked = ec2._parse_member_list(params, id_name), ec2._parse_filters(params)
    return [
        record
        for record in store
        if (not ids or record[id_name] in ids)
        and ec2._resource_matches_tag_filters(record[id_name], asked)
        and all(value(record) in asked[name] for name, value in filters.items() if asked.get(name))
    ]


# --- NAT gateways ----------------------------------------------------------------------------------------------------


@_refusing
def _create_nat_gateway(params: Data) -> Any:
    subnet = ec2._subnets.get(ec2._p(params, "SubnetId"))
    if subnet is None:
        raise _Refused("InvalidSubnetID.NotFound", f"The subnet ID '{ec2._p(params, 'SubnetId')}' does not exist")
    if (ec2._p(params, "ConnectivityType") or "public") != "public":
        raise _Refused("UnsupportedOperation", "the local cloud has public NAT gateways only")
    allocation = ec2._p(params, "AllocationId")
    address = ec2._addresses.get(allocation)
    if address is None:
        raise _Refused("InvalidAllocationID.NotFound", f"The allocation ID '{allocation}' does not exist")
    if address["AssociationId"]:
        raise _Refused("Resource.AlreadyAssociated", f"Elastic IP address [{allocation}] is already associated")
    gateway = {
        "NatGatewayId": _new_id("nat"),
        "SubnetId": subnet["SubnetId"],
        "VpcId": subnet["VpcId"],
        "AllocationId": allocation,
        "PublicIp": address["PublicIp"],
        "PrivateIp": str(ipaddress.ip_network(subnet["CidrBlock"])[4 + len(ec2._nat_gateways) % 8]),
        "NetworkInterfaceId": _new_id("eni"),
        "AssociationId": _new_id("eipassoc"),
        "ConnectivityType": "public",
        "State": "available",
        "CreateTime": ec2._now_ts(),
    }
    attached = [way["VpcId"] for igw in ec2._internet_gateways.values() for way in igw.get("Attachments", [])]
    if subnet["VpcId"] not in attached:
        gateway |= {"State": "failed", "FailureCode": "Gateway.NotAttached"}
    else:
        address["AssociationId"] = gateway["AssociationId"]
    ec2._nat_gateways[gateway["NatGatewayId"]] = gateway
    ec2._parse_tag_specs(params, "natgateway", gateway["NatGatewayId"])
    return ec2._xml(200, "CreateNatGatewayResponse", f"<natGateway>{_nat_gateway(gateway)}</natGateway>")


def _nat_gateway(gateway: Data) -> str:
    address = {
        "allocationId": gateway["AllocationId"],
        "associationId": gateway["AssociationId"],
        "isPrimary": "true",
        "networkInterfaceId": gateway["NetworkInterfaceId"],
        "privateIp": gateway["PrivateIp"],
        "publicIp": gateway["PublicIp"],
        "status": "succeeded",
    }
    fields = {
        "natGatewayId": gateway["NatGatewayId"],
        "subnetId": gateway["SubnetId"],
        "vpcId": gateway["VpcId"],
        "state": gateway["State"],
        "failureCode": gateway.get("FailureCode"),
        "connectivityType": gateway["ConnectivityType"],
        "createTime": gateway["CreateTime"],
    }
    tags = ec2._tag_set_xml(gateway["NatGatewayId"])
    return f"{_fields(fields)}{_set('natGatewayAddressSet', [_fields(address)])}{tags}"


def _describe_nat_gateways(params: Data) -> Any:
    filters: dict[str, Callable[[Data], str]] = {
        "state": lambda g: str(g["State"]),
        "vpc-id": lambda g: str(g["VpcId"]),
        "subnet-id": lambda g: str(g["SubnetId"]),
    }
    found = _wanted(params, ec2._nat_gateways.values(), "NatGatewayId", filters)
    return ec2._xml(200, "DescribeNatGatewaysResponse", _set("natGatewaySet", map(_nat_gateway, found)))


def _delete_nat_gateway(params: Data) -> Any:
    answer = ec2._delete_nat_gateway(params)
    if answer[0] == 200:
        gateway = ec2._nat_gateways[ec2._p(params, "NatGatewayId")]
        for address in ec2._addresses.values():
            if address["AssociationId"] == gateway.get("AssociationId"):
                address["AssociationId"] = None
    return answer


@_refusing
def _release_address(params: Data) -> Any:
    address = ec2._addresses.get(ec2._p(params, "AllocationId"))
    if address and address["AssociationId"]:
        raise _Refused("InvalidIPAddress.InUse", f"Address {address['PublicIp']} is in use.")
    return ec2._release_address(params)


# --- routes ----------------------------------------------------------------------------------------------------------


@_refusing
def _create_route(params: Data) -> Any:
    table, destination = _route_table(params), ec2._p(params, "DestinationCidrBlock")
    if any(route.get("DestinationCidrBlock") == destination for route in table["Routes"]):
        raise _Refused("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    table["Routes"].append({"DestinationCidrBlock": destination, "Origin": "CreateRoute", **_target(params)})
    return ec2._xml(200, "CreateRouteResponse", "<return>true</return>")


@_refusing
def _replace_route(params: Data) -> Any:
    table, destination = _route_table(params), ec2._p(params, "DestinationCidrBlock")
    for place, route in enumerate(table["Routes"]):
        if route.get("DestinationCidrBlock") == destination:
            table["Routes"][place] = {
                "DestinationCidrBlock": destination,
                "Origin": route.get("Origin", "CreateRoute"),
                **_target(params),
            }
            return ec2._xml(200, "ReplaceRouteResponse", "<return>true</return>")
    raise _Refused("InvalidParameterValue", f"There is no route defined for '{destination}' in the route table.")


def _route_table(params: Data) -> Data:
    table: Data | None = ec2._route_tables.get(ec2._p(params, "RouteTableId"))
    if table is None:
        table_id = ec2._p(params, "RouteTableId")
        raise _Refused("InvalidRouteTableID.NotFound", f"The routeTable ID '{table_id}' does not exist")
    return table


def _target(params: Data) -> Data:
    """Where a route leads, which must be there."""
    given = {name: value for name in _TARGETS if (value := ec2._p(params, name))}
    if len(given) != 1 or not ec2._p(params, "DestinationCidrBlock"):
        raise _Refused("UnsupportedOperation", "the local cloud has routes from IPv4 blocks to one target each")
    state = "active"
    if gateway_id := given.get("NatGatewayId"):
        gateway = ec2._nat_gateways.get(gateway_id)
        if gateway is None or gateway["State"] != "available":
            raise _Refused("InvalidNatGatewayID.NotFound", f"The natGateway ID '{gateway_id}' does not exist")
    elif connection_id := given.get("VpcPeeringConnectionId"):
        connection = ec2._vpc_peering.get(connection_id)
        if connection is None:
            raise _Refused(
                "InvalidVpcPeeringConnectionID.NotFound",
                f"The vpcPeeringConnection ID '{connection_id}' does not exist",
            )
        # A connection that is not accepted yet can have routes; they lead nowhere until then.
        state = "active" if connection["Status"]["Code"] == "active" else "blackhole"
    return {**given, "State": state}


# --- peerings --------------------------------------------------------------------------------------------------------


@_refusing
def _create_peering(params: Data) -> Any:
    requester = ec2._vpcs.get(ec2._p(params, "VpcId"))
    if requester is None:
        raise _Refused("InvalidVpcID.NotFound", f"The vpc ID '{ec2._p(params, 'VpcId')}' does not exist")
    owner = ec2._p(params, "PeerOwnerId") or get_account_id()
    region = ec2._p(params, "PeerRegion") or get_region()
    peer = ec2._vpcs.get_scoped(owner, region, ec2._p(params, "PeerVpcId"))
    connection = {
        "VpcPeeringConnectionId": _new_id("pcx"),
        "RequesterVpcInfo": {
            "VpcId": requester["VpcId"],
            "OwnerId": get_account_id(),
            "Region": get_region(),
            "CidrBlock": requester["CidrBlock"],
        },
        "AccepterVpcInfo": {
            "VpcId": ec2._p(params, "PeerVpcId"),
            "OwnerId": owner,
            "Region": region,
            "CidrBlock": peer["CidrBlock"] if peer else "",
        },
        "Status": {"Code": "pending-acceptance", "Message": f"Pending Acceptance by {owner}"},
    }
    blocks = [ipaddress.ip_network(vpc["CidrBlock"]) for vpc in (requester, peer) if vpc]
    if len(blocks) < 2 or blocks[0].overlaps(blocks[1]):
        # AWS creates the connection all the same, and says in its status that nothing will come of it.
        connection["Status"] = {
            "Code": "failed",
            "Message": "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range",
        }
    ec2._put_vpc_peering_record(connection)
    ec2._parse_tag_specs(params, "vpc-peering-connection", connection["VpcPeeringConnectionId"])
    inner = f"<vpcPeeringConnection>{_peering(connection)}</vpcPeeringConnection>"
    return ec2._xml(200, "CreateVpcPeeringConnectionResponse", inner)


@_refusing
def _accept_peering(params: Data) -> Any:
    connection_id = ec2._p(params, "VpcPeeringConnectionId")
    connection = ec2._vpc_peering.get(connection_id)
    if connection is None:
        raise _Refused(
            "InvalidVpcPeeringConnectionID.NotFound", f"The vpcPeeringConnection ID '{connection_id}' does not exist"
        )
    accepter = connection["AccepterVpcInfo"]
    if (accepter["OwnerId"], accepter["Region"]) != (get_account_id(), get_region()):
        raise _Refused(
            "OperationNotPermitted",
            f"User {get_account_id()} cannot accept peering {connection_id} from region {get_region()}",
        )
    if connection["Status"]["Code"] not in ("pending-acceptance", "active"):
        raise _Refused("InvalidStateTransition", f"Invalid state transition for {connection_id}")
    ec2._set_vpc_peering_status(connection, "active", "Active")
    for account, region in ec2._vpc_peering_scopes(connection):
        for table in _scoped(ec2._route_tables, account, region):
            for route in table["Routes"]:
                if route.get("VpcPeeringConnectionId") == connection_id:
                    route["State"] = "active"
    inner = f"<vpcPeeringConnection>{_peering(connection)}</vpcPeeringConnection>"
    return ec2._xml(200, "AcceptVpcPeeringConnectionResponse", inner)


def _scoped(store: Any, account: str, region: str) -> list[Data]:
    """The records of an account and region, whoever asks."""
    return [record for scope, record in list(store._data.items()) if scope[:2] == (account, region)]


def _describe_peerings(params: Data) -> Any:
    filters: dict[str, Callable[[Data], str]] = {
        "status-code": lambda c: str(c["Status"]["Code"]),
        "requester-vpc-info.vpc-id": lambda c: str(c["RequesterVpcInfo"]["VpcId"]),
        "accepter-vpc-info.vpc-id": lambda c: str(c["AccepterVpcInfo"]["VpcId"]),
    }
    found = _wanted(params, ec2._vpc_peering.values(), "VpcPeeringConnectionId", filters)
    inner = _set("vpcPeeringConnectionSet", map(_peering, found))
    return ec2._xml(200, "DescribeVpcPeeringConnectionsResponse", inner)


def _peering(connection: Data) -> str:
    sides = ""
    for element, side in (("requesterVpcInfo", "RequesterVpcInfo"), ("accepterVpcInfo", "AccepterVpcInfo")):
        info = connection[side]
        fields = {
            "cidrBlock": info.get("CidrBlock"),
            "ownerId": info["OwnerId"],
            "vpcId": info["VpcId"],
            "region": info["Region"],
        }
        sides += f"<{element}>{_fields(fields)}</{element}>"
    status = _fields({"code": connection["Status"]["Code"], "message": connection["Status"]["Message"]})
    connection_id = connection["VpcPeeringConnectionId"]
    return f"{_fields({'vpcPeeringConnectionId': connection_id})}{sides}<status>{status}</status>{ec2._tag_set_xml(connection_id)}"


# --- flow logs -------------------------------------------------------------------------------------------------------


@_refusing
def _create_flow_logs(params: Data) -> Any:
    kind = ec2._p(params, "LogDestinationType") or "cloud-watch-logs"
    destination = ec2._p(params, "LogDestination")
    if kind != "s3" or not destination:
        raise _Refused("UnsupportedOperation", "the local cloud keeps flow logs that go to a bucket")
    stores = {"VPC": ec2._vpcs, "Subnet": ec2._subnets, "NetworkInterface": ec2._network_interfaces}
    created, refused = [], []
    for resource in ec2._parse_member_list(params, "ResourceId"):
        if resource not in stores[ec2._p(params, "ResourceType") or "VPC"]:
            refused.append(_unsuccessful(resource, f"Resource {resource} does not exist"))
            continue
        if not _delivers(destination):
            refused.append(_unsuccessful(resource, f"Access Denied for LogDestination: {destination}"))
            continue
        options = {
            "fileFormat": ec2._p(params, "DestinationOptions.FileFormat") or "plain-text",
            "hiveCompatiblePartitions": ec2._p(params, "DestinationOptions.HiveCompatiblePartitions") or "false",
            "perHourPartition": ec2._p(params, "DestinationOptions.PerHourPartition") or "false",
        }
        log = {
            "FlowLogId": _new_id("fl"),
            "ResourceId": resource,
            "TrafficType": ec2._p(params, "TrafficType") or "ALL",
            "LogDestinationType": kind,
            "LogDestination": destination,
            "LogFormat": ec2._p(params, "LogFormat")
            or "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} "
            "${packets} ${bytes} ${start} ${end} ${action} ${log-status}",
            "MaxAggregationInterval": ec2._p(params, "MaxAggregationInterval") or "600",
            "DestinationOptions": options,
            "FlowLogStatus": "ACTIVE",
            "CreationTime": ec2._now_ts(),
        }
        ec2._flow_logs[log["FlowLogId"]] = log
        ec2._parse_tag_specs(params, "vpc-flow-log", log["FlowLogId"])
        created.append(str(log["FlowLogId"]))
    return ec2._xml(200, "CreateFlowLogsResponse", _set("flowLogIdSet", created) + _set("unsuccessful", refused))


def _unsuccessful(resource: str, message: str) -> str:
    return f"<error>{_fields({'code': '400', 'message': message})}</error>{_fields({'resourceId': resource})}"


def _delivers(destination: str) -> bool:
    """Whether the bucket lets the delivery service write there; AWS would else put a policy of its own in place."""
    bucket, _, prefix = destination.removeprefix("arn:aws:s3:::").partition("/")
    account, region = get_account_id(), get_region()
    if bucket not in s3._buckets:
        return False
    policy = s3._bucket_policies.get(bucket)
    for action, resource in (
        ("s3:PutObject", f"arn:aws:s3:::{bucket}/{prefix}AWSLogs/aws-account-id={account}/log.parquet"),
        ("s3:GetBucketAcl", f"arn:aws:s3:::{bucket}"),
    ):
        context = EvalContext(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action=action,
            resource_arn=resource,
            region=region,
            service_context={
                "aws:sourcearn": f"arn:aws:logs:{region}:{account}:*",
                "aws:sourceaccount": account,
                "s3:x-amz-acl": "bucket-owner-full-control",
                "aws:securetransport": "true",
            },
        )
        asked = iam_evaluator.evaluate_resource_policy(policy, context, service="delivery.logs.amazonaws.com")
        if asked.decision != "Allow":
            return False
    return True


def _describe_flow_logs(params: Data) -> Any:
    filters: dict[str, Callable[[Data], str]] = {
        "resource-id": lambda log: str(log["ResourceId"]),
        "log-destination-type": lambda log: str(log["LogDestinationType"]),
    }
    items = []
    for log in _wanted(params, ec2._flow_logs.values(), "FlowLogId", filters):
        fields = {
            "creationTime": log["CreationTime"],
            "deliverLogsStatus": "SUCCESS",
            "flowLogId": log["FlowLogId"],
            "flowLogStatus": log["FlowLogStatus"],
            "resourceId": log["ResourceId"],
            "trafficType": log["TrafficType"],
            "logDestinationType": log["LogDestinationType"],
            "logDestination": log["LogDestination"],
            "logFormat": log["LogFormat"],
            "maxAggregationInterval": log["MaxAggregationInterval"],
        }
        options = f"<destinationOptions>{_fields(log['DestinationOptions'])}</destinationOptions>"
        items.append(_fields(fields) + options + ec2._tag_set_xml(log["FlowLogId"]))
    return ec2._xml(200, "DescribeFlowLogsResponse", _set("flowLogSet", items))
