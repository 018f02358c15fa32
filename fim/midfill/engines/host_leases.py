"""Who holds the host: it stays for as long as a client has a lease, and a while beyond."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Leases:
    """Counts the clients that hold the host, and says when it may leave. Lives on one event loop."""

    def __init__(self, grace_s: float) -> None:
        self.over = asyncio.Event()
        """Set when nobody has held a lease for long enough."""
        self.linger = True
        """Whether the host stays for the time that its last clients asked for."""
        self._stay_s = grace_s
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """How many are held."""
        return self._count

    def begin(self) -> None:
        """Begin to wait for the first lease."""
        self._timer = asyncio.get_running_loop().call_later(self._stay_s, self.over.set)

    def end(self) -> None:
        """Wait no longer, and let all leases go."""
        self.over.set()
        if self._timer is not None:
            self._timer.cancel()

    @contextlib.contextmanager
    def held(self, linger_s: float) -> Iterator[None]:
        """Hold the host for as long as the context lasts, and `linger_s` beyond."""
        if self._timer is not None:
            self._timer.cancel()
        if self._count == 0:
            self._stay_s = 0.0
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._stay_s = max(self._stay_s, linger_s)
            if self._count == 0 and not self.over.is_set():
                wait_s = self._stay_s if self.linger else 0.0
                self._timer = asyncio.get_running_loop().call_later(wait_s, self.over.set)
