"""A small country for the tests: real Spark and Iceberg on a temporary folder, and a real DynamoDB and S3 interface to claim and tell by."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession

from jobs.aws import AWS
from jobs.records.ledger import Ledger
from jobs.records.main import Objects, Order, Run, session
from local import java

CHECKOUT = Path(__file__).parents[3]
STAGES = ("validated", "invalid", "versioned", "curated")


@pytest.fixture(scope="package")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="package")
def spark(lake: Path, aws: boto3.Session) -> Iterator[SparkSession]:
    jars = sorted((CHECKOUT / ".jars").glob("iceberg-*.jar"))
    assert len(jars) == 2, "Spark's jars are missing: run `make test`, or local/jars.py, first"
    settings = {
        "spark.master": "local[2]",
        "spark.jars": ",".join(map(str, jars)),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": f"file:{lake}",
        "spark.sql.shuffle.partitions": "4",
    }
    # As a step on a cluster gets them: from spark-submit. The flags suit many small jobs on two cores.
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        " ".join(f"--conf {key}={value}" for key, value in settings.items())
        + " --driver-java-options '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC' pyspark-shell"
    )
    os.environ["PYSPARK_PYTHON"] = sys.executable
    java.use()
    if SparkContext._gateway:  # a Java that other tests left behind knows neither these jars nor this AWS
        SparkContext._gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None
    spark = session()
    yield spark
    spark.stop()


@pytest.fixture(scope="package")
def aws() -> Iterator[boto3.Session]:
    """An AWS endpoint of the tests' own, set in the environment as the jobs find it. Java reads that once, when Spark starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "ERROR",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "ministack.app"],
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "000000000000")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        try:
            answers(url, server)
            yield boto3.Session()
        finally:
            server.terminate()
            server.wait(10)


def answers(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/_ministack/health", timeout=5).close()
            return
        except OSError:
            continue
    raise RuntimeError("the AWS emulator of the tests ended")


class Folder(Objects):
    """Objects of S3, except that Spark finds the files of a day in a folder."""

    def __init__(self, aws: AWS, root: Path) -> None:
        super().__init__(aws)
        self._root = root

    def uri(self, bucket: str, key: str) -> str:
        return f"file:{self._root}/{bucket}/{key}"


class Country:
    """One country, with jobs that are run by hand."""

    def __init__(self, spark: SparkSession, aws: boto3.Session, lake: Path, name: str) -> None:
        self.spark, self._aws, self._lake = spark, aws, lake
        self.dynamodb, s3 = aws.client("dynamodb"), aws.client("s3")
        self.services = AWS("us-east-1")
        self.objects = Folder(self.services, lake)
        self.buckets = {stage: f"{name}-{stage}" for stage in (*STAGES, "landing", "artifacts")}
        for bucket in self.buckets.values():
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=self.buckets["landing"], VersioningConfiguration={"Status": "Enabled"})
        self._s3, self._landed = s3, dict[str, tuple[bytes, str]]()  # content and version of each key
        self.jobs_table = f"{name}-jobs"
        self.dynamodb.create_table(
            TableName=self.jobs_table,
            KeySchema=[{"AttributeName": "feed", "KeyType": "HASH"}, {"AttributeName": "day", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "feed", "AttributeType": "S"},
                {"AttributeName": "day", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )

    def sibling(self) -> Country:
        """Another country that has nothing yet."""
        return Country(self.spark, self._aws, self._lake, f"c{next(_numbers)}")

    def put(self, feed: str, day: str, files: Mapping[str, str | bytes]) -> list[dict[str, Any]]:
        """Lets files land and returns how an order names them."""
        bucket, ordered = self.buckets["landing"], []
        folder = self._lake / bucket / feed / day
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            key, content = f"{feed}/{day}/{name}", text.encode() if isinstance(text, str) else text
            if key not in self._landed or self._landed[key][0] != content:
                (folder / name).write_bytes(content)
                version = self._s3.put_object(Bucket=bucket, Key=key, Body=content)["VersionId"]
                self._landed[key] = content, version
            ordered.append({"bucket": bucket, "key": key, "bytes": len(content), "versionId": self._landed[key][1]})
        return ordered

    def remove(self, feed: str, day: str, name: str) -> None:
        """Deletes a file that landed."""
        bucket, key = self.buckets["landing"], f"{feed}/{day}/{name}"
        self._s3.delete_object(Bucket=bucket, Key=key)
        (self._lake / bucket / key).unlink()
        del self._landed[key]

    def start(self, feed: str, day: str, token: int, revision: int = 1) -> None:
        """Makes the ledger expect a run."""
        self.dynamodb.update_item(
            TableName=self.jobs_table,
            Key={"feed": {"S": feed}, "day": {"S": day}},
            UpdateExpression="SET #state = :running, #token = :token, revision = :revision",
            ExpressionAttributeNames={"#state": "state", "#token": "token"},
            ExpressionAttributeValues={
                ":running": {"S": "running"},
                ":token": {"N": str(token)},
                ":revision": {"N": str(revision)},
            },
        )

    def cancel(self, feed: str, day: str, by: str) -> None:
        """Records that somebody wants the run ended, as `sluice cancel` does."""
        self.dynamodb.update_item(
            TableName=self.jobs_table,
            Key={"feed": {"S": feed}, "day": {"S": day}},
            UpdateExpression="SET #cancel = :by",
            ExpressionAttributeNames={"#cancel": "cancel"},
            ExpressionAttributeValues={":by": {"S": by}},
        )

    def attempt(
        self,
        contract: Mapping[str, Any],
        day: str,
        files: Mapping[str, str | bytes],
        token: int = 1,
        revision: int = 1,
        resume: int | None = None,
        ledger: type[Ledger] = Ledger,
        retract: bool = False,
    ) -> Run:
        """A run of a day, ready to go."""
        feed = contract["name"]
        self.start(feed, day, token, revision)
        order = Order(
            feed=feed,
            day=day,
            token=token,
            revision=revision,
            contract=contract,
            files=self.put(feed, day, files),
            databases={stage: self.buckets[stage] for stage in STAGES},
            buckets=self.buckets,
            jobs_table=self.jobs_table,
            resume=resume,
            retract=retract,
        )
        item = ledger(self.services.dynamodb, self.jobs_table, feed, day, token, revision)
        return Run(order, item, self.objects, lambda: self.spark)

    def run(
        self, contract: Mapping[str, Any], day: str, files: Mapping[str, str | bytes], **how: Any
    ) -> dict[str, int]:
        """Runs a day and returns its counts."""
        return self.attempt(contract, day, files, **how).run()

    def table(self, stage: str, feed: str) -> DataFrame:
        return self.spark.table(self.name_of(stage, feed))

    def name_of(self, stage: str, feed: str) -> str:
        return f"lake.`{self.buckets[stage]}`.`{feed}`"

    def job(self, feed: str, day: str) -> dict[str, Any]:
        """The item of a job, without DynamoDB's types."""
        item = self.dynamodb.get_item(TableName=self.jobs_table, Key={"feed": {"S": feed}, "day": {"S": day}})["Item"]
        return {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}


_numbers = itertools.count(1)


@pytest.fixture
def country(spark: SparkSession, aws: boto3.Session, lake: Path) -> Country:
    return Country(spark, aws, lake, f"c{next(_numbers)}")


def contract(
    feed: str, properties: list[dict[str, Any]], quality: list[dict[str, Any]] | None = None, **custom: Any
) -> dict[str, Any]:
    """A contract in as few words as it can be said; `custom` are its sluice.* properties."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": feed,
        "name": feed,
        "version": "1.0.0",
        "status": "active",
        "customProperties": [{"property": f"sluice.{name}", "value": value} for name, value in custom.items()],
        "schema": [{"name": feed, "properties": properties, "quality": quality or []}],
    }


SHOPS = contract(
    "shops",
    [
        {"name": "id", "logicalType": "integer", "primaryKey": True},
        {"name": "name", "logicalType": "string", "required": True},
        {"name": "sales", "logicalType": "number"},
    ],
    snapshot=True,
)
