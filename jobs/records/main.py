"""Runs one attempt at a job: `main.py --order s3://bucket/key --aws-region us-east-1`. The order says all that there is to know; see README.md
beside this file.

Write, audit, publish: everything is written to branches of the feed's tables, summed up there, claimed in the ledger, and only then published. A run
that dies can be followed by another at any point: what it wrote to its branches is dropped, what it had begun to publish is published to the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlparse

from pyspark.java_gateway import launch_gateway
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.aws import AWS
from jobs.records import contract as contracts
from jobs.records import files, sealed, transforms
from jobs.records.contract import Contract
from jobs.records.errors import AuditError, ChangedError, ClaimError, InputError, JobError
from jobs.records.lake import CATALOG, STAGES, Table
from jobs.records.ledger import Ledger

_HEADS = 10
"""How many objects are asked for at once."""


@dataclass(frozen=True)
class Order:
    """What a run is to do."""

    feed: str
    day: str
    token: int
    revision: int
    contract: Mapping[str, Any]
    files: Sequence[Mapping[str, Any]]
    databases: Mapping[str, str]
    buckets: Mapping[str, str]
    jobs_table: str
    resume: int | None
    retract: bool = False
    """Whether the run takes its day back: it reads no files and leaves nothing of the day in any table."""

    @staticmethod
    def parse(text: str) -> Order:
        """Reads an order from JSON."""
        d = json.loads(text)
        if d.get("version") != 1:
            raise InputError(f"order: version {d.get('version')!r} is not supported: deploy job and functions together")
        return Order(
            feed=d["feed"],
            day=d["day"],
            token=d["token"],
            revision=d["revision"],
            contract=d["contract"],
            files=d["files"],
            databases=d["databases"],
            buckets=d["buckets"],
            jobs_table=d["jobsTable"],
            resume=(d.get("resume") or {}).get("token"),
            retract=bool(d.get("retract")),
        )


class Objects:
    """The objects that a run reads and writes besides its tables."""

    def __init__(self, aws: AWS) -> None:
        self._aws = aws

    def uri(self, bucket: str, key: str) -> str:
        """What Spark reads an object by."""
        return f"s3://{bucket}/{key}"

    def read(self, uri: str) -> str:
        """Reads an object as text."""
        parts = urlparse(uri)
        return self._aws.s3.get(parts.netloc, parts.path.lstrip("/")).decode("utf-8")

    def version(self, bucket: str, key: str) -> str | None:
        """The version of an object that is read by its key now; None where there is no object, or its bucket keeps no versions."""
        head = self._aws.s3.head(bucket, key)
        return head.version if head else None

    def envelope(self, bucket: str, key: str) -> sealed.Envelope:
        """What opens an object that its sender encrypted."""
        head = self._aws.s3.head(bucket, key)
        if head is None:
            raise ChangedError(f"{key} was deleted after the run was ordered: nothing was published")
        return sealed.envelope(self._aws.kms, key, head.metadata)

    def write(self, bucket: str, key: str, document: Mapping[str, Any]) -> None:
        """Writes an object as JSON."""
        body = json.dumps(document, indent=1).encode("utf-8")
        self._aws.s3.put(bucket, key, body, "application/json")


class Run:
    """One attempt at a job."""

    def __init__(self, order: Order, ledger: Ledger, objects: Objects, session: Callable[[], SparkSession]) -> None:
        self._order, self._ledger, self._objects, self._session = order, ledger, objects, session

    def run(self) -> dict[str, int]:
        """Brings the day to its end and returns its counts."""
        order = self._order
        commit = self._ledger.commit()
        if commit and commit.committed and commit.revision == order.revision:
            return dict(commit.counts)  # an earlier run got there, and died before it could say so
        if commit and not commit.committed:
            if order.resume != commit.token:
                raise ClaimError(
                    f"job {order.feed}/{order.day}: run {commit.token} has begun to publish, and this run's order does not resume it"
                )
            if self._resume(commit.token, commit.revision) and commit.revision == order.revision:
                return dict(commit.counts)
        return self._process()

    def _process(self) -> dict[str, int]:
        self._check_versions()
        try:
            tables, counts = self._make()
        finally:  # also when it failed: a file that was overwritten while it was read may look like anything
            self._check_versions()
        self._publish(tables, counts)
        return counts

    def _check_versions(self) -> None:
        """Raises ChangedError unless all files are the ones that were ordered.

        Spark reads files by key. A version that is current after the last read was current at every read, for an older one does not come back.
        """
        wanted = self._order.files
        with ThreadPoolExecutor(_HEADS) as pool:
            found = list(pool.map(lambda f: self._objects.version(f["bucket"], f["key"]), wanted))
        changed = [f["key"] for f, version in zip(wanted, found) if version != f.get("versionId")]
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ChangedError(
                f"{changed[0]}{more} was overwritten or deleted after the run was ordered: nothing was published"
            )

    def _make(self) -> tuple[dict[str, Table], dict[str, int]]:
        """Writes the day to branches that nobody reads, and returns them with what is on them."""
        order = self._order
        contract = contracts.parse(order.contract, order.feed)
        spark = self._session()
        tables = self._tables(spark, order.token)
        if order.retract:
            return tables, self._take_back(spark, contract, tables)
        wanted = self._files()
        # Days come in order; one that is done again, or after later ones, makes all versions follow anew.
        forward = max(tables["validated"].latest(), tables["invalid"].latest()) < order.day
        sizes = [sum(size for _, size in wanted.values()), tables["versioned"].bytes()]
        _size_shuffles(spark, *sizes, *([] if forward else [tables["validated"].bytes()]))

        records = files.read(spark, contract, wanted, self._envelopes(contract))
        _check_count(records.count, contract)
        parsed = transforms.parse(records.frame, records.headers, contract)
        judged = transforms.judge(parsed, contract, self._references(spark, contract))
        before = _before(tables["versioned"], judged, contract, order.day, forward)
        classified = _settled(spark, transforms.classify(judged, before, contract)).persist()
        counts = _count(classified)
        _check_snapshot(counts, contract)

        self._write(spark, contract, tables, classified, counts, forward)
        _audit(tables, records.count, counts, order.day, contract, forward)
        return tables, counts

    def _take_back(self, spark: SparkSession, contract: Contract, tables: Mapping[str, Table]) -> dict[str, int]:
        """Writes to the run's branches what is left without the day, and returns its counts, which are 0.

        No rule for a day's files applies: there is no such day. The versions follow anew from the days that are left, so that in a snapshot no
        key ends because of it.
        """
        nothing = transforms.nothing(spark, contract)
        counts = _count(nothing)
        _size_shuffles(spark, tables["validated"].bytes(), tables["versioned"].bytes())
        self._write(spark, contract, tables, nothing, counts, forward=False)
        _audit(tables, 0, counts, self._order.day, contract, forward=False)
        left = sum(f.rows for f in tables["curated"].files(self._order.day))
        if left:
            raise AuditError(f"{left} curated rows of the day are left, nothing was published")
        return counts

    def _tables(self, spark: SparkSession, token: int) -> dict[str, Table]:
        order = self._order
        branch, run = f"run_{order.day.replace('-', '')}_{token}", f"{order.feed}/{order.day}#{token}"
        return {
            stage: Table(
                spark,
                name=f"{CATALOG}.`{order.databases[stage]}`.`{order.feed}`",
                location=self._objects.uri(order.buckets[stage], order.feed),
                partition="is_current" if stage == "versioned" else "_day",
                branch=branch,
                run=run,
            )
            for stage in STAGES
        }

    def _files(self) -> dict[str, tuple[str, int]]:
        wanted = [f for f in self._order.files if f["key"].rsplit("/", 1)[-1] != files.MARKER]
        return {f["key"]: (self._objects.uri(f["bucket"], f["key"]), int(f["bytes"])) for f in wanted}

    def _envelopes(self, contract: Contract) -> dict[str, sealed.Envelope] | None:
        """What opens the day's files, where their sender encrypted them."""
        if not contract.client_side:
            return None
        wanted = [f for f in self._order.files if f["key"].rsplit("/", 1)[-1] != files.MARKER]
        return {f["key"]: self._objects.envelope(f["bucket"], f["key"]) for f in wanted}

    def _references(self, spark: SparkSession, contract: Contract) -> dict[str, DataFrame]:
        found: dict[str, DataFrame] = {}
        for reference in contract.references:
            name = f"{CATALOG}.`{self._order.databases['versioned']}`.`{reference.feed}`"
            if not spark.catalog.tableExists(name):
                raise InputError(
                    f"feed {contract.feed!r} refers to {reference.feed!r}, which has no day yet: add it to sluice.prerequisites"
                )
            found[reference.feed] = transforms.versions_on(spark.table(name), self._order.day)
        return found

    def _write(
        self,
        spark: SparkSession,
        contract: Contract,
        tables: Mapping[str, Table],
        classified: DataFrame,
        counts: Mapping[str, int],
        forward: bool,
    ) -> None:
        """Writes the day to the run's branch of each table, side by side where one does not need the other."""
        day, today = self._order.day, F.col("_day") == F.lit(self._order.day).cast("date")

        def write(stage: str, rows: DataFrame) -> None:
            tables[stage].branch_off(rows.schema)
            tables[stage].overwrite(rows, today)

        def version() -> None:
            opened = transforms.opened(classified, contract, day)
            tables["versioned"].branch_off(opened.schema)
            if not forward:
                rows = transforms.history(tables["validated"].read(), tables["invalid"].read(), contract)
                tables["versioned"].overwrite(rows, F.lit(True))
            elif counts["changed"] + counts["deleted"] == 0:
                tables["versioned"].append(opened)
            else:
                tables["versioned"].replace(opened, transforms.ended(classified, contract), contract.key, day)

        with ThreadPoolExecutor(len(STAGES)) as pool:
            said = [
                pool.submit(write, "validated", transforms.validated(classified, contract, day)),
                pool.submit(write, "invalid", transforms.invalid(classified, contract, day)),
            ]
            if not forward:
                _wait(said)
            versioned = pool.submit(version)
            if contract.curated_sql:
                _wait([versioned])
            curated = pool.submit(lambda: write("curated", self._curated(spark, contract, tables, classified)))
            _wait([*said, versioned, curated])

    def _curated(
        self, spark: SparkSession, contract: Contract, tables: Mapping[str, Table], classified: DataFrame
    ) -> DataFrame:
        rows = transforms.curated(classified, contract, self._order.day)
        if not contract.curated_sql:
            return rows
        if self._order.retract:
            return tables["curated"].published().limit(0)  # whatever the SQL would make of a day without rows
        day = self._order.day
        rows.createOrReplaceTempView("changes")
        transforms.versions_on(tables["versioned"].read(), day).createOrReplaceTempView(contract.feed)
        for feed in {*contract.prerequisites, *(r.feed for r in contract.references)} - {contract.feed}:
            name = f"{CATALOG}.`{self._order.databases['versioned']}`.`{feed}`"
            transforms.versions_on(spark.table(name), day).createOrReplaceTempView(feed)
        made = spark.sql(contract.curated_sql, args={"day": day})
        _check_curated(made, contract)
        return made.drop("_day").withColumn("_day", F.lit(day).cast("date"))

    def _publish(self, tables: Mapping[str, Table], counts: Mapping[str, int]) -> None:
        order = self._order
        key = f"{order.feed}/manifests/{order.day}/{order.token}.json"
        self._ledger.claim(counts, f"s3://{order.buckets['curated']}/{key}")
        self._publish_claimed(tables, order.token, order.revision, key)

    def _publish_claimed(self, tables: Mapping[str, Table], token: int, revision: int, key: str) -> None:
        order = self._order
        made = tables["curated"].files(order.day)
        schema = tables["curated"].published().schema
        manifest = {
            "feed": order.feed,
            "day": order.day,
            "token": token,
            "revision": revision,
            "rows": sum(f.rows for f in made),
            "columns": [{"name": field.name, "type": field.dataType.simpleString()} for field in schema],
            "files": [{"uri": f.uri, "bytes": f.bytes, "rows": f.rows} for f in made],
        }
        self._objects.write(order.buckets["curated"], key, manifest)
        for stage in STAGES:
            tables[stage].publish()
        self._ledger.finish(token)

    def _resume(self, token: int, revision: int) -> bool:
        """Publishes what a dead run had claimed. False where its branches do not fit any more: then the day is done from the start."""
        tables = self._tables(self._session(), token)
        if not all(table.can_publish() for table in tables.values()):
            return False
        key = f"{self._order.feed}/manifests/{self._order.day}/{token}.json"
        self._publish_claimed(tables, token, revision, key)
        return True


def _settled(spark: SparkSession, frame: DataFrame) -> DataFrame:
    """The same rows without the plan that made them, which would be planned again for each use, and which no merge takes because it numbers lines."""
    # Not createDataFrame of the frame's rdd: that would turn every value into an object and back.
    rows = spark._jsparkSession.internalCreateDataFrame(frame._jdf.queryExecution().toRdd(), frame._jdf.schema(), False)
    return DataFrame(rows, spark)


def _wait(tasks: Sequence[Future[None]]) -> None:
    for task in tasks:
        task.result()


def _size_shuffles(spark: SparkSession, *sizes: int) -> None:
    """Shuffles into partitions of about 64 MiB. One partition is not worth adapting while it runs."""
    partitions = max(1, -(-max(sizes) // (64 * 1024 * 1024)))
    if max(sizes) > files.SMALL:
        partitions = max(partitions, spark.sparkContext.defaultParallelism)
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    spark.conf.set("spark.sql.adaptive.enabled", str(partitions > 1).lower())
    # A small table has no files that a merge could leave out.
    spark.conf.set(
        "spark.sql.optimizer.runtime.rowLevelOperationGroupFilter.enabled", str(max(sizes) > files.SMALL).lower()
    )


def _check_curated(made: DataFrame, contract: Contract) -> None:
    """Refuses SQL that makes other columns than the contract says, which are what the warehouse's table has."""
    has = {field.name.lower(): field.dataType.simpleString() for field in made.schema}
    faults = []
    for column in contract.curated:
        found = has.pop(column.name.lower(), "")
        if not found:
            faults.append(f"{column.name} is missing")
        elif found != column.type and found not in _SAME.get(column.type, ()):
            faults.append(f"{column.name} is {found} instead of {column.type}")
    faults += [f"{name} is not said" for name in has if name not in ("_day", "_change")]
    if faults:
        raise InputError(
            f"contracts/{contract.feed}.sql makes other columns than sluice.curatedColumns says: {'; '.join(faults)}"
        )


_SAME = {"int": ("tinyint", "smallint", "bigint"), "double": ("float",)}
"""Types of Spark that are one type in the warehouse."""


def _check_count(count: int, contract: Contract) -> None:
    if contract.snapshot and count == 0:
        raise InputError(
            "the snapshot has no records, which would end every version: put a whole one, then restate the day"
        )
    for rule in contract.row_counts:
        if not rule.holds(count):
            raise InputError(f"the day has {count} records, its contract wants {rule.operator} {rule.value}")


def _check_snapshot(counts: Mapping[str, int], contract: Contract) -> None:
    if contract.snapshot and counts["deleted"] and not counts["validated"]:
        raise InputError(
            f"none of the snapshot's {counts['invalid']} records is valid, which would end {counts['deleted']} versions: "
            "put a readable one, then restate the day"
        )


def _before(versioned: Table, judged: DataFrame, contract: Contract, day: str, forward: bool) -> DataFrame:
    """Key and hash of the versions that the day is compared with."""
    columns = [*contract.key, "_hash"]
    if not versioned.exists():
        return judged.select(*columns).limit(0)
    versions = versioned.published()
    return (versions.where("is_current") if forward else transforms.versions_before(versions, day)).select(*columns)


def _count(classified: DataFrame) -> dict[str, int]:
    """All counts of the day in one pass."""
    conditions = {
        "input": "_source_file is not null",
        "validated": "_rule is null and _source_file is not null",
        "invalid": "_rule is not null",
        "new": "_change = 'new'",
        "changed": "_change = 'changed'",
        "unchanged": "_change = 'unchanged'",
        "duplicate": "_duplicate",
        "deleted": "_change = 'deleted'",
    }
    row = classified.agg(*[F.count_if(F.expr(condition)).alias(name) for name, condition in conditions.items()]).first()
    assert row is not None
    return {name: int(row[name]) for name in conditions}


def _audit(
    tables: Mapping[str, Table], records: int, counts: Mapping[str, int], day: str, contract: Contract, forward: bool
) -> None:
    """Compares what stands on the branches with what was read and with what was counted. Iceberg answers from its metadata."""
    found = {stage: sum(f.rows for f in tables[stage].files(day)) for stage in ("validated", "invalid", "curated")}
    if forward:
        found["versioned"] = tables["versioned"].added()
    else:
        found["versioned"] = tables["versioned"].read().where(F.col("valid_from") == F.lit(day).cast("date")).count()
    c = counts
    sums = [
        ("records in the files", records, "input", c["input"]),
        ("input", c["input"], "validated + invalid", found["validated"] + found["invalid"]),
        (
            "validated",
            found["validated"],
            "new + changed + unchanged + duplicate",
            c["new"] + c["changed"] + c["unchanged"] + c["duplicate"],
        ),
        ("versions that begin on the day", found["versioned"], "new + changed", c["new"] + c["changed"]),
    ]
    if not contract.curated_sql:
        sums.append(
            ("curated rows", found["curated"], "new + changed + unchanged", c["new"] + c["changed"] + c["unchanged"])
        )
    faults = [
        f"{left_name} {left} is not {right_name} {right}"
        for left_name, left, right_name, right in sums
        if left != right
    ]
    if faults:
        raise AuditError("the sums do not add up, nothing was published: " + "; ".join(faults))


def session() -> SparkSession:
    """The Spark session of the engine, with the settings that the rules rest on."""
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        # The code of a whole stage is one method, of a wide feed one too long for Java to compile: twice as slow, and small days wait for it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.ansi.enabled": "false",  # what cannot be cast becomes null, and then an invalid record
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",
        "spark.sql.csv.parser.columnPruning.enabled": "false",  # else a record with a surplus column would pass
    }
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main(argv: Sequence[str]) -> int:
    """Runs the order that the arguments name, writes its result, and returns the exit code: 0 only when the day is committed."""
    parser = argparse.ArgumentParser(description="Runs one attempt at a record job.", allow_abbrev=False)
    parser.add_argument("--order", required=True, help="s3 URI of the run's order")
    parser.add_argument(
        "--aws-region", required=True, help="the region of the order, which a node may not know by itself"
    )
    args = parser.parse_known_args(argv)[0]  # Glue gives a script its own arguments too
    aws = AWS(args.aws_region)
    objects = Objects(aws)
    order = None
    try:
        order = Order.parse(objects.read(args.order))
        ledger = Ledger(aws.dynamodb, order.jobs_table, order.feed, order.day, order.token, order.revision)
        result = {"ok": True, "counts": Run(order, ledger, objects, session).run()}
    except JobError as error:
        result = {"ok": False, "error": str(error), "kind": error.kind}
    except Exception as error:
        traceback.print_exc()
        result = {"ok": False, "error": f"{type(error).__name__}: {_first_line(error)}", "kind": "internal"}
    if order:
        objects.write(order.buckets["artifacts"], f"runs/{order.feed}/{order.day}/{order.token}/result.json", result)
    _tell(json.dumps(result if result["ok"] else {"error": result["error"], "kind": result["kind"]}))
    return 0 if result["ok"] else 1


def _first_line(error: Exception) -> str:
    """What an exception says, without the plan and the stack that Spark puts below it."""
    return (str(error).strip().splitlines() or [""])[0][:1000]


def _tell(line: str) -> None:
    """Writes a line to the standard error of the step. Under spark-submit that is Java's: it sends Python's to its standard output."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        launch_gateway().jvm.java.lang.System.err.println(line)
    else:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    if code := main(sys.argv[1:]):
        sys.exit(code)  # never with 0: Glue has taken any SystemExit for a failure
