"""`python -m bench.soak`: much, many, and long, against the real processes, on this machine alone.

`load`      1,000 requests a second for a minute to one `midfill serve`: answers that are known, and requests that are
            cancelled at once, in equal parts. The engine is scripted, so that what is measured is the server.
`windows`   50 clients of one host, each with a text of its own, which ask as people type.
`editing`   somebody types for hours, faster than anyone: `bench.replay`'s typing with its pauses, and the editor's rest
            before it asks, made shorter. `--hours 8 --faster 26` takes some 20 minutes where the machine keeps up; what
            it types late is caught up with, so a slower machine takes longer and types no less.

One JSON object is printed for each: what was asked and answered, and what memory, descriptors and threads did.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import psutil
from bench.replay.connection import Connection, to_process
from bench.replay.editor import VS_CODE, Editor
from bench.replay.traces import Trace, type_file
from bench.watching import Watched, circumstances, quantiles

from midfill.engine import Sampling
from midfill.engines.host_stats import running_hosts
from midfill.engines.state import HostFiles
from midfill.engines.supervisor import HostEngine
from midfill.settings import EngineSettings

N_DOCUMENTS = 20
SOURCE = "def add(a, b):\n    return "
TICK_S = 0.01
LEAST_REST_MS = 2.0
"""Of an editor before it asks. Shorter, it would ask with each key."""
REST_S = 2.0
"""Whoever types rests now and then, which is when the server tidies up."""
LAST_S = 30.0
"""How long the last answers are waited for."""


@click.command(help="Much, many, and long.")
@click.argument("kind", type=click.Choice(["load", "windows", "editing"]))
@click.option("--seconds", type=click.FloatRange(1, 8 * 3600), default=60.0, show_default=True)
@click.option("--rate", type=click.IntRange(1, 5000), default=1000, show_default=True)
@click.option("--clients", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--faster", type=float, default=8.0, show_default=True, help="Than people type.")
@click.option("--hours", type=float, help="Of typing, in place of --seconds.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write it there.")
def main(
    kind: str,
    seconds: float,
    rate: int,
    clients: int,
    faster: float,
    hours: float | None,
    out: Path | None,
) -> None:
    works = {
        "load": lambda folder: load(folder, seconds, rate),
        "windows": lambda folder: windows(folder, seconds, clients),
        "editing": lambda folder: editing(folder, seconds, faster, hours),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(works[kind](Path(folder)))
    text = json.dumps({"kind": kind, **found}, indent=1)
    click.echo(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")


@dataclass
class Answers:
    """When requests were sent, cancelled and answered, by their ids."""

    connection: Connection
    known_ms: list[float] = field(default_factory=list)
    cancelled_ms: list[float] = field(default_factory=list)
    empty: int = 0
    open: int = 0

    def ask(self, uri: str, line: int, character: int, *, cancelled: bool) -> None:
        """Ask, and perhaps cancel at once."""
        params = {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 2},
        }
        request_id, answer = self.connection.ask("textDocument/inlineCompletion", params)
        sent = time.perf_counter()
        self.open += 1
        if cancelled:
            self.connection.cancel(request_id)

        def answered(done: asyncio.Future[dict[str, Any]]) -> None:
            self.open -= 1
            ms = 1000 * (time.perf_counter() - sent)
            (self.cancelled_ms if cancelled else self.known_ms).append(ms)
            self.empty += not cancelled and not (done.result().get("result") or {}).get("items")

        answer.add_done_callback(answered)


async def load(folder: Path, seconds: float, rate: int) -> dict[str, Any]:
    """So many requests a second to one server."""
    options = {"index": {"enabled": False}, "completion": {"ahead": False}}
    async with to_process(("--model", "fake:text=a %2B b"), folder) as (connection, process):
        capabilities: dict[str, Any] = {"textDocument": {"inlineCompletion": {}}}
        params = {"processId": None, "capabilities": capabilities, "initializationOptions": options}
        await connection.request("initialize", params)
        connection.notify("initialized", {})
        uris = [f"file:///work/space/example{n}.py" for n in range(N_DOCUMENTS)]
        for uri in uris:
            item = {"uri": uri, "languageId": "python", "version": 1, "text": SOURCE + "\n"}
            connection.notify("textDocument/didOpen", {"textDocument": item})
            where = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 11}}
            await connection.request(
                "textDocument/inlineCompletion", where | {"context": {"triggerKind": 2}}
            )
        watched = Watched(lambda: {"server": process.pid}, every_s=1.0)
        watching = asyncio.ensure_future(watched.run())
        cpu = psutil.Process(process.pid)
        cpu_before = sum(cpu.cpu_times()[:2])
        answers, n_asked, began = Answers(connection), 0, time.perf_counter()
        rng = random.Random(1)
        while (passed := time.perf_counter() - began) < seconds:
            for _ in range(int(passed * rate) - n_asked):
                uri, cancelled = rng.choice(uris), n_asked % 2 == 1
                # One that is to be cancelled asks where nothing is known, so that an engine has to be stopped.
                answers.ask(uri, 1, rng.randrange(4, 10) if cancelled else 11, cancelled=cancelled)
                n_asked += 1
            assert process.stdin is not None
            await process.stdin.drain()
            await asyncio.sleep(TICK_S)
        asked_s = time.perf_counter() - began
        until = time.perf_counter() + LAST_S
        while answers.open and time.perf_counter() < until:  # noqa: ASYNC110 - an event for each of many answers costs more
            await asyncio.sleep(TICK_S)
        all_s = time.perf_counter() - began
        cpu_ms = 1000 * (sum(cpu.cpu_times()[:2]) - cpu_before)
        watching.cancel()
    n_answered = len(answers.known_ms) + len(answers.cancelled_ms)
    return {
        "circumstances": circumstances(watched.load),
        "asked": n_asked,
        "asked_per_s": round(n_asked / asked_s, 1),
        "answered_per_s": round(n_answered / all_s, 1),
        "server_cpu_ms_each": round(cpu_ms / n_asked, 3),
        "unanswered": answers.open,
        "answered_twice": sum(n > 1 for n in connection.n_answers.values()),
        "empty_of_known": answers.empty,
        "known_ms": quantiles(answers.known_ms),
        "cancelled_ms": quantiles(answers.cancelled_ms),
        "processes": watched.report(),
    }


async def windows(folder: Path, seconds: float, n_clients: int) -> dict[str, Any]:
    """So many clients of one host with the embedded model, each of which asks every second or so."""
    settings = EngineSettings(host_linger_s=0, tune=False)
    engines = [HostEngine(settings, folder=folder) for _ in range(n_clients)]
    await engines[0].info()
    pid = _host_pid(folder)
    watched = Watched(lambda: {"host": pid} if pid else {}, every_s=1.0)
    times: list[list[float]] = [[] for _ in engines]
    failed = [0] * n_clients
    until = time.perf_counter() + seconds

    async def window(idx: int) -> None:
        rng, engine = random.Random(idx), engines[idx]
        text = f"def add_{idx}(a, b):\n    return a + b\n\n\ndef sub_{idx}(a, b):\n    return "
        while time.perf_counter() < until:
            await asyncio.sleep(rng.uniform(0.5, 1.5) * n_clients / 25)
            sent = time.perf_counter()
            try:
                text += rng.choice("abcdefgh")
                prompt = await engine.tokenize(text)
                async for _ in engine.generate(prompt, Sampling(max_tokens=4)):
                    pass
            except Exception:  # Counted, whatever it is.
                failed[idx] += 1
            times[idx].append(1000 * (time.perf_counter() - sent))

    try:
        await asyncio.gather(*(engine.info() for engine in engines))
        watching = asyncio.ensure_future(watched.run())
        await asyncio.gather(*map(window, range(n_clients)))
        watching.cancel()
        hosts = await running_hosts(folder)
    finally:
        await asyncio.gather(*(engine.close() for engine in engines))
    each = [quantiles(ms) for ms in times]
    medians = [found["p50"] for found in each if found]
    return {
        "circumstances": circumstances(watched.load),
        "clients": n_clients,
        "hosts": len(hosts),
        "leases": int(sum(host.value("midfill_clients") for host in hosts)),
        "requests": sum(map(len, times)),
        "failed": sum(failed),
        "all_ms": quantiles(ms for one in times for ms in one),
        "p50_ms_of_windows": [min(medians), max(medians)],
        "p99_ms_of_windows": [f([found["p99"] for found in each if found]) for f in (min, max)],
        "fairness": _jain(medians),
        "processes": watched.report(),
    }


async def editing(
    folder: Path, seconds: float, faster: float, hours: float | None = None
) -> dict[str, Any]:
    """Somebody types, `faster` than people do, in one file after another, in one window.

    For so many seconds; or until so many hours of typing are done, however long that takes.
    """
    source = Path(__file__).with_name("holes_scoring.py").read_text("utf-8")
    totals = dict.fromkeys(("keys", "asked", "unanswered", "answered_twice", "stale", "shown"), 0)
    typed_s, began, times = 0.0, time.perf_counter(), list[float]()
    options = {"engine": {"nThreads": 1, "tune": False, "hostLingerS": 0}}
    async with to_process((), folder) as (connection, process):

        def find() -> dict[str, int]:
            pid = _host_pid(folder)
            return {"server": process.pid} | ({"host": pid} if pid else {})

        watched = Watched(find, every_s=5.0)
        watching = asyncio.ensure_future(watched.run())
        n_round = 0
        policy = replace(VS_CODE, debounce_ms=max(LEAST_REST_MS, VS_CODE.debounce_ms / faster))

        def goes_on() -> bool:
            return typed_s < 3600 * hours if hours else time.perf_counter() - began < seconds

        while goes_on():
            n_round += 1
            trace = type_file(f"round{n_round}.py", "python", source, 300, n_round)
            typed_s += sum(key.gap_ms for key in trace.keys) / 1000
            editor = Editor(connection, policy, quicker(trace, faster))
            if n_round == 1:
                await editor.initialize(options)
                await editor.ask_by_hand()
            else:
                item = {"uri": f"file:///replay/{trace.name}", "languageId": "python", "version": 1}
                item["text"] = trace.start
                connection.notify("textDocument/didOpen", {"textDocument": item})
            record = await editor.play()
            await asyncio.sleep(REST_S)
            connection.notify(
                "textDocument/didClose", {"textDocument": {"uri": f"file:///replay/{trace.name}"}}
            )
            answered = [a.answered_ms - a.at_ms for a in record.asked if a.answered_ms is not None]
            times += answered
            totals["keys"] += len(trace.keys)
            totals["asked"] += len(record.asked)
            totals["unanswered"] += len(record.asked) - len(answered)
            totals["stale"] += sum(shown.stale for shown in record.displays)
            totals["shown"] += len(record.displays)
            totals["answered_twice"] = record.n_answered_twice
        watching.cancel()
    return {
        "circumstances": circumstances(watched.load),
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "hours_of_typing": round(typed_s / 3600, 2),
        "faster": faster,
        **totals,
        "answered_ms": quantiles(times),
        "processes": watched.report(),
    }


def quicker(trace: Trace, faster: float) -> Trace:
    """The same with shorter pauses."""
    return replace(
        trace, keys=tuple(replace(key, gap_ms=key.gap_ms / faster) for key in trace.keys)
    )


def _host_pid(folder: Path) -> int | None:
    """The host that has named itself in a folder."""
    states = (files.read() for files in HostFiles.all_in(folder))
    return next((state.pid for state in states if state is not None), None)


def _jain(values: list[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has it all."""
    squares = sum(value**2 for value in values)
    return round(sum(values) ** 2 / (len(values) * squares), 3) if squares else 1.0


if __name__ == "__main__":
    main()
