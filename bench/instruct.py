"""`python -m bench.instruct --model FILE`: what an instruct model's explanations and edits are worth.

Every item is a function with tests of its own (`bench.instruct_items`). Each task is asked as the product asks it. What
the product would offer is put in its place: it is parsed, its signature compared with the one before, and the item's
tests are run in a sandbox. `fix` begins with the function that has a mistake; all others with the right one, whose
tests must go on to pass.

`--latency` measures the server as an editor sees it: how long the first facts of an explanation take, and how much
longer a completion takes while an explanation is being written.
"""

from __future__ import annotations

import ast
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from bench.holes import circumstances, open_here
from bench.holes_systems import RecordingEngine
from bench.instruct_items import Item, built_in, read_items
from bench.instruct_latency import latency
from bench.sandbox import Outcome, outcome, without_network
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from midfill.edits import applied
from midfill.engine import Engine, Piece, Sampling
from midfill.errors import EngineRefused, MidfillError
from midfill.instruct import explanation, proposal, tasks
from midfill.settings import EngineSettings, Settings
from midfill.subject import Subject, subject_at
from midfill.syntax import parse
from midfill.text import Document
from midfill_models import TEST_INSTRUCT_MODEL, embedded_model

EXPLAIN, FIX = "explain", "fix"
TASKS = (EXPLAIN, FIX, "simplify", "document", "types", "rename", "modernise")
TIME_LIMIT_S = 10.0

Made = Literal["offered", "nothing", "refused"]
"""An edit, nothing to do, or no edit that could be verified."""


@dataclass(frozen=True)
class Result:
    """What came of one task for one item."""

    item: Item
    task: str
    made: Made
    text: str
    """The edited file, or what the explanation says."""
    reason: str
    parses: bool = False
    keeps_signature: bool = False
    outcome: Outcome = "failed"
    n_answers: int = 0
    copied_share: float = 0.0
    first_token_ms: float | None = None
    whole_ms: float = 0.0


class Timed(RecordingEngine):
    """An engine whose generations are timed: when the first token of each came, from when it was asked for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.first_ms: list[float] = []

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        asked, first = time.perf_counter(), True
        async with aclosing(super().generate(prompt, sampling)) as pieces:
            async for piece in pieces:
                if first:
                    self.first_ms.append(1000 * (time.perf_counter() - asked))
                first = False
                yield piece


def subject_of(item: Item, code: str) -> Subject:
    """The item's function, with a text of it, as an editor has it in a file."""
    document = Document.of(f"{item.before}{code}", "python", uri="file:///item/item.py")
    offset = len(item.before) + len(code) // 2
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None, item.task_id
    return subject


async def ask(item: Item, name: str, engine: Timed, time_limit_s: float) -> Result:
    """One task for one item."""
    code = item.buggy if name == FIX else item.code
    subject = subject_of(item, code)
    engine.first_ms.clear()
    started = time.perf_counter()
    try:
        if name == EXPLAIN:
            return await _explained(item, subject, engine, started)
        # The tests say what is wrong, and no compiler does.
        task = tasks()["refactor"].with_instruction(f"Fix the mistake in {item.entry_point}.")
        made = await proposal(tasks()[name] if name != FIX else task, subject, engine)
    except EngineRefused as refused:
        return Result(item, name, "refused", "", str(refused))
    times = _times(engine, started)
    answered = {"n_answers": len(made.usages), "copied_share": made.copied_share, **times}
    if made.reason:
        return Result(item, name, "refused", "", made.reason, **answered)
    before = subject.document.text
    text = applied(before, made.changes)
    if not made.changes:
        return Result(item, name, "nothing", text, "", **answered)
    return Result(
        item,
        name,
        "offered",
        text,
        "",
        parses=_parses(text),
        keeps_signature=_signature(text, item) == _signature(before, item) != "",
        outcome=await asyncio.to_thread(outcome, item.program(text), time_limit_s),
        **answered,
    )


async def _explained(item: Item, subject: Subject, engine: Timed, started: float) -> Result:
    said, reason = "", ""
    async with aclosing(explanation(subject, engine)) as parts:
        async for told in parts:
            said += told.markdown if told.kind == "said" else ""
            reason = told.markdown if told.kind == "done" else reason
    made: Made = "offered" if said.strip() else "refused"
    return Result(item, EXPLAIN, made, said, reason, n_answers=1, **_times(engine, started))


def _times(engine: Timed, started: float) -> dict[str, Any]:
    first = engine.first_ms[0] if engine.first_ms else None
    return {"first_token_ms": first, "whole_ms": 1000 * (time.perf_counter() - started)}


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def _signature(text: str, item: Item) -> str:
    """Names and defaults of the parameters, without types: those may be added."""
    if not _parses(text):
        return ""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == item.entry_point:
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            decorators = " ".join(ast.dump(one) for one in node.decorator_list)
            return f"{decorators} {node.name} {ast.dump(node.args)}"
    return ""


def figures_of(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Shares and medians, for each task and, as `all`, for all that edit."""
    names = [name for name in TASKS if any(result.task == name for result in results)]
    groups = {name: [one for one in results if one.task == name] for name in names}
    groups["all"] = [one for one in results if one.task != EXPLAIN]
    return {name: _figures(group) for name, group in groups.items() if group}


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    offered = [one for one in results if one.made == "offered"]
    found: dict[str, Any] = {"n": len(results)}
    for made in ("offered", "nothing", "refused"):
        found[made] = _share(one.made == made for one in results)
    if any(one.task != EXPLAIN for one in results):
        found |= {
            "parse": _share(one.parses for one in offered),
            "keep_signature": _share(one.keeps_signature for one in offered),
            "pass": _share(one.outcome == "passed" for one in offered),
            "retried": _share(one.n_answers > 1 for one in results),
            "copied": round(statistics.mean(one.copied_share for one in results), 3),
        }
    firsts = [one.first_token_ms for one in results if one.first_token_ms is not None]
    found["first_token_ms"] = round(statistics.median(firsts), 1) if firsts else None
    found["whole_ms"] = round(statistics.median(one.whole_ms for one in results), 1)
    reasons = Counter(one.reason for one in results if one.made == "refused")
    found["reasons"] = dict(reasons.most_common(5))
    return found


def _share(hits: Any) -> float | None:
    hits = list(hits)
    return round(sum(hits) / len(hits), 3) if hits else None


def table_of(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """The shares in per cent."""
    columns = (
        "offered",
        "nothing",
        "refused",
        "parse",
        "keep_signature",
        "pass",
        "retried",
        "copied",
    )
    table = Table("task", "n", *columns, "first token ms", "whole ms", title="Instruct")
    for name, found in figures.items():
        shares = [found.get(column) for column in columns]
        told = ["" if share is None else f"{100 * share:.0f}" for share in shares]
        table.add_row(
            name, str(found["n"]), *told, str(found["first_token_ms"]), str(found["whole_ms"])
        )
    return table


async def bench(
    items: Sequence[Item],
    names: Sequence[str],
    engine: Engine,
    progress: Progress,
    time_limit_s: float = TIME_LIMIT_S,
) -> list[Result]:
    """Every task for every item."""
    timed = Timed(engine)
    todo = [(item, name) for item in items for name in names if name != FIX or item.buggy]
    return [
        await ask(item, name, timed, time_limit_s)
        for item, name in progress.track(todo, description="Asking")
    ]


@click.command(
    help="Ask an instruct model for explanations and edits, and run the tests of what it offers."
)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", help="A GGUF file, or `fake:…`; by default the one for tests.")
@click.option("--task", "names", type=click.Choice(TASKS), multiple=True, help="Default: all.")
@click.option("--limit", type=click.IntRange(1), help="Take the first so many items.")
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True)
@click.option("--time-limit", "time_limit_s", type=float, default=TIME_LIMIT_S, show_default=True)
@click.option(
    "--latency", "rounds", type=click.IntRange(0, 200), default=0, help="Rounds; 0: none."
)
@click.option("--completion-model", default="", help="For --latency; by default the embedded one.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures here, as JSON.")
@click.option("--items", "kept", type=click.Path(path_type=Path), help="Write every answer here.")
def main(
    data: Path | None,
    model: str,
    names: tuple[str, ...],
    limit: int | None,
    threads: int,
    time_limit_s: float,
    rounds: int,
    completion_model: str,
    out: Path | None,
    kept: Path | None,
) -> None:
    """Ask, run, print and keep."""
    try:
        items = (read_items(data) if data else built_in())[:limit]
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if not without_network():
        click.echo("This system does not let programs be run apart from the network.", err=True)
    settings = EngineSettings(
        model=model or str(embedded_model(TEST_INSTRUCT_MODEL)), n_threads=threads
    )

    async def run(progress: Progress) -> tuple[dict[str, Any], list[Result]]:
        engine = open_here(settings)
        try:
            info = await engine.info()
            results = await bench(items, names or TASKS, engine, progress, time_limit_s)
        finally:
            await engine.close()
        facts = circumstances(settings.model, Settings(settings), info)
        del facts["completion"]
        facts |= {"data": data.name if data else "built-in", "no_network": bool(without_network())}
        figures = {"circumstances": facts, "tasks": figures_of(results)}
        if rounds:
            completing = completion_model or str(embedded_model())
            figures["latency"] = await latency(completing, settings.model, rounds, threads)
        return figures, results

    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            figures, results = asyncio.run(run(progress))
    except MidfillError as error:
        raise click.ClickException(str(error)) from error
    Console().print(table_of(figures["tasks"]))
    if rounds:
        Console().print(figures["latency"])
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if kept:
        with kept.open("w", encoding="utf-8") as file:
            for one in results:
                told: dict[str, Any] = {
                    "task_id": one.item.task_id,
                    "task": one.task,
                    "made": one.made,
                }
                told |= {"reason": one.reason, "text": one.text, "parses": one.parses}
                told |= {"keeps_signature": one.keeps_signature, "outcome": one.outcome}
                file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
