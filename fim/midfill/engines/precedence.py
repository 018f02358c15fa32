"""Who computes first, where several engines share a machine.

A completion must not wait for an explanation, also not where each has a model of its own: two engines that
compute at the same time take each other's cores or GPU. So engines share a `Precedence`: a generation that
yields asks it for its turn before each step, and has none while another engine has one that does not yield; a step
that is under way then is interrupted. Nor has it one while a prompt is being made, which is what comes before a
generation.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HOLD_S = 0.05
"""For how long what yields waits at most for a generation that is being prepared: some requests for tokens, each
of some milliseconds, stand between a completion's first sign and its generation."""


class Precedence:
    """Shared by engines, each under an `owner` of its own. Any thread may call anything."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._first: Counter[object] = Counter()
        self._interrupts: dict[object, Callable[[bool], None]] = {}
        self._held_until = 0.0
        self._free_until = 0.0
        """Until then nothing is held back again."""

    def join(self, owner: object, interrupt: Callable[[bool], None]) -> None:
        """`interrupt` is told when the steps of what yields have to stop, and when they may go on. It must be quick."""
        with self._changed:
            self._interrupts[owner] = interrupt
            interrupt(self._first.total() > 0)

    def leave(self, owner: object) -> None:
        """The owner is gone, and is not kept by what it joined with."""
        with self._changed:
            self._interrupts.pop(owner, None)

    @contextmanager
    def running(self, owner: object, *, yields: bool) -> Iterator[None]:
        """A generation of `owner`, from when it is asked for until it has ended."""
        with self._changed:
            self._held_until = self._free_until = 0.0  # What was prepared is there.
            self._changed.notify_all()
        if yields:
            yield
            return
        self._count(owner, 1)
        try:
            yield
        finally:
            self._count(owner, -1)

    def expect(self) -> None:
        """A prompt is being made: until its generation is asked for, or for `HOLD_S`, nothing that yields has a turn.

        Where no generation comes of it, as much time has to pass before something is held back again; so what yields
        goes on beside somebody who asks for tokens only.
        """
        with self._changed:
            now = self._clock()
            if now >= self._free_until:
                self._held_until, self._free_until = now + HOLD_S, now + 2 * HOLD_S

    def wait_turn(self, owner: object, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Wait until a generation of `owner` that yields may take its next step.

        False, without a turn, once `cancelled` says so (call `wake` after what it looks at has changed), or
        as soon as `owner` itself has a generation that goes first: that waits for the thread that waits here.
        """
        with self._changed:
            while not cancelled() and not self._first[owner]:
                held_s = self._held_until - self._clock()
                if self._first.total():
                    self._changed.wait()
                elif held_s > 0:
                    self._changed.wait(held_s)
                else:
                    return True
            return False

    def wake(self) -> None:
        """Let those who wait look again at whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _count(self, owner: object, step: int) -> None:
        with self._changed:
            had_any = self._first.total() > 0
            self._first[owner] += step
            if not self._first[owner]:
                del self._first[owner]  # An engine that is gone is not kept by its name.
            has_any = self._first.total() > 0
            if has_any != had_any:
                for interrupt in self._interrupts.values():
                    interrupt(has_any)
            self._changed.notify_all()
