"""Who computes first, where several engines share a machine.

A completion must not wait for an explanation, also not where each has a model of its own: two engines that
compute at the same time take each other's cores or GPU. So engines share a `Precedence`: a generation that
yields asks it for its turn before each step, and has none while another engine has one that does not yield.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Precedence:
    """Shared by engines, each under an `owner` of its own. Any thread may call anything."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._first: Counter[object] = Counter()

    @contextmanager
    def running(self, owner: object, *, yields: bool) -> Iterator[None]:
        """A generation of `owner`, from when it is asked for until it has ended."""
        if yields:
            yield
            return
        self._count(owner, 1)
        try:
            yield
        finally:
            self._count(owner, -1)

    def wait_turn(self, owner: object, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Wait until a generation of `owner` that yields may take its next step.

        False, without a turn, once `cancelled` says so (call `wake` after what it looks at has changed), or
        as soon as `owner` itself has a generation that goes first: that waits for the thread that waits here.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: cancelled() or self._first[owner] > 0 or not self._first.total()
            )
            return not cancelled() and not self._first.total()

    def wake(self) -> None:
        """Let those who wait look again at whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _count(self, owner: object, step: int) -> None:
        with self._changed:
            self._first[owner] += step
            if not self._first[owner]:
                del self._first[owner]  # An engine that is gone is not kept by its name.
            self._changed.notify_all()
