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
        return Usage(
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


class AbortFlag:
    """Stops the running job, and never the next one; interrupts one that yields when another waits.

    llama.cpp reads `text` between two nodes of its graph and stops when it is not empty (`ABORT_WHEN_TEXT`).
    Whether a job may raise the flag, and when it is lowered again, is decided under one lock.
    """

    def __init__(self) -> None:
        self.text = ctypes.create_string_buffer(2)
        """A C string of no or one character. It must live as long as the context that reads it."""
        self._lock = threading.Lock()
        self._running: Job | None = None
        self._n_urgent = 0

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
        stops = job is not None and (job.cancelled or (job.sampling.yields and self._n_urgent > 0))
        self.text[0] = b"x" if stops else b"\0"
