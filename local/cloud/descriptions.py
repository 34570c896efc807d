"""Resources that MiniStack takes whole and describes by half: alarms, catalog databases, endpoints of a network.

What a deployment does not read back as it wrote it, it would change again and again.
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import cloudwatch, ec2, glue

from local.cloud import alarms, models

Data = dict[str, Any]

_OPEN_POLICY = {
    "Version": "2008-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
}


def install() -> None:
    """Puts the corrections in place."""
    _complete_alarms()
    _complete_databases()
    _complete_endpoints()


def _complete_alarms() -> None:
    """DescribeAlarms in the Query protocol: the answer in XML is made of the complete one in JSON."""
    stock = cloudwatch._describe_alarms

    def describe_alarms(params: Data, data: Data, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return stock(params, data, is_cbor, is_json)
        request = {
            name: value
            for name in ("AlarmNamePrefix", "StateValue", "MaxRecords", "NextToken")
            if (value := cloudwatch._p(params, name))
        }
        request |= {name: alarms.members(params, name) for name in ("AlarmNames", "AlarmTypes")}
        status, _headers, body = stock({}, request, False, True)
        if status != 200:
            return stock(params, data, is_cbor, is_json)
        shape = models.service("cloudwatch").operation_model("DescribeAlarms").output_shape
        assert shape is not None, "the model has an answer"
        inner = models.query_xml(json.loads(body), shape)
        return cloudwatch._xml(200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{inner}</DescribeAlarmsResult>")

    cloudwatch._describe_alarms = describe_alarms


def _complete_databases() -> None:
    """A catalog database keeps its default permissions, its target and its federation too."""
    stock_create, stock_update = glue._create_database, glue._update_database

    def keep(answer: Any, name: str, given: Data) -> Any:
        if answer[0] == 200:
            members = ("CreateTableDefaultPermissions", "TargetDatabase", "FederatedDatabase")
            glue._databases[name].update({member: given[member] for member in members if member in given})
        return answer

    def create_database(data: Data) -> Any:
        given = data.get("DatabaseInput", {})
        return keep(stock_create(data), given.get("Name", ""), given)

    def update_database(data: Data) -> Any:
        return keep(stock_update(data), data.get("Name", ""), data.get("DatabaseInput", {}))

    glue._create_database = create_database
    glue._update_database = update_database


def _complete_endpoints() -> None:
    """A network's endpoint keeps its policy, security groups and private names."""
    stock_create, stock_xml = ec2._create_vpc_endpoint, ec2._vpce_fields_xml

    def create_vpc_endpoint(params: Data) -> Any:
        known = set(ec2._vpc_endpoints)
        answer = stock_create(params)
        for endpoint_id in set(ec2._vpc_endpoints) - known:
            endpoint = ec2._vpc_endpoints[endpoint_id]
            endpoint["PolicyDocument"] = ec2._p(params, "PolicyDocument") or json.dumps(_OPEN_POLICY)
            endpoint["Groups"] = ec2._parse_member_list(params, "SecurityGroupId")
            endpoint["PrivateDnsEnabled"] = ec2._p(params, "PrivateDnsEnabled") == "true"
            answer = ec2._xml(200, "CreateVpcEndpointResponse", fields_xml(endpoint, tag="vpcEndpoint"))
        return answer

    def fields_xml(endpoint: Data, tag: str = "item") -> str:
        groups = "".join(f"<item><groupId>{group}</groupId></item>" for group in endpoint.get("Groups", []))
        more = (
            f"<policyDocument>{escape(endpoint.get('PolicyDocument', ''))}</policyDocument>"
            f"<groupSet>{groups}</groupSet>"
            f"<privateDnsEnabled>{str(endpoint.get('PrivateDnsEnabled', False)).lower()}</privateDnsEnabled>"
        )
        text: str = stock_xml(endpoint, tag)
        return text.removesuffix(f"</{tag}>") + more + f"</{tag}>"

    ec2._create_vpc_endpoint = ec2._ACTION_MAP["CreateVpcEndpoint"] = create_vpc_endpoint
    ec2._vpce_fields_xml = fields_xml
