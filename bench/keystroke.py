"""`python -m bench.keystroke`: how long a finished completion of one line takes after a key, the prompt being warm.

A piece of held-out code is typed key by key where some 500 tokens stand around the caret. After each key the product
completes as in its host: prompt, generation, stop, filters. Then llama.cpp alone does the same work with the same file:
it keeps what the prompt shares with the one before, reads the rest, and takes the likeliest token as often.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from bench.holes import cpu_model
from bench.holes_items import Source, held_out_sources
from bench.holes_systems import SHOW_ALL, RecordingEngine
from bench.prompt import quantile
from bench.watching import circumstances

from midfill.complete import complete
from midfill.context import CompletionContext, gather
from midfill.engine import Piece, Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import lc
from midfill.engines.tuned import default_threads
from midfill.settings import EngineSettings
from midfill.syntax import parse
from midfill.text import Document
from midfill_models import embedded_model

PREFIX_TOKENS, SUFFIX_TOKENS = 500, 180


class Asked(RecordingEngine):
    """An `Engine` that remembers the last prompt."""

    prompt: tuple[int, ...] = ()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """As the engine does."""
        self.prompt = tuple(prompt)
        # One order of the prompt, so that the other's work is the same.
        async for piece in super().generate(prompt, replace(sampling, instead=())):
            yield piece


class LlamaCpp:
    """llama.cpp by itself, on a context of its own."""

    def __init__(self, path: Path, n_ctx: int, n_threads: int) -> None:
        self._model = lc.llama_model_load_from_file(
            str(path).encode(), lc.llama_model_default_params()
        )
        params = lc.llama_context_default_params()
        params.n_ctx = params.n_batch = n_ctx
        params.n_threads = params.n_threads_batch = n_threads
        self._context = lc.llama_init_from_model(self._model, params)
        self._n_vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self._model))
        self._held: list[int] = []

    def generate(self, prompt: Sequence[int], n_tokens: int) -> list[int]:
        """The likeliest tokens after a prompt."""
        pairs = zip(self._held, prompt[:-1], strict=False)
        n_shared = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
        if n_shared is None:
            n_shared = min(len(self._held), len(prompt) - 1)
        lc.llama_memory_seq_rm(lc.llama_get_memory(self._context), 0, n_shared, -1)
        self._decode(prompt[n_shared:])
        said: list[int] = []
        for idx in range(n_tokens):
            logits: Any = lc.llama_get_logits_ith(self._context, -1)
            said.append(int(np.ctypeslib.as_array(logits, (self._n_vocab,)).argmax()))
            if idx + 1 < n_tokens:
                self._decode(said[-1:])
        self._held = [*prompt, *said[:-1]]
        return said

    def free(self) -> None:
        """Let go of the memory."""
        lc.llama_free(self._context)
        lc.llama_model_free(self._model)

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        status = lc.llama_decode(self._context, lc.llama_batch_get_one(array, len(tokens)))
        assert status == 0, status


def keys(source: Source, n_keys: int) -> list[CompletionContext]:
    """The carets behind each of so many typed keys in the middle of a source, white space left out."""
    start = source.line_at(len(source.text) // 2).start
    found: list[CompletionContext] = []
    for offset in range(start + 1, len(source.text)):
        if len(found) == n_keys:
            break
        if source.text[offset - 1].isspace():
            continue
        document = Document.of(
            source.text[:offset] + source.text[_line_end(source, offset) :], "python"
        )
        found.append(gather(document, offset, parse(document), source.name))
    return found


def _line_end(source: Source, offset: int) -> int:
    """While a line is typed, its rest is not there yet."""
    end = source.text.find("\n", offset)
    return len(source.text) if end < 0 else end


async def measured(path: Path, n_keys: int, n_threads: int) -> list[dict[str, float]]:
    """For each key that a text of one line was said for: milliseconds of both, and tokens."""
    engine = Asked(LlamaEngine(path, EngineSettings(n_threads=n_threads)))
    info = await engine.info()
    raw = LlamaCpp(path, info.n_ctx, n_threads)
    settings = replace(SHOW_ALL, max_prefix_tokens=PREFIX_TOKENS, max_suffix_tokens=SUFFIX_TOKENS)
    source = max(held_out_sources(), key=lambda each: len(each.text))
    found: list[dict[str, float]] = []
    for context in keys(source, n_keys):
        began = time.perf_counter()
        completion = await complete(context, engine, settings)
        ended = time.perf_counter()
        usage = completion.usage
        if not usage.tokens_generated or context.extent != "line":
            continue
        raw_began = time.perf_counter()
        raw.generate(engine.prompt, usage.tokens_generated)
        raw_ended = time.perf_counter()
        found.append(
            {
                "ms": (ended - began) * 1e3,
                "llama_cpp_ms": (raw_ended - raw_began) * 1e3,
                "prompt_tokens": len(engine.prompt),
                "evaluated": usage.tokens_evaluated,
                "generated": usage.tokens_generated,
            }
        )
    await engine.close()
    raw.free()
    return found[1:]  # The first reads the whole prompt.


@click.command(help=__doc__)
@click.option("--model", type=click.Path(path_type=Path), help="By default the embedded one.")
@click.option("--keys", "n_keys", default=300, show_default=True, type=click.IntRange(2))
@click.option("--threads", default=default_threads(), type=click.IntRange(1))
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures here, as JSON.")
def main(model: Path | None, n_keys: int, threads: int, out: Path | None) -> None:
    path = model or embedded_model()
    found = asyncio.run(measured(path, n_keys, threads))
    figures = {
        "model": path.name,
        "cpu": cpu_model(),
        "threads": threads,
        "keys": len(found),
        "median": {name: round(statistics.median(_all(found, name)), 1) for name in found[0]},
        "p95_ms": round(quantile(_all(found, "ms"), 0.95), 1),
        "of_llama_cpp": round(
            statistics.median(each["ms"] / each["llama_cpp_ms"] for each in found), 2
        ),
        **circumstances([]),
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if out:
        out.write_text(text + "\n", "utf-8")


def _all(found: Sequence[dict[str, float]], name: str) -> list[float]:
    return [each[name] for each in found]


if __name__ == "__main__":
    main()
