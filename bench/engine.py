"""`python bench/engine.py MODEL.gguf`: what the engine makes of this machine, as JSON.

Prefill and decode in tokens per second, and what Python adds to each generated token: the time of the decode
loop less the time inside llama.cpp. Each is the median of the rounds. Compare ratios within one run: absolute
figures say something about a quiet machine only.
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
    inside = _Inside()
    prefill, decode, python_us = [], [], []
    for round_idx in range(n_rounds + 1):
        prompt = code[round_idx : round_idx + n_prompt]
        usage = None
        async for piece in engine.generate(prompt, Sampling(N_GENERATED)):
            if usage is None:  # The prompt is read.
                prefill.append(piece.usage.tokens_evaluated / piece.usage.prefill_ms * 1e3)
            usage = piece.usage
        inside_s = inside.taken()
        if usage is not None and usage.tokens_generated > 1:
            decode.append(usage.tokens_generated / usage.decode_ms * 1e3)
            python_us.append((usage.decode_ms * 1e3 - inside_s * 1e6) / usage.tokens_generated)
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


class _Inside:
    """Adds up the time inside llama.cpp's evaluation of single tokens."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._decode = lc.llama_decode
        lc.llama_decode = self._timed

    def taken(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _timed(self, context: Any, batch: Any) -> int:
        begun = time.perf_counter()
        status: int = self._decode(context, batch)
        if batch.n_tokens == 1:
            self._seconds += time.perf_counter() - begun
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
