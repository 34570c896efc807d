"""What an engine's Python has besides PySpark is written nowhere, so the jobs need nothing of it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[1]
FILES = sorted(path for path in JOBS.rglob("*.py") if "tests" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(JOBS)))
def test_jobs_import_nothing_but_pyspark_and_the_standard_library(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {"jobs", "py4j", "pyspark", *sys.stdlib_module_names}
    assert {name for name in imported if name.partition(".")[0] not in allowed} == set()
