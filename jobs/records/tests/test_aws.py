"""The services as the jobs call them, against a real interface of each."""

from __future__ import annotations

import boto3
import pytest
from pyspark.sql import SparkSession

from jobs.aws import AWS, Head, ServiceError

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
