"""`python -m bench.turns FILE serve …`: `midfill` with each turn of its event loop timed, told in FILE at its end.

A turn is one callback. Its time on the clock is what everybody else waits; its own processor time is what it
needs, which says more on a machine that is busy with other things.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.watching import quantiles

WORST = 12
"""So many turns are told by name, those that needed most of the processor."""


class Turns:
    """The turns of every loop of this process. A line for each says when it began, in seconds of the clock."""

    def __init__(self) -> None:
        self.began_s = time.time()
        self.at_s: list[float] = []
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.names: list[str] = []

    def watch(self) -> None:
        """Time every callback from now on."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            at_s, wall_s, cpu_s = time.time(), time.perf_counter(), time.thread_time()
            # Asked before: afterwards a handle has forgotten its callback.
            callback = getattr(handle, "_callback", None)
            try:
                run(handle)
            finally:
                self.at_s.append(at_s)
                self.wall_ms.append((time.perf_counter() - wall_s) * 1000)
                self.cpu_ms.append((time.thread_time() - cpu_s) * 1000)
                self.names.append(_name(callback) if self.wall_ms[-1] >= 1 else "")

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]

    def between(self, start_s: float, end_s: float) -> dict[str, Any]:
        """The figures of the turns that began between two times of the clock."""
        idxs = [idx for idx, at_s in enumerate(self.at_s) if start_s <= at_s < end_s]
        worst = sorted(idxs, key=lambda idx: -self.cpu_ms[idx])[:WORST]
        return {
            "n": len(idxs),
            "wall_ms": quantiles(self.wall_ms[idx] for idx in idxs),
            "cpu_ms": quantiles(self.cpu_ms[idx] for idx in idxs),
            "worst": [
                [round(self.wall_ms[idx], 1), round(self.cpu_ms[idx], 1), self.names[idx]]
                for idx in worst
            ],
        }

    def write(self, path: Path) -> None:
        """Keep all of it."""
        path.write_text(json.dumps(vars(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> Turns:
        """The inverse of `write`."""
        turns = cls()
        vars(turns).update(json.loads(path.read_text("utf-8")))
        return turns


def _name(callback: Any) -> str:
    """What a callback does: for a step of a task the coroutine, and where it waits next."""
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return str(getattr(task.get_coro(), "__qualname__", task))
    return str(getattr(callback, "__qualname__", callback))


def main() -> None:
    """Be the server."""
    turns = Turns()
    turns.watch()
    atexit.register(turns.write, Path(sys.argv.pop(1)))
    from midfill_server.cli import main as serve  # noqa: PLC0415  # After the loop is watched.

    serve()


if __name__ == "__main__":
    main()
