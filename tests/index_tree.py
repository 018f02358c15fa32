"""A folder on the disk with an index of it, for tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from midfill.index_store import Progress
from midfill.indexer import Indexer
from midfill.snippets import Snippet
from midfill.workspace import Workspace

MAX_FILES = 1000


@dataclass
class Tree:
    """A folder, its index, and who keeps it."""

    root: Path
    path: Path
    max_files: int = MAX_FILES

    def write(self, files: dict[str, str]) -> list[Path]:
        paths = []
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            paths.append(path)
        return paths

    @property
    def indexer(self) -> Indexer:
        return Indexer(Workspace.of([self.root]), self.path, self.max_files)

    def walk(self) -> list[Progress]:
        told: list[Progress] = []
        self.indexer.walk(told.append)
        return told

    def names(self) -> list[str]:
        """The files that are in the index with something of theirs."""
        db = sqlite3.connect(self.path)
        query = "SELECT path FROM files WHERE id IN (SELECT file_id FROM symbols) ORDER BY path"
        rows = db.execute(query).fetchall()
        db.close()
        return [row[0] for row in rows]

    def bytes(self) -> bytes:
        """Everything that is on the disk."""
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.iterdir()))


def places(snippets: Iterable[Snippet]) -> list[str]:
    """Path and first line of each."""
    return [f"{each.path}: {each.text.splitlines()[0]}" for each in snippets]
