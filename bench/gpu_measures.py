"""What the engine does with a model on this machine's devices, each figure by a plain function.

Made for the models of `bench.shapes`, whose continuation is known: every figure comes with whether the text
was right. They run on a CPU too, where `tests/bench/test_gpu.py` calls them with small sizes.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import random
import re
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.shapes import chain

from midfill.engine import Sampling, Usage
from midfill.engines.fit import Machine, shares
from midfill.engines.gguf_header import read_header
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import library
from midfill.engines.llama_load import load
from midfill.engines.llama_memory import this_machine
from midfill.engines.needs import Needs
from midfill.errors import ModelError
from midfill.settings import EngineSettings

Figures = dict[str, Any]

_PRE, _SUF, _MID = 32007, 32008, 32009
_ORDINARY = range(300, 32000)
"""Ids of Llama's pieces that are neither bytes nor control tokens."""


@dataclass(frozen=True)
class Sizes:
    """How much is read and generated. The default is for a GPU."""

    prompt: int = 2048
    """Tokens of a prompt that is read at once."""
    generated: int = 128
    """Tokens of one generation."""
    rounds: int = 5
    """Of each figure the median, or the given percentile, of so many; of keys and cancels, ten times as many."""


# Memory


def offload(path: Path, settings: EngineSettings, _sizes: Sizes) -> Figures:
    """Layers on the GPU, and the device memory they take beside what the plan reckons with."""
    machine = this_machine()
    began = time.perf_counter()
    with buffers() as its_buffers:
        loaded = load(path, settings, ctypes.create_string_buffer(2), lambda: True)
    load_s = time.perf_counter() - began
    model, context = loaded.model, loaded.context
    try:
        context.decode(0, [1], 0, n_logits=1)  # The first computation takes what is taken late.
        used = _free(machine) - _free(this_machine())
        needs = Needs.of(path.name, read_header(path))
        _, *on_gpus = shares(needs, machine, loaded.plan)
        return {
            "n_gpu_layers": loaded.info.n_gpu_layers,
            "n_layers_and_output": len(needs.layers) + 1,
            "n_cells": context.n_cells,
            "n_batch": context.n_batch,
            "load_s": round(load_s, 2),
            "reckoned_mib": _mib(sum(share.weights + share.kv for share in on_gpus)),
            "reckoned_compute_mib": _mib(sum(share.compute for share in on_gpus)),
            "gpu_free_before_mib": _mib(_free(machine)),
            "gpu_used_mib": _mib(used),
            "buffers_mib": its_buffers,
        }
    finally:
        context.free()
        model.free()


def _free(machine: Machine) -> int:
    return sum(gpu.free for gpu in machine.gpus)


def fallback(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """What is left of a load when there is less memory than it asks for; always the right text.

    Asked for: a context that no machine has room for; all layers although the GPU has room for a quarter; as many
    as fit there; and all layers on a GPU that is full.
    """
    enough = path.stat().st_size
    cases = {
        "huge context": (replace(settings, n_ctx=2**30, n_slots=64), None),
        "all layers, room for a quarter": (replace(settings, n_gpu_layers=999), enough // 4),
        "what fits, room for a half": (replace(settings, n_gpu_layers=-1), enough // 2 + 2**29),
        "all layers, no room": (replace(settings, n_gpu_layers=999), 0),
    }
    found: Figures = {}
    for name, (asked, n_bytes_left) in cases.items():
        with _ballast(n_bytes_left) as n_bytes_held:
            if n_bytes_left is None or n_bytes_held:
                found[name] = asyncio.run(_outcome(path, asked, sizes))
            else:
                found[name] = {"skipped": "no GPU"}
    return found


async def _outcome(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    began = time.perf_counter()
    with _warnings() as warnings:
        try:
            async with _engine(path, settings) as engine:
                info = await engine.info()
                load_s = round(time.perf_counter() - began, 2)
                told = await _tell(engine, [1, *_text(random.Random(0), 40)], sizes.generated)
        except ModelError as error:
            return {"error": str(error), "warnings": warnings}
    return {
        "n_gpu_layers": info.n_gpu_layers,
        "n_ctx": info.n_ctx,
        "load_s": load_s,
        "right": told.right,
        "warnings": warnings,
    }


@contextmanager
def _ballast(n_bytes_left: int | None) -> Generator[int, None, None]:
    """Holds the GPUs' memory but for `n_bytes_left`; tells how much it holds. None holds nothing."""
    base = _declared()
    held: list[int] = []
    n_held = 0
    try:
        for device in _gpus() if n_bytes_left is not None else ():
            kind = base.ggml_backend_dev_buffer_type(device)
            part = 2**30
            # One GPU keeps the bytes that are to be left; a driver may refuse before the last byte.
            while n_bytes_left is not None and part >= 2**24:
                free = _free(this_machine())
                buffer = (
                    base.ggml_backend_buft_alloc_buffer(kind, part)
                    if free - part >= n_bytes_left and n_held < _BALLAST_MOST
                    else None
                )
                if buffer:
                    held.append(buffer)
                    n_held += part
                else:
                    part //= 2
        yield n_held
    finally:
        for buffer in held:
            base.ggml_backend_buffer_free(buffer)


_BALLAST_MOST = 2**40
"""Where a driver does not tell what is in use, allocation would never end."""


def gpu_names() -> list[str]:
    """Devices that layers can go to, as llama.cpp names them."""
    return [_declared().ggml_backend_dev_name(device).decode() for device in _gpus()]


def _gpus() -> list[int]:
    ggml, base = library("ggml"), _declared()
    devices = [ggml.ggml_backend_dev_get(idx) for idx in range(ggml.ggml_backend_dev_count())]
    return [device for device in devices if base.ggml_backend_dev_type(device) in (1, 2)]


@cache
def _declared() -> ctypes.CDLL:
    """The library for devices and buffers. Each call of `library` may give another object, without the types."""
    this_machine()  # Declares what lists the devices.
    base, pointer = library("ggml-base"), ctypes.c_void_p
    base.ggml_backend_dev_type.argtypes = [pointer]
    for name, result, arguments in (
        ("ggml_backend_dev_name", ctypes.c_char_p, [pointer]),
        ("ggml_backend_dev_buffer_type", pointer, [pointer]),
        ("ggml_backend_buft_alloc_buffer", pointer, [pointer, ctypes.c_size_t]),
        ("ggml_backend_buffer_free", None, [pointer]),
    ):
        function = getattr(base, name)
        function.restype, function.argtypes = result, arguments
    return base


# Speed


async def speed(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """Tokens per second of reading a prompt, and of generating."""
    async with _engine(path, settings) as engine:
        told = [
            await _tell(engine, [1, *_text(random.Random(idx), sizes.prompt - 1)], sizes.generated)
            for idx in range(sizes.rounds + 1)
        ][1:]  # The first warms up.
    return {
        "n_prompt": sizes.prompt,
        "prefill_tokens_per_s": _median(t.usage.tokens_evaluated / t.read_s for t in told),
        "decode_tokens_per_s": _median((len(t.tokens) - 1) / t.rest_s for t in told),
        "right": all(t.right for t in told),
    }


def llama_bench(
    program: Path, path: Path, n_gpu_layers: int, n_threads: int, sizes: Sizes, *extra: str
) -> Figures:
    """The same from llama.cpp's own program."""
    command = [str(program), "-m", str(path), "-o", "json", "-ngl", str(n_gpu_layers)]
    command += ["-p", str(sizes.prompt), "-n", str(sizes.generated), "-r", str(sizes.rounds)]
    command += ["-t", str(n_threads), *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = {bool(run["n_gen"]): run for run in json.loads(done.stdout)}
    return {
        "command": " ".join(command[3:]),
        "backends": runs[True]["backends"],
        "prefill_tokens_per_s": round(runs[False]["avg_ts"], 1),
        "decode_tokens_per_s": round(runs[True]["avg_ts"], 1),
    }


async def typing(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """From a typed token to the first one of the answer, with the suffix in front and all but the key warm."""
    source = random.Random(0)
    suffix, prefix = _text(source, sizes.prompt // 4), _text(source, sizes.prompt * 3 // 4)
    n_keys = min(10 * sizes.rounds, len(prefix) // 2)
    told = []
    async with _engine(path, settings) as engine:
        for n_typed in range(len(prefix) - n_keys, len(prefix) + 1):
            prompt = [1, _PRE, _SUF, *suffix, _MID, *prefix[:n_typed]]
            told.append(await _tell(engine, prompt, 1))
    cold, *warm = told
    return {
        "n_prompt": len(prompt),
        "cold_first_token_ms": round(cold.first_s * 1e3, 2),
        "warm_first_token_ms": _spread(t.first_s for t in warm),
        "tokens_evaluated_most": max(t.usage.tokens_evaluated for t in warm),
        "right": all(t.right for t in told),
    }


async def cancels(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """From a cancel, at random moments of reading a prompt and of generating, until the engine is idle."""
    source = random.Random(0)
    idle_s: dict[str, list[float]] = {"prefill": [], "decode": []}
    n_kept = []
    async with _engine(path, settings) as engine:
        whole = [
            await _tell(engine, [1, *_text(source, sizes.prompt - 1)], sizes.generated)
            for _ in range(2)
        ][1]
        await _until_ended(engine, 2)
        for _ in range(10 * sizes.rounds):
            for phase, waited_s in (
                ("prefill", source.uniform(0, whole.read_s * 0.9)),
                ("decode", whole.read_s + source.uniform(0.1, 0.5) * whole.rest_s),
            ):
                engine.records.clear()
                prompt = [1, *_text(source, sizes.prompt - 1)]
                reader = asyncio.create_task(_tell(engine, prompt, sizes.generated))
                await asyncio.sleep(waited_s)
                if reader.done():
                    await _until_ended(engine, 1)
                    continue
                began = time.perf_counter()
                reader.cancel()
                await _until_ended(engine, 1)
                idle_s[phase].append(time.perf_counter() - began)
                await asyncio.wait([reader])
                # What was evaluated stays: the same prompt goes on where it was stopped.
                again = await _tell(engine, prompt, 1)
                await _until_ended(engine, 2)
                n_kept.append(again.usage.tokens_reused)
    return {
        "read_ms": round(whole.read_s * 1e3, 1),
        **{f"{phase}_to_idle_ms": _spread(times) for phase, times in idle_s.items()},
        "n_cancelled": sum(map(len, idle_s.values())),
        "n_kept": _spread(n_kept, 1),
    }


async def _until_ended(engine: LlamaEngine, n_jobs: int) -> None:
    # The record comes after the last piece: with it the thread is free.
    while len(engine.records) < n_jobs:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.0001)


async def drafting(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """What guessing gains where the answer repeats the prompt but for every 12th token, as a rename does."""
    spoken: dict[bool, list[_Told]] = {False: [], True: []}
    async with _engine(path, settings) as engine:
        for idx in range(sizes.rounds + 1):
            source = random.Random(idx)
            start = _start(source, 2 * sizes.generated)
            said = [start, *chain(start, sizes.generated + 16, _N_VOCAB)]
            before = [t if at % 12 else source.choice(_ORDINARY) for at, t in enumerate(said, 1)]
            prompt = [1, *_text(source, 40), *before, *_text(source, 20), *said[:8]]
            for draft, told in spoken.items():  # In turn, so that both see the same machine.
                sampling = Sampling(sizes.generated, copy=False, draft=draft)
                told.append(await _told(engine, prompt, sampling))
    rates = {
        draft: _median((len(t.tokens) - 1) / t.rest_s for t in told[1:])
        for draft, told in spoken.items()
    }
    usages = [t.usage for t in spoken[True][1:]]
    return {
        "decode_tokens_per_s": rates[False],
        "drafting_tokens_per_s": rates[True],
        "gain": round(rates[True] / rates[False], 2),
        "n_drafted": sum(usage.tokens_drafted for usage in usages),
        "n_accepted": sum(usage.tokens_accepted for usage in usages),
        "same_text": [t.tokens for t in spoken[False]] == [t.tokens for t in spoken[True]],
        "right": all(t.right for told in spoken.values() for t in told),
    }


async def both_roles(path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """First tokens of completions alone, and while a long generation runs that yields to them."""
    source = random.Random(0)
    suffix, prefix = _text(source, sizes.prompt // 8), _text(source, sizes.prompt // 4)
    n_keys = sizes.rounds * 2
    first_s: dict[bool, list[float]] = {False: [], True: []}
    right = []
    async with _engine(path, settings) as engine:

        async def type_keys(beside: bool, begin: int) -> None:
            for n_typed in range(begin, begin + n_keys):
                prompt = [1, _PRE, _SUF, *suffix, _MID, *prefix[:n_typed]]
                told = await _tell(engine, prompt, 4)
                right.append(told.right)
                if n_typed > begin:  # The first reads the whole prompt.
                    first_s[beside].append(told.first_s)
                await asyncio.sleep(0)

        await type_keys(False, len(prefix) - 2 * n_keys)
        explained = [1, *_text(source, sizes.prompt // 4)]
        sampling = Sampling(sizes.generated * 4, copy=False, yields=True)
        alone = await _told(engine, explained, sampling)
        explained[1:] = _text(source, sizes.prompt // 4)
        began = asyncio.Event()
        explanation = asyncio.create_task(_told(engine, explained, sampling, began))
        await began.wait()
        await type_keys(True, len(prefix) - n_keys)
        still_running = not explanation.done()
        told = await explanation
    return {
        "alone_first_token_ms": _spread(first_s[False]),
        "beside_first_token_ms": _spread(first_s[True]),
        "explanation_went_on_after": still_running,
        "explanation_tokens_per_s_alone": round(len(alone.tokens) / alone.rest_s, 1),
        "right": all(right) and alone.right and told.right,
    }


MEASURES: dict[str, Callable[[Path, EngineSettings, Sizes], Figures | Awaitable[Figures]]] = {
    "offload": offload,
    "speed": speed,
    "typing": typing,
    "cancels": cancels,
    "drafting": drafting,
    "both_roles": both_roles,
    "fallback": fallback,
}


def figures(name: str, path: Path, settings: EngineSettings, sizes: Sizes) -> Figures:
    """One measurement, by its name in `MEASURES`."""
    found = MEASURES[name](path, settings, sizes)
    if isinstance(found, dict):
        return found

    async def awaited() -> Figures:
        return await found

    return asyncio.run(awaited())


# One generation, timed where it is read


@dataclass(frozen=True)
class _Told:
    tokens: list[int]
    usage: Usage
    first_s: float
    """From the request to the first token."""
    read_s: float
    """Reading the prompt and drawing the first token, by the engine's clock."""
    rest_s: float
    """From the first token to the last."""
    right: bool
    """Whether it is what a model of `bench.shapes` says."""


async def _tell(engine: LlamaEngine, prompt: Sequence[int], n_tokens: int) -> _Told:
    return await _told(engine, prompt, Sampling(n_tokens, copy=False, draft=False))


async def _told(
    engine: LlamaEngine,
    prompt: Sequence[int],
    sampling: Sampling,
    began: asyncio.Event | None = None,
) -> _Told:
    tokens: list[int] = []
    asked_at = time.perf_counter()
    first_at = last_at = asked_at
    usage = Usage()
    async for piece in engine.generate(prompt, sampling):
        now = time.perf_counter()
        usage = piece.usage
        if piece.token_ids:
            if not tokens:
                first_at = now
                if began:
                    began.set()
            tokens += piece.token_ids
            last_at = now
    return _Told(
        tokens,
        usage,
        first_s=first_at - asked_at,
        read_s=usage.prefill_ms / 1e3,
        rest_s=max(last_at - first_at, 1e-9),
        right=tokens == chain(prompt[-1], sampling.max_tokens, _N_VOCAB),
    )


@asynccontextmanager
async def _engine(path: Path, settings: EngineSettings) -> AsyncGenerator[LlamaEngine, None]:
    engine = LlamaEngine(path, settings)
    try:
        await engine.info()
        yield engine
    finally:
        await engine.close()


_N_VOCAB = 32016
_ENDS = (2, 32010)


def _start(source: random.Random, n_tokens: int) -> int:
    """A token whose chain does not come to an end."""
    while True:
        start = source.choice(_ORDINARY)
        if not set(_ENDS) & set(chain(start, n_tokens, _N_VOCAB)):
            return start


def _text(source: random.Random, n_tokens: int) -> list[int]:
    """Tokens at random; the chains of all go on for a while."""
    *most, _last = source.choices(_ORDINARY, k=n_tokens)
    return [*most, _start(source, 1024)]


# What llama.cpp tells only in its log


@contextmanager
def buffers() -> Generator[dict[str, dict[str, float]], None, None]:
    """MiB of each device's buffers by their use, as they are allocated."""
    found: dict[str, dict[str, float]] = defaultdict(dict)

    def note(record: logging.LogRecord) -> None:
        if match := _BUFFER.search(record.getMessage()):
            device, use, mib = match.groups()
            found[device][use] = round(found[device].get(use, 0.0) + float(mib), 2)

    with _listening(logging.DEBUG, note):
        yield found


_BUFFER = re.compile(r"(\S+)\s+(model|KV|compute|output) buffer size = +([\d.]+) MiB")


@contextmanager
def _warnings() -> Generator[list[str], None, None]:
    found: list[str] = []
    with _listening(logging.WARNING, lambda record: found.append(record.getMessage())):
        yield found


class _Noting(logging.Handler):
    def __init__(self, level: int, note: Callable[[logging.LogRecord], object]) -> None:
        super().__init__(level)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record)


@contextmanager
def _listening(
    level: int, note: Callable[[logging.LogRecord], object]
) -> Generator[None, None, None]:
    logger = logging.getLogger("midfill.llama")
    before = logger.level
    handler = _Noting(level, note)
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _spread(values: Any, scale: float = 1e3) -> Figures:
    """Median, 95th percentile, most; of seconds in milliseconds."""
    ordered = sorted(value * scale for value in values)
    if not ordered:
        return {"p50": None, "p95": None, "most": None}
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(p95, 2),
        "most": round(ordered[-1], 2),
    }


def _median(values: Any) -> float:
    return round(float(statistics.median(values)), 1)


def _mib(n_bytes: float) -> float:
    return round(n_bytes / 2**20, 1)
