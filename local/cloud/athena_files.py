"""The tables of the Glue catalog that are files: CSV as a crawler describes it, every column text."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyarrow

_SERDE = "org.apache.hadoop.hive.serde2.OpenCSVSerde"


class Unreadable(Exception):
    """A table that is not of the kind that is read here."""


def read(session: boto3.Session, endpoint: str, database: str, name: str) -> tuple[pyarrow.Table, int]:
    """A table's rows with its partitions' values as columns, and how many bytes were read for them."""
    glue, s3 = session.client("glue", endpoint_url=endpoint), session.client("s3", endpoint_url=endpoint)
    table = glue.get_table(DatabaseName=database, Name=name)["Table"]
    storage, keys = table["StorageDescriptor"], [key["Name"] for key in table.get("PartitionKeys", [])]
    if storage.get("SerdeInfo", {}).get("SerializationLibrary") != _SERDE:
        raise Unreadable("neither an Iceberg table nor CSV by OpenCSVSerde")
    if any(column["Type"] != "string" for column in storage["Columns"]):
        raise Unreadable("CSV with columns that are not text")
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=name) if keys else []
    parts = [(p["Values"], p["StorageDescriptor"]["Location"]) for found in pages for p in found["Partitions"]]
    columns = [column["Name"] for column in storage["Columns"]]
    values: list[list[str | None]] = [[] for _ in (*columns, *keys)]
    scanned = 0
    for of_partition, location in parts if keys else [([], storage["Location"])]:
        for body in _objects(s3, location):
            scanned += len(body)
            for row in _rows(
                body, storage["SerdeInfo"]["Parameters"], int(table["Parameters"].get("skip.header.line.count", 0))
            ):
                # As the SerDe does it: what is missing is NULL, what is too much is left out.
                padded: list[str | None] = [*row[: len(columns)], *[None] * (len(columns) - len(row))]
                for index, value in enumerate([*padded, *of_partition]):
                    values[index].append(value)
    arrays = [pyarrow.array(column, pyarrow.string()) for column in values]
    return pyarrow.table(dict(zip([*columns, *keys], arrays, strict=True))), scanned


def _objects(s3: Any, location: str) -> Iterator[bytes]:
    """What is below a location; like Athena, without what begins with an underscore or a dot."""
    address = urlsplit(location)
    for found in s3.get_paginator("list_objects_v2").paginate(Bucket=address.netloc, Prefix=address.path.lstrip("/")):
        for item in found.get("Contents", []):
            if item["Size"] and item["Key"].rpartition("/")[2][:1] not in ("_", "."):
                body: bytes = s3.get_object(Bucket=address.netloc, Key=item["Key"])["Body"].read()
                yield gzip.decompress(body) if item["Key"].endswith(".gz") else body


def _rows(body: bytes, options: dict[str, str], skip: int) -> Iterator[list[str]]:
    """The rows of a file, line by line: like the SerDe, a line end inside of quotes ends the row."""
    lines = body.decode(errors="replace").splitlines()[skip:]
    for line in lines:
        yield from csv.reader(
            [line], delimiter=options.get("separatorChar", ","), quotechar=options.get("quoteChar", '"')
        )
