"""The workspace index as the server has it: a process of its own that writes, and an `Index` that reads.

Parsing holds Python's lock for up to 100 ms a file, so a thread would be felt at every key (`midfill.syntax`). The
process is told what changed and tells how far it is; if it dies it is started again, more carefully.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from midfill.index import Index
from midfill.index_store import Progress, create_folder, index_folder, index_path
from midfill.settings import IndexSettings
from midfill.workspace import Workspace
from midfill_server.indexing_process import Order

logger = logging.getLogger(__name__)

MAX_STARTS = 4
"""How often the process is started at most: each time it dies, the file that it read then is passed over."""


RETRY_S = 60.0
"""After so long it is tried again where the index could not be written."""


class Indexing:
    """The index of one workspace and the process that keeps it. Owned by the session; for the event loop's thread.

    `index` answers, empty as long as there is nothing.
    """

    trouble: str = ""
    """Why there is no index, in one sentence; empty while there is one, or where none is wanted."""

    def __init__(
        self,
        workspace: Workspace,
        settings: IndexSettings,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._on_progress = on_progress
        self._folder = self._find_folder()
        self._path = index_path(self._workspace.roots, self._folder) if self._folder else None
        self.index = Index(self._path)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        # Lists of paths that the process has not said to be done.
        self._waiting: list[list[str]] = []
        self._fresh = asyncio.Event()

    def start(self) -> None:
        """Start the process, if an index is wanted. Returns at once."""
        if self._path is not None and self._task is None:
            self._task = asyncio.create_task(self._run(self._path))

    def changed(self, paths: Iterable[str | Path]) -> None:
        """Say that files or folders were saved, opened, made, renamed or deleted. Returns at once."""
        told = [str(path) for path in paths if self._workspace.relative(path) is not None]
        if told and self._task is not None:
            self._fresh.clear()
            self._waiting.append(told)
            self._send(told)

    async def fresh(self) -> None:
        """Wait until the index holds everything that was told, or there will be none."""
        if self._task is not None:
            await self._fresh.wait()

    async def stop(self) -> None:
        """End the process and let go of the file."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.index.close()
        if self._folder is not None and self._settings.storage == "memory":
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process is not None else None

    def _find_folder(self) -> Path | None:
        if not self._settings.enabled or not self._workspace.roots:
            return None
        try:
            if self._settings.storage == "disk":
                create_folder(index_folder())
                return index_folder().absolute()
            base = memory_folder()
            if base is not None:
                return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
            self.trouble = "This system has no folder in memory; set index.storage to disk."
        except OSError as error:
            self.trouble = f"The index's folder cannot be used ({error.strerror})."
        return None

    async def _run(self, path: Path) -> None:
        n_starts = 0
        try:
            while n_starts < MAX_STARTS:
                try:
                    await self._run_once(path, careful=n_starts > 0)
                except OSError as error:
                    self.trouble = f"The indexing process cannot be started ({error.strerror})."
                if self.trouble:
                    # A full disk, say. It is nobody's fault that is read, and may be mended.
                    logger.warning("%s", self.trouble)
                    self._fresh.set()
                    await asyncio.sleep(RETRY_S)
                    self.trouble = ""
                    continue
                n_starts += 1
                logger.warning(
                    "the indexing process has ended; start %d of %d", n_starts, MAX_STARTS
                )
            self.trouble = "The indexing process does not stay alive."
        finally:
            self._fresh.set()

    async def _run_once(self, path: Path, *, careful: bool) -> None:
        order = Order(
            roots=tuple(map(str, self._workspace.roots)),
            path=str(path),
            max_files=self._settings.max_files,
            max_file_kb=self._workspace.max_file_kb,
            careful=careful,
            remove_folder=self._settings.storage == "memory",
            left_out=self._workspace.left_out,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "midfill_server.indexing_process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Python looks for modules in the folder it is started in; an editor's may be anyone's work.
            cwd=path.parent,
            # Windows' way of standing behind; elsewhere the process sees to it.
            creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
            | getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(order.line())
            self._process = process
            # What the process before this one did not come to; the walk finds it, but what it finds is not told.
            n_sent, lists = 0, list(self._waiting)
            for told in lists:
                self._send(told)
            # What it was killed in the middle of saying is no JSON.
            with contextlib.suppress(ValueError):
                async for line in process.stdout:
                    n_sent = self._heard(json.loads(line), n_sent)
                await process.wait()
        finally:
            self._process = None
            if process.returncode is None:
                # Its input ends, and so does it; where it hangs, it is killed.
                process.stdin.close()
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _heard(self, message: dict[str, Any], n_done: int) -> int:
        if "trouble" in message:
            self.trouble = message["trouble"]
        elif "fresh" in message:
            del self._waiting[: message["fresh"] - n_done]
            if not self._waiting:
                self._fresh.set()
            return int(message["fresh"])
        else:
            self._on_progress(Progress(message["done"], message["total"]))
        return n_done

    def _send(self, told: list[str]) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(told).encode() + b"\n")


def memory_folder() -> Path | None:
    """A folder whose files are in memory, after taking away what killed servers left in it; Linux has one."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    except OSError:
        return None
    in_memory = {line.split()[1] for line in mounts if line.split()[2] in ("tmpfs", "ramfs")}
    for named in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if named and named in in_memory and os.access(named, os.W_OK):
            _sweep(Path(named))
            return Path(named)
    return None


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)


_PREFIX = "midfill-index-"
