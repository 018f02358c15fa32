"""How much of a resource a process that runs may have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


@contextmanager
def limited(process: psutil.Process, limit: int, soft: int) -> Iterator[None]:
    """A process, and what it starts meanwhile, have no more of a resource than this; it may end over that."""
    before = process.rlimit(limit)
    process.rlimit(limit, (soft, before[1]))
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.rlimit(limit, before)
