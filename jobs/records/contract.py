"""Reads a feed's contract: Open Data Contract Standard v3, as JSON, with what the standard lacks in its customProperties.

The job enforces all that it accepts. What it would have to ignore although it is a rule, it refuses, all faults in one message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.records.errors import InputError

ENCODINGS = {"utf-8": "UTF-8", "us-ascii": "US-ASCII", "iso-8859-1": "ISO-8859-1", "windows-1252": "windows-1252"}
"""Encodings by the name that contracts use; the values are Java's names. Each is a superset of ASCII, so that lines can be split by byte."""

RESERVED = ("valid_from", "valid_to", "is_current")
"""Columns that the versioned table adds; names that begin with an underscore are the job's as well."""

DATE_FORMAT = "yyyy-MM-dd"
TIMESTAMP_FORMAT = "yyyy-MM-dd'T'HH:mm:ss[.SSSSSS]XXX"

_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_OPTIONS = {
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("format", "multipleOf", *_BOUNDS),
    "number": ("format", *_BOUNDS),
    "boolean": (),
    "date": ("format", *_BOUNDS),
    "timestamp": ("format", "timezone", "defaultTimezone", *_BOUNDS),
}
_INTEGERS = {"i32": "int", "i64": "bigint"}
_ROW_COUNT = {
    "mustBe": "==",
    "mustNotBe": "!=",
    "mustBeGreaterThan": ">",
    "mustBeGreaterOrEqualTo": ">=",
    "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "<=",
}
_COMPARE = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


@dataclass(frozen=True)
class Column:
    """One column of a feed and the rules for its values."""

    name: str
    logical: str  # the standard's logicalType
    type: str  # Spark's simple type string
    required: bool = False
    unique: bool = False
    format: str = ""  # of dates and timestamps, as Java's DateTimeFormatter reads it
    min_length: int | None = None
    max_length: int | None = None
    patterns: tuple[str, ...] = ()
    bounds: tuple[tuple[str, Any], ...] = ()  # (the standard's name of the bound, its value)
    multiple_of: int | None = None
    values: tuple[str, ...] | None = None  # the only values allowed, as the file writes them


@dataclass(frozen=True)
class Reference:
    """A column whose values must be keys of another feed that are valid on the same day."""

    column: str
    feed: str
    key: str


@dataclass(frozen=True)
class RowCount:
    """A rule on the number of records of a day; a day that breaks it is not processed."""

    operator: str
    value: float

    def holds(self, count: int) -> bool:
        """Whether a number of records keeps the rule."""
        return bool(_COMPARE[self.operator](count, self.value))


@dataclass(frozen=True)
class Contract:
    """What the job enforces for one feed."""

    feed: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    row_counts: tuple[RowCount, ...] = ()
    snapshot: bool = False
    client_side: bool = False
    delimiter: str = ","
    encoding: str = "utf-8"
    null_value: str = ""
    prerequisites: tuple[str, ...] = ()
    curated_sql: str = ""
    curated: tuple[Column, ...] = ()  # the columns that the SQL makes

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in the contract's order."""
        return tuple(column.name for column in self.columns)

    @property
    def java_encoding(self) -> str:
        """The encoding as Java names it."""
        return ENCODINGS[self.encoding]


def parse(document: Mapping[str, Any], feed: str) -> Contract:
    """Reads the contract of a feed. Raises InputError that lists every fault with its path."""
    return _Parser().contract(document, feed)


class _Parser:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, path: str, text: str) -> None:
        self.faults.append(f"{path}: {text}")

    def contract(self, document: Mapping[str, Any], feed: str) -> Contract:
        version = str(document.get("apiVersion", ""))
        if not version.startswith("v3."):
            self.fault("apiVersion", f"{version!r} is not supported: use v3.0.0 or later")
        objects = document.get("schema") or []
        if len(objects) != 1:
            raise InputError(
                f"contract of feed {feed!r}: schema: a feed's contract describes exactly one object, this one {len(objects)}"
            )
        table = objects[0]
        if table.get("name") != feed:
            self.fault("schema[0].name", f"is {table.get('name')!r}: name it like the feed")
        if table.get("relationships"):
            self.fault(
                "schema[0].relationships",
                "only relationships of a single property are supported: state it at the property",
            )

        columns: list[Column] = []
        positions: dict[str, int] = {}
        references: list[Reference] = []
        for i, prop in enumerate(table.get("properties") or []):
            path = f"schema[0].properties[{i}]"
            column = self.column(prop, path)
            if column.name in (c.name for c in columns):
                self.fault(path, f"{column.name!r} is there twice")
            columns.append(column)
            if prop.get("primaryKey"):
                positions[column.name] = prop.get("primaryKeyPosition", i + 1)
            references += self.references(prop, column.name, path)
        if not positions:
            self.fault("schema[0].properties", "no property is a primaryKey: versions need one")

        custom = self.custom(document)
        contract = Contract(
            feed=feed,
            columns=tuple(columns),
            key=tuple(sorted(positions, key=lambda name: positions[name])),
            references=tuple(references),
            row_counts=tuple(self.row_counts(table)),
            snapshot=custom.get("sluice.snapshot", False),
            client_side=custom.get("sluice.clientSide", False),
            delimiter=custom.get("sluice.delimiter", ","),
            encoding=str(custom.get("sluice.encoding", "utf-8")).lower(),
            null_value=custom.get("sluice.nullValue", ""),
            prerequisites=tuple(custom.get("sluice.prerequisites", ())),
            curated_sql=document.get("sluice.curatedSql") or "",
            curated=tuple(
                Column(
                    name=column["name"],
                    logical=column["logicalType"],
                    type=self.spark_type(column, column["logicalType"], {}, f"sluice.curatedColumns[{i}]"),
                )
                for i, column in enumerate(custom.get("sluice.curatedColumns", ()))
            ),
        )
        if contract.curated_sql and not contract.curated:
            self.fault(
                "customProperties sluice.curatedColumns", "is missing: say which columns the contract's SQL makes"
            )
        if contract.client_side not in (True, False):
            self.fault("customProperties sluice.clientSide", f"is {contract.client_side!r}: use true or false")
        if contract.snapshot not in (True, False):
            self.fault("customProperties sluice.snapshot", f"is {contract.snapshot!r}: use true or false")
        if len(contract.delimiter) != 1 or contract.delimiter in '"\r\n':
            self.fault(
                "customProperties sluice.delimiter",
                f'is {contract.delimiter!r}: use one character, for example "," or "\\t"',
            )
        elif not contract.delimiter.isascii() and contract.encoding != "utf-8":
            self.fault(
                "customProperties sluice.delimiter",
                f"is {contract.delimiter!r}, which {contract.encoding} has another byte for: use an ASCII character, or utf-8",
            )
        if contract.encoding not in ENCODINGS:
            self.fault(
                "customProperties sluice.encoding",
                f"{contract.encoding!r} is not supported: use one of {', '.join(ENCODINGS)}",
            )
        if self.faults:
            raise InputError(f"contract of feed {feed!r}: " + "; ".join(self.faults))
        return contract

    def custom(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {p["property"]: p["value"] for p in document.get("customProperties") or [] if p.get("value") is not None}

    def column(self, prop: Mapping[str, Any], path: str) -> Column:
        name = str(prop.get("name", ""))
        logical = str(prop.get("logicalType", ""))
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            self.fault(
                f"{path}.name",
                f"{name!r} cannot be a column: begin with a letter, go on with letters, digits and underscores",
            )
        if name.lower() in RESERVED:
            self.fault(f"{path}.name", f"{name!r} is a column of the versioned table: choose another name")
        if prop.get("physicalName", name) != name:
            self.fault(f"{path}.physicalName", "is not supported: the property's name is the column's name in the file")
        if logical not in _OPTIONS:
            self.fault(f"{path}.logicalType", f"{logical!r} is not supported: use one of {', '.join(_OPTIONS)}")
            return Column(name=name, logical="string", type="string")
        options = prop.get("logicalTypeOptions") or {}
        for option in options:
            if option not in _OPTIONS[logical]:
                self.fault(f"{path}.logicalTypeOptions.{option}", f"is not supported for {logical}")
            elif option in _BOUNDS and not _is_a(logical, options[option]):
                self.fault(
                    f"{path}.logicalTypeOptions.{option}",
                    f"{options[option]!r} is no {logical} (dates and timestamps are written as in ISO 8601)",
                )
        required, unique, patterns, values = self.quality(prop, path)
        if "pattern" in options:
            patterns.insert(0, options["pattern"])
        return Column(
            name=name,
            logical=logical,
            type=self.spark_type(prop, logical, options, path),
            required=bool(prop.get("required") or prop.get("primaryKey") or required),
            unique=bool(prop.get("unique") or unique),
            format=self.format(logical, options, path),
            min_length=options.get("minLength"),
            max_length=options.get("maxLength"),
            patterns=tuple(self.java_pattern(p, path) for p in patterns),
            bounds=tuple((bound, options[bound]) for bound in _BOUNDS if bound in options),
            multiple_of=options.get("multipleOf"),
            values=values,
        )

    def spark_type(self, prop: Mapping[str, Any], logical: str, options: Mapping[str, Any], path: str) -> str:
        if logical == "integer":
            size = options.get("format", "i32")
            if size not in _INTEGERS:
                self.fault(f"{path}.logicalTypeOptions.format", f"{size!r} is not supported: use i32 or i64")
            return _INTEGERS.get(size, "int")
        if logical == "number":
            if options.get("format", "f64") != "f64":
                self.fault(
                    f"{path}.logicalTypeOptions.format",
                    f"{options['format']!r} is not supported: use f64, or a physicalType of decimal(p,s)",
                )
            exact = re.fullmatch(r"(?:decimal|numeric)\((\d+), ?(\d+)\)", str(prop.get("physicalType", "")).lower())
            return f"decimal({exact.group(1)},{exact.group(2)})" if exact else "double"
        return logical

    def format(self, logical: str, options: Mapping[str, Any], path: str) -> str:
        zone = options.get("defaultTimezone", "Etc/UTC")
        if zone not in ("Etc/UTC", "UTC"):
            self.fault(
                f"{path}.logicalTypeOptions.defaultTimezone",
                f"{zone!r} is not supported: write timestamps in UTC or with their offset",
            )
        if logical == "date":
            return str(options.get("format", DATE_FORMAT))
        if logical == "timestamp":
            return str(options.get("format", TIMESTAMP_FORMAT))
        return ""

    def java_pattern(self, pattern: str, path: str) -> str:
        """Java's `$` also matches before a last line break, the standard's (ECMA-262) does not."""
        try:
            re.compile(pattern)
        except re.error as error:
            self.fault(f"{path} pattern", f"{pattern!r} is not a regular expression: {error}")
        return re.sub(r"(?<!\\)\$$", r"\\z", pattern)

    def quality(self, prop: Mapping[str, Any], path: str) -> tuple[bool, bool, list[str], tuple[str, ...] | None]:
        """The library rules of a property, as what they mean for one record."""
        required = unique = False
        patterns: list[str] = []
        values = tuple(_text(v["value"]) for v in prop["enum"]) if prop.get("enum") else None
        for i, rule in enumerate(prop.get("quality") or []):
            at = f"{path}.quality[{i}]"
            kind, metric = rule.get("type", "library"), rule.get("metric")
            if kind == "text":
                continue  # for people to read, by the standard
            arguments = rule.get("arguments") or {}
            known = kind == "library" and rule.get("mustBe") == 0 and rule.get("unit", "rows") == "rows"
            if known and metric in ("nullValues", "missingValues") and not arguments:
                required = True
            elif known and metric == "duplicateValues" and not arguments:
                unique = True
            elif known and metric == "invalidValues" and arguments and set(arguments) <= {"validValues", "pattern"}:
                if "validValues" in arguments:
                    values = tuple(_text(v) for v in arguments["validValues"])
                if "pattern" in arguments:
                    patterns.append(arguments["pattern"])
            else:
                self.fault(
                    at,
                    f"a {kind} rule {metric or ''} of this form is not supported: use nullValues, duplicateValues or invalidValues "
                    "(validValues, pattern) with mustBe: 0",
                )
        return required, unique, patterns, values

    def row_counts(self, table: Mapping[str, Any]) -> list[RowCount]:
        rules: list[RowCount] = []
        for i, rule in enumerate(table.get("quality") or []):
            if rule.get("type") == "text":
                continue
            found = [RowCount(_ROW_COUNT[k], rule[k]) for k in _ROW_COUNT if k in rule]
            if (
                rule.get("type", "library") == "library"
                and rule.get("metric") == "rowCount"
                and rule.get("unit", "rows") == "rows"
                and found
            ):
                rules += found
            else:
                self.fault(
                    f"schema[0].quality[{i}]",
                    f"is not supported: use metric rowCount with one of {', '.join(_ROW_COUNT)}",
                )
        return rules

    def references(self, prop: Mapping[str, Any], column: str, path: str) -> list[Reference]:
        found: list[Reference] = []
        for i, relationship in enumerate(prop.get("relationships") or []):
            to = relationship.get("to")
            if (
                relationship.get("type", "foreignKey") != "foreignKey"
                or not isinstance(to, str)
                or not re.fullmatch(r"[\w-]+\.\w+", to)
            ):
                self.fault(
                    f"{path}.relationships[{i}]", f"to {to!r} is not supported: use a foreignKey to <feed>.<its key>"
                )
            else:
                feed, key = to.split(".")
                found.append(Reference(column=column, feed=feed, key=key))
        return found


def _is_a(logical: str, value: Any) -> bool:
    if logical in ("integer", "number"):
        return isinstance(value, int if logical == "integer" else (int, float)) and not isinstance(value, bool)
    try:
        datetime.fromisoformat(re.sub("Z$", "+00:00", str(value)))
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
