"""S3, KMS and DynamoDB for the driver of a job, through the AWS SDK for Java.

Iceberg's catalog and file access run on that SDK, so an engine that can run the jobs at all has it; what its Python has besides PySpark is
written nowhere (docs/adr/0014-sdk-of-the-engine.md). Iceberg makes the clients, with the settings that it makes its own with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext

Value = Mapping[str, str]
"""A text or a number, as text, under the name of DynamoDB's type: {"S": "a"}, {"N": "1"}."""


class ServiceError(Exception):
    """What a service refused, or why it was not reached."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        """The name of the SDK's exception."""


@dataclass(frozen=True)
class Head:
    """What S3 says of an object without sending it."""

    version: str | None
    """None in a bucket that keeps no versions."""
    metadata: Mapping[str, str]


class S3:
    """Objects as a whole."""

    def __init__(self, jvm: Any, client: Any) -> None:
        self._sdk, self._client = jvm.software.amazon.awssdk, client

    def get(self, bucket: str, key: str) -> bytes:
        """The content of an object."""
        request = self._model.GetObjectRequest.builder().bucket(bucket).key(key).build()
        with _errors():
            return bytes(self._client.getObjectAsBytes(request).asByteArray())

    def head(self, bucket: str, key: str) -> Head | None:
        """What is said of an object; None where there is none."""
        request = self._model.HeadObjectRequest.builder().bucket(bucket).key(key).build()
        try:
            with _errors():
                said = self._client.headObject(request)
        except ServiceError as error:
            if error.kind == "NoSuchKeyException":
                return None
            raise
        return Head(said.versionId(), dict(said.metadata()))

    def put(self, bucket: str, key: str, content: bytes, content_type: str) -> None:
        """Writes an object."""
        request = self._model.PutObjectRequest.builder().bucket(bucket).key(key).contentType(content_type).build()
        with _errors():
            self._client.putObject(request, self._sdk.core.sync.RequestBody.fromBytes(content))

    @property
    def _model(self) -> Any:
        return self._sdk.services.s3.model


class KMS:
    """Data keys."""

    def __init__(self, jvm: Any, client: Any) -> None:
        self._sdk, self._client = jvm.software.amazon.awssdk, client

    def decrypt(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwraps a data key that was wrapped together with a context."""
        request = self._sdk.services.kms.model.DecryptRequest.builder().encryptionContext(dict(context))
        request = request.ciphertextBlob(self._sdk.core.SdkBytes.fromByteArray(wrapped)).build()
        with _errors():
            return bytes(self._client.decrypt(request).plaintext().asByteArray())


CONFLICT_RETRIES = 8
"""How often a write is repeated that DynamoDB refuses because a transaction touches the same item at that moment."""


class DynamoDB:
    """Items of a table."""

    def __init__(self, jvm: Any, client: Any, sleep: Callable[[float], None] = time.sleep) -> None:
        self._model, self._client = jvm.software.amazon.awssdk.services.dynamodb.model, client
        self._sleep = sleep

    def get(self, table: str, key: Mapping[str, Value]) -> dict[str, Value]:
        """The texts and numbers of an item, as the last write left it; nothing where there is no item."""
        request = self._model.GetItemRequest.builder().tableName(table).key(self._values(key)).consistentRead(True)
        with _errors():
            item = self._client.getItem(request.build()).item()
        found: dict[str, Value] = {}
        for name, value in item.items():
            if (text := value.s()) is not None:
                found[name] = {"S": text}
            elif (number := value.n()) is not None:
                found[name] = {"N": number}
        return found

    def update(
        self,
        table: str,
        key: Mapping[str, Value],
        change: str,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Value],
    ) -> bool:
        """Changes an item under a condition, in DynamoDB's expressions. Whether the condition held.

        The functions write the same items in transactions. DynamoDB refuses a single write that meets one with an error that the SDK does not
        repeat, other than throttling, and that says that nothing was written:
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
        """
        request = self._model.UpdateItemRequest.builder().tableName(table).key(self._values(key))
        request = request.updateExpression(change).conditionExpression(condition)
        request = request.expressionAttributeNames(dict(names)).expressionAttributeValues(self._values(values))
        for attempt in range(CONFLICT_RETRIES + 1):
            try:
                with _errors():
                    self._client.updateItem(request.build())
                return True
            except ServiceError as error:
                if error.kind == "ConditionalCheckFailedException":
                    return False
                if error.kind != "TransactionConflictException" or attempt == CONFLICT_RETRIES:
                    raise
            # Longer each time, and never as long as that of the others that were refused with us.
            self._sleep(random.uniform(0, 0.02 * 2 ** min(attempt + 1, 6)))
        raise AssertionError("unreachable")

    def _values(self, values: Mapping[str, Value]) -> dict[str, Any]:
        made = self._model.AttributeValue
        return {name: made.fromS(v["S"]) if "S" in v else made.fromN(v["N"]) for name, v in values.items()}


class AWS:
    """The services in a region, each with the rights of the engine's role."""

    def __init__(self, region: str) -> None:
        SparkContext._ensure_initialized()
        self._jvm: Any = SparkContext._jvm
        factories = self._jvm.org.apache.iceberg.aws.AwsClientFactories
        self._factory = getattr(factories, "from")({"client.region": region})

    @cached_property
    def s3(self) -> S3:
        """S3."""
        return S3(self._jvm, self._client("s3"))

    @cached_property
    def kms(self) -> KMS:
        """KMS, which only files need that their sender encrypted."""
        return KMS(self._jvm, self._client("kms"))

    @cached_property
    def dynamodb(self) -> DynamoDB:
        """DynamoDB."""
        return DynamoDB(self._jvm, self._client("dynamo"))

    def _client(self, name: str) -> Any:
        with _errors():
            return getattr(self._factory, name)()


@contextmanager
def _errors() -> Iterator[None]:
    """Tells an exception of the SDK by its name and its message, without Java's stack."""
    try:
        yield
    except Py4JJavaError as error:
        java = error.java_exception
        raise ServiceError(java.getClass().getSimpleName(), java.getMessage() or "no message") from error
