"""What the run asks and tells the ledger: may I publish, I publish, I published. Every change is one conditional write that names the run's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.aws import DynamoDB, Value
from jobs.records.errors import CancelledError, ClaimError

COUNTS = ("input", "validated", "invalid", "new", "changed", "unchanged", "duplicate", "deleted")


@dataclass(frozen=True)
class Commit:
    """The commit that a job's item names."""

    token: int
    revision: int
    committed: bool
    counts: Mapping[str, int]
    manifest: str


class Ledger:
    """The item of one job, as one run of it may change it."""

    def __init__(self, dynamodb: DynamoDB, table: str, feed: str, day: str, token: int, revision: int) -> None:
        self._dynamodb, self._table, self._token, self._revision = dynamodb, table, token, revision
        self._key = {"feed": {"S": feed}, "day": {"S": day}}
        self._job = f"{feed}/{day}"

    def commit(self) -> Commit | None:
        """The latest commit of the job, finished or not.

        Raises ClaimError where the job does not wait for this run, CancelledError where it was cancelled.
        """
        item = self._dynamodb.get(self._table, self._key)
        state, token = item.get("state", {}).get("S"), item.get("token", {}).get("N")
        if state != "running" or token != str(self._token):
            raise ClaimError(
                f"job {self._job}: the ledger has it {state or 'nowhere'} with token {token}, this run has token {self._token}"
            )
        self._refuse_cancelled(item)
        if "commitState" not in item:
            return None
        return Commit(
            token=int(item["commitToken"]["N"]),
            revision=int(item["commitRevision"]["N"]),
            committed=item["commitState"]["S"] == "committed",
            counts={name: int(item[name]["N"]) for name in COUNTS if name in item},
            manifest=item.get("manifest", {}).get("S", ""),
        )

    def _refuse_cancelled(self, item: Mapping[str, Value]) -> None:
        if cancelled := item.get("cancel", {}).get("S"):
            raise CancelledError(f"job {self._job}: {cancelled}; nothing was published")

    def claim(self, counts: Mapping[str, int], manifest: str) -> None:
        """Takes the right to publish.

        A run does not get it that was replaced, whose day is closed, or whose job was cancelled: once `sluice cancel` is recorded nothing is
        published, and it is not recorded once a run has the right.
        """
        names = {f"#{name}": name for name in (*COUNTS, "state", "token", "cancel")}
        values = {f":{name}": {"N": str(counts[name])} for name in COUNTS}
        values[":manifest"] = {"S": manifest}
        self._change(
            "SET commitToken = :t, commitRevision = :r, commitState = :committing, manifest = :manifest, "
            + ", ".join(f"#{name} = :{name}" for name in COUNTS),
            "#state = :running AND #token = :t AND (attribute_not_exists(#cancel) OR #cancel = :nobody)"
            " AND (attribute_not_exists(commitState) OR commitState <> :committed OR commitRevision < :r)",
            names,
            {
                **values,
                ":r": {"N": str(self._revision)},
                ":nobody": {"S": ""},
                ":committed": {"S": "committed"},
                ":committing": {"S": "committing"},
            },
            "another run owns it, or its day is closed",
        )

    def finish(self, commit_token: int) -> None:
        """Marks a commit as published: the run's own, or that of the dead run which it resumed. Repeating it changes nothing."""
        self._change(
            "SET commitState = :committed",
            "#state = :running AND #token = :t AND commitToken = :c",
            {"#state": "state", "#token": "token"},
            {":c": {"N": str(commit_token)}, ":committed": {"S": "committed"}},
            "another run owns it",
        )

    def _change(
        self, update: str, condition: str, names: Mapping[str, str], values: Mapping[str, Value], otherwise: str
    ) -> None:
        values = {":running": {"S": "running"}, ":t": {"N": str(self._token)}, **values}
        if not self._dynamodb.update(self._table, self._key, update, condition, names, values):
            item = self._dynamodb.get(self._table, self._key)
            if item.get("token", {}).get("N") == str(self._token):
                self._refuse_cancelled(item)
            raise ClaimError(f"job {self._job}: token {self._token} may not publish: {otherwise}")
