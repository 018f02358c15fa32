"""A limit to what may not hang: far above what a busy machine needs, far below what a hang takes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 30.0


@contextmanager
def patience(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Raises `TimeoutError` in what does not end. Where there are no alarms (Windows), nothing does."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"it has not ended after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
