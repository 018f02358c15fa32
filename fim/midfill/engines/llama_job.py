"""A generation on its way between the event loop that asked and the engine's thread: its cost and its cancel."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from midfill.engine import Piece, Sampling, StopReason, Usage
from midfill.errors import MidfillError


@dataclass(eq=False)
class Job:
    """One request. The engine's thread counts in it; only `AbortFlag` sets `cancelled`."""

    prompt: Sequence[int]
    sampling: Sampling
    deliver: Callable[[Piece | MidfillError], None]
    asked_at: float = field(default_factory=time.perf_counter)
    """This and the times below by `time.perf_counter`, in seconds."""
    begun_at: float = 0.0
    read_at: float = 0.0
    """When the whole prompt was evaluated; 0 until then."""
    slot_idx: int | None = None
    n_reused: int = 0
    n_evaluated: int = 0
    n_generated: int = 0
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
        return Usage(
            tokens_reused=self.n_reused,
            tokens_evaluated=self.n_evaluated,
            tokens_generated=self.n_generated,
            wait_ms=(begun_at - self.asked_at) * 1e3,
            prefill_ms=(read_at - begun_at) * 1e3,
            decode_ms=(now - read_at) * 1e3,
            stop_reason=stop_reason,
        )

    def last_piece(self, stop_reason: StopReason) -> Piece:
        """What tells the reader that this is the end."""
        return Piece("", (), (), self.usage(stop_reason))


class AbortFlag:
    """Stops the running job, and never the next one.

    llama.cpp reads `text` between two nodes of its graph and stops when it is not empty (`ABORT_WHEN_TEXT`).
    Whether a job may raise the flag, and when it is lowered again, is decided under one lock.
    """

    def __init__(self) -> None:
        self.text = ctypes.create_string_buffer(2)
        """A C string of no or one character. It must live as long as the context that reads it."""
        self._lock = threading.Lock()
        self._running: Job | None = None

    def cancel(self, job: Job) -> None:
        """Stop a job if it runs, or as soon as its turn comes. Any thread; a job that has ended is left alone."""
        with self._lock:
            if not job.cancelled:
                job.cancelled = True
                job.n_evaluated_at_cancel = job.n_evaluated
            if self._running is job:
                self.text[0] = b"x"

    def begin(self, job: Job) -> None:
        """The job's turn has come."""
        with self._lock:
            self._running = job
            self.text[0] = b"x" if job.cancelled else b"\0"

    def end(self) -> None:
        """The job's turn is over."""
        with self._lock:
            self._running = None
            self.text[0] = b"\0"
