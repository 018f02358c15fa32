"""An event loop whose time jumps to whatever is next: minutes of typing take as long as their computing."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Never waits. Work for other threads is done at once, in this one, so that a run always goes the same way."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now_s

    # The base class ties `args` to `func` by a TypeVarTuple, which Python 3.10 does not have.
    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do the work now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class _Jump(selectors.SelectSelector):
    """Where the loop would wait, time moves on instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("Everything waits, and nothing will ever come.")
        if not ready and timeout:
            self._loop.now_s += timeout
        return ready


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on virtual time, which the `time` module tells too meanwhile."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        with _told_by_time(loop):
            return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()


@contextlib.contextmanager
def _told_by_time(loop: VirtualLoop) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in ("perf_counter", "monotonic", "time"):
            stack.enter_context(mock.patch.object(time, name, loop.time))
        yield
