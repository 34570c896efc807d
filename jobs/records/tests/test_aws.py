"""The services as the jobs call them, against a real interface of each."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from jobs.aws import AWS, CONFLICT_RETRIES, DynamoDB, Head, ServiceError

CONTEXT = {"sluice:object": "shops/2024-01-01/a.csv"}


@pytest.fixture
def services(spark: SparkSession) -> AWS:
    return AWS("us-east-1")


@pytest.fixture
def bucket(aws: boto3.Session) -> str:
    name = "services"
    aws.client("s3").create_bucket(Bucket=name)
    return name


def test_an_object_comes_back_as_it_was_put(services: AWS, aws: boto3.Session, bucket: str) -> None:
    content = bytes(range(256))
    services.s3.put(bucket, "a ü.json", content, "application/json")
    assert services.s3.get(bucket, "a ü.json") == content
    assert aws.client("s3").head_object(Bucket=bucket, Key="a ü.json")["ContentType"] == "application/json"


def test_the_head_of_an_object_has_its_version_and_metadata(services: AWS, aws: boto3.Session, bucket: str) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="a", Body=b"", Metadata={"x-amz-iv": "aXY="})
    assert services.s3.head(bucket, "a") == Head(None, {"x-amz-iv": "aXY="})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"")["VersionId"]
    assert services.s3.head(bucket, "a") == Head(version, {})
    s3.delete_object(Bucket=bucket, Key="a")
    assert services.s3.head(bucket, "a") is None


def test_what_a_service_refuses_is_told_without_javas_stack(services: AWS, bucket: str) -> None:
    with pytest.raises(ServiceError, match=r"^NoSuchKeyException: The specified key does not exist") as error:
        services.s3.get(bucket, "none")
    assert "\n" not in str(error.value)


def test_a_data_key_is_unwrapped_with_the_context_that_it_was_wrapped_with(services: AWS, aws: boto3.Session) -> None:
    kms = aws.client("kms")
    made = kms.generate_data_key(
        KeyId=kms.create_key()["KeyMetadata"]["KeyId"], KeySpec="AES_256", EncryptionContext=CONTEXT
    )
    assert services.kms.decrypt(made["CiphertextBlob"], CONTEXT) == made["Plaintext"]
    with pytest.raises(ServiceError) as error:
        services.kms.decrypt(b"other", CONTEXT)
    assert error.value.kind == "InvalidCiphertextException"


def test_an_item_changes_only_under_its_condition(services: AWS, aws: boto3.Session) -> None:
    dynamodb, key = aws.client("dynamodb"), {"feed": {"S": "shops"}}
    dynamodb.create_table(
        TableName="services",
        KeySchema=[{"AttributeName": "feed", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "feed", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert services.dynamodb.get("services", key) == {}
    change = ("services", key, "SET #n = :n", "attribute_not_exists(#n)", {"#n": "token"})
    assert services.dynamodb.update(*change, {":n": {"N": "1"}})
    assert not services.dynamodb.update(*change, {":n": {"N": "2"}})
    assert services.dynamodb.get("services", key) == {**key, "token": {"N": "1"}}
    with pytest.raises(ServiceError) as error:
        services.dynamodb.get("none", key)
    assert error.value.kind == "ResourceNotFoundException"


class Conflicts(ThreadingHTTPServer):
    """A DynamoDB that refuses the first writes as AWS does while a transaction touches their item, and has the emulator do the others."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refuses)
        self.left = 0
        """How many writes it refuses yet."""
        self.writes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Refuses(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Conflicts

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        write = self.headers["X-Amz-Target"].endswith((".PutItem", ".UpdateItem", ".DeleteItem"))
        self.server.writes += write
        if write and self.server.left:
            self.server.left -= 1
            kind = "com.amazonaws.dynamodb.v20120810#TransactionConflictException"
            self._answer(400, json.dumps({"__type": kind, "message": "Transaction is ongoing for the item"}).encode())
            return
        asked = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], body, dict(self.headers))
        try:
            with urllib.request.urlopen(asked) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as refused:
            self._answer(refused.code, refused.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def conflicts(spark: SparkSession) -> Iterator[Conflicts]:
    with Conflicts() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def behind(conflicts: Conflicts, pauses: list[float]) -> DynamoDB:
    """DynamoDB through the real SDK."""
    jvm: Any = SparkContext._jvm
    factories = jvm.org.apache.iceberg.aws.AwsClientFactories
    settings = {"client.region": "us-east-1", "dynamodb.endpoint": conflicts.url}
    return DynamoDB(jvm, getattr(factories, "from")(settings).dynamo(), pauses.append)


def test_a_write_that_meets_a_transaction_is_tried_again(conflicts: Conflicts, aws: boto3.Session) -> None:
    aws.client("dynamodb").create_table(
        TableName="conflicts",
        KeySchema=[{"AttributeName": "feed", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "feed", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    pauses: list[float] = []
    dynamodb, key = behind(conflicts, pauses), {"feed": {"S": "shops"}}
    change = ("conflicts", key, "SET #n = :n", "attribute_not_exists(#n)", {"#n": "token"})
    conflicts.left = 2
    assert dynamodb.update(*change, {":n": {"N": "1"}})
    assert (conflicts.writes, len(pauses)) == (3, 2)
    assert dynamodb.get("conflicts", key) == {**key, "token": {"N": "1"}}
    conflicts.left = 1
    assert not dynamodb.update(*change, {":n": {"N": "2"}}), "the condition counts also after a conflict"


def test_a_write_that_meets_transactions_again_and_again_is_given_up(conflicts: Conflicts) -> None:
    pauses: list[float] = []
    conflicts.left = 100
    with pytest.raises(ServiceError) as error:
        behind(conflicts, pauses).update(
            "conflicts", {"feed": {"S": "x"}}, "SET #n = :n", "#n = :n", {"#n": "n"}, {":n": {"N": "1"}}
        )
    assert error.value.kind == "TransactionConflictException"
    assert (conflicts.writes, len(pauses)) == (CONFLICT_RETRIES + 1, CONFLICT_RETRIES)
    assert all(0 <= pause <= 1.28 for pause in pauses)
