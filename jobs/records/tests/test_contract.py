from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from jobs.records import contract as contracts
from jobs.records.contract import Column, Reference
from jobs.records.errors import InputError
from jobs.records.tests.conftest import CHECKOUT, contract


def column(**prop: Any) -> Column:
    parsed = contracts.parse(
        contract("f", [{"name": "k", "logicalType": "string", "primaryKey": True}, {"name": "c", **prop}]), "f"
    )
    return parsed.columns[1]


@pytest.mark.parametrize("path", sorted((CHECKOUT / "contracts").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_contracts_keep_the_standard(path: Path) -> None:
    schema = json.loads(OpenDataContractStandard.json_schema())
    jsonschema.Draft201909Validator(schema).validate(yaml.safe_load(path.read_text()))


def test_example_contracts_say_what_the_data_is() -> None:
    parsed = {
        path.stem: contracts.parse(yaml.safe_load(path.read_text()), path.stem)
        for path in (CHECKOUT / "contracts").glob("*.yaml")
    }
    assert {feed: (c.key, c.snapshot) for feed, c in parsed.items()} == {
        "airlines": (("carrier",), True),
        "airports": (("faa",), True),
        "planes": (("tailnum",), True),
        "weather": (("origin", "time_hour"), False),
        "flights": (("year", "month", "day", "carrier", "flight", "origin"), False),
    }
    assert parsed["flights"].references == (
        Reference("carrier", "airlines", "carrier"),
        Reference("origin", "airports", "faa"),
        Reference("dest", "airports", "faa"),
    )
    assert parsed["flights"].prerequisites == ("airlines", "airports", "planes", "weather")


@pytest.mark.parametrize(
    ("prop", "spark_type"),
    [
        ({"logicalType": "string"}, "string"),
        ({"logicalType": "integer"}, "int"),
        ({"logicalType": "integer", "logicalTypeOptions": {"format": "i64"}}, "bigint"),
        ({"logicalType": "number"}, "double"),
        ({"logicalType": "number", "physicalType": "DECIMAL(10, 2)"}, "decimal(10,2)"),
        ({"logicalType": "boolean"}, "boolean"),
        ({"logicalType": "date"}, "date"),
        ({"logicalType": "timestamp"}, "timestamp"),
    ],
)
def test_types_of_the_standard_become_types_of_spark(prop: dict[str, Any], spark_type: str) -> None:
    assert column(**prop).type == spark_type


def test_library_rules_become_rules_for_records() -> None:
    made = column(
        logicalType="string",
        quality=[
            {"metric": "nullValues", "mustBe": 0},
            {"metric": "duplicateValues", "mustBe": 0},
            {"metric": "invalidValues", "arguments": {"validValues": ["a", 1, True], "pattern": "^a$"}, "mustBe": 0},
            {"type": "text", "description": "for people"},
        ],
    )
    assert (made.required, made.unique, made.values, made.patterns) == (True, True, ("a", "1", "true"), (r"^a\z",))


@pytest.mark.parametrize(
    ("prop", "fault"),
    [
        ({"logicalType": "array"}, "properties[1].logicalType: 'array' is not supported"),
        (
            {"logicalType": "string", "logicalTypeOptions": {"format": "email"}},
            "logicalTypeOptions.format: is not supported for string",
        ),
        (
            {"logicalType": "integer", "logicalTypeOptions": {"format": "u128"}},
            "'u128' is not supported: use i32 or i64",
        ),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": 0.5}}, "minimum: 0.5 is no integer"),
        ({"logicalType": "date", "logicalTypeOptions": {"maximum": "soon"}}, "maximum: 'soon' is no date"),
        (
            {"logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "Europe/Vienna"}},
            "'Europe/Vienna' is not supported",
        ),
        ({"logicalType": "string", "logicalTypeOptions": {"pattern": "("}}, "'(' is not a regular expression"),
        ({"logicalType": "string", "physicalName": "other"}, "physicalName: is not supported"),
        ({"logicalType": "string", "quality": [{"type": "sql", "query": "select 1"}]}, "quality[0]: a sql rule"),
        (
            {"logicalType": "string", "quality": [{"metric": "nullValues", "mustBeLessThan": 5}]},
            "a library rule nullValues of this form",
        ),
        (
            {"logicalType": "string", "relationships": [{"to": ["a.x", "a.y"]}]},
            "relationships[0]: to ['a.x', 'a.y'] is not supported",
        ),
    ],
)
def test_what_could_not_be_enforced_is_refused_with_its_path(prop: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        column(**prop)
    assert fault in str(error.value)


def test_all_faults_are_told_together() -> None:
    document = contract(
        "f",
        [{"name": "_id", "logicalType": "string"}, {"name": "valid_to", "logicalType": "date"}],
        delimiter="::",
        encoding="utf-16",
    )
    document["apiVersion"] = "v2.2.2"
    with pytest.raises(InputError) as error:
        contracts.parse(document, "f")
    assert str(error.value) == (
        "contract of feed 'f': apiVersion: 'v2.2.2' is not supported: use v3.0.0 or later; "
        "schema[0].properties[0].name: '_id' cannot be a column: begin with a letter, go on with letters, digits and underscores; "
        "schema[0].properties[1].name: 'valid_to' is a column of the versioned table: choose another name; "
        "schema[0].properties: no property is a primaryKey: versions need one; "
        'customProperties sluice.delimiter: is \'::\': use one character, for example "," or "\\t"; '
        "customProperties sluice.encoding: 'utf-16' is not supported: use one of utf-8, us-ascii, iso-8859-1, windows-1252"
    )


def test_a_delimiter_is_the_same_byte_as_text_and_in_the_file() -> None:
    """Lines are split before they are decoded."""
    properties = [{"name": "id", "logicalType": "string", "primaryKey": True}]
    assert contracts.parse(contract("f", properties, delimiter="§"), "f").delimiter == "§"
    with pytest.raises(InputError, match="is '§', which windows-1252 has another byte for"):
        contracts.parse(contract("f", properties, delimiter="§", encoding="windows-1252"), "f")


def test_key_is_in_the_order_of_the_contract() -> None:
    properties = [
        {"name": "b", "logicalType": "string", "primaryKey": True, "primaryKeyPosition": 2},
        {"name": "a", "logicalType": "string", "primaryKey": True, "primaryKeyPosition": 1},
    ]
    assert contracts.parse(contract("f", properties), "f").key == ("a", "b")


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "jobs").rglob("*.py")), ids=lambda path: str(path.relative_to(CHECKOUT))
)
def test_jobs_are_python_3_9(path: Path) -> None:
    if "tests" not in path.parts:
        ast.parse(path.read_text(), feature_version=(3, 9))
