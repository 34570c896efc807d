"""What the demo's files are, and how the recount judges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from local.demo import files, recount

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    files.make(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_files_are_the_same_every_time(demo: Path, tmp_path: Path) -> None:
    assert files.make(tmp_path) == (28, 0)
    assert contents(tmp_path) == contents(demo)


def test_a_half_made_folder_is_completed(tmp_path: Path) -> None:
    files.make(tmp_path)
    whole = contents(tmp_path)
    (tmp_path / "us/airlines/2013-01-01/airlines.csv").unlink()
    (tmp_path / "us/planes/2013-01-02/planes.csv").write_bytes(b"tailnum")
    assert files.make(tmp_path) == (2, 26)
    assert contents(tmp_path) == whole
    assert files.make(tmp_path) == (0, 28)


def test_three_days_in_one_country_and_one_in_the_other(demo: Path) -> None:
    days = {f"{path.parts[-3]} {path.parts[-1]}" for path in demo.glob("*/*/*")}
    assert days == {"us 2013-01-01", "us 2013-01-02", "us 2013-01-03", "pr 2013-01-01"}
    assert {path.name for path in demo.glob("*/*")} == {"airlines", "airports", "flights", "planes", "weather"}


def test_the_readme_tells_the_counts(demo: Path) -> None:
    """Each row of the README's table is what the recount finds."""
    readme = (CHECKOUT / "local/demo/README.md").read_text("utf-8")
    table = re.findall(r"^\| (us|pr) \| (\w+) \| (\S+) \| ([\d, |]+) \|$", readme, re.MULTILINE)
    told = {
        (country, feed, day): [int(n.replace(",", "")) for n in numbers.split("|")]
        for country, feed, day, numbers in table
    }
    counted = {
        (r["country"], r["feed"], r["day"]): [r[name] for name in recount.COUNTS]
        for r in recount.recount(demo, CHECKOUT / "contracts")
    }
    assert told == counted


def test_both_sums_hold_for_every_job(demo: Path) -> None:
    for row in recount.recount(demo, CHECKOUT / "contracts"):
        assert row["input"] == row["validated"] + row["invalid"], row
        assert row["validated"] == row["new"] + row["changed"] + row["unchanged"] + row["duplicate"], row


def test_the_recount_follows_keys_from_day_to_day(tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "shops.yaml").write_text(
        """
customProperties: [{property: sluice.snapshot, value: true}]
schema:
  - name: shops
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: name, logicalType: string, required: true}
"""
    )
    for day, text in {
        "2024-01-01": "id,name\n1,a\n2,b\n2,b\n3,c\n3,d\n4,\n",
        "2024-01-02": 'id,name\n1,a\n2,\n5,"e\ne"\n',
    }.items():
        folder = tmp_path / "demo/us/shops" / day
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(text)
    first, second = recount.recount(tmp_path / "demo", contracts)
    assert numbers(first) == [6, 3, 3, 2, 0, 0, 1, 0]
    assert numbers(second) == [3, 2, 1, 1, 0, 1, 0, 0]


def numbers(row: dict[str, Any]) -> list[int]:
    return [row[name] for name in recount.COUNTS]
