"""`python -m bench.stream`: an hour of editing as 500 requests, asked of our host and of a `llama-server`.

The same states of the same files go to each in turn, with the same weights, windows and budget: typing, jumps of
the caret, two files in turn, one explanation in between. What is compared is the time to the last token and
the prompt tokens that were evaluated. Nothing is evaluated between two requests: nobody rests here. llama-server is
asked at `/infill` with its prompt cache, `--cache-reuse` and as many slots; once as it comes and once with
`--spm-infill`, which puts the suffix first as we do, though not in Code Llama's order.

How long a person types between two jumps is drawn from what an editing trace shows (the Svelte trace of
josephg/editing-traces: 75 % of all edits are in runs of eight and more).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import click
import httpx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from midfill.context import CompletionContext, gather
from midfill.engine import Engine, Sampling
from midfill.engines.supervisor import HostEngine
from midfill.formats import Tokenize, format_of
from midfill.prompt import (
    CHARS_PER_TOKEN,
    STEP_CHARS,
    Budget,
    budget_of,
    prefix_window,
    render,
    suffix_window,
)
from midfill.settings import CompletionSettings, EngineSettings
from midfill.text import Document
from midfill_models import embedded_model

ROOT = Path(__file__).resolve().parents[1]
FILES = ("fim/midfill/engines/dialect.py", "fim/midfill/validity.py")

Kind = Literal["typing", "jump", "other file", "explanation"]

RUNS = (4, 6, 8, 8, 12, 12, 16, 16, 24, 40)
"""Keys between two jumps, drawn evenly."""
SWITCH_SHARE = 0.25
"""Of the jumps, those to the other file."""
EXPLAINED_TOKENS = 48
WINDOW = CompletionSettings(max_prefix_tokens=900, max_suffix_tokens=300)
N_SLOTS = 4
N_CTX = 4096


@dataclass(frozen=True)
class State:
    """One request of the stream."""

    kind: Kind
    text: str
    offset: int

    def context(self) -> CompletionContext:
        """What a server knows at the caret; the tree is not needed for a prompt."""
        return gather(Document.of(self.text, "python"), self.offset, None)


@dataclass(frozen=True)
class Cost:
    """What one request cost one server."""

    ms: float
    tokens_evaluated: int


class Server(Protocol):
    """Somebody who completes."""

    async def ask(self, state: State, n_tokens: int) -> Cost:
        """Complete at the state's caret, `n_tokens` at most."""


def states(texts: Sequence[str], n_states: int, seed: int) -> list[State]:
    """The stream: a line is chosen, its end taken away and typed again, key by key."""
    rng = random.Random(seed)
    result: list[State] = []
    file_idx = 0
    while len(result) < n_states:
        kind: Kind = "jump"
        if result and rng.random() < SWITCH_SHARE:
            file_idx = (file_idx + 1) % len(texts)
            kind = "other file"
        text = texts[file_idx]
        lines = text.splitlines(keepends=True)
        line_idx = rng.choice([idx for idx, line in enumerate(lines) if len(line.strip()) > 8])
        line_start = sum(map(len, lines[:line_idx]))
        end = line_start + len(lines[line_idx]) - 1
        start = end - len(lines[line_idx].strip()) + 3
        for n_typed in range(min(rng.choice(RUNS), end - start)):
            caret = start + n_typed
            result.append(
                State(kind if n_typed == 0 else "typing", text[:caret] + text[end:], caret)
            )
    middle = result[n_states // 2]
    result[n_states // 2] = State("explanation", middle.text, middle.offset)
    return result[:n_states]


class Ours:
    """Our host over HTTP, asked as the product asks."""

    def __init__(self, engine: Engine, budget: Budget) -> None:
        self._engine = engine
        self._budget = budget

    async def ask(self, state: State, n_tokens: int) -> Cost:
        """Ask for a completion, or for a longer text that yields."""
        started = time.perf_counter()
        model = await self._engine.info()
        explains = state.kind == "explanation"
        prompt = await render(
            state.context(), format_of(model), self._engine.tokenize, self._budget, "auto"
        )
        sampling = Sampling(
            n_tokens,
            stop_ids=() if explains else prompt.end_ids,
            instead=() if explains else prompt.instead,
            heal=not explains,
            yields=explains,
            copy=False,
        )
        # An explanation has another prompt than any completion: here the text alone.
        ids = prompt.ids if not explains else prompt.ids[2:]
        usage = None
        async for piece in self._engine.generate(ids, sampling):
            usage = piece.usage
        assert usage is not None
        ms = (time.perf_counter() - started) * 1e3
        return Cost(ms, usage.tokens_evaluated)


class Theirs:
    """A `llama-server` over HTTP, asked as llama.vim asks."""

    def __init__(self, url: str, budget: Budget, tokenize: Tokenize) -> None:
        self._budget, self._tokenize = budget, tokenize
        self._client = httpx.AsyncClient(base_url=url, timeout=None, trust_env=False)

    async def ask(self, state: State, n_tokens: int) -> Cost:
        """Ask `/infill`, or `/completion` for an explanation."""
        context = state.context()
        prefix, suffix = await windows(context, self._budget, self._tokenize)
        common = {"n_predict": n_tokens, "temperature": 0, "top_k": 1, "cache_prompt": True}
        started = time.perf_counter()
        if state.kind == "explanation":
            body = common | {"prompt": prefix + suffix}
            answer = await self._client.post("/completion", json=body)
        else:
            # llama.vim sends the caret's line apart; the server puts it behind the prefix.
            body = common | {"input_prefix": prefix, "input_suffix": suffix, "prompt": ""}
            answer = await self._client.post("/infill", json=body)
        if answer.is_error:
            raise click.ClickException(f"llama-server refuses: {answer.text}")
        ms = (time.perf_counter() - started) * 1e3
        return Cost(ms, int(answer.json()["timings"]["prompt_n"]))


async def windows(
    context: CompletionContext, budget: Budget, tokenize: Tokenize
) -> tuple[str, str]:
    """The text on both sides that our prompt has room for, its edges where ours move too."""
    prefix_chars = budget.prefix_tokens * CHARS_PER_TOKEN
    suffix_chars = budget.suffix_tokens * CHARS_PER_TOKEN
    prefix = prefix_window(context.prefix, prefix_chars)
    while len(await tokenize(prefix)) > budget.prefix_tokens:
        prefix_chars -= STEP_CHARS // 8
        prefix = prefix_window(context.prefix, prefix_chars)
    suffix = suffix_window(context.suffix, suffix_chars)
    while len(await tokenize(suffix)) > budget.suffix_tokens:
        suffix_chars -= STEP_CHARS // 8
        suffix = suffix_window(context.suffix, suffix_chars)
    return prefix, suffix


async def measure(
    servers: dict[str, Server], stream: Sequence[State], n_tokens: int, progress: Progress
) -> dict[str, list[Cost]]:
    """Every state asked of every server, one after the other, so that the machine's moods strike all alike."""
    costs: defaultdict[str, list[Cost]] = defaultdict(list)
    for state in progress.track(stream, description="Asking"):
        for name, server in servers.items():
            wanted = EXPLAINED_TOKENS if state.kind == "explanation" else n_tokens
            costs[name].append(await server.ask(state, wanted))
    return dict(costs)


def report(costs: dict[str, list[Cost]], stream: Sequence[State]) -> dict[str, Any]:
    """Sums and medians by kind, and ours as a share of each other."""
    kinds: list[str] = [*dict.fromkeys(state.kind for state in stream), "all"]
    result: dict[str, Any] = {"n": {}, "servers": {}, "ours_over": {}}
    for name, of_server in costs.items():
        for kind in kinds:
            chosen = [
                cost
                for cost, state in zip(of_server, stream, strict=True)
                if kind in (state.kind, "all")
            ]
            result["n"][kind] = len(chosen)
            result["servers"].setdefault(name, {})[kind] = {
                "ms": round(sum(cost.ms for cost in chosen)),
                "ms_median": round(statistics.median(cost.ms for cost in chosen), 1),
                "tokens_evaluated": sum(cost.tokens_evaluated for cost in chosen),
            }
    ours = result["servers"]["midfill"]
    for name in costs.keys() - {"midfill"}:
        theirs = result["servers"][name]
        result["ours_over"][name] = {
            kind: {
                "ms": round(ours[kind]["ms"] / theirs[kind]["ms"], 3),
                "tokens_evaluated": round(
                    ours[kind]["tokens_evaluated"] / max(1, theirs[kind]["tokens_evaluated"]), 3
                ),
            }
            for kind in kinds
        }
    return result


def table_of(measured: dict[str, Any]) -> Table:
    """The report as a table."""
    table = Table("request", "n")
    names = list(measured["servers"])
    for name in names:
        table.add_column(f"{name}: ms, median", justify="right")
        table.add_column("tokens evaluated", justify="right")
    for kind, n in measured["n"].items():
        cells = []
        for name in names:
            one = measured["servers"][name][kind]
            cells += [f"{one['ms']} ({one['ms_median']})", str(one["tokens_evaluated"])]
        table.add_row(kind, str(n), *cells)
    return table


@contextlib.asynccontextmanager
async def our_host(model: Path, threads: int) -> AsyncIterator[tuple[Server, Budget, Tokenize]]:
    """Our host in a process of its own, and a client of it over HTTP, as an editor's server is one."""
    with tempfile.TemporaryDirectory() as folder:
        settings = EngineSettings(
            model=str(model), n_threads=threads, n_slots=N_SLOTS, n_ctx=N_CTX, tune=False
        )
        engine = HostEngine(replace(settings, host_linger_s=0), folder=Path(folder))
        try:
            budget = budget_of(await engine.info(), WINDOW, EXPLAINED_TOKENS)
            yield Ours(engine, budget), budget, engine.tokenize
        finally:
            await engine.close()


@contextlib.asynccontextmanager
async def llama_server(
    binary: str, model: Path, threads: int, options: Sequence[str], *window: Any
) -> AsyncIterator[Server]:
    """A `llama-server` of the same weights, asked as llama.vim asks."""
    options = ("-c", str(N_CTX), "--parallel", str(N_SLOTS), "--kv-unified", *options)
    async with running_llama_server(
        binary, model, threads, ("--cache-reuse", "64", *options)
    ) as url:
        yield Theirs(url, *window)


@contextlib.asynccontextmanager
async def running_llama_server(
    binary: str, model: Path, threads: int, options: Sequence[str]
) -> AsyncIterator[str]:
    """The address of a `llama-server` that is ready; it ends with the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary, "-m", str(model), "--port", str(port), "--host", "127.0.0.1"]
    command += ["-t", str(threads), "--no-webui", *options]
    silent = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=silent, stderr=silent)
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            await _until_ready(client, process)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    while True:
        if process.returncode is not None:
            raise click.ClickException("llama-server ended; run it by hand to see why.")
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/health")).is_success:
                return
        await asyncio.sleep(0.1)


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="By default the embedded one.")
@click.option("--llama-server", "binary", default="llama-server", help="Program to compare with.")
@click.option("--requests", type=click.IntRange(10), default=500)
@click.option("--tokens", type=click.IntRange(1), default=8, help="Generated for each.")
@click.option("--threads", type=click.IntRange(1), default=1)
@click.option("--seed", type=int, default=1)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures here, as JSON.")
def main(
    model: Path | None,
    binary: str,
    requests: int,
    tokens: int,
    threads: int,
    seed: int,
    out: Path | None,
) -> None:
    """Ask the stream of our host and of llama-server, and say what each took."""
    if not shutil.which(binary):
        raise click.ClickException(f"There is no {binary}; name one with --llama-server.")
    path = model or embedded_model()
    stream = states([(ROOT / name).read_text("utf-8") for name in FILES], requests, seed)

    async def asked() -> dict[str, Any]:
        async with contextlib.AsyncExitStack() as stack:
            ours, *window = await stack.enter_async_context(our_host(path, threads))
            servers: dict[str, Server] = {"midfill": ours}
            for options in ((), ("--spm-infill",)):
                theirs = llama_server(binary, path, threads, options, *window)
                servers[" ".join(("llama-server", *options))] = await stack.enter_async_context(
                    theirs
                )
            progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
            return report(await measure(servers, stream, tokens, progress), stream)

    measured = {"model": path.name, "tokens": tokens, "threads": threads, **asyncio.run(asked())}
    Console().print(table_of(measured))
    Console().print_json(json.dumps(measured["ours_over"]))
    if out:
        out.write_text(json.dumps(measured, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
