"""Upkeep's promises: old snapshots and their files go, what is current or on a branch stays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.upkeep.main import KEEP, ORPHAN_DAYS, expire, iceberg_tables, sweep

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def spark(lake: Path) -> Iterator[SparkSession]:
    jars = sorted((CHECKOUT / ".jars").glob("iceberg-spark-runtime-*.jar"))
    assert jars, "Spark's jars are missing: run `make test`, or local/jars.py, first"
    settings = {
        "spark.master": "local[1]",
        "spark.jars": str(jars[0]),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": f"file:{lake}",
    }
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        " ".join(f"--conf {key}={value}" for key, value in settings.items()) + " pyspark-shell"
    )
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = SparkSession.builder.getOrCreate()
    yield spark
    spark.stop()


def test_old_snapshots_go_and_what_somebody_needs_stays(spark: SparkSession) -> None:
    spark.sql("create table lake.db.t (n int) using iceberg")
    for n in range(KEEP + 4):
        spark.sql(f"insert overwrite lake.db.t values ({n})")
        if n == 0:
            spark.sql("alter table lake.db.t create branch run_1")
    # A session of other tests that is still there has a warehouse of its own.
    data = Path(spark.table("lake.db.t.files").first()["file_path"].removeprefix("file:")).parent
    files = sorted(data.glob("*.parquet"))
    assert len(files) == KEEP + 4
    assert expire(spark, "`db`.`t`", datetime.now(timezone.utc) - timedelta(days=1)) == 0
    assert sorted(data.glob("*.parquet")) == files
    assert expire(spark, "`db`.`t`", datetime.now(timezone.utc) + timedelta(days=1)) > 0
    assert spark.sql("select count(*) n from lake.db.t.snapshots").first() == (KEEP + 1,)  # and the branch's
    left = sorted(data.glob("*.parquet"))
    assert len(left) == KEEP + 1
    assert spark.sql("select n from lake.db.t").collect() == [(KEEP + 3,)]
    assert spark.sql("select n from lake.db.t version as of 'run_1'").collect() == [(0,)]


def test_old_files_without_a_snapshot_go_unless_a_run_may_commit_them(spark: SparkSession) -> None:
    spark.sql("create table lake.db.o (n int, _day date) using iceberg partitioned by (_day)")
    now = datetime.now(timezone.utc)
    before, long_ago = now - timedelta(days=ORPHAN_DAYS), (now - timedelta(days=ORPHAN_DAYS + 1)).timestamp()
    assert sweep(spark, "`db`.`o`", before) == 0  # there is no folder yet
    spark.sql("insert into lake.db.o values (1, date'2013-01-01')")
    kept = Path(spark.table("lake.db.o.files").first()["file_path"].removeprefix("file:"))
    data = kept.parents[1]
    manifest = data.parent / "manifests" / "2013-01-01" / "1.json"
    manifest.parent.mkdir(parents=True)
    young, old = kept.with_name("young.parquet"), [kept.with_name("old.parquet"), data / "old.parquet"]
    for file in [manifest, young, *old]:
        file.write_text("x")
    for file in [manifest, kept, *old]:
        os.utime(file, (long_ago, long_ago))
    spark.sql("alter table lake.db.o create branch run_20130101_2")
    assert sweep(spark, "`db`.`o`", before) == 0
    assert all(file.exists() for file in old)
    spark.sql("alter table lake.db.o drop branch run_20130101_2")
    assert sweep(spark, "`db`.`o`", before) == len(old)
    assert [file.exists() for file in [manifest, kept, young, *old]] == [True, True, True, False, False]
    assert spark.sql("select n from lake.db.o").collect() == [(1,)]


def test_only_iceberg_tables_are_kept_small(spark: SparkSession, lake: Path) -> None:
    for table in ("x.a", "x.b", "y.a"):
        spark.sql(f"create table lake.{table} (n int) using iceberg")
    spark.range(1).write.parquet(f"{lake}/x/files")
    assert sorted(iceberg_tables(spark, ["x", "y"])) == ["`x`.`a`", "`x`.`b`", "`y`.`a`"]
