from __future__ import annotations

import random
from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.records import contract as contracts
from jobs.records import transforms
from jobs.records.tests.conftest import contract

KEY: dict[str, Any] = {"name": "k", "logicalType": "string", "primaryKey": True}


def judged(
    spark: SparkSession,
    properties: list[dict[str, Any]],
    lines: list[str],
    references: dict[str, DataFrame] | None = None,
) -> DataFrame:
    parsed = contracts.parse(contract("f", properties), "f")
    records = spark.createDataFrame(
        [("x.csv", i + 2, line) for i, line in enumerate(lines)], "_source_file string, _line bigint, _value string"
    )
    return transforms.judge(transforms.parse(records, {parsed.names: ["x.csv"]}, parsed), parsed, references or {})


def verdicts(frame: DataFrame) -> list[Any]:
    """For each line the rule it breaks, 'duplicate', or None."""
    rows = sorted(frame.collect(), key=lambda row: row["_line"])
    return [
        "duplicate" if r["_duplicate"] else f"{r['_column']} {r['_rule']}" if r["_column"] else r["_rule"] for r in rows
    ]


@pytest.mark.parametrize(
    ("prop", "good", "bad", "rule"),
    [
        ({"logicalType": "string", "required": True}, ["a", " "], [""], "required"),
        (
            {"logicalType": "integer"},
            ["0", "-7", "+7", "007", "2147483647", ""],
            ["1.0", "1e3", " 1", "1 ", "2147483648", "x", "0x1"],
            "type",
        ),
        (
            {"logicalType": "integer", "logicalTypeOptions": {"format": "i64"}},
            ["9223372036854775807"],
            ["9223372036854775808"],
            "type",
        ),
        (
            {"logicalType": "number"},
            ["1", "-1.5", ".5", "5.", "1e3", "1E-3"],
            ["NaN", "Infinity", "1e999", "1,5", "1d", "1f", ""[:0] + "e3"],
            "type",
        ),
        (
            {"logicalType": "number", "physicalType": "decimal(5,2)"},
            ["999.99", "-1.5", "7"],
            ["1000", "1.234", "1e2"],
            "type",
        ),
        ({"logicalType": "boolean"}, ["true", "FALSE"], ["1", "yes", "t"], "type"),
        ({"logicalType": "date"}, ["2024-02-29"], ["2023-02-29", "2024-2-9", "29.02.2024", "2024-02-29x"], "type"),
        (
            {"logicalType": "date", "logicalTypeOptions": {"format": "dd.MM.yyyy"}},
            ["29.02.2024"],
            ["2024-02-29"],
            "type",
        ),
        (
            {"logicalType": "timestamp"},
            ["2013-01-01T05:00:00Z", "2013-01-01T05:00:00+01:00", "2013-01-01T05:00:00.123456Z"],
            ["2013-01-01T05:00:00", "2013-01-01 05:00:00Z", "2013-01-01T25:00:00Z"],
            "type",
        ),
        (
            {"logicalType": "string", "logicalTypeOptions": {"minLength": 2, "maxLength": 3}},
            ["ab", "äöü"],
            ["a", "abcd"],
            "length",
        ),
        ({"logicalType": "string", "logicalTypeOptions": {"pattern": "^[a-c]+$"}}, ["abc"], ["abd", "Abc"], "pattern"),
        ({"logicalType": "string", "logicalTypeOptions": {"pattern": "b"}}, ["abc"], ["ac"], "pattern"),
        (
            {"logicalType": "integer", "logicalTypeOptions": {"minimum": 1, "exclusiveMaximum": 3}},
            ["1", "2"],
            ["0", "3"],
            "range",
        ),
        (
            {"logicalType": "number", "logicalTypeOptions": {"exclusiveMinimum": 0.5, "maximum": 1}},
            ["0.51", "1"],
            ["0.5", "1.01"],
            "range",
        ),
        (
            {"logicalType": "date", "logicalTypeOptions": {"minimum": "2024-01-01"}},
            ["2024-01-01"],
            ["2023-12-31"],
            "range",
        ),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"maximum": "2024-01-01T00:00:00Z"}},
            ["2024-01-01T00:00:00Z"],
            ["2024-01-01T00:00:00.000001Z"],
            "range",
        ),
        ({"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 5}}, ["-10", "0", "15"], ["7"], "multiple"),
        (
            {
                "logicalType": "string",
                "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["a", "b"]}, "mustBe": 0}],
            },
            ["a"],
            ["A"],
            "enum",
        ),
        ({"logicalType": "integer", "enum": [{"value": 1}, {"value": 2}]}, ["1", "2"], ["3"], "enum"),
    ],
)
def test_a_value_keeps_or_breaks_its_rule(
    spark: SparkSession, prop: dict[str, Any], good: list[str], bad: list[str], rule: str
) -> None:
    lines = [f'{i},"{value}"' for i, value in enumerate(good + bad)]
    assert verdicts(judged(spark, [KEY, {"name": "c", **prop}], lines)) == [None] * len(good) + [f"c {rule}"] * len(bad)


def test_the_first_broken_rule_is_told(spark: SparkSession) -> None:
    properties = [
        KEY,
        {"name": "n", "logicalType": "integer", "logicalTypeOptions": {"maximum": 5}},
        {"name": "s", "logicalType": "string", "required": True},
    ]
    assert verdicts(judged(spark, properties, [",9,", "a,x,", "b,9,", "c,5,", "d"])) == [
        "k required",
        "n type",
        "n range",
        "s required",
        "columns",
    ]


def test_one_key_with_two_contents_is_a_conflict_and_with_one_a_duplicate(spark: SparkSession) -> None:
    properties = [KEY, {"name": "n", "logicalType": "number"}]
    lines = ["a,1", "b,1", "a,1.0", "b,2", "a,1e0", "b,x", "b,2", "c,"]
    assert verdicts(judged(spark, properties, lines)) == [
        None,
        "conflict",
        "duplicate",
        "conflict",
        "duplicate",
        "n type",
        "conflict",
        None,
    ]


def test_a_unique_value_under_two_keys_is_refused_and_twice_under_one_is_a_duplicate(spark: SparkSession) -> None:
    properties = [KEY, {"name": "u", "logicalType": "string", "unique": True}]
    lines = ["a,x", "b,x", "c,y", "c,y", "d,", "e,"]
    assert verdicts(judged(spark, properties, lines)) == ["u unique", "u unique", None, "duplicate", None, None]


def test_references_are_checked_where_there_is_a_value(spark: SparkSession) -> None:
    properties = [KEY, {"name": "r", "logicalType": "integer", "relationships": [{"to": "other.id"}]}]
    other = {"other": spark.createDataFrame([(1,)], "id int")}
    assert verdicts(judged(spark, properties, ["a,1", "b,2", "c,", "d,x"], other)) == [
        None,
        "r reference",
        None,
        "r type",
    ]


def test_equal_contents_have_equal_hashes_and_a_new_empty_column_changes_none(spark: SparkSession) -> None:
    def hashes(properties: list[dict[str, Any]], lines: list[str]) -> list[str]:
        return [
            row["_hash"] for row in sorted(judged(spark, properties, lines).collect(), key=lambda row: row["_line"])
        ]

    two = [KEY, {"name": "a", "logicalType": "string"}, {"name": "b", "logicalType": "string"}]
    first = hashes(two, ["k1,x,", "k2,,x", "k3,x,y"])
    assert len(set(first)) == 3
    assert hashes([two[2], two[1], KEY, {"name": "c", "logicalType": "date"}], [",x,k1,", "x,,k2,", "y,x,k3,"]) == first
    assert hashes(two, ['k,"1,b=1:2",', "k,1,2"])[0] != hashes(two, ["k,1,2"])[0]


DAYS = ["2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05", "2024-01-09"]


@pytest.mark.parametrize("snapshot", [False, True])
def test_history_is_what_the_days_make_one_after_the_other(spark: SparkSession, snapshot: bool) -> None:
    """Compares with the rule in a few lines of Python, on random days: a key is said with some content, said but invalid, or not said."""
    chance = random.Random(7)
    parsed = contracts.parse(contract("f", [KEY, {"name": "v", "logicalType": "string"}], snapshot=snapshot), "f")
    said = {(key, day): chance.choice(["x", "y", "invalid", None]) for key in map(str, range(60)) for day in DAYS}
    versions: dict[str, list[list[Any]]] = {}
    for day in DAYS:
        for key in map(str, range(60)):
            content, known = said[key, day], versions.setdefault(key, [])
            open_version = known[-1] if known and known[-1][2] is None else None
            if content in ("x", "y") and (open_version is None or open_version[0] != content):
                if open_version:
                    open_version[2] = day
                known.append([content, day, None])
            if content is None and open_version and snapshot:
                open_version[2] = day
    wanted = sorted((key, *version) for key, known in versions.items() for version in known)

    valid = [
        (key, said[key, day], "f.csv", 1, date.fromisoformat(day)) for key, day in said if said[key, day] in ("x", "y")
    ]
    invalid = [(f'{{"k":"{key}"}}', date.fromisoformat(day)) for key, day in said if said[key, day] == "invalid"]
    made = transforms.history(
        spark.createDataFrame(valid + valid[:50], "k string, v string, _source_file string, _line bigint, _day date"),
        spark.createDataFrame(invalid, "_key string, _day date"),
        parsed,
    ).collect()
    assert sorted(
        (r["k"], r["v"], str(r["valid_from"]), str(r["valid_to"]) if r["valid_to"] else None) for r in made
    ) == sorted(wanted, key=lambda version: version[:3])
    assert all(r["is_current"] == (r["valid_to"] is None) and r["_job"] == f"f/{r['valid_from']}" for r in made)
