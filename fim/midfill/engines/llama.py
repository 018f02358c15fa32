"""llama.cpp in this process: a model, the prompts it has read kept warm, and generations that can be stopped.

One thread of the engine's own holds the model, the context and the samplers; llama.cpp ends the process when
two threads use one context. Requests reach it through a queue, pieces come back through the event loop. A
generation that nobody reads any more is stopped by a byte that llama.cpp itself looks at between two steps of
its computation, so that also a long prefill ends within a batch.

llama.cpp ends the process on some failures that no check can foresee, such as a model file that is cut
short while it is mapped. So an editor's server never loads this module: `midfill host` does.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from midfill.engine import ModelInfo, Piece, Sampling, Usage
from midfill.engines.fit import Plan
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_copy_sampling import prepare
from midfill.engines.llama_drafting import BatchCosts
from midfill.engines.llama_generation import generation
from midfill.engines.llama_job import FAST_STEP_S, AbortFlag, Arrivals, Job
from midfill.engines.llama_load import Loaded, load
from midfill.engines.llama_tuning import Tuning
from midfill.engines.precedence import Precedence
from midfill.errors import EngineError, EngineFull, EngineGone, EngineRefused, MidfillError
from midfill.settings import EngineSettings

__all__ = ["JobRecord", "LlamaEngine"]

_log = logging.getLogger("midfill.llama")

_INLINE_CHARACTERS = 2000
"""A text of up to this length is tokenized on the spot, in under a millisecond; a longer one in a thread."""
_RECORDS_KEPT = 256
_IDLE_S = 2.0
"""Rest after the last request before anything is measured."""


@dataclass(frozen=True)
class JobRecord:
    """How a generation ended, also one whose reader had gone."""

    usage: Usage
    slot_idx: int | None
    """None where it ended before it had a slot."""
    evaluated_at_cancel: int | None
    """Prompt tokens that were evaluated when it was cancelled; None where it was not."""


class LlamaEngine:
    """An `Engine` over llama.cpp. Made and used on an event loop; `close` it.

    Loading begins at once, in the engine's own thread; `info` waits for it.
    """

    def __init__(
        self,
        path: str | Path,
        settings: EngineSettings | None = None,
        precedence: Precedence | None = None,
        *,
        only_completes: bool = False,
    ) -> None:
        """`precedence` is shared with the other engines of this process, if there are any.

        Args:
            only_completes: whether no text is longer than a completion's at the default settings.
        """
        self._only_completes = only_completes
        self._path = Path(path)
        self._precedence = precedence or Precedence()
        self._settings = settings or EngineSettings()
        self._abort = AbortFlag()
        self._precedence.join(self, self._abort.give_way)
        self._requests: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._jobs: set[Job] = set()
        self._closing = False
        self._load_result = _to_be_loaded()
        self._loaded_share = 0.0
        self._cache: PromptCache | None = None
        self._tuning: Tuning | None = None
        self.records: deque[JobRecord] = deque(maxlen=_RECORDS_KEPT)
        """The generations that ended last, the latest last."""
        # A daemon, so that a forgotten engine does not keep the process alive; `atexit` still ends it in order,
        # because llama.cpp's own clean-up must not run under a computation.
        self._thread = threading.Thread(target=self._work, name="midfill-llama", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    @property
    def tokens_evaluated(self) -> int:
        """Tokens evaluated since the engine was made, of prompts and of generations: it grows as they run."""
        return self._cache.n_evaluated if self._cache else 0

    async def info(self) -> ModelInfo:
        """The model, waiting until it is loaded.

        Raises:
            ModelError: the file cannot be used; the sentence names it and says what to do.
        """
        return (await self._loaded()).info

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`; never waits for a generation."""
        self._precedence.expect()
        model = (await self._loaded()).model
        if len(text) <= _INLINE_CHARACTERS:
            return model.tokenize(text)
        return await asyncio.to_thread(model.tokenize, text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids; never waits for a generation."""
        return (await self._loaded()).model.detokenize(ids)

    def loading(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None once it is, or cannot be."""
        return None if self._load_result.done() else self._loaded_share

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`, one piece per token; with `max_tokens` 0 the prompt is only read, and kept warm.

        Bytes of a character that is still incomplete when the generation ends are dropped.

        Raises:
            EngineRefused: the prompt is empty or holds ids that are no tokens.
        """
        asked_at = time.perf_counter()
        info = (await self._loaded()).info
        job_prompt = list(prompt)
        for ids in (job_prompt, sampling.instead or job_prompt):
            if not ids or not 0 <= min(ids) <= max(ids) < info.n_vocab:
                raise EngineRefused(
                    f"A prompt for {info.name} is one or more token ids below {info.n_vocab}."
                )
        arrivals = Arrivals(asyncio.get_running_loop())
        job = Job(job_prompt, sampling, arrivals.deliver, asked_at)
        n_open = sampling.n_candidates
        with self._precedence.running(self, yields=sampling.yields):
            self._submit(job)
            try:
                while n_open:
                    for piece in await arrivals.next():
                        if isinstance(piece, MidfillError):
                            raise piece
                        n_open -= bool(piece.usage.stop_reason)
                        yield piece
            finally:
                self._abort.cancel(job)
                self._precedence.wake()

    async def close(self) -> None:
        """End the generations as cancelled, then free the model. May be called again, and while it loads."""
        self._end(wait=False)
        await asyncio.to_thread(self._thread.join)

    # Above runs on the event loop; below, what both sides share, then the engine's thread.

    async def _loaded(self) -> Loaded:
        if not self._load_result.done():
            await asyncio.wait([asyncio.wrap_future(self._load_result)])
        result = self._load_result.result()
        if isinstance(result, MidfillError):
            raise result
        return result

    def _submit(self, job: Job) -> None:
        with self._lock:
            if self._closing:
                raise EngineGone("The engine is closed.")
            self._jobs.add(job)
            self._requests.put(job)
            self._abort.arrive(job)
        if self._tuning is not None:
            self._tuning.interrupt()

    def _end(self, *, wait: bool = True) -> None:
        with self._lock:
            if not self._closing:
                self._closing = True
                self._requests.put(None)
            jobs = list(self._jobs)
        for job in jobs:
            self._abort.cancel(job)
        self._precedence.leave(self)
        self._precedence.wake()
        if self._tuning is not None:
            self._tuning.interrupt()
        atexit.unregister(self._end)
        if wait:
            self._thread.join()

    def _work(self) -> None:
        loaded = self._load()
        while loaded is not None:
            try:
                cache = self._cache = PromptCache(loaded.context)
                prepare(loaded.model)
                self._tuning = Tuning(
                    self._path, loaded, self._settings, lambda: not self._requests.empty()
                )
                is_full = self._serve(loaded, cache, self._tuning)
            finally:
                if self._tuning is not None:
                    self._tuning.close()
                self._load_result = _to_be_loaded()  # Whoever asks now waits for what comes.
                loaded.context.free()
                loaded.model.free()
            loaded = self._load(less_than=loaded.plan) if is_full else None
        self._refuse_all()

    def _next(self, tuning: Tuning) -> Job | None:
        """The next request. While there is none for a while, what is fastest is measured."""
        with suppress(queue.Empty):
            return self._requests.get(timeout=None if tuning.done else _IDLE_S)
        while not tuning.done:
            with suppress(queue.Empty):
                return self._requests.get_nowait()
            tuning.step()
        return self._requests.get()

    def _load(self, less_than: Plan | None = None) -> Loaded | None:
        result: Loaded | MidfillError
        try:
            result = load(
                self._path,
                self._settings,
                self._abort.text,
                lambda: not self._closing,
                lambda share: setattr(self, "_loaded_share", share),
                only_completes=self._only_completes,
                less_than=less_than,
            )
        except MidfillError as error:
            result = error
        except Exception as error:
            _log.exception("Loading failed.")
            result = EngineError(f"{self._path} could not be loaded ({error!r}).")
        self._load_result.set_result(result)
        return None if isinstance(result, MidfillError) else result

    def _refuse_all(self) -> None:
        """Nothing will be computed any more: say so to whoever waits."""
        gone = EngineGone("The engine is closed.")
        with self._lock:
            self._closing = True
        if not self._load_result.done():
            self._load_result.set_result(gone)
        result = self._load_result.result()
        with suppress(queue.Empty):
            while True:
                if job := self._requests.get_nowait():
                    job.deliver(result if isinstance(result, MidfillError) else gone, False)

    def _serve(self, loaded: Loaded, cache: PromptCache, tuning: Tuning) -> bool:
        """Each job in its turn; one that yields goes a step further whenever nobody else waits.

        Tells whether it ended because the memory did not suffice; what ran then was told so.
        """
        costs = BatchCosts()
        yielding: deque[_Turn] = deque()
        while True:
            try:
                job = self._requests.get_nowait() if yielding else self._next(tuning)
            except queue.Empty:
                turn = yielding[0]
                self._precedence.wait_turn(self, turn.job.is_cancelled)
                if not self._requests.empty():
                    continue
                if not self._advance(turn):
                    yielding.popleft()
                if turn.is_full:
                    break
                continue
            if job is None:
                return self._end_all(yielding)
            turn = _Turn(job, generation(job, loaded, cache, costs))
            if job.sampling.yields:
                yielding.append(turn)
            else:
                while self._advance(turn, whole=True):
                    pass
            if turn.is_full:
                break
        for turn in yielding:  # What they have read is lost.
            turn.steps.close()
            turn.job.deliver(EngineFull("The engine ran out of memory; ask again."), False)
        return True

    def _end_all(self, turns: Iterable[_Turn]) -> bool:
        for turn in turns:  # They are all cancelled.
            while self._advance(turn):
                pass
        return False

    def _advance(self, turn: _Turn, *, whole: bool = False) -> bool:
        """A step of a job, or all; whether there is more. Nothing that goes wrong in it ends the thread."""
        job = turn.job
        job.begun_at = job.begun_at or time.perf_counter()
        self._abort.begin(job)
        last: MidfillError | None = None
        try:
            for piece in turn.steps:
                if piece is not None:
                    more_soon = whole and job.step_s < FAST_STEP_S
                    is_awaited = "\n" in piece.text or piece.usage.stop_reason
                    job.deliver(piece, more_soon and not is_awaited)
                    turn.usage = piece.usage
                if not whole:
                    return True
        except MidfillError as error:
            last = error
            turn.is_full = isinstance(error, EngineFull)
        except Exception as error:
            _log.exception("A generation failed.")
            last = EngineError(f"The engine failed ({error!r}).")
        finally:
            self._abort.end()
        if last is not None:
            job.deliver(last, False)
            turn.usage = job.usage()
        with self._lock:
            self._jobs.discard(job)
        # A reader that has its last piece cancels too, as every reader does when it leaves.
        is_cancelled = turn.usage.stop_reason == "cancelled"
        at_cancel = job.n_evaluated_at_cancel if is_cancelled else None
        self.records.append(JobRecord(turn.usage, job.slot_idx, at_cancel))
        return False


@dataclass
class _Turn:
    """A job and how far it has come."""

    job: Job
    steps: Generator[Piece | None, None, None]
    usage: Usage = field(default_factory=Usage)
    is_full: bool = False
    """Whether it ended because the memory did not suffice."""


def _to_be_loaded() -> Future[Loaded | MidfillError]:
    future: Future[Loaded | MidfillError] = Future()
    # So that a caller who gives up waiting does not cancel the load for the others.
    future.set_running_or_notify_cancel()
    return future
