"""AWS's own service models, as botocore ships them: what a request may hold, and how an answer is written."""

from __future__ import annotations

import datetime
import re
from functools import cache
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import botocore.session
import botocore.validate
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape


class Invalid(Exception):
    """A request that the service model does not allow."""


@cache
def service(name: str) -> ServiceModel:
    """The model of a service by botocore's name for it."""
    return botocore.session.get_session().get_service_model(name)


def check_input(name: str, operation: str, data: dict[str, Any]) -> None:
    """Refuses unknown, missing and mistyped members (so also wrong casing) and values outside an enumeration.

    AWS ignores members that it does not know; here they are errors, because they are always somebody's mistake.
    """
    shape = service(name).operation_model(operation).input_shape
    if shape is None:
        return
    report = botocore.validate.ParamValidator().validate(data, shape)
    if report.has_errors():
        raise Invalid(report.generate_report())
    _check_enums(data, shape, operation)


def route(name: str, method: str, path: str, query: dict[str, Any], body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The operation that a REST request asks for, and its input, from where the service model says that it is."""
    for operation in service(name).operation_names:
        model = service(name).operation_model(operation)
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(model.http["requestUri"].partition("?")[0]))
        match = re.fullmatch(pattern, path.rstrip("/") or "/") if model.http["method"] == method else None
        if match is None:
            continue
        data = dict(body)
        for member, shape in (model.input_shape.members if model.input_shape else {}).items():
            place, wire = shape.serialization.get("location"), shape.serialization.get("name", member)
            if place == "uri" and wire in match.groupdict():
                data[member] = unquote(match[wire])
            elif place == "querystring" and wire in query:
                data[member] = _from_text(query[wire], shape)
        return operation, data
    raise Invalid(f"{method} {path} is no operation of {name}")


def _from_text(value: Any, shape: Shape) -> Any:
    """A member as it stands in a query: once for each item of a list, numbers and times as text."""
    values = value if isinstance(value, list) else [value]
    if isinstance(shape, ListShape):
        return [_from_text(item, shape.member) for item in values]
    text = str(values[0])
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name == "timestamp":
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return text


def query_xml(value: Any, shape: Shape) -> str:
    """A value as the Query protocol writes it: members by their names, a list's items as `member`."""
    if isinstance(shape, StructureShape):
        return "".join(
            f"<{name}>{query_xml(value[name], member)}</{name}>"
            for name, member in shape.members.items()
            if value.get(name) is not None
        )
    if isinstance(shape, ListShape):
        return "".join(f"<member>{query_xml(item, shape.member)}</member>" for item in value)
    if shape.type_name == "timestamp":
        moment = datetime.datetime.fromtimestamp(float(value), datetime.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value).lower() if isinstance(value, bool) else escape(str(value))


def _check_enums(value: Any, shape: Shape, path: str) -> None:
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            _check_enums(member, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for index, member in enumerate(value):
            _check_enums(member, shape.member, f"{path}[{index}]")
    elif isinstance(shape, MapShape):
        for key, member in value.items():
            _check_enums(member, shape.value, f"{path}.{key}")
    elif isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        raise Invalid(f"{path}: {value!r} is none of {', '.join(shape.enum)}")
