"""CloudWatch: DescribeAlarms in the Query protocol with all that an alarm has, not only half of it."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import cloudwatch

from local.cloud import models

Data = dict[str, Any]


def install() -> None:
    """Puts the correction in place: the answer in XML is made of the complete one in JSON."""
    stock = cloudwatch._describe_alarms

    def describe_alarms(params: Data, data: Data, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return stock(params, data, is_cbor, is_json)
        request = {
            name: value
            for name in ("AlarmNamePrefix", "StateValue", "MaxRecords", "NextToken")
            if (value := cloudwatch._p(params, name))
        }
        request |= {name: _members(params, name) for name in ("AlarmNames", "AlarmTypes")}
        status, _headers, body = stock({}, request, False, True)
        if status != 200:
            return stock(params, data, is_cbor, is_json)
        shape = models.service("cloudwatch").operation_model("DescribeAlarms").output_shape
        assert shape is not None, "the model has an answer"
        inner = models.query_xml(json.loads(body), shape)
        return cloudwatch._xml(200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{inner}</DescribeAlarmsResult>")

    cloudwatch._describe_alarms = describe_alarms


def _members(params: Data, name: str) -> list[str]:
    values: list[str] = []
    while value := cloudwatch._p(params, f"{name}.member.{len(values) + 1}"):
        values.append(value)
    return values
