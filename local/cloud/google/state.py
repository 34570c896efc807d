"""What the local Google remembers: one JSON file, replaced as a whole at each change."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class State:
    """Collections of records by name, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.collections: dict[str, dict[str, Record]] = {}
        if path.exists():
            self.collections = json.loads(path.read_text())

    def get(self, collection: str, name: str) -> Record | None:
        """A record, or None."""
        return self.collections.get(collection, {}).get(name)

    def items(self, collection: str) -> list[tuple[str, Record]]:
        """All records of a collection with their names, sorted by name."""
        return sorted(self.collections.get(collection, {}).items())

    def put(self, collection: str, name: str, record: Record) -> Record:
        """Store a record."""
        self.collections.setdefault(collection, {})[name] = record
        self.save()
        return record

    def delete(self, collection: str, name: str) -> None:
        """Forget a record, if it is there."""
        if self.collections.get(collection, {}).pop(name, None) is not None:
            self.save()

    def save(self) -> None:
        """Write everything; a reader of the file never sees half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.collections, indent=1, sort_keys=True))
        new.replace(self.path)

    def project(self, name: str) -> Record:
        """A project by id, number or `projects/…` name. Every id that somebody names exists: they cost nothing."""
        name = name.removeprefix("projects/")
        if name.isdigit():
            for _, record in self.items("projects"):
                if record["projectNumber"] == name:
                    return record
            raise KeyError(name)
        known = self.get("projects", name)
        if known:
            return known
        number = str(100_000_000_000 + zlib.crc32(name.encode()))
        return self.put(
            "projects",
            name,
            {"projectId": name, "projectNumber": number, "name": name, "lifecycleState": "ACTIVE"},
        )
