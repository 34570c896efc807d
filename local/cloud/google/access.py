"""Who may do what: callers, tokens, IAM policies, and the permissions of the roles that the local Google knows."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from .errors import GoogleError
from .state import Record, State

READ_DATASET = {"bigquery.datasets.get", "bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.list"}
EDIT_DATASET = READ_DATASET | {
    "bigquery.datasets.create",
    "bigquery.tables.create",
    "bigquery.tables.update",
    "bigquery.tables.updateData",
    "bigquery.tables.delete",
}
OWN_DATASET = EDIT_DATASET | {"bigquery.datasets.update", "bigquery.datasets.delete"}
READ_OBJECTS = {"storage.objects.get", "storage.objects.list"}
WRITE_OBJECTS = READ_OBJECTS | {"storage.objects.create", "storage.objects.delete", "storage.objects.update"}

# The permissions of each role, as far as the local services ask for them. A role that is not here cannot be granted.
ROLES: dict[str, set[str]] = {
    "roles/bigquery.jobUser": {"bigquery.jobs.create"},
    "roles/bigquery.dataViewer": READ_DATASET,
    "roles/bigquery.dataEditor": EDIT_DATASET,
    "roles/bigquery.dataOwner": OWN_DATASET,
    "roles/bigquery.metadataViewer": READ_DATASET - {"bigquery.tables.getData"},
    "roles/bigquery.user": {
        "bigquery.jobs.create",
        "bigquery.datasets.create",
        "bigquery.datasets.get",
        "bigquery.tables.list",
    },
    "roles/bigquery.admin": OWN_DATASET | {"bigquery.jobs.create"},
    "roles/storage.objectViewer": READ_OBJECTS,
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectUser": WRITE_OBJECTS,
    "roles/storage.objectAdmin": WRITE_OBJECTS,
    "roles/storage.admin": WRITE_OBJECTS | {"storage.buckets.get"},
    "roles/storage.bucketViewer": {"storage.buckets.get"},
    "roles/storage.insightsCollectorService": {"storage.buckets.get"},
    "roles/storage.legacyBucketReader": {"storage.buckets.get", "storage.objects.list"},
    "roles/storage.legacyBucketWriter": {
        "storage.buckets.get",
        "storage.objects.list",
        "storage.objects.create",
        "storage.objects.delete",
    },
    "roles/storage.legacyObjectReader": {"storage.objects.get"},
    "roles/iam.workloadIdentityUser": {"iam.serviceAccounts.getAccessToken"},
    "roles/iam.serviceAccountTokenCreator": {"iam.serviceAccounts.getAccessToken"},
}

# A dataset's access list still uses BigQuery's first role names.
DATASET_ROLES = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request: the IAM members that mean it."""

    members: frozenset[str] = frozenset()
    operator: bool = False


OPERATOR = Caller(operator=True)


class Tokens:
    """Access tokens: opaque to their holder, readable by the gate that issued them, even after it restarted."""

    def __init__(self, key_file: Path) -> None:
        if not key_file.exists():
            key_file.parent.mkdir(parents=True, exist_ok=True)
            key_file.touch(mode=0o600)
            key_file.write_bytes(Fernet.generate_key())
        self.fernet = Fernet(key_file.read_bytes())

    def issue(self, members: list[str], seconds: int) -> str:
        """A token that stands for the members for so long."""
        claims = {"members": members, "expires": time.time() + seconds}
        return "ya29." + self.fernet.encrypt(json.dumps(claims).encode()).decode()

    def caller(self, authorization: str) -> Caller:
        """The holder of the token in an Authorization header."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise GoogleError(
                401,
                "Request is missing required authentication credential. Expected OAuth 2 access token.",
                reason="required",
            )
        try:
            claims = json.loads(self.fernet.decrypt(token.removeprefix("ya29.").encode()))
        except InvalidToken:
            claims = {"members": [], "expires": 0}
        if claims["expires"] < time.time():
            raise GoogleError(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        return Caller(frozenset(claims["members"]))


class Policies:
    """IAM policies of projects, service accounts and buckets."""

    def __init__(self, state: State) -> None:
        self.state = state

    def get(self, resource: str) -> Record:
        """The policy of a resource, empty until somebody sets one."""
        policy = self.state.get("policies", resource) or {"bindings": []}
        return {"version": 1, **policy, "etag": etag(policy["bindings"])}

    def set(self, resource: str, policy: Record) -> Record:
        """Replace a policy, unless it changed since the caller read it."""
        current = self.get(resource)
        if policy.get("etag") not in (None, "", current["etag"]):
            raise GoogleError(
                409,
                "There were concurrent policy changes. "
                "Please retry the whole read-modify-write with exponential backoff.",
                "ABORTED",
            )
        bindings: dict[tuple[str, str], Record] = {}
        for binding in policy.get("bindings", []):
            if binding["role"] not in ROLES:
                raise GoogleError(
                    400,
                    f"Role {binding['role']} is not known to the local Google; "
                    "its permissions would have to be added to local/cloud/google/access.py.",
                )
            if binding.get("condition"):
                raise GoogleError(501, "Conditional role bindings are not emulated.")
            merged = bindings.setdefault((binding["role"], ""), {"role": binding["role"], "members": []})
            merged["members"] = sorted({*merged["members"], *map(self.known, binding.get("members", []))})
        stored = sorted((b for b in bindings.values() if b["members"]), key=lambda b: str(b["role"]))
        self.state.put("policies", resource, {"bindings": stored})
        return self.get(resource)

    def known(self, member: str) -> str:
        """A member in its usual spelling; Google refuses service accounts that do not exist."""
        kind, _, name = member.partition(":")
        google_made = kind == "serviceAccount" and name.endswith(".iam.gserviceaccount.com")
        if google_made and not self.state.get("accounts", name):
            raise GoogleError(400, f"Service account {name} does not exist.")
        if not name and member not in ("allUsers", "allAuthenticatedUsers"):
            raise GoogleError(400, f"Invalid member: {member}")
        return member

    def forget(self, member: str) -> None:
        """Take a deleted member out of all policies: a new account of the same name does not inherit its rights."""
        for resource, policy in self.state.items("policies"):
            for binding in policy["bindings"]:
                binding["members"] = [m for m in binding["members"] if m != member]
            self.state.put("policies", resource, {"bindings": [b for b in policy["bindings"] if b["members"]]})

    def allows(self, caller: Caller, permission: str, *resources: str) -> bool:
        """Whether the caller has the permission on one of the resources (a thing and what contains it)."""
        return caller.operator or any(
            permission in ROLES[binding["role"]] and granted(caller, binding["members"])
            for resource in resources
            for binding in self.get(resource)["bindings"]
        )


def granted(caller: Caller, members: list[str]) -> bool:
    """Whether one of the members means the caller."""
    return bool(caller.members & set(members)) or bool(
        caller.members and {"allUsers", "allAuthenticatedUsers"} & set(members)
    )


def dataset_allows(caller: Caller, permission: str, access: list[Record]) -> bool:
    """Whether a dataset's access list gives the caller the permission."""
    emails = {m.partition(":")[2] for m in caller.members if m.startswith("serviceAccount:")}
    for entry in access:
        name = entry.get("role") or ""
        role = DATASET_ROLES.get(name, name)
        mine = entry.get("userByEmail") in emails or entry.get("iamMember") in caller.members
        if mine and permission in ROLES.get(role, set()):
            return True
    return False


def etag(content: Any) -> str:
    """An etag that changes with the content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
