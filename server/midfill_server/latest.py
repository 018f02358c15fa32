"""The latest work for a key takes the place of what ran for it before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Latest:
    """Runs at most one piece of work for each key. Lives on the event loop."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[object]] = {}

    async def latest(self, key: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result of `work`, or None if a later request for the same key took its place.

        Cancelling the caller cancels the work.
        """
        self.supersede(key)
        task = asyncio.ensure_future(work())
        self._running[key] = task
        try:
            await asyncio.wait({task})
        finally:
            if self._running.get(key) is task:
                del self._running[key]
            if not task.done():
                task.cancel()
        return None if task.cancelled() else task.result()

    def meanwhile(self, key: str, work: Awaitable[object]) -> None:
        """Do `work` until the next request for the key comes; its result and its errors are nobody's."""
        self.supersede(key)
        task = asyncio.ensure_future(work)
        self._running[key] = task

        def ended(task: asyncio.Task[object]) -> None:
            if self._running.get(key) is task:
                del self._running[key]
            if not task.cancelled():
                task.exception()  # Asked for, or asyncio would report it.

        task.add_done_callback(ended)

    def supersede(self, key: str) -> None:
        """Stop what runs for `key`; its caller gets None."""
        if running := self._running.pop(key, None):
            running.cancel()

    def stop(self) -> None:
        """Stop everything that runs."""
        for key in list(self._running):
            self.supersede(key)
