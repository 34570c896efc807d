"""Keeps the country's Iceberg tables small: drops snapshots that are older than so many days, the files that only those had, and files as old
that a killed run wrote and never committed.

`main.py --databases A,B --days 30`. What readers see does not change, and neither does what a run is about to publish: Iceberg keeps
every snapshot that a branch needs, and while a table has the branch of a run its uncommitted files are left alone. The newest snapshots are kept
whatever their age.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

from pyspark.sql import SparkSession

CATALOG = "lake"
KEEP = 10  # snapshots that are kept whatever their age: enough to see what the last runs did
ORPHAN_DAYS = 7  # how many days a file that no snapshot has is kept at least


def iceberg_tables(spark: SparkSession, databases: Sequence[str]) -> Iterator[str]:
    """The names of the Iceberg tables in the databases, as Spark finds them. Iceberg's catalog leaves out what is no Iceberg table."""
    for database in databases:
        for row in spark.sql(f"show tables in {CATALOG}.`{database}`").collect():
            yield f"`{database}`.`{row['tableName']}`"


def expire(spark: SparkSession, table: str, before: datetime) -> int:
    """Drops a table's snapshots from before a time, and returns how many files went with them."""
    row = spark.sql(
        f"call {CATALOG}.system.expire_snapshots(table => '{table}', retain_last => {KEEP}, "
        f"older_than => timestamp'{before.strftime('%Y-%m-%d %H:%M:%S')}')"
    ).first()
    assert row is not None
    return sum(int(count) for name, count in row.asDict().items() if name.startswith("deleted_") and count)


def sweep(spark: SparkSession, table: str, before: datetime) -> int:
    """Deletes a table's data files from before a time that no snapshot has, and returns how many those were.

    A run makes its branch before it writes, and publishing or the next run drops it: with one there, somebody may still commit what he wrote.
    """
    name = f"{CATALOG}.{table}"
    if (
        spark.table(f"{name}.refs").where("name like 'run%'").count()
        or not spark.table(f"{name}.files").limit(1).count()
    ):
        return 0  # without a file there may be no folder to look through
    described = spark.sql(f"describe table extended {name}").where("col_name = 'Location'").first()
    assert described is not None
    # Not the whole folder of the table: the manifests that exports read are there, too.
    deleted = spark.sql(
        f"call {CATALOG}.system.remove_orphan_files(table => '{table}', location => '{described['data_type']}/data', "
        f"older_than => timestamp'{before.strftime('%Y-%m-%d %H:%M:%S')}')"
    ).collect()
    return len(deleted)


def main(argv: Sequence[str]) -> int:
    """Keeps every table small; what fails with one table keeps no other back. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Drops old snapshots of Iceberg tables.", allow_abbrev=False)
    parser.add_argument("--databases", required=True, help="names of Glue databases, with commas between")
    parser.add_argument("--days", required=True, type=int, help="how many days a snapshot is kept")
    args = parser.parse_known_args(argv)[0]  # Glue gives a script its own arguments too
    now = datetime.now(timezone.utc)
    before, orphaned = now - timedelta(days=args.days), now - timedelta(days=max(args.days, ORPHAN_DAYS))
    spark = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    failed = False
    for table in iceberg_tables(spark, args.databases.split(",")):
        try:
            told = {"deletedFiles": expire(spark, table, before), "deletedOrphans": sweep(spark, table, orphaned)}
            print(json.dumps({"table": table, **told}), flush=True)
        except Exception as error:
            failed = True
            print(json.dumps({"table": table, "error": str(error).strip().splitlines()[0][:1000]}), flush=True)
    return int(failed)


if __name__ == "__main__":
    if code := main(sys.argv[1:]):
        sys.exit(code)  # never with 0: Glue has taken any SystemExit for a failure
