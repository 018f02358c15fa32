"""The work of keeping an index equal to its workspace, for a process that does nothing else.

One indexer writes at a time, under a lock beside the file: of several editors with the same folders the second
waits, and then finds nothing left to do, because files are known by their size and time of change.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout

from midfill.ignored import KINDS
from midfill.index_store import (
    Entry,
    IndexStore,
    Progress,
    Stamp,
    create_folder,
    is_damage,
    remove_index,
)
from midfill.languages import language_of
from midfill.workspace import Workspace

N_FILES_PER_BATCH = 64
"""Files that are written at once: a crash loses at most so many, and each costs a write to the disk."""


SWEEP_AFTER_S = 30 * 86400.0
"""An index that no editor has asked for so long is taken away: what it holds is someone's code."""


OnProgress = Callable[[Progress], None]


class Indexer:
    """Keeps one index. For one thread."""

    def __init__(self, workspace: Workspace, path: Path, max_files: int) -> None:
        self._workspace = workspace
        self._path = path
        self._max_files = max_files
        self.unsettled = False
        """Whether words of files that were taken out may still be found in the file (`settle`)."""
        create_folder(path.parent)
        self._lock = FileLock(path.with_suffix(".lock"), mode=0o600)

    def walk(self, on_progress: OnProgress, *, careful: bool = False) -> int:
        """Bring the whole index up to date and return how many files were read anew.

        `careful`: a file is noted before it is parsed. If that ends this process, the next one passes it over.

        Raises:
            OSError, sqlite3.Error: the index cannot be written.
        """
        with self._lock:
            sweep(self._path.parent, keep=self._path)
            try:
                return self._walk(on_progress, careful=careful)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                remove_index(self._path)
                return self._walk(on_progress, careful=careful)

    def settle(self) -> None:
        """Overwrite what is left of the files that updates took out; for when nothing else is to be done.

        Raises:
            OSError, sqlite3.Error: the index cannot be written.
        """
        with self._lock:
            store = IndexStore.opened(self._path)
            try:
                store.settle(forget=True)
            finally:
                store.close()
        self.unsettled = False

    def update(self, paths: Iterable[Path]) -> None:
        """Read files and folders anew that were changed, made or deleted. An ignore file changes everything.

        Raises:
            OSError, sqlite3.Error: the index cannot be written.
        """
        paths = list(paths)
        if any(path.name in KINDS for path in paths):
            self.walk(lambda _: None)
            return
        with self._lock:
            try:
                if self._update(paths):
                    return
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
        self.walk(lambda _: None)

    def _walk(self, on_progress: OnProgress, *, careful: bool) -> int:
        store = IndexStore.opened(self._path)
        try:
            known = store.stamps()
            there = {
                name: (path, stamp) for name, path, stamp in self._sources(self._workspace.files())
            }
            gone = known.keys() - there.keys()
            store.remove(gone)
            stale = [(name, *found) for name, found in there.items() if known.get(name) != found[1]]
            on_progress(Progress(0, len(stale)))
            size = 1 if careful else N_FILES_PER_BATCH
            for start in range(0, len(stale), size):
                batch = stale[start : start + size]
                if careful:
                    store.put(Entry(name, stamp) for name, _, stamp in batch)
                store.put(self._read(*each) for each in batch)
                on_progress(Progress(start + len(batch), len(stale)))
            if stale or gone:
                store.settle(forget=bool(gone))
            os.utime(self._path)
            return len(stale)
        finally:
            store.close()

    def _update(self, paths: list[Path]) -> bool:
        """Whether it was done: an index that is empty, as one just made anew, needs a walk."""
        store = IndexStore.opened(self._path)
        try:
            known = store.stamps()
            if not known:
                return False
            kept: dict[str, tuple[Path, Stamp]] = {}
            for path in paths:
                files = self._workspace.files(path) if path.is_dir() else self._at(path)
                kept |= {name: (found, stamp) for name, found, stamp in self._sources(files)}
            told = {self._workspace.relative(path) for path in paths} - {None}
            gone = {
                name
                for name in known.keys() - kept.keys()
                if any(name == one or name.startswith(f"{one}/") for one in told)
            }
            store.remove(gone)
            n_room = self._max_files - len(known) + len(gone)
            for name, (path, stamp) in kept.items():
                n_room -= name not in known
                if known.get(name) != stamp and (name in known or n_room >= 0):
                    store.put([self._read(name, path, stamp)])
            self.unsettled = self.unsettled or bool(gone)
            return True
        finally:
            store.close()

    def _at(self, path: Path) -> Iterator[tuple[Path, os.stat_result]]:
        real = self._workspace.real_path(path)
        if real is not None:
            yield real, real.stat()

    def _sources(
        self, files: Iterable[tuple[Path, os.stat_result]]
    ) -> Iterator[tuple[str, Path, Stamp]]:
        """Those that are of a known language, with their names."""
        sources = ((path, status) for path, status in files if language_of(path))
        for path, status in islice(sources, self._max_files):
            name = self._workspace.relative(path)
            # Names that are no Unicode cannot be said in a prompt, nor kept in SQLite.
            if name is not None and name.isprintable():
                yield name, path, Stamp.of(status)

    def _read(self, name: str, path: Path, stamp: Stamp) -> Entry:
        """What is kept of a file: its stamp alone where there is no text that a person wrote."""
        text = self._workspace.read(path)
        return Entry(name, stamp) if text is None else Entry.of(name, stamp, text)


def sweep(folder: Path, *, keep: Path, older_than_s: float = SWEEP_AFTER_S) -> None:
    """Take away the indexes of a folder that were last walked so long ago, except one. Those at work stay."""
    before_s = time.time() - older_than_s
    for path in folder.glob("index-*.sqlite"):
        with contextlib.suppress(OSError, Timeout):
            if path != keep and path.stat().st_mtime < before_s:
                lock_path = path.with_suffix(".lock")
                with FileLock(lock_path, mode=0o600, blocking=False):
                    remove_index(path)
                    lock_path.unlink(missing_ok=True)
