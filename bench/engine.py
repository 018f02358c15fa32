"""`python -m bench.engine MODEL.gguf [--llama-bench PROGRAM]`: what the engine makes of this machine, as JSON.

`--measure` names what: `speed`, `beside`, `cancels`, `edits`, `load`, or several of them; the last three are explained
in `bench.engine_measures`, `beside` in `bench.engine_beside`.

Prefill and decode in tokens per second, and what the engine's thread adds to each generated token outside
llama.cpp's evaluation: drawing it, its text, its delivery. Each is the median of the rounds. Compare ratios
within one run: absolute figures say something about a quiet machine only. With llama.cpp's own `llama-bench`
each takes its turn in every round, and the ratio is the median of the rounds' ratios: as it comes, and with flash
attention off, as the engine computes on a CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from bench.engine_beside import beside
from bench.engine_measures import cancels, edits, host_load
from bench.gpu_measures import Sizes, llama_bench

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import lc
from midfill.engines.tuned import default_threads
from midfill.settings import EngineSettings

N_GENERATED = 64
"""About a completion of several lines."""


def compared(
    path: Path, settings: EngineSettings, text: str, n_rounds: int, program: Path
) -> dict[str, object]:
    """The engine's speed over that of `llama-bench`, with as many threads, tokens and layers on the GPU."""
    names = ("prefill_tokens_per_s", "decode_tokens_per_s")
    ours: list[dict[str, Any]] = []
    theirs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _ATTENTION}
    for _ in range(n_rounds):
        one = asyncio.run(measure(path, settings, text, 1))
        ours.append(one)
        sizes = Sizes(one["prompt_tokens"], N_GENERATED, 1)
        n_threads = settings.n_threads or default_threads()
        for kind, options in _ATTENTION.items():
            asked = (program, path, one["n_gpu_layers"], n_threads, sizes, *options)
            # It generates from nothing unless told how much was read before.
            read, said = llama_bench(*asked), llama_bench(*asked, "-d", str(sizes.prompt))
            theirs[kind].append(
                {name: (said if "decode" in name else read)[name] for name in names}
            )
    found: dict[str, object] = {**ours[-1], "rounds": n_rounds}
    found |= {name: _median([one[name] for one in ours]) for name in names}
    for kind, runs in theirs.items():
        found[kind] = {name: _median([run[name] for run in runs]) for name in names}
        found[f"of_{kind}"] = {
            name: round(
                statistics.median(
                    one[name] / run[name] for one, run in zip(ours, runs, strict=True)
                ),
                3,
            )
            for name in names
        }
    return found


_ATTENTION: dict[str, tuple[str, ...]] = {
    "llama_bench": (),
    "llama_bench_without_flash_attention": ("-fa", "0"),
}


async def measure(path: Path, settings: EngineSettings, text: str, n_rounds: int) -> dict[str, Any]:
    """Per round, read a prompt that shares nothing with the one before, and continue it."""
    engine = LlamaEngine(path, settings)
    info = await engine.info()
    # A speed needs tokens: nothing ends a generation before its budget, as nothing does in llama-bench.
    (await engine._loaded()).model.end_ids = ()
    code = await engine.tokenize(text)
    n_prompt = min(512, info.n_ctx - N_GENERATED, len(code) - n_rounds - 1)
    # What llama-bench does: no drafts, nothing mixed in.
    sampling = Sampling(N_GENERATED, copy=False, draft=False)
    outside = _Outside()
    prefill, decode, python_us = [], [], []
    for round_idx in range(n_rounds + 1):
        prompt = code[round_idx : round_idx + n_prompt]
        usage = None
        async for piece in engine.generate(prompt, sampling):
            if usage is None:  # The prompt is read.
                first_ms = piece.usage.decode_ms
                prefill.append(piece.usage.tokens_evaluated / piece.usage.prefill_ms * 1e3)
            usage = piece.usage
        python = outside.taken_us()
        if usage is not None and usage.tokens_generated > 1:
            decode.append((usage.tokens_generated - 1) / (usage.decode_ms - first_ms) * 1e3)
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
    parser.add_argument("--llama-bench", type=Path, help="llama.cpp's program, to compare with")
    parser.add_argument("--gpu-layers", type=int, default=EngineSettings.n_gpu_layers)
    parser.add_argument(
        "--measure",
        nargs="+",
        choices=("speed", "beside", "cancels", "edits", "load"),
        default=["speed"],
    )
    parser.add_argument("--edits", type=int, default=30)
    parser.add_argument(
        "--edits-share", type=int, nargs=2, metavar=("FROM", "TO"), help="of them, not all at once"
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="of load")
    wanted = parser.parse_args()
    settings = EngineSettings(n_threads=wanted.threads, n_gpu_layers=wanted.gpu_layers)
    text = Path(__file__).read_text("utf-8")
    path, measured = wanted.model, {}
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if "speed" in wanted.measure and wanted.llama_bench:
        measured["speed"] = compared(path, settings, text, wanted.rounds, wanted.llama_bench)
    elif "speed" in wanted.measure:
        measured["speed"] = asyncio.run(measure(path, settings, text, wanted.rounds))
    if "beside" in wanted.measure:
        measured["beside"] = asyncio.run(beside(path, settings, text, wanted.rounds))
    if "cancels" in wanted.measure:
        measured["cancels"] = asyncio.run(cancels(path, settings, 10 * wanted.rounds))
    if "edits" in wanted.measure:
        measured["edits"] = asyncio.run(
            edits(path, settings, wanted.edits, slice(*(wanted.edits_share or (None,))))
        )
    if "load" in wanted.measure:
        measured["load"] = asyncio.run(host_load(path, settings, wanted.clients, wanted.seconds))
    print(json.dumps({"load_average": load_average, **measured}, indent=2))


if __name__ == "__main__":
    main()
