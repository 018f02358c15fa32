"""The process that indexes a workspace. It lives as long as the server that started it, and no longer.

It reads lines of JSON from its standard input: an `Order`, then lists of paths that have changed. It writes lines of
JSON to its standard output, and nothing else anywhere: `{"done", "total"}` while it walks, `{"fresh": n}` when the
walk and `n` of these lists are done, `{"trouble"}` when it cannot go on. When its input ends, however the server
ended, it is gone at once; a write that this cuts off has not happened (SQLite).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from midfill.index_store import Progress
from midfill.workspace import LeftOut

if TYPE_CHECKING:
    from midfill.indexer import Indexer

NICENESS = 15
"""How far behind other processes of the user it stands (0 to 19): it must not be felt while one types."""

SETTLE_AFTER_S = 20.0
"""Rest after which what was taken out is overwritten: for 20,000 small files that takes 0.07 s of CPU (measured)."""


@dataclass(frozen=True)
class Order:
    """What is to be indexed, and where to."""

    roots: tuple[str, ...]
    path: str
    max_files: int
    max_file_kb: int
    careful: bool = False
    """Whether a process before this one ended by itself, so that some file may be the reason."""
    remove_folder: bool = False
    """Whether the folder of the index goes with the process."""
    left_out: LeftOut = field(default_factory=LeftOut)

    def line(self) -> bytes:
        """How it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Order:
        """The inverse of `line`."""
        fields = json.loads(line)
        everywhere, in_folders = fields["left_out"].values()
        left_out = LeftOut(
            tuple(everywhere), tuple((at, tuple(patterns)) for at, patterns in in_folders)
        )
        return cls(**{**fields, "roots": tuple(fields["roots"]), "left_out": left_out})


def main() -> None:
    """Index until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server.
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    first = sys.stdin.buffer.readline()
    if not first:
        return
    order = Order.read(first)
    inbox: SimpleQueue[list[Path]] = SimpleQueue()
    threading.Thread(target=_listen, args=(order, inbox), daemon=True).start()
    try:
        _work(order, inbox)
    except (OSError, sqlite3.Error) as error:
        # By its kind only: a message may quote a path or a text.
        _tell({"trouble": f"The workspace cannot be indexed ({type(error).__name__})."})


def _work(order: Order, inbox: SimpleQueue[list[Path]]) -> None:
    # The server imports this module for the sake of `Order` alone.
    from midfill.indexer import Indexer  # noqa: PLC0415
    from midfill.workspace import Workspace  # noqa: PLC0415

    workspace = Workspace.of(order.roots, order.max_file_kb, order.left_out)
    indexer = Indexer(workspace, Path(order.path), order.max_files)
    indexer.walk(_tell_progress, careful=order.careful)
    n_lists = 0
    while True:
        _tell({"fresh": n_lists})
        lists = [_next(indexer, inbox)]
        while not inbox.empty():
            lists.append(inbox.get())
        indexer.update(dict.fromkeys(path for paths in lists for path in paths))
        n_lists += len(lists)


def _next(indexer: Indexer, inbox: SimpleQueue[list[Path]]) -> list[Path]:
    if indexer.unsettled:
        with contextlib.suppress(Empty):
            return inbox.get(timeout=SETTLE_AFTER_S)
        indexer.settle()
    return inbox.get()


def _listen(order: Order, inbox: SimpleQueue[list[Path]]) -> None:
    for line in sys.stdin.buffer:
        inbox.put([Path(path) for path in json.loads(line)])
    if order.remove_folder:
        shutil.rmtree(Path(order.path).parent, ignore_errors=True)
    os._exit(0)


def _tell_progress(progress: Progress) -> None:
    _tell(progress._asdict())


def _tell(message: dict[str, object]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:
        os._exit(0)  # Nobody listens any more.


if __name__ == "__main__":
    main()
