"""What `bench.engine` measures besides speed: cancels, what guessing saves in edits, and a host under load."""

from __future__ import annotations

import ast
import asyncio
import multiprocessing
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from midfill.engine import Sampling
from midfill.engines.access import Access
from midfill.engines.host import run_host
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_context import LlamaContext
from midfill.engines.llama_sampling import Greedy
from midfill.engines.remote import RemoteEngine
from midfill.engines.state import HostState
from midfill.settings import EngineSettings

Figures = dict[str, Any]

ROOT = Path(__file__).parents[1]
_TEXT = "".join(path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py")))


# Cancels


async def cancels(path: Path, settings: EngineSettings, n_rounds: int) -> Figures:
    """From a cancel at a random moment, of reading and of generating, until the engine's thread is free."""
    source = random.Random(0)
    engine = LlamaEngine(path, settings)
    info = await engine.info()
    loaded = await engine._loaded()
    loaded.model.end_ids = ()
    code = await engine.tokenize(_TEXT)
    n_prompt, n_generated = min(1024, info.n_ctx // 2), min(128, info.n_ctx // 4)
    sampling = Sampling(n_generated, copy=False, draft=False)
    starts = iter(range(0, len(code) - n_prompt, 7))

    async def run(prompt: Sequence[int]) -> tuple[float, float]:
        usage = [piece.usage async for piece in engine.generate(prompt, sampling)][-1]
        return usage.prefill_ms / 1e3, usage.decode_ms / 1e3

    def prompt() -> list[int]:
        # A first token of its own, so that nothing of it was read before.
        start = next(starts)
        return [source.randrange(300, 1000), *code[start : start + n_prompt - 1]]

    await run(prompt())
    read_s, written_s = await run(prompt())
    while len(engine.records) < 2:  # noqa: ASYNC110 - a record comes after the last piece
        await asyncio.sleep(0)
    idle_ms: dict[str, list[float]] = {"reading": [], "generating": []}
    for _ in range(n_rounds):
        for phase, wait_s in (
            ("reading", source.uniform(0.05, 0.9) * read_s),
            ("generating", read_s + source.uniform(0.1, 0.8) * written_s),
        ):
            engine.records.clear()
            reader = asyncio.ensure_future(run(prompt()))
            await asyncio.sleep(wait_s)
            began = time.perf_counter()
            reader.cancel()
            while not engine.records:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            if engine.records[0].usage.stop_reason == "cancelled":
                idle_ms[phase].append((time.perf_counter() - began) * 1e3)
            await asyncio.wait([reader])
    n_batch = loaded.context.n_batch
    await engine.close()
    return {
        "n_batch": n_batch,
        "batch_ms": round(read_s * 1e3 / n_prompt * n_batch, 2),
        **{f"cancel_while_{phase}_ms": _spread(values) for phase, values in idle_ms.items()},
    }


# Edits


class Rename(NamedTuple):
    """An edit that repeats nearly all of what it was given."""

    before: str
    after: str
    old: str
    new: str


def renames(n_most: int) -> list[Rename]:
    """Functions of this repository in which the commonest name is replaced; the same ones in each run."""
    found: list[Rename] = []
    for path in sorted((ROOT / "fim" / "midfill").glob("*.py")):
        source = path.read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            text = ast.get_source_segment(source, node, padded=True) or ""
            names = Counter(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
            old = next((it for it, n in names.most_common() if len(it) > 3 and n > 2), None)
            if old is not None and 12 <= text.count("\n") <= 40:
                styles = (f"renamed_{old}", f"new{old.title().replace('_', '')}", "value")
                new = styles[len(found) % len(styles)]
                found.append(Rename(text, re.sub(rf"\b{old}\b", new, text), old, new))
    return found[:: max(1, len(found) // n_most)][:n_most]


async def edits(
    path: Path, settings: EngineSettings, n_edits: int, share: slice = slice(None)
) -> Figures:
    """Renames with and without guessing, in turn. The model is told what to say, so that it need not be able to.

    The gain is in processor time too, which other programs on the machine change less.

    Args:
        share: which of the renames, for a machine on which all of them take too long at once.
    """
    engine = LlamaEngine(path, settings)
    info = await engine.info()
    (await engine._loaded()).model.end_ids = ()
    gains: list[float] = []
    processor_gains: list[float] = []
    n_drafted, n_accepted, n_said = 0, 0, 0
    for rename in renames(n_edits)[share]:
        asked = (
            f"```python\n{rename.before}\n```\nRename {rename.old} to {rename.new}.\n```python\n"
        )
        prompt, said = await engine.tokenize(asked), await engine.tokenize(rename.after)
        if len(prompt) + len(said) >= info.n_ctx:
            continue
        took_ms, computed_s = {}, {}
        for draft in (False, True):
            # Reading is not what is measured, so it is done before.
            async for _piece in engine.generate(prompt, Sampling(0)):
                pass
            began_s = time.process_time()
            with _saying(said):
                pieces = engine.generate(prompt, Sampling(len(said), copy=False, draft=draft))
                told = [piece async for piece in pieces]
            computed_s[draft] = time.process_time() - began_s
            assert [token for piece in told for token in piece.token_ids] == said
            usage = told[-1].usage
            took_ms[draft] = usage.decode_ms
        gains.append(took_ms[False] / took_ms[True])
        processor_gains.append(computed_s[False] / computed_s[True])
        n_drafted += usage.tokens_drafted
        n_accepted += usage.tokens_accepted
        n_said += len(said)
    await engine.close()
    return {
        "edits": len(gains),
        "gain": _median(gains),
        "gain_least": round(min(gains), 2) if gains else None,
        "gain_in_processor_time": _median(processor_gains),
        "each_in_processor_time": [round(gain, 2) for gain in processor_gains],
        "tokens_said": n_said,
        "tokens_drafted": n_drafted,
        "tokens_accepted": n_accepted,
    }


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None


@contextmanager
def _saying(tokens: Sequence[int]) -> Iterator[None]:
    """Generations say these, at the cost of what they would say."""
    left = iter(tokens)

    class Scripted(Greedy):
        def draw(self, context: LlamaContext, row: int) -> tuple[int, float]:
            _, log_probability = super().draw(context, row)
            return next(left), log_probability

    with patch("midfill.engines.llama_generation.sampler_of", lambda _sampling: Scripted()):
        yield


# A host


async def host_load(path: Path, settings: EngineSettings, n_clients: int, load_s: float) -> Figures:
    """How late the host's event loop is while so many clients ask at once, one of them for an explanation.

    The host runs in this process, with a task that sleeps for 2 ms and looks how long it took; the clients run in
    another.
    """
    listening: asyncio.Future[HostState] = asyncio.get_running_loop().create_future()
    host = asyncio.ensure_future(
        run_host(str(path), settings, token="bench", listening=listening.set_result, grace_s=600)
    )
    port = (await listening).port
    waiting = RemoteEngine(f"http://127.0.0.1:{port}", Access(key="bench"))
    await waiting.info()
    await waiting.close()
    processes = multiprocessing.get_context("spawn")
    done = processes.Queue()
    clients = processes.Process(target=_clients, args=(port, n_clients, load_s, done))
    clients.start()
    late_ms = []
    while clients.is_alive():
        began = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        late_ms.append((time.perf_counter() - began - _TICK_S) * 1e3)
    host.cancel()
    await asyncio.wait([host])
    return {"clients": n_clients, "answers": done.get(), "loop_late_ms": _spread(late_ms)}


_TICK_S = 0.002


def _clients(port: int, n_clients: int, load_s: float, done: Any) -> None:
    done.put(asyncio.run(_load(port, n_clients, load_s)))


async def _load(port: int, n_clients: int, load_s: float) -> int:
    engines = [
        RemoteEngine(f"http://127.0.0.1:{port}", Access(key="bench")) for _ in range(n_clients)
    ]
    until = time.monotonic() + load_s
    n_answers = 0

    async def ask(idx: int, engine: RemoteEngine) -> None:
        nonlocal n_answers
        source = random.Random(idx)
        explains = idx == 0
        asked = Sampling(200 if explains else 16, yields=explains)
        while True:
            start = source.randrange(len(_TEXT) - 2000)
            prompt = (await engine.tokenize(_TEXT[start : start + 1500]))[:400]
            async for _piece in engine.generate(prompt, asked):
                pass
            n_answers += 1
            if time.monotonic() > until:
                break
        await engine.close()

    await asyncio.gather(*(ask(idx, engine) for idx, engine in enumerate(engines)))
    return n_answers


def _spread(values: Sequence[float]) -> Figures:
    ordered = sorted(values)

    def at(share: float) -> float | None:
        return (
            round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None
        )

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "worst": at(1)}
