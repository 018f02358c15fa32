"""Which threads, batches and order of weights are fastest for a model here: measured in small steps while idle.

A sample is one evaluation with a small context of its own. Samples of all candidates take turns and the best of
each counts, because other programs only ever make a sample slower; and the default stays unless another is
faster by a tenth. A request that arrives stops the running sample within a node of its graph.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from midfill.engines.fit import N_BATCH_CPU
from midfill.engines.gguf_header import GgufHeader, read_header
from midfill.engines.llama_library import ABORT_WHEN_TEXT, lc
from midfill.engines.llama_load import Loaded, llama_version
from midfill.engines.llama_model import LlamaModel
from midfill.engines.ram import n_cores
from midfill.engines.tuned import Tuned, tuned_path, write_tuned
from midfill.errors import MidfillError, ModelError
from midfill.settings import EngineSettings

BUDGET_S = 8.0
"""Computing time for all samples. The embedded model needs a tenth of it."""
GAIN = 0.9
"""Of the default's time another may take at most to be preferred: below is what noise makes (measured)."""

_ROUNDS_MOST = 5
_READ, _WRITTEN = 256, 16
"""Tokens of a completion after a jump, by which the orders of weights are compared: some read faster, and some
write faster."""
_SLOW_MS = 40.0
"""For one token: a model of some gigabytes on a processor."""
_N_READ_SLOW = 32
"""Tokens per sample of a slow model: the order of weights shows in them as it does in 64 (measured)."""
_N_BATCH_LARGE = 256
_BATCH_MS_MOST = 100.0
"""For a large batch: it is what a cancelled request may go on for."""
_CELLS = 512
_TOKEN = 5
"""What is evaluated does not matter."""
_K_QUANTS = range(10, 15)
"""Q2_K to Q6_K in ggml.h: which order is faster differs between processors (Q4_K_M read 1.9 times as fast without
repacking, Q4_0 half as fast; measured)."""


class Tuning:
    """One measurement, from its first sample to the file that remembers its result. `step` it while idle."""

    def __init__(
        self, path: Path, loaded: Loaded, settings: EngineSettings, busy: Callable[[], bool]
    ) -> None:
        """`busy` tells whether someone waits: then no sample is begun."""
        self._abort = ctypes.create_string_buffer(2)
        self._busy = busy
        self.done = not settings.tune or loaded.tuned is not None or loaded.plan.n_gpu_layers > 0
        self._work = self._measured(path, loaded, settings)

    def interrupt(self) -> None:
        """Stop the running sample; from any thread. It is taken again later."""
        self._abort[0] = b"x"

    def step(self) -> None:
        """Take the next sample, in the engine's thread."""
        self._abort[0] = b"\0"
        if self._busy():
            return
        try:
            next(self._work)
        except StopIteration:
            self.done = True
        except MidfillError:
            self.done = True  # For example no memory: then the defaults stay, until the next start.

    def close(self) -> None:
        """Free what the samples hold. Not while one is taken."""
        self.done = True
        self._work.close()

    def _measured(
        self, path: Path, loaded: Loaded, settings: EngineSettings
    ) -> Generator[None, None, None]:
        tuned = yield from measure(path, loaded.model, settings.n_threads, self._abort)
        write_tuned(tuned_path(path, llama_version()), tuned)
        # Threads may change while all else stays; the rest waits for the next load.
        if settings.n_threads == 0:
            loaded.context.use_threads(tuned.n_threads, tuned.n_threads_batch)


def thread_counts(n: int) -> tuple[int, ...]:
    """What to try on `n` cores, the default first. Half is what the physical cores are as a rule."""
    default = max(1, n - 1)
    return tuple(dict.fromkeys((default, n, max(1, n // 2), max(1, n // 4), 1)))


def fastest(ms: dict[int, float]) -> int:
    """The first, unless another is faster by a tenth."""
    default = next(iter(ms))
    best = min(ms, key=lambda candidate: ms[candidate])
    return best if ms[best] < GAIN * ms[default] else default


def repacking_matters(header: GgufHeader) -> bool:
    """Whether most weights are of a kind for which the default order may be the wrong one."""
    total = sum(tensor.size_bytes for tensor in header.tensors)
    k_quants = sum(t.size_bytes for t in header.tensors if t.type_id in _K_QUANTS)
    return 2 * k_quants > total


def measure(
    path: Path, model: LlamaModel, n_threads: int, abort: ctypes.Array[ctypes.c_char]
) -> Generator[None, None, Tuned]:
    """Measure `model`, which was loaded from `path` with its weights repacked; a sample between two yields.

    Args:
        n_threads: what the settings ask for; 0 measures that too.
        abort: a C string that is not empty while samples are to stop.

    Raises:
        ModelError: there is no memory for it.
    """
    watch = _Watch(BUDGET_S)
    counts = (n_threads,) if n_threads else thread_counts(n_cores())
    with closing(_Scratch(model, abort)) as scratch:
        first_ms = yield from watch.best(None, scratch, 1, counts[0])
        n_read = N_BATCH_CPU
        if first_ms > _SLOW_MS:
            # Too large for a fraction of the cores, and for many samples.
            counts, n_read = counts[:3], _N_READ_SLOW
        one: dict[int, float] = {}
        many: dict[int, float] = {}
        while watch.goes_on():
            for count in counts:
                many[count] = yield from watch.best(many.get(count), scratch, n_read, count)
                one[count] = yield from watch.best(one.get(count), scratch, 1, count)
        n_one, n_many = fastest(one), fastest(many)
        ms = {f"1 token, {count} threads": one[count] for count in counts}
        ms |= {f"{n_read} tokens, {count} threads": many[count] for count in counts}
        n_batch = N_BATCH_CPU
        if many[n_many] * _N_BATCH_LARGE / n_read < 2 * _BATCH_MS_MOST:
            n_batch = yield from _best_batch(scratch, watch, n_many, ms)
        repack = True
        if repacking_matters(read_header(path)):
            samples = ((1, n_one), (n_read, n_many))
            repack = yield from _best_order(path, scratch, watch, samples, abort, ms)
    return Tuned(n_one, n_many, n_batch, repack, {name: round(t, 3) for name, t in ms.items()})


def _best_batch(
    scratch: _Scratch, watch: _Watch, n_threads: int, ms: dict[str, float]
) -> Generator[None, None, int]:
    small = large = None
    watch.begin()
    while watch.goes_on():
        small = yield from watch.best(small, scratch, N_BATCH_CPU, n_threads, _N_BATCH_LARGE)
        large = yield from watch.best(large, scratch, _N_BATCH_LARGE, n_threads, _N_BATCH_LARGE)
    assert small is not None
    assert large is not None
    ms[f"{_N_BATCH_LARGE} tokens in batches of {N_BATCH_CPU}"] = small
    ms[f"{_N_BATCH_LARGE} tokens in one batch"] = large
    wins = large < GAIN * small and large <= _BATCH_MS_MOST
    return _N_BATCH_LARGE if wins else N_BATCH_CPU


def _best_order(
    path: Path,
    scratch: _Scratch,
    watch: _Watch,
    samples: tuple[tuple[int, int], tuple[int, int]],
    abort: ctypes.Array[ctypes.c_char],
    ms: dict[str, float],
) -> Generator[None, None, bool]:
    """Whether to repack: measured against the same file as it lies on the disk, which is mapped, not copied.

    `samples` are the tokens of each sample with the threads that they take.
    """
    plain_model = LlamaModel.load(path, repack=False)
    try:
        with closing(_Scratch(plain_model, abort)) as plain:
            times: dict[tuple[bool, int], float] = {}
            watch.begin()
            while watch.goes_on():
                for repack, used in ((True, scratch), (False, plain)):
                    for n_tokens, count in samples:
                        key = (repack, n_tokens)
                        times[key] = yield from watch.best(times.get(key), used, n_tokens, count)
    finally:
        plain_model.free()
    for (repack, n_tokens), t in times.items():
        ms[f"{n_tokens} tokens, weights {'repacked' if repack else 'as in the file'}"] = t
    n_read = samples[1][0]
    repacked, as_is = (
        times[repack, 1] * _WRITTEN + times[repack, n_read] * _READ / n_read
        for repack in (True, False)
    )
    return not as_is < GAIN * repacked


class _Watch:
    """Takes samples until the budget is spent, but one of each in any case."""

    def __init__(self, budget_s: float) -> None:
        self._left_s = budget_s
        self._n_rounds = 0

    def begin(self) -> None:
        """Begin another comparison."""
        self._n_rounds = 0

    def goes_on(self) -> bool:
        """Whether there is another round of it."""
        self._n_rounds += 1
        return self._n_rounds == 1 or (self._n_rounds <= _ROUNDS_MOST and self._left_s > 0)

    def best(
        self,
        known_ms: float | None,
        scratch: _Scratch,
        n_tokens: int,
        n_threads: int,
        n_all: int = 0,
    ) -> Generator[None, None, float]:
        """One more sample, of `n_all` tokens in calls of `n_tokens`; the less of it and what is known."""
        while True:
            yield
            began = time.perf_counter()
            sample_ms = scratch.sample(n_tokens, n_threads, n_all or n_tokens)
            self._left_s -= time.perf_counter() - began
            if sample_ms is not None:
                return sample_ms if known_ms is None else min(known_ms, sample_ms)


class _Scratch:
    """A small context of its own."""

    def __init__(self, model: LlamaModel, abort: ctypes.Array[ctypes.c_char]) -> None:
        params = lc.llama_context_default_params()
        params.n_ctx = _CELLS
        params.n_batch = params.n_ubatch = _N_BATCH_LARGE
        params.n_seq_max = 1
        params.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        params.abort_callback = ABORT_WHEN_TEXT
        params.abort_callback_data = ctypes.cast(abort, ctypes.c_void_p)
        with model.in_use() as handle:
            context = lc.llama_init_from_model(handle, params)
        if context is None:
            raise ModelError(f"There is no memory to measure {model.path}.")
        self._context = context
        self._tokens = (lc.llama_token * _N_BATCH_LARGE)(*([_TOKEN] * _N_BATCH_LARGE))

    def sample(self, n_tokens: int, n_threads: int, n_all: int) -> float | None:
        """Milliseconds for `n_all` tokens in calls of `n_tokens`; None if it was interrupted."""
        lc.llama_set_n_threads(self._context, n_threads, n_threads)
        lc.llama_memory_clear(lc.llama_get_memory(self._context), False)
        # The first call with another number of threads starts them.
        if not self._evaluated(1):
            return None
        began = time.perf_counter()
        for _ in range(n_all // n_tokens):
            if not self._evaluated(n_tokens):
                return None
        return (time.perf_counter() - began) * 1000

    def _evaluated(self, n_tokens: int) -> bool:
        batch = lc.llama_batch_get_one(self._tokens, n_tokens)
        return bool(lc.llama_decode(self._context, batch) == 0)

    def close(self) -> None:
        lc.llama_free(self._context)
