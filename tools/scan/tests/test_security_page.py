"""The page of controls names only what is there."""

import re
from pathlib import Path

import mutants

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/security.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| control")
]


def test_each_control_stands_in_a_file_that_is_there() -> None:
    assert [row[1] for row in ROWS if not (ROOT / row[1].strip("`")).is_file()] == []


def test_each_test_is_there() -> None:
    folders = ["infra", "stacks", "policies", "internal", "cmd", "lambdas", "local", "jobs", "test"]
    files = [p for folder in folders for kind in ("*_test.go", "test_*.py") for p in (ROOT / folder).rglob(kind)]
    there = {name for p in files for name in re.findall(r"^(?:func|def) (\w+)\(", p.read_text(), re.MULTILINE)}
    assert [row[2] for row in ROWS if row[2] and row[2].strip("`") not in there] == []


def test_each_judge_is_seen_to_notice() -> None:
    broken = {f"{judge}: {check}" for *_, judge, check in [*mutants.PLANS, *mutants.FILES]}
    assert [row[3] for row in ROWS if row[3] and row[3] not in broken] == []
