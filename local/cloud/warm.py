"""Builds the archive of loaded classes that makes Spark start in half the time.

A short Spark job spends most of its seconds loading and verifying classes. The JVM can keep them in a file (class data
sharing); this runs one small job of the kind that Sluice runs and lets the JVM write that file when it ends. It works
in an account of its own, so the local stack sees nothing of it, and at the lowest priority.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

from local.cloud import processes, steps

_ACCOUNT = "999999999999"
_DATABASE = "warm"
_LAKE = "spark.sql.catalog.lake"

# The statements of the record job in small: CSV in, merge on a branch, publish, Parquet out.
_JOB = """
import sys
from pyspark.sql import SparkSession, functions as F
from pyspark.sql.window import Window
bucket = sys.argv[1]
spark = SparkSession.builder.getOrCreate()
rows = spark.read.csv(f"s3://{bucket}/in/", header=True, schema="k string, v int, d date, t timestamp")
rows = rows.withColumn("n", F.row_number().over(Window.partitionBy("k").orderBy("v"))).withColumn("h", F.sha2("k", 256))
rows = rows.join(rows.groupBy("k").agg(F.count("*").alias("c")), "k", how="left").filter("c > 0").cache()
rows.createOrReplaceTempView("incoming")
spark.sql(
    "CREATE TABLE lake.warm.t (k string, v int, d date, t timestamp, n int, h string, c bigint) USING iceberg "
    f"PARTITIONED BY (d) LOCATION 's3://{bucket}/t/'"
)
spark.sql("INSERT INTO lake.warm.t SELECT k, v, d, t, n, h, c FROM incoming")
spark.sql("ALTER TABLE lake.warm.t CREATE OR REPLACE BRANCH run_1")
spark.sql(
    "MERGE INTO lake.warm.t.branch_run_1 t USING incoming s ON t.k = s.k "
    "WHEN MATCHED AND t.h <> s.h THEN UPDATE SET h = s.h WHEN NOT MATCHED THEN INSERT *"
)
rows.writeTo("lake.warm.t.branch_run_1").overwritePartitions()
spark.sql("CALL lake.system.fast_forward('warm.t', 'main', 'run_1')")
spark.table("lake.warm.t").groupBy("d").agg(F.sum("v"), F.countDistinct("k")).collect()
spark.table("lake.warm.t.files").collect()
spark.table("lake.warm.t").write.mode("overwrite").parquet(f"s3://{bucket}/out/")
spark.sql("DROP TABLE lake.warm.t PURGE")
spark.stop()
"""


def main() -> None:
    """Builds the archive unless it is there."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud.warm", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the local AWS")
    parser.add_argument("--jars", type=Path, required=True)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an archive half built is deleted, its JVM ended
    processes.die_with_parent()
    os.nice(19)
    archive = steps.class_archive(args.jars)
    if archive.exists():
        return
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="sluice-warm-"))
    part = archive.with_suffix(f".part{os.getpid()}")
    try:
        _run(args.endpoint, args.jars, work, part)
        part.replace(archive)
        print(f"{archive}: built in {time.monotonic() - started:.0f} s")
    finally:
        part.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)


def _run(endpoint: str, jars: Path, work: Path, archive: Path) -> None:
    env = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": _ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    session = boto3.Session(_ACCOUNT, "local", region_name="us-east-1")
    s3, glue = session.resource("s3", endpoint_url=endpoint), session.client("glue", endpoint_url=endpoint)
    bucket = s3.Bucket(f"sluice-warm-{os.getpid()}")
    bucket.create()
    try:
        glue.create_database(DatabaseInput={"Name": _DATABASE})
        bucket.put_object(Key="in/a.csv", Body=b"k,v,d,t\na,1,2024-01-01,2024-01-01 00:00:00\nb,,2024-01-02,\n")
        bucket.put_object(Key="job.py", Body=_JOB.encode())
        conf = steps.write_conf(work, jars, env, {"spark.hadoop.fs.s3a.endpoint.region": env["AWS_REGION"]})
        subprocess.run(
            steps.command(
                [
                    "spark-submit",
                    "--conf=spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
                    f"--conf={_LAKE}=org.apache.iceberg.spark.SparkCatalog",
                    f"--conf={_LAKE}.catalog-impl=org.apache.iceberg.aws.glue.GlueCatalog",
                    f"--conf={_LAKE}.io-impl=org.apache.iceberg.aws.s3.S3FileIO",
                    f"--conf={_LAKE}.warehouse=s3://{bucket.name}/",
                    f"s3://{bucket.name}/job.py",
                    bucket.name,
                ],
                jars,
                conf,
            ),
            env=steps.environment(work, conf, env, f"{steps.JAVA_OPTIONS} -XX:ArchiveClassesAtExit={archive}"),
            cwd=work,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: processes.die_with_parent(signal.SIGKILL),
            check=True,
        )
    finally:
        bucket.objects.delete()
        bucket.delete()
        glue.delete_database(Name=_DATABASE)


if __name__ == "__main__":
    main()
