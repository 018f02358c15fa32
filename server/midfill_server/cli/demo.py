"""`midfill demo`: completions in a real source file, shown as an editor would show them, and an explanation of it."""

from __future__ import annotations

import asyncio
import re
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from midfill.complete import Completion, complete
from midfill.context import gather
from midfill.engine import Engine
from midfill.engines.select import open_engine
from midfill.hidden import plain, shown
from midfill.instruct import facts
from midfill.languages import language_of
from midfill.settings import EngineSettings, Settings
from midfill.subject import subject_at
from midfill.syntax import parse
from midfill.text import Document
from midfill_server.cli.complete import LINGER_S
from midfill_server.cli.place import read_place

_BEFORE_HOLE = re.compile(r"(?<=\S)(?:\(|\[|\.|, | = | in | if | and |return )")
"""After these a person pauses, and a completion has something to say."""
_MIN_HOLE_CHARS = 3


@dataclass(frozen=True)
class Hole:
    """A place whose line is taken away from there on."""

    offset: int
    end: int


@click.command("demo")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--count", default=6, show_default=True, type=click.IntRange(1), help="Places to show."
)
@click.option("--model", default="", help="Path of a GGUF file; by default the embedded model.")
def command(file: Path | None, count: int, model: str) -> None:
    """Take the ends of some lines of FILE away and complete them again; explain the definition around one.

    Without FILE it is a module of Python's own library. The explanation holds the facts that need no model.
    """
    path = file or Path(textwrap.__file__)
    document = read_place(str(path), language_of(str(path))).document
    settings = Settings(EngineSettings(model=model, host_linger_s=LINGER_S))
    asyncio.run(_show(document, path, count, settings))


def holes(document: Document) -> Iterator[Hole]:
    """At most one hole in each line of code, at the last place where a person would pause."""
    for line_idx, line in enumerate(document.lines):
        body = line.rstrip("\r\n")
        pauses = [
            pause.end()
            for pause in _BEFORE_HOLE.finditer(body)
            if len(body) - pause.end() >= _MIN_HOLE_CHARS
        ]
        if pauses:
            start = document.line_starts[line_idx]
            yield Hole(start + pauses[-1], start + len(body))


async def _show(document: Document, path: Path, count: int, settings: Settings) -> None:
    console = Console(highlight=False, soft_wrap=True)
    syntax = parse(document)
    everywhere = [
        hole for hole in holes(document) if not syntax or syntax.place(hole.offset) == "code"
    ]
    step = max(1, len(everywhere) // count)
    engine = open_engine(settings.engine)
    try:
        started = time.perf_counter()
        model = await engine.info()
        ready_ms = (time.perf_counter() - started) * 1000
        console.print(
            Text.assemble(
                (plain(path.name), "bold"),
                f", completed by {plain(model.name)}, ready in {ready_ms:.0f} ms\n",
            )
        )
        chosen = everywhere[step // 2 :: step][:count]
        for hole in chosen:
            truth = document.text[hole.offset : hole.end]
            found, first_ms = await _completed(document, hole, 0, engine, settings)
            console.print(_line(document, hole, found))
            same = found.text == truth.rstrip()
            verdict = "as in the file" if same else f"the file says {shown(truth)}"
            if not found.text:
                verdict += "; nothing is shown rather than something unsure or wrong"
            console.print(Text(_timings(found, first_ms, verdict), style="dim"))
            found, next_ms = await _completed(document, hole, 1, engine, settings)
            console.print(Text(_timings(found, next_ms, "one key later\n"), style="dim"))
    finally:
        await engine.close()
    around = (subject_at(document, syntax, hole.offset, hole.offset) for hole in reversed(chosen))
    if subject := next(filter(None, around), None):
        heading = (f"{plain(path.name)}:{subject.lines[0]}", "bold")
        console.print(Text.assemble(heading, ", explained without a model\n"))
        console.print(Text(facts(subject)))


async def _completed(
    document: Document, hole: Hole, n_typed: int, engine: Engine, settings: Settings
) -> tuple[Completion, float]:
    """The completion after the first characters of the hole were typed, and how long it took, in ms."""
    caret = hole.offset + n_typed
    now = Document.of(document.text[:caret] + document.text[hole.end :], document.language)
    asked = time.perf_counter()
    found = await complete(gather(now, caret, parse(now)), engine, settings.completion)
    return found, (time.perf_counter() - asked) * 1000


def _line(document: Document, hole: Hole, found: Completion) -> Text:
    line_idx = document.line_of(hole.offset)
    head = document.text[document.line_starts[line_idx] : hole.offset]
    return Text.assemble(
        (f"{line_idx + 1:>5}  ", "cyan"), shown(head), (found.text or " ", "bright_black italic")
    )


def _timings(found: Completion, total_ms: float, remark: str) -> str:
    usage = found.usage
    return (
        f"       {total_ms:4.0f} ms: {usage.tokens_reused} tokens known, {usage.tokens_evaluated} read, "
        f"{usage.tokens_generated} written; {remark}"
    )
