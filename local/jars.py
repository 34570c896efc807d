"""Downloads the jars that EMR's own image brings to Spark into one flat folder.

Usage: .venv/bin/python local/jars.py [FOLDER]      (default: .jars in the checkout)

The coordinates and the SHA-256 sums stand in jars.txt. A jar that is already there with the right sum is kept, so a second
run does nothing. The repository is Maven Central, as Spark's own resolver knows it; MAVEN_MIRROR names another one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyspark

LIST = Path(__file__).with_name("jars.txt")


class Jar(NamedTuple):
    """A Maven artefact and what its bytes must hash to."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """The jar's file name in the flat folder."""
        return f"{self.artifact}-{self.version}.jar"

    def url(self, repository: str) -> str:
        """Where the repository keeps the jar."""
        return f"{repository}/{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file}"


def read(text: str) -> list[Jar]:
    """Parses lines of `group:artifact:version sha256`; a line that starts with # is a comment."""
    jars = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def central() -> str:
    """Maven Central's address: the default of Ivy, by which Spark resolves packages, from the jar that pyspark brings."""
    (ivy,) = Path(pyspark.__path__[0]).glob("jars/ivy-*.jar")
    with zipfile.ZipFile(ivy) as jar:
        properties = jar.read("org/apache/ivy/core/settings/repository.properties").decode()
    lines = (line.partition("=") for line in properties.splitlines())
    return next(value.strip() for name, _, value in lines if name.strip() == "ivy.ibiblio.default.artifact.root")


def sha256(path: Path) -> str:
    """The SHA-256 sum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(jar: Jar, folder: Path, repository: str) -> str:
    """Brings one jar into the folder and says what happened; a wrong sum is an error and leaves nothing behind."""
    target = folder / jar.file
    if target.exists() and sha256(target) == jar.sha256:
        return f"{jar.file}: there"
    part = target.with_suffix(f".part{os.getpid()}")
    try:
        with urllib.request.urlopen(jar.url(repository), timeout=120) as answer, part.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        if (got := sha256(part)) != jar.sha256:
            raise SystemExit(f"{jar.url(repository)}: sha256 is {got}, {LIST.name} expects {jar.sha256}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return f"{jar.file}: downloaded"


def main() -> None:
    """Downloads what is missing and removes jars that are no longer listed."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else LIST.parent.parent / ".jars")
    folder.mkdir(parents=True, exist_ok=True)
    repository = (os.environ.get("MAVEN_MIRROR") or central()).rstrip("/")
    jars = read(LIST.read_text())
    with ThreadPoolExecutor(max_workers=4) as pool:
        for line in pool.map(lambda jar: fetch(jar, folder, repository), jars):
            print(line)
    for path in set(folder.glob("*.jar")) - {folder / jar.file for jar in jars}:
        path.unlink()


if __name__ == "__main__":
    main()
