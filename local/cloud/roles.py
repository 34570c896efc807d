"""IAM as services use it on a caller's behalf: may this caller pass a role, and what does a service get for it."""

from __future__ import annotations

import calendar
import json
import secrets
import time
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import iam, lambda_svc, sts

_SESSION_SECONDS = 12 * 3600


# How long a role is new: what was made gets around in AWS in seconds, and until then it can neither be assumed nor do anything.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
_new_seconds = 0.0


class Refused(Exception):
    """Why AWS would refuse to use a role."""


def install(new_seconds: float) -> None:
    """Says how long a role is new, and has Lambda take no function with one."""
    global _new_seconds
    _new_seconds = new_seconds
    stock = lambda_svc._create_function

    def create_function(data: dict[str, Any]) -> Any:
        record = iam._roles.get(data.get("Role", "").rpartition("/")[2])
        if record is not None and is_new(record):
            message = "The role defined for the function cannot be assumed by Lambda."
            return error_response_json("InvalidParameterValueException", message, 400)
        return stock(data)

    lambda_svc._create_function = create_function


def is_new(record: dict[str, Any]) -> bool:
    """Whether services have not heard of a role yet."""
    made = calendar.timegm(time.strptime(record["CreateDate"], "%Y-%m-%dT%H:%M:%SZ"))
    return time.time() < made + _new_seconds


def is_new_session(principal: str) -> bool:
    """Whether a principal is a session of a role that is new."""
    kind, _, name = principal.rpartition(":")[2].partition("/")
    record = iam._roles.get(name.partition("/")[0]) if kind == "assumed-role" else None
    return record is not None and is_new(record)


def role(name_or_arn: str) -> dict[str, Any]:
    """The role of this name or ARN; refused when there is none."""
    name = name_or_arn.rpartition("/")[2]
    record: dict[str, Any] | None = iam._roles.get(name)
    if record is None or (name_or_arn.startswith("arn:") and record["Arn"] != name_or_arn):
        raise Refused(f"role {name_or_arn} does not exist")
    return record


def role_of_profile(name_or_arn: str) -> dict[str, Any]:
    """The role in the instance profile of this name or ARN; refused when either is missing."""
    name = name_or_arn.rpartition("/")[2]
    profile = iam._instance_profiles.get(name)
    if profile is None or (name_or_arn.startswith("arn:") and profile["Arn"] != name_or_arn):
        raise Refused(f"instance profile {name_or_arn} does not exist")
    names = [entry if isinstance(entry, str) else entry["RoleName"] for entry in profile.get("Roles", [])]
    if not names:
        raise Refused(f"instance profile {name_or_arn} has no role")
    return role(names[0])


def check_trust(record: dict[str, Any], service: str) -> None:
    """Refuses a role whose trust policy does not let the service assume it."""
    if is_new(record):
        raise Refused(f"role {record['Arn']} cannot be assumed by {service}: it is new")
    if not _trusts(record.get("AssumeRolePolicyDocument") or {}, service):
        raise Refused(f"role {record['Arn']} does not trust {service}")


def check_pass(caller_key: str, record: dict[str, Any], service: str) -> None:
    """Refuses a caller who may not pass the role to the service."""
    denied = iam_evaluator.enforce(
        caller_key,
        "iam:PassRole",
        "iam",
        get_region(),
        resource_arn=record["Arn"],
        service_context={"iam:PassedToService": service},
    )
    if denied is not None:
        raise Refused(f"the caller is not authorized to perform: iam:PassRole on resource: {record['Arn']}")


def check_may(caller_key: str, action: str, arn: str, keys: dict[str, str] | None = None) -> None:
    """Refuses a caller who may not do something that the request asks for besides its own action, under condition keys."""
    service = action.partition(":")[0]
    if (
        iam_evaluator.enforce(caller_key, action, service, get_region(), resource_arn=arn, service_context=keys or {})
        is not None
    ):
        raise Refused(f"the caller is not authorized to perform: {action} on resource: {arn}")


def assume(record: dict[str, Any], service: str, session: str) -> dict[str, str]:
    """What sts:AssumeRole gives the service: temporary credentials, as environment variables."""
    check_trust(record, service)
    account = get_account_id()
    key = "ASIA" + secrets.token_hex(8).upper()
    secret, token = secrets.token_urlsafe(30), secrets.token_urlsafe(96)
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{record['RoleName']}/{session}",
            "UserId": f"{record['RoleId']}:{session}",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": time.time() + _SESSION_SECONDS,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def _trusts(document: str | dict[str, Any], service: str) -> bool:
    """Whether a trust policy allows sts:AssumeRole to the service, a Deny winning."""
    parsed: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    statements = parsed.get("Statement", [])
    effects = {
        statement.get("Effect")
        for statement in ([statements] if isinstance(statements, dict) else statements)
        if iam_evaluator._service_principal_matches(statement.get("Principal"), service)
        and iam_evaluator._action_matches("sts:AssumeRole", _list(statement.get("Action")), [])
    }
    return "Allow" in effects and "Deny" not in effects


def _list(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []
