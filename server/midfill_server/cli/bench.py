"""`midfill bench`: how fast and how often completions come in a file of one's own, with the model of one's own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from midfill.complete import Completion, complete
from midfill.context import gather
from midfill.engine import Engine
from midfill.engines.select import open_engine
from midfill.hidden import plain
from midfill.languages import language_of
from midfill.settings import CompletionSettings, EngineSettings
from midfill.syntax import parse
from midfill.text import Document
from midfill_server.cli.complete import LINGER_S
from midfill_server.cli.demo import Hole, holes
from midfill_server.cli.engines import MODEL, URLS
from midfill_server.cli.place import read_place
from midfill_server.project import settings_at

PERCENTS = (50, 90, 99)


@dataclass(frozen=True)
class Measured:
    """One completion at a hole."""

    ms: float
    found: Completion
    truth: str
    """What stood there, to the end of the line."""


@click.command("bench")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--count", default=20, show_default=True, type=click.IntRange(1), help="Places in each file."
)
@MODEL
@URLS
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def command(
    files: tuple[Path, ...], count: int, model: str, urls: tuple[str, ...], as_json: bool
) -> None:
    """Take the ends of some lines of FILES away, complete them, and once more one key later; print the numbers.

    The settings are those of the project that a file is in.
    """
    engine_settings = EngineSettings(model=model, urls=urls, host_linger_s=LINGER_S)
    numbers = asyncio.run(_measured(files, count, engine_settings))
    if as_json:
        click.echo(json.dumps(numbers))
    else:
        Console().print(_table(numbers))


async def _measured(files: Sequence[Path], count: int, settings: EngineSettings) -> dict[str, Any]:
    engine = open_engine(settings, tell=lambda sentence: click.echo(sentence, err=True))
    try:
        model = await engine.info()
        first: list[Measured] = []
        later: list[Measured] = []
        for path in files:
            document = read_place(str(path), language_of(str(path))).document
            at, problems = settings_at(path)
            for problem in problems:
                click.echo(problem, err=True)
            found = list(holes(document))
            step = max(1, len(found) // count)
            for hole in found[step // 2 :: step][:count]:
                first.append(await _at(document, hole, 0, engine, at.completion))
                later.append(await _at(document, hole, 1, engine, at.completion))
    finally:
        await engine.close()
    return {"model": model.name, "first": numbers_of(first), "next_key": numbers_of(later)}


async def _at(
    document: Document, hole: Hole, n_typed: int, engine: Engine, settings: CompletionSettings
) -> Measured:
    """A completion after the first characters of the hole were typed."""
    caret = hole.offset + n_typed
    now = Document.of(document.text[:caret] + document.text[hole.end :], document.language)
    asked = time.perf_counter()
    found = await complete(gather(now, caret, parse(now)), engine, settings)
    return Measured(
        1000 * (time.perf_counter() - asked), found, document.text[caret : hole.end].rstrip()
    )


def numbers_of(measured: Sequence[Measured]) -> dict[str, Any]:
    """Counts and percentiles."""
    times = sorted(each.ms for each in measured)
    usages = [each.found.usage for each in measured]
    return {
        "places": len(measured),
        "shown": sum(bool(each.found.text) for each in measured),
        "exact": sum(each.found.text.rstrip() == each.truth for each in measured),
        "ms": {
            f"p{percent}": round(times[min(len(times) - 1, len(times) * percent // 100)], 1)
            for percent in PERCENTS
        }
        if times
        else {},
        "tokens": {
            kind: sum(getattr(usage, f"tokens_{kind}") for usage in usages)
            for kind in ("reused", "evaluated", "generated")
        },
    }


def _table(numbers: dict[str, Any]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, title=Text(plain(numbers["model"])))
    for column in ("", "at a pause", "one key later"):
        shown.add_column(column, justify="right" if column else "left")
    sides = numbers["first"], numbers["next_key"]
    for name in ("places", "shown", "exact"):
        shown.add_row(name, *(str(side[name]) for side in sides))
    for name in sides[0]["ms"]:
        shown.add_row(f"ms, {name}", *(f"{side['ms'][name]:g}" for side in sides))
    for name in sides[0]["tokens"]:
        shown.add_row(f"tokens {name}", *(f"{side['tokens'][name]:,}" for side in sides))
    return shown
