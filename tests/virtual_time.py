"""An event loop whose clock jumps to the next thing that is due: hours in milliseconds, and the same each time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop for code that waits for nothing but time. Waiting for anything else is an error instead of a hang."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now_s


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """Instead of waiting, let the time have passed."""
        if timeout is None:
            raise RuntimeError("nothing is due, and the loop would wait for ever")
        # No less than the clock can tell, or a timer would never come due.
        self._loop.now_s += max(timeout, 1e-6) if timeout else 0.0
        return super().select(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own; what is left running is cancelled, as `asyncio.run` does it."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes a test that runs in such a loop."""

    @functools.wraps(test)
    def in_virtual_time(*arguments: P.args, **named: P.kwargs) -> None:
        run(test(*arguments, **named))

    return in_virtual_time
