"""The file that holds a workspace's definitions and pieces of text, as its one writer sees it.

An SQLite database (FTS5, write-ahead log) of mode 0600 in a folder of mode 0700 under the user's cache folder. It
holds masked text only (`midfill.masking`), and what is taken out of it is overwritten with zeros. Whatever is
wrong with it, it is made anew: everything in it can be read from the workspace again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs

from midfill.definitions import Imported, Symbol, imports_of, symbols_of
from midfill.languages import language_of
from midfill.masking import masked
from midfill.modules import is_index, modules_of, reversed_stem, stem_of
from midfill.syntax import parse
from midfill.text import Document

FOLDER_VARIABLE = "MIDFILL_STATE_DIR"
"""Environment variable that names another folder for all of Midfill's own files, as tests need."""

SCHEMA_VERSION = 2
"""To be raised with every change of the tables, of the masking rules, or of what is kept of a file."""

MAX_COMMON = 500
"""An identifier in more pieces of text than this tells too little to be searched for, and would cost too much."""

MAX_PIECE_LINES = 24
_MIN_PIECE_LINES = 8
MAX_PIECES_PER_FILE = 4096
"""A piece's number is its file's times this, plus its place in the file."""

# `stem` and `folder` have their last name first (`modules.reversed_stem`), so that a module's name is a beginning.
_SCHEMA = f"""
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, family TEXT NOT NULL, folder TEXT NOT NULL,
    stem TEXT NOT NULL, stands_for_folder INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL);
CREATE INDEX files_by_stem ON files (stem);
CREATE INDEX files_by_folder ON files (folder);
CREATE TABLE symbols (
    file_id INTEGER NOT NULL, family TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    container TEXT NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX symbols_by_name ON symbols (family, name, folder);
CREATE INDEX symbols_by_file ON symbols (file_id, name);
CREATE TABLE imports (file_id INTEGER NOT NULL, module TEXT NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL);
CREATE INDEX imports_by_file ON imports (file_id, alias);
CREATE TABLE common (term TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE pieces USING fts5(text, tokenize = "unicode61 tokenchars '_$'");
CREATE VIRTUAL TABLE terms USING fts5vocab(pieces, row);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Stamp(NamedTuple):
    """What tells that a file has changed."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """That of a file's status."""
        return cls(status.st_size, status.st_mtime_ns)


class Progress(NamedTuple):
    """How far the reading of a workspace has come, in files."""

    done: int
    total: int


@dataclass(frozen=True)
class Entry:
    """All that is kept of one file."""

    path: str
    """Relative to the workspace."""
    stamp: Stamp
    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Imported, ...] = ()
    pieces: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: str, stamp: Stamp, text: str) -> Entry:
        """What is kept of a file's text, masked before anything else is done with it."""
        text = masked(text)
        syntax = parse(Document.of(text, language_of(path)))
        pieces = tuple(pieces_of(text))
        if syntax is None:
            return cls(path, stamp, pieces=pieces)
        return cls(path, stamp, symbols_of(syntax), imports_of(syntax), pieces)


def index_path(roots: Iterable[Path], folder: Path | None = None) -> Path:
    """Where the index of these folders is kept."""
    key = hashlib.sha256(json.dumps(sorted(map(str, roots))).encode()).hexdigest()[:16]
    return (folder or index_folder()) / f"index-{key}.sqlite"


def index_folder() -> Path:
    """The folder of the indexes: in the user's cache folder, or in what the environment names."""
    named = os.environ.get(FOLDER_VARIABLE)
    cache = Path(named) if named else platformdirs.user_cache_path("midfill", appauthor=False)
    return cache / "index"


def create_folder(folder: Path) -> None:
    """Make a folder for this user alone.

    Raises:
        OSError: it cannot be made, or belongs to someone else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        status = folder.lstat()
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{folder} is not a folder of this user")
        folder.chmod(0o700)


def pieces_of(text: str) -> Iterator[str]:
    """A text in pieces of some lines, cut where a line is blank or the indentation falls back, if that is near."""
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        end = min(start + MAX_PIECE_LINES, len(lines))
        if end < len(lines):
            cuts = range(end, start + _MIN_PIECE_LINES, -1)
            end = min(cuts, key=lambda cut: (_cut_cost(lines, cut), -cut))
        piece = "\n".join(lines[start:end]).strip("\n")
        if len(set(IDENTIFIER.findall(piece))) > 1:
            yield piece + "\n"
        start = end


def _cut_cost(lines: list[str], cut: int) -> int:
    """How much a cut before a line hurts: its indentation, and more where no blank line stands above."""
    line = lines[cut]
    indent = len(line) - len(line.lstrip()) if line.strip() else 40
    return indent + (0 if not lines[cut - 1].strip() else 8)


IDENTIFIER = re.compile(r"[^\W\d]\w{2,}")
"""A word of three characters or more: shorter ones are everywhere."""


class IndexStore:
    """The index of a workspace, open for writing. For one thread, and one process at a time.

    Raises, from every method:
        sqlite3.Error: the file cannot be written, or is damaged (`is_damage`) and to be made anew.
    """

    def __init__(self, path: Path) -> None:
        create_folder(path.parent)
        if path.exists() and not path.stat().st_size:
            remove_index(path)  # A log may be left whose file was emptied.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if os.name == "posix":
            path.chmod(0o600)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        try:
            self._set_up()
        except sqlite3.Error:
            self._db.close()
            raise

    @classmethod
    def opened(cls, path: Path) -> IndexStore:
        """The index at a path; made anew where it is damaged or of another version."""
        try:
            return cls(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            remove_index(path)
            return cls(path)

    def stamps(self) -> dict[str, Stamp]:
        """The files that are in the index, by path."""
        rows = self._db.execute("SELECT path, size, mtime_ns FROM files")
        return {path: Stamp(size, mtime_ns) for path, size, mtime_ns in rows}

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep files, in place of what was kept of them; all of them or, should this process end, none."""
        with self._transaction():
            for entry in entries:
                self._remove(entry.path)
                self._insert(entry)

    def remove(self, paths: Iterable[str]) -> None:
        """Take files out, and everything in the folders of these names."""
        with self._transaction():
            for path in paths:
                below = "SELECT path FROM files WHERE path >= ? AND path < ?"
                inside = self._db.execute(below, (f"{path}/", f"{path}0")).fetchall()
                for name in (path, *(row[0] for row in inside)):
                    self._remove(name)

    def settle(self, *, forget: bool) -> None:
        """After much was written: note what is too common to search for, and empty the log.

        `forget`: files were taken out, and no byte of them shall stay in the file. FTS5 leaves words of deleted
        rows in its segments until these are merged; SQLite from 3.42 on can overwrite them at once.
        """
        with self._transaction():
            self._db.execute("DELETE FROM common")
            self._db.execute(
                "INSERT INTO common SELECT term FROM terms WHERE doc > ?", (MAX_COMMON,)
            )
            if forget and sqlite3.sqlite_version_info < (3, 42):
                self._db.execute("INSERT INTO pieces (pieces) VALUES ('optimize')")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _set_up(self) -> None:
        execute = self._db.execute
        execute("PRAGMA secure_delete = ON")
        execute("PRAGMA temp_store = MEMORY")
        # A crash of the machine may lose the last batches, but damages nothing (sqlite.org/wal.html).
        execute("PRAGMA synchronous = NORMAL")
        if execute("PRAGMA journal_mode = WAL").fetchone()[0] not in ("wal", "memory"):
            raise sqlite3.DatabaseError("no write-ahead log here")
        execute(f"PRAGMA journal_size_limit = {16 << 20}")
        version = execute("PRAGMA user_version").fetchone()[0]
        n_tables = execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if n_tables and version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError("the index is of another version")
        if not n_tables:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            if sqlite3.sqlite_version_info >= (3, 42):
                execute("INSERT INTO pieces (pieces, rank) VALUES ('secure-delete', 1)")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()

    def _remove(self, path: str) -> None:
        row = self._db.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
        if row is None:
            return
        first = row[0] * MAX_PIECES_PER_FILE
        numbers = (first, first + MAX_PIECES_PER_FILE)
        self._db.execute("DELETE FROM pieces WHERE rowid >= ? AND rowid < ?", numbers)
        for table in ("symbols", "imports"):
            self._db.execute(f"DELETE FROM {table} WHERE file_id = ?", row)
        self._db.execute("DELETE FROM files WHERE id = ?", row)

    def _insert(self, entry: Entry) -> None:
        path = entry.path
        rules = modules_of(language_of(path))
        stem = reversed_stem(stem_of(path, rules))
        folder = reversed_stem(path.rpartition("/")[0])
        values = (path, rules.family, folder, stem, is_index(path, rules), *entry.stamp)
        insert = (
            "INSERT INTO files (path, family, folder, stem, stands_for_folder, size, mtime_ns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        file_id = self._db.execute(insert, values).lastrowid
        assert file_id is not None
        self._db.executemany(
            "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((file_id, rules.family, folder, *each) for each in entry.symbols),
        )
        self._db.executemany(
            "INSERT INTO imports VALUES (?, ?, ?, ?)", ((file_id, *each) for each in entry.imports)
        )
        numbered = enumerate(entry.pieces[:MAX_PIECES_PER_FILE], file_id * MAX_PIECES_PER_FILE)
        self._db.executemany("INSERT INTO pieces (rowid, text) VALUES (?, ?)", numbered)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error comes from what is in the file, rather than from a full disk or someone's lock."""
    return not isinstance(error, sqlite3.OperationalError) or str(error).startswith(
        ("vtable constructor failed", "no such table", "no such column", "malformed")
    )


def remove_index(path: Path) -> None:
    """Take an index and its log away."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
