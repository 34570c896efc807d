"""The machines of clusters: EC2 instances that exist as records only, and what their processors do, which is measured.

A cluster's steps run on this machine. Each of its instances therefore shows the share of this machine's processors that the
processes of the cluster's steps used.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2

Data = dict[str, Any]
_TICKS = os.sysconf("SC_CLK_TCK")
_IMAGE = "ami-0e0000000000000e0"
_GONE = ("shutting-down", "terminated")


def install() -> None:
    """EC2 keeps security groups and subnets that instances use, as AWS does."""
    delete_group, delete_subnet = ec2._delete_security_group, ec2._delete_subnet

    def delete_security_group(params: Data) -> Any:
        group = ec2._p(params, "GroupId")
        if any(group in _groups(instance) for instance in _alive()):
            return ec2._error("DependencyViolation", f"resource {group} has a dependent object", 400)
        return delete_group(params)

    def delete_subnet_(params: Data) -> Any:
        subnet = ec2._p(params, "SubnetId")
        if any(instance["SubnetId"] == subnet for instance in _alive()):
            message = f"The subnet '{subnet}' has dependencies and cannot be deleted."
            return ec2._error("DependencyViolation", message, 400)
        return delete_subnet(params)

    ec2._delete_security_group = ec2._ACTION_MAP["DeleteSecurityGroup"] = delete_security_group
    ec2._delete_subnet = ec2._ACTION_MAP["DeleteSubnet"] = delete_subnet_


def _alive() -> list[Data]:
    return [instance for instance in ec2._instances.values() if instance["State"]["Name"] not in _GONE]


def _groups(instance: Data) -> list[str]:
    return [group["GroupId"] for group in instance["SecurityGroups"]]


def launch(kind: str, subnet: str, groups: list[str], profile: str, count: int) -> list[str]:
    """New instances of a type in a subnet, with no address of the internet; their ids."""
    record, _problem = ec2._resolve_iam_instance_profile(iam_name=profile, allow_missing=True)
    made = ec2._launch_instances_internal(_IMAGE, kind, subnet, count, sg_ids=groups, iam_profile=record)
    for instance in made:
        instance["PublicIpAddress"] = instance["PublicDnsName"] = ""
        instance["Placement"]["AvailabilityZone"] = ec2._subnets[subnet]["AvailabilityZone"]
    return [str(instance["InstanceId"]) for instance in made]


def terminate(ids: Iterable[str]) -> None:
    """Ends instances; those that are gone already stay gone."""
    present = [instance for instance in ids if instance in ec2._instances]
    if present:
        ec2._terminate_instances({f"InstanceId.{n}": [i] for n, i in enumerate(present, 1)})


def state(instance: str) -> str:
    """An instance's state; "terminated" when EC2 has forgotten it."""
    record = ec2._instances.get(instance)
    return "terminated" if record is None else str(record["State"]["Name"])


def addresses(instance: str) -> Data:
    """What EMR tells of an instance's addresses."""
    record = ec2._instances.get(instance, {})
    address = record.get("PrivateIpAddress", "")
    region = get_region()
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return {"PrivateIpAddress": address, "PrivateDnsName": f"ip-{address.replace('.', '-')}.{domain}"}


class Processors:
    """What the processes of some sessions used of this machine's processors."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}
        self._used: defaultdict[str, float] = defaultdict(float)
        self._since: dict[str, float] = {}

    def sample(self, sessions: dict[int, str]) -> None:
        """Looks at every process of the sessions, each of which belongs to an owner."""
        seen: dict[tuple[int, str], int] = {}
        if sessions:
            for pid, started, session, ticks in _processes():
                if owner := sessions.get(session):
                    seen[pid, started] = ticks
                    self._used[owner] += max(0, ticks - self._seen.get((pid, started), 0)) / _TICKS
        self._seen = seen

    def percent(self, owner: str) -> float:
        """The owner's share of all processors since the last time that it was asked for."""
        now = time.monotonic()
        elapsed = now - self._since.get(owner, now)
        self._since[owner] = now
        used = self._used.pop(owner, 0.0)
        return 0.0 if elapsed <= 0 else min(100.0, 100 * used / elapsed / (os.cpu_count() or 1))

    def forget(self, owner: str) -> None:
        """Drops what is known of an owner."""
        self._used.pop(owner, None)
        self._since.pop(owner, None)


def _processes() -> Iterable[tuple[int, str, int, int]]:
    """Every process: its id, when it started, its session, and the time that it took."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(entry.parent.name), fields[19], int(fields[3]), sum(int(field) for field in fields[11:13])
