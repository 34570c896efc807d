"""The feed's four Iceberg tables, and the branches that a run writes to before anyone sees what it made.

Branches are made, published and dropped through Iceberg's own Java interface: one commit each, and no SQL to be parsed for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.records.errors import JobError

CATALOG = "lake"
"""The name that all engines' Spark settings give to the catalog."""

STAGES = ("validated", "invalid", "versioned", "curated")
"""The stages in the order in which they are published: what people read last comes last."""

_EPOCH = date(1970, 1, 1)

_PROPERTIES = {
    "format-version": "2",
    # A run writes a single partition, or rows that it put in order itself: to shuffle them by partition first is lost time.
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.merge.mode": "copy-on-write",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table."""

    uri: str
    bytes: int
    rows: int


def _widens(old: str, new: str) -> bool:
    """Whether a column can become another type without a file being written anew: https://iceberg.apache.org/spec/#schema-evolution."""
    if (old, new) == ("int", "bigint"):
        return True
    before, after = (re.fullmatch(r"decimal\((\d+),(\d+)\)", kind) for kind in (old, new))
    return bool(before and after and before[2] == after[2] and int(before[1]) < int(after[1]))


class Table:
    """One stage's table of a feed, seen through the branch of one run."""

    def __init__(self, spark: SparkSession, name: str, location: str, partition: str, branch: str, run: str) -> None:
        self._spark, self._location, self._partition, self._branch, self._run = spark, location, partition, branch, run
        self.name = name

    @property
    def on_branch(self) -> str:
        """The branch as an identifier for SQL and writers."""
        return f"{self.name}.`branch_{self._branch}`"

    def exists(self) -> bool:
        """Whether the catalog has the table."""
        return bool(self._spark.catalog.tableExists(self.name))

    def bytes(self) -> int:
        """The size of what is published; 0 where there is nothing yet."""
        return self._total("total-files-size", "main")

    def added(self) -> int:
        """How many more rows the branch has than what is published."""
        return self._total("total-records", self._branch) - self._total("total-records", "main")

    def _total(self, name: str, ref: str) -> int:
        snapshot = self._java().snapshot(ref) if self.exists() else None
        return int(snapshot.summary().get(name) or 0) if snapshot else 0

    def latest(self) -> str:
        """The latest day that has a partition, or had one lately; empty for none."""
        snapshot = self._java().currentSnapshot() if self.exists() else None
        if snapshot is None:
            return ""
        table, iceberg = self._java(), self._jvm.org.apache.iceberg
        bounds = [manifest.partitions()[0].upperBound() for manifest in snapshot.allManifests(table.io())]
        dates = [
            iceberg.types.Conversions.fromByteBuffer(iceberg.types.Types.DateType.get(), bound)
            for bound in bounds
            if bound is not None
        ]
        return str(_EPOCH + timedelta(days=max(dates))) if dates else ""

    def branch_off(self, schema: StructType) -> None:
        """Begins the run's branch at what is published, and drops the branches of runs that ended half way. Creates the table if it is missing."""
        self._prepare(schema)
        table = self._java()
        dropped = table.manageSnapshots()
        leftover = self._branches(table)
        for branch in leftover:
            dropped.removeBranch(branch)
        if leftover:
            dropped.commit()
        table.manageSnapshots().createBranch(self._branch).commit()

    def _prepare(self, schema: StructType) -> None:
        """Creates the table, or gives it the columns and the width that it lacks. Raises JobError where its columns cannot hold the schema."""
        if not self.exists():
            columns = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in schema)
            properties = ", ".join(f"'{key}'='{value}'" for key, value in _PROPERTIES.items())
            self._spark.sql(
                f"create table {self.name} ({columns}) using iceberg partitioned by (`{self._partition}`) "
                f"location '{self._location}' tblproperties ({properties})"
            )
            return
        has = {field.name: field.dataType.simpleString() for field in self._spark.table(self.name).schema}
        wants = {field.name: field.dataType.simpleString() for field in schema}
        faults = [
            f"column {name} is {has[name]}, the contract says {wants[name]}"
            for name in wants
            if name in has and has[name] != wants[name] and not _widens(has[name], wants[name])
        ]
        faults += [f"column {name} is not in the contract any more" for name in has if name not in wants]
        if faults:
            raise JobError(
                f"table {self.name}: {'; '.join(faults)}: a contract may add columns or widen them, for other changes make a new feed"
            )
        for name in wants:
            if name in has and has[name] != wants[name]:
                self._spark.sql(f"alter table {self.name} alter column `{name}` type {wants[name]}")
        added = [f"`{name}` {wants[name]}" for name in wants if name not in has]
        if added:
            self._spark.sql(f"alter table {self.name} add columns ({', '.join(added)})")

    def read(self) -> DataFrame:
        """The table as the run's branch has it."""
        return self._spark.read.option("branch", self._branch).table(self.name)

    def published(self) -> DataFrame:
        """The table as everyone sees it."""
        return self._spark.table(self.name)

    def append(self, rows: DataFrame) -> None:
        """Adds rows to the branch."""
        self._writer(rows).append()

    def overwrite(self, rows: DataFrame, where: Column) -> None:
        """Puts rows on the branch in place of those that a condition finds."""
        self._writer(rows).overwrite(where)

    def replace(self, opened: DataFrame, ended: DataFrame, key: Sequence[str], day: str) -> None:
        """Adds the versions that a day opens, and ends the open versions of the keys in `ended`."""
        marked = ended.select(*[F.col(name).alias(f"_ended_{name}") for name in key])
        opened.unionByName(marked, allowMissingColumns=True).createOrReplaceTempView("_versions_of_the_day")
        same = " and ".join(f"t.`{name}` = s.`_ended_{name}`" for name in key)
        columns = ", ".join(f"`{name}`" for name in opened.columns)
        values = ", ".join(f"s.`{name}`" for name in opened.columns)
        self._spark.sql(
            f"merge into {self.on_branch} t using _versions_of_the_day s on t.is_current and {same} "
            f"when matched then update set valid_to = date'{day}', is_current = false "
            f"when not matched then insert ({columns}) values ({values})"
        )

    def _writer(self, rows: DataFrame) -> Any:
        return rows.writeTo(self.on_branch).option("snapshot-property.sluice.run", self._run)

    def publish(self) -> None:
        """Makes the branch what everyone sees, and drops it, in one commit. Without the branch there is nothing left to publish."""
        table = self._java()
        table.refresh()
        if self._branch in self._branches(table):
            table.manageSnapshots().fastForwardBranch("main", self._branch).removeBranch(self._branch).commit()

    def can_publish(self) -> bool:
        """Whether the branch still begins at what is published."""
        table = self._java()
        table.refresh()
        if self._branch not in self._branches(table) or table.currentSnapshot() is None:
            return True
        tip = table.refs().get(self._branch).snapshotId()
        return bool(
            self._jvm.org.apache.iceberg.util.SnapshotUtil.isAncestorOf(
                table, tip, table.currentSnapshot().snapshotId()
            )
        )

    def files(self, day: str) -> list[DataFile]:
        """The files that hold a day, on the branch if it is there, else as published."""
        table = self._java()
        table.refresh()
        iceberg = self._jvm.org.apache.iceberg
        equal = iceberg.expressions.Expressions.equal("_day", day)
        ref = self._branch if self._branch in self._branches(table) else "main"
        if table.refs().get(ref) is None:
            return []
        tasks = table.newScan().useRef(ref).filter(equal).planFiles()
        try:
            found = [task.file() for task in iceberg.relocated.com.google.common.collect.Lists.newArrayList(tasks)]
        finally:
            tasks.close()
        return sorted(
            (DataFile(str(f.location()), f.fileSizeInBytes(), f.recordCount()) for f in found), key=lambda f: f.uri
        )

    @property
    def _jvm(self) -> Any:
        return self._spark._jvm

    def _branches(self, table: Any) -> list[str]:
        return [str(ref) for ref in table.refs().keySet() if str(ref).startswith("run_")]

    def _java(self) -> Any:
        return self._jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(self._spark._jsparkSession, self.name)
