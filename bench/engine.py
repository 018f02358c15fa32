"""`python bench/engine.py MODEL.gguf`: what the engine makes of this machine, as JSON.

Prefill and decode in tokens per second, and what the engine's thread adds to each generated token outside
llama.cpp's evaluation: drawing it, its text, its delivery. Each is the median of the rounds. Compare ratios
within one run: absolute figures say something about a quiet machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import lc
from midfill.settings import EngineSettings

N_GENERATED = 64
"""About a completion of several lines."""


async def measure(
    path: Path, settings: EngineSettings, text: str, n_rounds: int
) -> dict[str, object]:
    """Per round, read a prompt that shares nothing with the one before, and continue it."""
    engine = LlamaEngine(path, settings)
    info = await engine.info()
    code = await engine.tokenize(text)
    n_prompt = min(512, info.n_ctx - N_GENERATED, len(code) - n_rounds - 1)
    outside = _Outside()
    prefill, decode, python_us = [], [], []
    for round_idx in range(n_rounds + 1):
        prompt = code[round_idx : round_idx + n_prompt]
        usage = None
        async for piece in engine.generate(prompt, Sampling(N_GENERATED)):
            if usage is None:  # The prompt is read.
                prefill.append(piece.usage.tokens_evaluated / piece.usage.prefill_ms * 1e3)
            usage = piece.usage
        python = outside.taken_us()
        if usage is not None and usage.tokens_generated > 1:
            decode.append(usage.tokens_generated / usage.decode_ms * 1e3)
            python_us.append(python)
    await engine.close()
    return {
        "model": info.name,
        "n_gpu_layers": info.n_gpu_layers,
        "n_threads": settings.n_threads,
        "prompt_tokens": n_prompt,
        "prefill_tokens_per_s": _median(prefill[1:]),  # The first round warms up.
        "decode_tokens_per_s": _median(decode[1:]),
        "python_us_per_token": _median(python_us[1:]),
    }


class _Outside:
    """Adds up what the engine's thread computes between two evaluations of single tokens.

    Processor time of that thread, so that other programs on the machine do not count.
    """

    def __init__(self) -> None:
        self._spent_s: list[float] = []
        self._left_s = 0.0
        self._decode = lc.llama_decode
        lc.llama_decode = self._timed

    def taken_us(self) -> float:
        """Per token, since the last call."""
        spent_s, self._spent_s = self._spent_s[1:], []  # The first came after the prompt.
        return statistics.mean(spent_s) * 1e6 if spent_s else 0.0

    def _timed(self, context: Any, batch: Any) -> int:
        if batch.n_tokens == 1:
            self._spent_s.append(time.thread_time() - self._left_s)
        status: int = self._decode(context, batch)
        self._left_s = time.thread_time()
        return status


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=EngineSettings.n_threads)
    parser.add_argument("--gpu-layers", type=int, default=EngineSettings.n_gpu_layers)
    wanted = parser.parse_args()
    settings = EngineSettings(n_threads=wanted.threads, n_gpu_layers=wanted.gpu_layers)
    text = Path(__file__).read_text("utf-8")
    measured = asyncio.run(measure(wanted.model, settings, text, wanted.rounds))
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
