"""The engine beside llama.cpp called bare, in turn in one process: what it adds, on a machine that is not quiet.

Processor time of the thread that computes, of one thread, as distributions: their lower ends say what a quiet
machine would, whatever else runs. Bare is what `llama-bench` does: one call for the prompt, nothing drawn, one
sequence; with flash attention, as it takes it by itself, and without, as the engine computes on a CPU.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import lc
from midfill.settings import EngineSettings

Figures = dict[str, Any]

_QUANTILES = (0.05, 0.1, 0.25, 0.5)


async def beside(path: Path, settings: EngineSettings, text: str, n_rounds: int) -> Figures:
    """Quantiles of the milliseconds of a prompt and of the microseconds from token to token, and their ratios."""
    engine = LlamaEngine(path, settings)
    info = await engine.info()
    model = (await engine._loaded()).model
    model.end_ids = ()
    code = await engine.tokenize(text)
    n_generated = 64
    n_prompt = min(512, info.n_ctx - n_generated, len(code) - n_rounds - 2)
    names = {"flash": lc.LLAMA_FLASH_ATTN_TYPE_ENABLED, "plain": lc.LLAMA_FLASH_ATTN_TYPE_DISABLED}
    spent = {name: _Spent() for name in ("engine", *names)}
    with model.in_use() as handle:
        bare = {
            name: _Bare(handle, n_prompt + n_generated, kind, settings.n_threads)
            for name, kind in names.items()
        }
        for idx in range(n_rounds + 1):
            prompt = code[idx + 1 : idx + 1 + n_prompt]
            watch = _Watch()
            for name, one in bare.items():
                one.run(prompt, n_generated, watch)
                watch.give(spent[name], is_kept=idx > 0)
            with patch.object(lc, "llama_decode", watch.decode):
                async for _piece in engine.generate(
                    prompt, Sampling(n_generated, copy=False, draft=False)
                ):
                    pass
            watch.give(spent["engine"], is_kept=idx > 0)
        for one in bare.values():
            one.free()
    await engine.close()
    figures: Figures = {"prompt_tokens": n_prompt, "rounds": n_rounds, "quantiles": _QUANTILES}
    for name, one_spent in spent.items():
        figures[name] = {
            "prefill_ms": _quantiles(one_spent.prefill_ms, 2),
            "token_us": _quantiles(one_spent.token_us, 1),
        }
    for name in names:
        figures[f"of_{name}"] = {
            figure: [
                round(theirs / ours, 3)
                for theirs, ours in zip(
                    figures[name][figure], figures["engine"][figure], strict=True
                )
            ]
            for figure in ("prefill_ms", "token_us")
        }
    return figures


class _Spent:
    def __init__(self) -> None:
        self.prefill_ms: list[float] = []
        self.token_us: list[float] = []


class _Watch:
    """Notes when the calling thread began each evaluation, and when it had ended the one before."""

    def __init__(self) -> None:
        self._decode = lc.llama_decode
        self._steps: list[tuple[int, float, float]] = []

    def decode(self, context: Any, batch: Any) -> int:
        began_s = time.thread_time()
        status: int = self._decode(context, batch)
        self._steps.append((batch.n_tokens, began_s, time.thread_time()))
        return status

    def give(self, spent: _Spent, *, is_kept: bool) -> None:
        """Add what was noted: the prompt up to its last evaluation, then each token with all that belongs to it."""
        steps, self._steps = self._steps, []
        read = [step for step in steps if step[0] > 1]
        said = [step for step in steps if step[0] == 1]
        if is_kept:
            spent.prefill_ms.append((read[-1][2] - read[0][1]) * 1e3)
            spent.token_us += [(b[1] - a[1]) * 1e6 for a, b in pairwise(said)]


class _Bare:
    def __init__(self, model: Any, n_ctx: int, flash: int, n_threads: int) -> None:
        params = lc.llama_context_default_params()
        params.n_ctx, params.flash_attn_type, params.no_perf = n_ctx, flash, True
        params.n_threads = params.n_threads_batch = max(1, n_threads)
        self._context = lc.llama_init_from_model(model, params)

    def run(self, prompt: Sequence[int], n_generated: int, watch: _Watch) -> None:
        lc.llama_memory_clear(lc.llama_get_memory(self._context), False)
        tokens = (lc.llama_token * len(prompt))(*prompt)
        # Made before, so that nothing but the calls is between two calls.
        token = ctypes.cast(tokens, ctypes.POINTER(lc.llama_token))
        single = lc.llama_batch_get_one(token, 1)
        for batch in (lc.llama_batch_get_one(token, len(prompt)), *[single] * n_generated):
            assert watch.decode(self._context, batch) == 0

    def free(self) -> None:
        lc.llama_free(self._context)


def _quantiles(values: Sequence[float], n_digits: int) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[int(share * len(ordered))], n_digits) for share in _QUANTILES]
