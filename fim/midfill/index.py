"""The workspace's definitions and pieces of text, as a prompt asks for them.

A read view of the file that an indexing process writes (`midfill.index_store`). Each question is some indexed
look-ups in SQLite, whose number is bounded; it sees the file as it was last committed, waits for nobody, and is
answered with nothing where there is no file, or no sound one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from midfill.definitions import ALL, Imported
from midfill.index_store import IDENTIFIER, MAX_PIECES_PER_FILE, SCHEMA_VERSION
from midfill.languages import language_of
from midfill.modules import Modules, Target, modules_of, nearness, reversed_stem, targets
from midfill.snippets import Snippet

MAX_NAMES = 64
"""Names of a text that are looked up at most, the most used first."""

MAX_TERMS = 8
"""Identifiers that a text is searched by at most, the rarest: each costs what its pieces cost to rank."""

_MAX_HOPS = 4
"""Files through which an import is followed, as where `pkg/__init__.py` hands on what a module defines."""

_MAX_CANDIDATES = 16
"""Files that a module's name may mean at most; the nearest are kept."""

_CHAIN = re.compile(r"[^\W\d][\w$]*(?:(?:\.|::|->)[^\W\d][\w$]*)*")
_NO_WORD = re.compile(r"[_$\d]|(?<=.)[A-Z]|^[A-Z].*[a-z]")
"""Found in names that are no plain words, which prose, keys and variables are full of."""
_LINK = re.compile(r"\.|::|->")


class _File(NamedTuple):
    id: int
    path: str


class Index:
    """The index of a workspace, open for reading. Any thread may ask it; questions take turns."""

    def __init__(self, path: Path | None) -> None:
        """`path`: the index's file, which may come and go; none where no index is wanted."""
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def definitions_for(
        self,
        text_near_caret: str,
        language: str,
        path: str,
        *,
        imports: Sequence[Imported] | None = None,
        limit: int = 12,
    ) -> list[Snippet]:
        """The definitions, in other files, of the names that a text uses.

        First those that the file imports, then those of its own folder, then those that have the name alone in
        the workspace; among equals the name that is used most. `path` is relative to the workspace. `imports` are
        the file's own as it is in the editor (`definitions.imports_of`); without, as it was last indexed.
        """
        with self._reading() as db:
            if db is not None:
                return _Question(db, language, path, imports).definitions(text_near_caret, limit)
        return []

    def similar(self, text: str, path: str, limit: int = 8) -> list[Snippet]:
        """Pieces of other files that share the rarest identifiers with a text (BM25), the best first."""
        with self._reading() as db:
            if db is not None:
                return _similar(db, text, path, limit)
        return []

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        with self._lock:
            self._close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The open file, if there is a sound one. A file that proves damaged is closed, and the question ends."""
        with self._lock:
            db = None
            with contextlib.suppress(sqlite3.Error):
                db = self._open()
            try:
                yield db
            except sqlite3.Error:
                self._close()

    def _open(self) -> sqlite3.Connection | None:
        if self._path is None:
            return None
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116
        except OSError:
            self._close()
            return None
        if self._db is None or inode != self._inode:
            self._close()
            self._db = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=0.05,
            )
            self._inode = inode
        if self._db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            return None
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


class _Question:
    """One look for definitions, from one file."""

    def __init__(
        self,
        db: sqlite3.Connection,
        language: str,
        path: str,
        imports: Sequence[Imported] | None,
    ) -> None:
        self._db = db
        self._path = path
        self._rules = modules_of(language)
        own = db.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
        self._own = own[0] if own else -1
        self._imports = self._imports_of(self._own) if imports is None else imports

    def definitions(self, text: str, limit: int) -> list[Snippet]:
        """The definitions of the names that a text uses."""
        chains = Counter(_CHAIN.findall(text))
        found: dict[tuple[str, str], Snippet] = {}
        for rows in (self._imported(chains), self._in_folder(chains), self._unique(chains)):
            for path, definition in rows:
                if path != self._path:
                    found.setdefault((path, definition), Snippet(path, definition))
                if len(found) >= limit:
                    return list(found.values())
        return list(found.values())

    def _imported(self, chains: Counter[str]) -> Iterator[tuple[str, str]]:
        """What names mean by the file's imports: `a.b.c` by the import of `a.b.c`, `a.b` or `a`."""
        by_alias: dict[str, list[Imported]] = {}
        for each in self._imports:
            by_alias.setdefault(each.alias, []).append(each)
        for chain, _ in chains.most_common(MAX_NAMES):
            for link in [*_LINK.finditer(chain), None]:
                alias = chain[: link.start()] if link else chain
                member = _LINK.split(chain[link.end() :])[0] if link else ""
                for each in by_alias.get(alias, ()):
                    yield from self._of_import(each, member)
            for each in by_alias.get(ALL, ()):
                yield from self._named(self._files(each.module, self._path), _LINK.split(chain)[0])

    def _of_import(self, imported: Imported, member: str) -> Iterator[tuple[str, str]]:
        if imported.name:
            files = self._files(imported.module, self._path)
            yield from self._named(files, imported.name, member)
        module = imported.module
        if imported.name:
            # What is imported may itself be a module, or a file that holds one class.
            separator = "" if module.endswith(self._rules.separator) else self._rules.separator
            module = f"{module}{separator}{imported.name}"
        files = self._files(module, self._path)
        yield from self._named(files, member or imported.name)

    def _named(
        self, files: list[_File], name: str, member: str = "", hops: int = _MAX_HOPS
    ) -> Iterator[tuple[str, str]]:
        """The definitions of a name in files, or in those that they take it from; then those of its member."""
        if not name or name == ALL:
            return
        for file in files:
            rows = self._symbols(
                "file_id = ? AND name = ? AND container = '' LIMIT 3", (file.id, name)
            )
            yield from rows
            if rows and member:
                yield from self._symbols(
                    "file_id = ? AND name = ? AND container = ? LIMIT 1", (file.id, member, name)
                )
            if rows or not hops:
                continue
            for each in self._imports_of(file.id, (name, ALL)):
                taken = name if each.name == ALL else each.name
                source = self._files(each.module, file.path) if each.module else [file]
                if each.module or taken != name:
                    yield from self._named(source, taken, member, hops - 1)

    def _in_folder(self, chains: Counter[str]) -> Iterator[tuple[str, str]]:
        folder = reversed_stem(self._path.rpartition("/")[0])
        for name in self._names(chains):
            yield from self._symbols(
                "symbols.family = ? AND name = ? AND symbols.folder = ? AND container = '' LIMIT 2",
                (self._rules.family, name, folder),
            )

    def _unique(self, chains: Counter[str]) -> Iterator[tuple[str, str]]:
        for name in self._names(chains):
            if _NO_WORD.search(name):
                rows = self._symbols(
                    "symbols.family = ? AND name = ? AND file_id != ? LIMIT 2",
                    (self._rules.family, name, self._own),
                )
                if len(rows) == 1:
                    yield from rows

    def _names(self, chains: Counter[str]) -> list[str]:
        """Names without what they are reached by, less those that the file defines or imports from elsewhere."""
        known = {each.alias for each in self._imports}
        counts: Counter[str] = Counter()
        for chain, count in chains.items():
            beginnings = {chain[: link.start()] for link in _LINK.finditer(chain)}
            # What is reached by an import is looked for there only.
            if known.isdisjoint(beginnings):
                for name in IDENTIFIER.findall(chain):
                    counts[name] += count
        own = self._db.execute("SELECT name FROM symbols WHERE file_id = ?", (self._own,))
        known.update(row[0] for row in own)
        return [name for name, _ in counts.most_common() if name not in known][:MAX_NAMES]

    def _symbols(self, where: str, values: tuple[str | int, ...]) -> list[tuple[str, str]]:
        query = f"SELECT path, text FROM symbols JOIN files ON files.id = file_id WHERE {where}"
        return self._db.execute(query, values).fetchall()

    def _imports_of(self, file_id: int, aliases: tuple[str, ...] = ()) -> list[Imported]:
        query, values = (
            "SELECT module, name, alias FROM imports WHERE file_id = ?",
            (file_id, *aliases),
        )
        if aliases:
            query += f" AND alias IN ({', '.join('?' * len(aliases))})"
        return [Imported(*row) for row in self._db.execute(query, values)]

    def _files(self, module: str, path: str) -> list[_File]:
        """The files that a module's name means when the file at `path` says it; the likeliest alone."""
        for target in targets(module, path, self._rules):
            found = self._at(target, self._rules)
            if not found and self._rules.folders:
                found = self._in(target)
            if not found:
                continue
            nearest = max(nearness(path, file.path) for file in found)
            return [file for file in found if nearness(path, file.path) == nearest]
        return []

    def _at(self, target: Target, rules: Modules) -> list[_File]:
        where, values = _at_or_below("stem", target)
        query = (
            f"SELECT id, path, stem FROM files "
            f"WHERE {where} AND family = ? ORDER BY path LIMIT {_MAX_CANDIDATES}"
        )
        rows = self._db.execute(query, (*values, rules.family)).fetchall()
        return [
            _File(*row[:2])
            for row in rows
            if target.exact
            or not rules.rooted
            or not self._in_package(row[2].removeprefix(values[0]))
        ]

    def _in_package(self, above: str) -> bool:
        """Whether a folder, as a reversed stem, is a package of which a name would have to speak first."""
        query = "SELECT 1 FROM files WHERE stem = ? AND stands_for_folder LIMIT 1"
        return bool(above) and self._db.execute(query, (above,)).fetchone() is not None

    def _in(self, target: Target) -> list[_File]:
        """The files of a folder."""
        where, values = _at_or_below("folder", target)
        query = (
            f"SELECT id, path FROM files "
            f"WHERE {where} AND family = ? ORDER BY path LIMIT {_MAX_CANDIDATES}"
        )
        return [_File(*row) for row in self._db.execute(query, (*values, self._rules.family))]


def _at_or_below(column: str, target: Target) -> tuple[str, tuple[str, ...]]:
    """The condition on a column of reversed stems, and its values, the whole stem first."""
    stem = reversed_stem(target.stem)
    if target.exact:
        return f"{column} = ?", (stem,)
    return f"{column} >= ? AND {column} < ?", (stem, f"{stem}\U0010ffff")


def _similar(db: sqlite3.Connection, text: str, path: str, limit: int) -> list[Snippet]:
    words = {word.lower() for word in IDENTIFIER.findall(text)}
    counted = []
    for word in sorted(words):
        if db.execute("SELECT 1 FROM common WHERE term = ?", (word,)).fetchone() is None:
            row = db.execute("SELECT doc FROM terms WHERE term = ?", (word,)).fetchone()
            if row is not None:
                counted.append((row[0], word))
    terms = [word for _, word in sorted(counted)[:MAX_TERMS]]
    if not terms:
        return []
    query = (
        "SELECT path, text FROM pieces CROSS JOIN files ON files.id = pieces.rowid / ? "
        "WHERE pieces MATCH ? AND path != ? AND family = ? ORDER BY rank LIMIT ?"
    )
    match = " OR ".join(f'"{term}"' for term in terms)
    family = modules_of(language_of(path)).family
    rows = db.execute(query, (MAX_PIECES_PER_FILE, match, path, family, limit))
    return [Snippet(*row) for row in rows]
