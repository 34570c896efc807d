"""Which instance types EC2 has in which zone: what DescribeInstanceTypeOfferings says, and what clusters can have."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2

_SIZES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")
_FAMILIES = (
    *("m4", "r4", "c4", "t2", "t3"),
    *("m5", "m5a", "m5d", "m6a", "m6g", "m6gd", "m6i", "m6id", "m7a", "m7g", "m7gd", "m7i"),
    *("r5", "r5a", "r5d", "r6a", "r6g", "r6gd", "r6i", "r6id", "r7a", "r7g", "r7gd", "r7i"),
    *("c5", "c5a", "c5d", "c6a", "c6g", "c6gd", "c6i", "c6id", "c7a", "c7g", "c7gd", "c7i"),
)
# Old zones, which newer machines did not come to. Which ones that are changes with time; these stand for them.
_OLD_ZONES = frozenset({"use1-az3", "usw1-az2", "euw1-az4", "apne1-az3", "apne2-az2", "cac1-az3"})
_NEWER = frozenset({"m7a", "m7gd", "m7i", "r7a", "r7gd", "r7i", "c7a", "c7gd", "c7i"})


def install() -> None:
    """Lets EC2 answer, and refuse what it does not have."""
    ec2._ACTION_MAP["DescribeInstanceTypeOfferings"] = _describe


def zones() -> list[str]:
    """The zones of the current region, as EC2 describes them."""
    return [f"{get_region()}{letter}" for letter in "abc"]


def has(zone: str, kind: str) -> bool:
    """Whether a zone has an instance type."""
    family, _, size = kind.partition(".")
    too_new = family in _NEWER and ec2._az_id_for_zone_name(zone) in _OLD_ZONES
    return family in _FAMILIES and size in _SIZES and not too_new


def missing_in_region(kinds: Iterable[str]) -> str:
    """The first of some instance types that no zone of the current region has."""
    return next((kind for kind in kinds if not any(has(zone, kind) for zone in zones())), "")


def missing_in_zone(zone: str, kinds: Iterable[str]) -> str:
    """The first of some instance types that a zone does not have."""
    return next((kind for kind in kinds if not has(zone, kind)), "")


def _describe(params: dict[str, Any]) -> Any:
    by, asked = ec2._p(params, "LocationType") or "region", ec2._parse_filters(params)
    if by == "region":
        where = {get_region(): zones()}
    elif by == "availability-zone":
        where = {zone: [zone] for zone in zones()}
    elif by == "availability-zone-id":
        where = {ec2._az_id_for_zone_name(zone): [zone] for zone in zones()}
    else:
        return ec2._error("InvalidParameterValue", f"Value ({by}) for parameter locationType is invalid.", 400)
    if unknown := set(asked) - {"location", "instance-type"}:
        return ec2._error("InvalidParameterValue", f"The filter '{min(unknown)}' is invalid", 400)
    items = "".join(
        f"<item><instanceType>{kind}</instanceType><locationType>{by}</locationType><location>{name}</location></item>"
        for name, within in where.items()
        for kind in (f"{family}.{size}" for family in _FAMILIES for size in _SIZES)
        if any(has(zone, kind) for zone in within)
        and _passes(name, asked.get("location"))
        and _passes(kind, asked.get("instance-type"))
    )
    return ec2._xml(
        200, "DescribeInstanceTypeOfferingsResponse", f"<instanceTypeOfferingSet>{items}</instanceTypeOfferingSet>"
    )


def _passes(value: str, patterns: list[str] | None) -> bool:
    return patterns is None or any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
