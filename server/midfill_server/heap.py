"""Memory that is free, given back to the system while nobody waits.

glibc keeps what was freed between blocks that are still in use: every edit makes a document and a tree anew, and the
server grew by 12 MB for each hour of typing, all of which `malloc_trim` gives back (measured). Other C libraries have
no such function, and there nothing is done.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 60.0
"""It is not done more often. It takes some milliseconds, in which a thread that allocates waits."""


class Heap:
    """When memory was given back last. Owned by the session; lives on the event loop."""

    def __init__(self) -> None:
        self._last_s: float | None = None

    def rest(self) -> None:
        """Nobody has done anything for a moment."""
        loop = asyncio.get_running_loop()
        before, now_s = self._last_s, loop.time()
        if before is None or now_s - before >= EVERY_S:
            self._last_s = now_s
            # Little is free at the first rest.
            if before is not None and (trim := trimming()):
                loop.run_in_executor(None, trim, 0)


def trimming() -> Callable[[int], object] | None:
    """glibc's function, which runs without Python's lock; None where there is another library."""
    try:
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim
