"""Counts what the pipeline must make of the demo's files, record by record in plain Python: no Spark, and nothing of the job's code.

Reads the same contracts, because they are the rules; how to apply them is written here a second time on purpose.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

COUNTS = ("input", "validated", "invalid", "new", "changed", "unchanged", "duplicate", "deleted")

Content = tuple[Any, ...]


class Feed:
    """A feed's contract, and its open versions in one country: key → content."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        custom = {p["property"]: p["value"] for p in document.get("customProperties", ())}
        table = document["schema"][0]
        self.name: str = table["name"]
        self.properties: list[Mapping[str, Any]] = table["properties"]
        self.key = [
            p["name"]
            for p in sorted(self.properties, key=lambda p: p.get("primaryKeyPosition", 0))
            if p.get("primaryKey")
        ]
        self.prerequisites: list[str] = custom.get("sluice.prerequisites", [])
        self.snapshot: bool = custom.get("sluice.snapshot", False)
        self.missing = {"", custom.get("sluice.nullValue", "")}
        self.delimiter: str = custom.get("sluice.delimiter", ",")
        self.open: dict[Content, Content] = {}


def recount(folder: Path, contracts: Path) -> list[dict[str, Any]]:
    """The counts of every country, feed and day below a folder `<country>/<feed>/<day>/<file>`."""
    documents = [yaml.safe_load(path.read_text("utf-8")) for path in sorted(contracts.glob("*.yaml"))]
    rows = []
    for country in sorted(path for path in folder.iterdir() if path.is_dir()):
        feeds = {feed.name: feed for feed in map(Feed, documents)}
        days = {(path.name, path.parent.name) for path in country.glob("*/*") if path.is_dir()}
        for day, name in sorted(days, key=lambda job: (job[0], _depth(feeds, job[1]), job[1])):
            rows.append(
                {"country": country.name, "feed": name, "day": day, **_count(feeds, feeds[name], country / name / day)}
            )
    return sorted(rows, key=lambda row: (row["country"], row["feed"], row["day"]))


def _depth(feeds: Mapping[str, Feed], name: str) -> int:
    """How many feeds must come before, one after the other."""
    return 1 + max((_depth(feeds, before) for before in feeds[name].prerequisites), default=-1)


def _count(feeds: Mapping[str, Feed], feed: Feed, folder: Path) -> dict[str, int]:
    counts = dict.fromkeys(COUNTS, 0)
    present: set[Content] = set()
    good: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        if path.name == "_COMPLETE":
            continue
        for record in _records(path, feed.delimiter):
            counts["input"] += 1
            typed, valid = _judge(feeds, feed, record)
            key = tuple(typed.get(name) for name in feed.key)
            if None not in key:
                present.add(key)
            if valid:
                good.append(typed)

    contents: dict[Content, list[Content]] = defaultdict(list)
    for typed in _unique(feed, good):
        contents[tuple(typed[name] for name in feed.key)].append(tuple(typed[p["name"]] for p in feed.properties))
    for key, said in contents.items():
        if len(set(said)) > 1:
            continue  # a conflict: all of them are invalid
        counts["validated"] += len(said)
        counts["duplicate"] += len(said) - 1
        change = "new" if key not in feed.open else "unchanged" if feed.open[key] == said[0] else "changed"
        counts[change] += 1
        feed.open[key] = said[0]
    counts["invalid"] = counts["input"] - counts["validated"]
    if feed.snapshot:
        for key in set(feed.open) - present:
            del feed.open[key]
            counts["deleted"] += 1
    return counts


def _unique(feed: Feed, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those that share the value of a unique column under another key."""
    clashing: set[int] = set()
    for name in (p["name"] for p in feed.properties if p.get("unique")):
        keys: dict[Any, set[Content]] = defaultdict(set)
        for typed in records:
            keys[typed[name]].add(tuple(typed[part] for part in feed.key))
        clashing |= {i for i, typed in enumerate(records) if typed[name] is not None and len(keys[typed[name]]) > 1}
    return [typed for i, typed in enumerate(records) if i not in clashing]


def _records(path: Path, delimiter: str) -> Iterator[dict[str, str] | None]:
    """The records of a file by column name; None where a record does not have the header's columns or is not UTF-8."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    lines = io.StringIO(content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"), newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    header = next(reader)
    for fields in reader:
        if fields:
            intact = len(fields) == len(header) and not re.search("[\udc80-\udcff]", "".join(fields))
            yield dict(zip(header, fields, strict=True)) if intact else None


def _judge(feeds: Mapping[str, Feed], feed: Feed, record: dict[str, str] | None) -> tuple[dict[str, Any], bool]:
    """The typed values of a record, None where missing or unreadable, and whether it keeps all rules."""
    if record is None:
        return {}, False
    typed: dict[str, Any] = {}
    valid = True
    for prop in feed.properties:
        text = record[prop["name"]]
        value = None if text in feed.missing else _typed(prop["logicalType"], text)
        typed[prop["name"]] = value
        if text in feed.missing:
            valid &= not (prop.get("required") or prop.get("primaryKey"))
        else:
            valid &= value is not None and _keeps(prop, text, value) and _refers(feeds, prop, value)
    return typed, valid


def _typed(kind: str, text: str) -> Any:
    try:
        if kind == "integer":
            return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else None
        if kind == "number":
            return float(text) if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text) else None
        if kind == "timestamp":
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    return text


def _keeps(prop: Mapping[str, Any], text: str, value: Any) -> bool:
    options = prop.get("logicalTypeOptions", {})
    allowed = [str(v) for rule in prop.get("quality", ()) for v in rule["arguments"]["validValues"]]
    return (
        value >= options.get("minimum", value)
        and value <= options.get("maximum", value)
        and len(text) >= options.get("minLength", 0)
        and len(text) <= options.get("maxLength", len(text))
        and bool(re.search(options.get("pattern", ""), text))
        and (not allowed or text in allowed)
    )


def _refers(feeds: Mapping[str, Feed], prop: Mapping[str, Any], value: Any) -> bool:
    return all(
        (value,) in feeds[relationship["to"].split(".")[0]].open for relationship in prop.get("relationships", ())
    )
