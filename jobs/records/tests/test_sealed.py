from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs import aws
from jobs.records import contract as contracts
from jobs.records import files, transforms
from jobs.records.errors import InputError
from jobs.records.sealed import Envelope, envelope
from jobs.records.tests.conftest import contract
from jobs.records.tests.test_files import PAIR

# As the official client for Go made it: internal/seal writes it, and opens it, too.
GOLDEN = json.loads((Path(__file__).parent / "data" / "sealed.json").read_text())


class KMS(aws.KMS):
    """Unwraps one data key for who may."""

    def __init__(self, denied: bool = False) -> None:
        self.denied = denied
        self.asked: Mapping[str, str] = {}

    def decrypt(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.asked = context
        if self.denied:
            raise aws.ServiceError("KmsException", "not authorized to perform: kms:Decrypt")
        if wrapped != b"wrapped":
            raise aws.ServiceError("InvalidCiphertextException", "no message")
        return base64.b64decode(GOLDEN["dataKey"])


def sealed(spark: SparkSession, plain: bytes, key: bytes) -> tuple[bytes, bytes]:
    """The initialization vector and the bytes of a file, encrypted as the clients do."""
    row = spark.createDataFrame([(bytearray(plain), bytearray(key))], "plain binary, key binary")
    made = bytes(row.select(F.expr("aes_encrypt(plain, key, 'GCM')")).collect()[0][0])
    return made[:12], made[12:]


class Sealed:
    """The same files, plain and encrypted."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder = spark, folder

    def read(self, content: dict[str, bytes], damage: bool = False, **custom: Any) -> list[tuple[Any, ...]]:
        envelopes, known = {}, {}
        for name, plain in content.items():
            key = os.urandom(32)
            iv, body = sealed(self._spark, plain, key)
            path = self._folder / name
            path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]) if damage else body)
            envelopes[name], known[name] = Envelope(iv, key), (f"file:{path}", len(body))
        return self.rows(known, envelopes, custom)

    def plain(self, content: dict[str, bytes], **custom: Any) -> list[tuple[Any, ...]]:
        known = {}
        for name, text in content.items():
            path = self._folder / f"plain-{name}"
            path.write_bytes(text)
            known[name] = (f"file:{path}", len(text))
        return self.rows(known, None, custom)

    def rows(self, known: Any, envelopes: Any, custom: dict[str, Any]) -> list[tuple[Any, ...]]:
        parsed = contracts.parse(contract("f", PAIR, **custom), "f")
        records = files.read(self._spark, parsed, known, envelopes)
        rows = transforms.parse(records.frame, records.headers, parsed).collect()
        assert len(rows) == records.count
        return sorted((r["_source_file"], r["_line"], r["_misread"] or "", r["a"], r["b"]) for r in rows)


@pytest.fixture
def both(spark: SparkSession, tmp_path: Path) -> Sealed:
    return Sealed(spark, tmp_path)


@pytest.mark.parametrize(
    ("content", "custom"),
    [
        ({"x.csv": b"a,b\n1,2\n\n3,4", "y z+%41[1].csv": b"b,a\r\n6,5\r\n\r\n"}, {}),
        ({"x.csv": b'a,b\n1,"two\nlines"\n"3,4",""""\n5,6\n'}, {}),
        ({"x.csv": "a,b\nñ,€\n".encode() + b"\xff,\xc3\n"}, {}),
        ({"x.csv": "a,b\nñ,\x85é\n".encode("iso-8859-1")}, {"encoding": "iso-8859-1"}),
        ({"x.csv": b"a,b\n", "y.csv": b"\xef\xbb\xbfa,b\n1,2\n\n\n"}, {}),
    ],
)
def test_encrypted_files_have_the_same_records_as_plain_ones(
    both: Sealed, content: dict[str, bytes], custom: dict[str, Any]
) -> None:
    plain = both.plain(content, **custom)
    assert plain or b"1,2" not in content["x.csv"]
    assert both.read(content, **custom) == plain


def test_file_of_the_official_client_opens(spark: SparkSession, tmp_path: Path) -> None:
    kms = KMS()
    opens = envelope(kms, GOLDEN["key"], GOLDEN["metadata"])
    assert kms.asked == {
        "aws:x-amz-cek-alg": "AES/GCM/NoPadding",
        "sluice:object": "parcels/2013-01-01/a.csv",
    }
    body = base64.b64decode(GOLDEN["body"])
    (tmp_path / "a.csv").write_bytes(body)
    known = {GOLDEN["key"]: (f"file:{tmp_path}/a.csv", len(body))}
    records = files.read(spark, contracts.parse(contract("f", PAIR), "f"), known, {GOLDEN["key"]: opens})
    assert [(r["_line"], r["_value"]) for r in records.frame.collect()] == [(2, "1,2")]


def test_no_plan_shows_a_key(spark: SparkSession, tmp_path: Path) -> None:
    key = b"0123456789abcdef0123456789abcdef"
    iv, body = sealed(spark, b"a,b\n1,2\n", key)
    (tmp_path / "a.csv").write_bytes(body)
    frame = files._opened(spark, [f"file:{tmp_path}/a.csv"], {f"{tmp_path}/a.csv"[1:]: Envelope(iv, key)})
    assert frame.count() == 2
    plans = frame._jdf.queryExecution().toString()
    for shown in (key.decode(), key.hex(), key.hex().upper(), base64.b64encode(key).decode(), "48, 49, 50"):
        assert shown not in plans
    assert "0123" not in repr(Envelope(iv, key))


def test_changed_file_gives_no_record(both: Sealed) -> None:
    with pytest.raises(InputError, match="was changed after its sender encrypted it"):
        both.read({"x.csv": b"a,b\n1,2\n"}, damage=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x-amz-key-v2": None}, "is not encrypted by its sender, as its contract wants it"),
        ({"x-amz-iv": None}, "has lost what opens it"),
        ({"x-amz-iv": "?"}, "has lost what opens it"),
        ({"x-amz-key-v2": "b3RoZXI="}, "has lost what opens it"),
        ({"x-amz-matdesc": "{}"}, "was encrypted as another object"),
        ({"x-amz-matdesc": '{"sluice:object": "parcels/2013-01-02/a.csv"}'}, "was encrypted as another object"),
        ({"x-amz-cek-alg": "AES/CBC/PKCS5Padding"}, "is encrypted in a way that is not supported"),
    ],
)
def test_envelope_that_does_not_fit_is_refused(change: dict[str, str | None], reason: str) -> None:
    metadata = {name: value for name, value in {**GOLDEN["metadata"], **change}.items() if value is not None}
    with pytest.raises(InputError, match=f"^{GOLDEN['key']} {reason}"):
        envelope(KMS(), GOLDEN["key"], metadata)


def test_without_the_right_to_decrypt_nothing_opens() -> None:
    with pytest.raises(aws.ServiceError, match="not authorized"):
        envelope(KMS(denied=True), GOLDEN["key"], GOLDEN["metadata"])


def test_files_that_cannot_be_opened_as_a_whole_are_refused(spark: SparkSession) -> None:
    known = {"a.csv.gz": ("file:/a.csv.gz", 100), "b.csv": ("file:/b.csv", 1 << 30), "c.csv": ("file:/c.csv", 16)}
    with pytest.raises(InputError, match=r"a\.csv\.gz is compressed.*; b\.csv has 1073741824 bytes.*; c\.csv is empty"):
        files.read(spark, contracts.parse(contract("f", PAIR), "f"), known, {})
