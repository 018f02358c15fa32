"""A generation on its way between the event loop that asked and the engine's thread: its cost and its cancel."""

from __future__ import annotations

import asyncio
import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from midfill.engine import Piece, Sampling, StopReason, Usage
from midfill.errors import MidfillError

FAST_STEP_S = 0.002
"""An evaluation below this makes pieces so fast that they wait for each other on their way to the reader."""
HOP_S = 0.005
"""For how long. But the end of a line does not wait: that is where most readers stop."""


class Arrivals:
    """Pieces on their way from the engine's thread to the event loop of their reader.

    To wake the loop costs the engine's thread 60 us, the evaluation after it 65 and the token after that 40, because
    both want Python's lock and a place in the processor's caches: much beside a model that takes 400 us for a token
    (measured under load). So what comes fast goes over in one hop.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._arrived: asyncio.Queue[list[Piece | MidfillError]] = asyncio.Queue()
        self._waiting: list[Piece | MidfillError] = []
        self._hopped_at = -math.inf

    def deliver(self, piece: Piece | MidfillError, more_soon: bool) -> None:
        """Send a piece to the reader, with all that wait; `more_soon` lets it wait itself. The engine's thread."""
        self._waiting.append(piece)
        now = self._clock()
        if more_soon and now - self._hopped_at < HOP_S:
            return
        self._hopped_at = now
        waiting, self._waiting = self._waiting, []
        # A loop that is closed has no readers left.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, waiting)

    async def next(self) -> list[Piece | MidfillError]:
        """What came over in the next hop, in order."""
        return await self._arrived.get()


@dataclass(eq=False)
class Job:
    """One request. The engine's thread counts in it; only `AbortFlag` sets `cancelled`."""

    prompt: Sequence[int]
    sampling: Sampling
    deliver: Callable[[Piece | MidfillError, bool], None]
    """As `Arrivals.deliver`."""
    asked_at: float = field(default_factory=time.perf_counter)
    """This and the times below by `time.perf_counter`, in seconds."""
    begun_at: float = 0.0
    read_at: float = 0.0
    """When the whole prompt was evaluated; 0 until then."""
    step_s: float = math.inf
    """What its last evaluation took."""
    slot_idx: int | None = None
    n_reused: int = 0
    n_evaluated: int = 0
    n_generated: int = 0
    n_healed: int = 0
    n_drafted: int = 0
    n_accepted: int = 0
    took_instead: bool = False
    cancelled: bool = False
    n_evaluated_at_cancel: int | None = None

    def is_cancelled(self) -> bool:
        """Asked by the engine's thread while another may be changing it."""
        return self.cancelled

    def usage(self, stop_reason: StopReason = "") -> Usage:
        """The cost so far."""
        now = time.perf_counter()
        begun_at = self.begun_at or now
        read_at = self.read_at or now
        usage = Usage.__new__(Usage)
        # What is frozen sets each field by a call of its own, which for these takes 6 us of each token (measured).
        usage.__dict__.update(
            tokens_reused=self.n_reused,
            tokens_evaluated=self.n_evaluated,
            tokens_generated=self.n_generated,
            tokens_healed=self.n_healed,
            tokens_drafted=self.n_drafted,
            tokens_accepted=self.n_accepted,
            took_instead=self.took_instead,
            slot_idx=-1 if self.slot_idx is None else self.slot_idx,
            wait_ms=(begun_at - self.asked_at) * 1e3,
            prefill_ms=(read_at - begun_at) * 1e3,
            decode_ms=(now - read_at) * 1e3,
            stop_reason=stop_reason,
        )
        return usage


class AbortFlag:
    """Stops the running job, and never the next one; interrupts one that yields when another waits, here or elsewhere.

    llama.cpp reads `text` between two nodes of its graph and stops when it is not empty (`ABORT_WHEN_TEXT`).
    Whether a job may raise the flag, and when it is lowered again, is decided under one lock.
    """

    def __init__(self) -> None:
        self.text = ctypes.create_string_buffer(2)
        """A C string of no or one character. It must live as long as the context that reads it."""
        self._lock = threading.Lock()
        self._running: Job | None = None
        self._n_urgent = 0
        self._gives_way = False

    def give_way(self, gives_way: bool) -> None:
        """Whether somebody else computes who goes before jobs that yield. Any thread."""
        with self._lock:
            self._gives_way = gives_way
            self._set()

    def arrive(self, job: Job) -> None:
        """A job waits for its turn. If it does not yield, one that does is interrupted. Any thread."""
        with self._lock:
            self._n_urgent += not job.sampling.yields
            if self._running is not None:
                self._set()

    def cancel(self, job: Job) -> None:
        """Stop a job if it runs, or as soon as its turn comes. Any thread; a job that has ended is left alone."""
        with self._lock:
            if not job.cancelled:
                job.cancelled = True
                job.n_evaluated_at_cancel = job.n_evaluated
            if self._running is job:
                self._set()

    def begin(self, job: Job) -> None:
        """The job's turn has come. A job that yields has one for each step."""
        with self._lock:
            self._running = job
            self._n_urgent -= not job.sampling.yields
            self._set()

    def end(self) -> None:
        """The job's turn is over."""
        with self._lock:
            self._running = None
            self._set()

    def _set(self) -> None:
        job = self._running
        others_first = self._gives_way or self._n_urgent > 0
        stops = job is not None and (job.cancelled or (job.sampling.yields and others_first))
        self.text[0] = b"x" if stops else b"\0"
