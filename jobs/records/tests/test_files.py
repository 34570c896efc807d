from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.records import contract as contracts
from jobs.records import files, transforms
from jobs.records.errors import InputError
from jobs.records.tests.conftest import contract

PAIR: list[dict[str, Any]] = [
    {"name": "a", "logicalType": "string", "primaryKey": True},
    {"name": "b", "logicalType": "string"},
]


class Day:
    """Reads files as a day's files; rows are (file, line, a, b, raw)."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder = spark, folder

    def read(
        self, content: dict[str, bytes | str], sizes: dict[str, int] | None = None, **custom: Any
    ) -> files.Records:
        for name, text in content.items():
            (self._folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        parsed = contracts.parse(contract("f", PAIR, **custom), "f")
        known = {
            name: (f"file:{self._folder / name}", (sizes or {}).get(name, (self._folder / name).stat().st_size))
            for name in content
        }
        return files.read(self._spark, parsed, known)

    def rows(self, content: dict[str, bytes | str], **custom: Any) -> list[tuple[Any, ...]]:
        records = self.read(content, **custom)
        parsed = transforms.parse(records.frame, records.headers, contracts.parse(contract("f", PAIR, **custom), "f"))
        rows = sorted((r["_source_file"], r["_line"], r["_misread"] or (r["a"], r["b"])) for r in parsed.collect())
        assert len(rows) == records.count
        return rows

    def refused(self, content: dict[str, bytes | str], **how: Any) -> str:
        with pytest.raises(InputError) as error:
            self.read(content, **how)
        return str(error.value).replace(f"file:{self._folder}/", "").replace(f"file://{self._folder}/", "")


@pytest.fixture
def day(spark: SparkSession, tmp_path: Path) -> Day:
    return Day(spark, tmp_path)


def test_records_carry_the_number_of_their_line(day: Day) -> None:
    assert day.rows({"x.csv": "a,b\n1,2\n\n3,4", "y.csv": "b,a\n6,5\n"}) == [
        ("x.csv", 2, ("1", "2")),
        ("x.csv", 4, ("3", "4")),
        ("y.csv", 2, ("5", "6")),
    ]


def test_lines_are_numbered_through_all_parts_of_a_large_file(
    day: Day, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL", 0)
    spark.conf.set("spark.sql.files.maxPartitionBytes", "1000")
    spark.conf.set("spark.sql.files.openCostInBytes", "0")
    try:
        rows = day.rows(
            {
                "x.csv": "a,b\n" + "".join(f"{i},{'x' * (i % 50)}\n" for i in range(2000)),
                "y.csv": "a,b\n" + "7,8\n" * 400,
            }
        )
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
        spark.conf.unset("spark.sql.files.openCostInBytes")
    assert [(line, a) for name, line, (a, _) in rows if name == "x.csv"] == [(i + 2, str(i)) for i in range(2000)]
    assert [line for name, line, _ in rows if name == "y.csv"] == list(range(2, 402))


def test_quotes_hold_delimiters_quotes_and_line_breaks(day: Day) -> None:
    text = 'a,b\n"1,1","say ""so"""\n2,"first\nsecond, ""third""\n\n"\n"","x"\n3,5" pipe\n"4\n4",4\n'
    assert day.rows({"x.csv": text, "plain.csv": "a,b\n8,9\n"}) == [
        ("plain.csv", 2, ("8", "9")),
        ("x.csv", 2, ("1,1", 'say "so"')),
        ("x.csv", 3, ("2", 'first\nsecond, "third"\n\n')),
        ("x.csv", 7, (None, "x")),
        ("x.csv", 8, ("3", '5" pipe')),
        ("x.csv", 9, ("4\n4", "4")),
    ]


def test_windows_files_are_read_like_others(day: Day) -> None:
    text = b'\xef\xbb\xbfa;b\r\n1;\xc3\xa4\r\n\r\n2;"x\r\ny"\r\n'
    assert day.rows({"x.csv": text}, delimiter=";") == [("x.csv", 2, ("1", "ä")), ("x.csv", 4, ("2", "x\ny"))]


def test_tabs_and_other_encodings_follow_the_contract(day: Day) -> None:
    assert day.rows({"x.tsv": "a\tb\r\n1\tä\r\n".encode("iso-8859-1")}, delimiter="\t", encoding="ISO-8859-1") == [
        ("x.tsv", 2, ("1", "ä"))
    ]
    assert day.rows({"w.csv": "a,b\n1,€\n".encode("windows-1252")}, encoding="windows-1252") == [
        ("w.csv", 2, ("1", "€"))
    ]


def test_gzip_files_are_read(day: Day) -> None:
    assert day.rows({"x.csv.gz": gzip.compress(b"a,b\n1,2\n")}) == [("x.csv.gz", 2, ("1", "2"))]


def test_missing_is_empty_or_what_the_contract_says(day: Day) -> None:
    assert day.rows({"x.csv": 'a,b\n1,NA\n2,\n3,""\n4,NAN\n'}, nullValue="NA") == [
        ("x.csv", 2, ("1", None)),
        ("x.csv", 3, ("2", None)),
        ("x.csv", 4, ("3", None)),
        ("x.csv", 5, ("4", "NAN")),
    ]


def test_records_that_cannot_be_read_are_kept(day: Day) -> None:
    content = b"a,b\n1\n2,3,4\n5,\xff\xfe\n\x00\x01,\x02\n ,\n" + b"," * 30000 + b"\n6,7"
    assert day.rows({"x.csv": content}) == [
        ("x.csv", 2, "columns"),
        ("x.csv", 3, "columns"),
        ("x.csv", 4, "encoding"),
        ("x.csv", 5, ("\x00\x01", "\x02")),
        ("x.csv", 6, (" ", None)),
        ("x.csv", 7, "columns"),
        ("x.csv", 8, ("6", "7")),
    ]


def test_no_byte_of_a_record_in_another_encoding_is_lost(day: Day) -> None:
    records = day.read({"x.csv": b"a,b\n1,\xe4\xff\n"})
    parsed = transforms.parse(records.frame, records.headers, contracts.parse(contract("f", PAIR), "f"))
    assert [row["_raw"].encode("iso-8859-1") for row in parsed.collect()] == [b"1,\xe4\xff"]


def test_names_are_no_patterns(day: Day) -> None:
    names = ["a[1] {b}*?.csv", "%20 ü+.csv"]
    assert [name for name, _, _ in day.rows(dict.fromkeys(names, "a,b\n1,2\n"))] == sorted(names)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "x.csv is empty"),
        (b"a,c\n1,2\n", "x.csv has another header than its contract: it lacks b and has also 'c'"),
        (b"a,b,b\n1,2,3\n", "x.csv has another header than its contract: it has also 'b'"),
        (b"1,2\n3,4\n", "x.csv has another header than its contract: it lacks a, b and has also '1', '2'"),
        (b"\n1,2\n", "x.csv has another header than its contract: it lacks a, b"),
        ("a,b\n1,2\n".encode("utf-16"), "x.csv has no header: its first line is not utf-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "x.csv has no header: its first line is not utf-8 text"),
        (
            b'a,b\n1,2\n3,"4\n5,6\n',
            "x.csv ends inside of a quoted field that began in the record of line 3: put the whole file again, then restate the day",
        ),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_is_refused(day: Day, content: bytes, reason: str) -> None:
    assert day.refused({"x.csv": content, "good.csv": "a,b\n1,2\n"}) == reason


def test_random_bytes_are_refused(day: Day) -> None:
    assert day.refused({"x.csv": b"\xff" + os.urandom(200_000)}).startswith("x.csv has no header")


def test_a_gzip_file_that_was_cut_off_is_refused(day: Day) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919 % 10007) for i in range(20000)))
    assert (
        day.refused({"x.csv.gz": whole[: len(whole) // 2]})
        == "x.csv.gz is not a whole gzip file: put it again, then restate the day"
    )
    assert (
        day.refused({"y.csv.gz": b"a,b\n1,2\n"})
        == "y.csv.gz is not a whole gzip file: put it again, then restate the day"
    )


def test_a_file_that_changed_since_it_was_queued_is_refused(day: Day) -> None:
    assert (
        day.refused({"x.csv": "a,b\n1,2\n"}, sizes={"x.csv": 5})
        == "x.csv has 8 bytes, 5 when it was queued: restate the day"
    )


def test_a_file_that_is_gone_is_refused(day: Day, tmp_path: Path) -> None:
    day.read({"x.csv": "a,b\n1,2\n"})
    (tmp_path / "x.csv").unlink()
    with pytest.raises(InputError, match=r"x\.csv is not there any more"):
        files.read(day._spark, contracts.parse(contract("f", PAIR), "f"), {"x.csv": (f"file:{tmp_path}/x.csv", 8)})


def test_a_name_that_spark_hides_is_refused(day: Day) -> None:
    reason = "_x.csv was not read: Spark hides names that begin with '_' or '.', so rename it"
    assert day.refused({"_x.csv": "a,b\n1,2\n", "y.csv": "a,b\n"}) == reason


def test_a_day_without_files_is_refused(day: Day) -> None:
    assert day.refused({}) == "the day has no files: put them, then restate the day"
