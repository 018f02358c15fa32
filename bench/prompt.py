"""`python -m bench.prompt`: what it costs to build a prompt while somebody types in a long file.

Python's own modules are put together to a file of so many lines, and a method is typed into its middle, key by key.
For every key the document, its tree, the context and the prompt are made as in the server. Measured is processor time,
so that other work on the machine counts less. Tokenising is another process's work: here a table lookup.
"""

from __future__ import annotations

import asyncio
import json
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from midfill.context import gather
from midfill.engines.fake import FakeEngine
from midfill.formats import format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document, Edit, Position

TYPED = """\
    def parse(self, text: str = "it's") -> list[int]:
        found = [int(part) for part in text.split(",")]
        for each in found:
            if each < 0: raise ValueError(f"{each} is negative")
        return found

"""
MODULES = ("argparse", "typing", "inspect", "ast", "tarfile", "subprocess", "doctest", "turtle")
SNIPPETS = tuple(
    Snippet(f"lib/file_{n}.py", f"def name_{n}():\n    return {n}\n") for n in range(8)
)


@click.command(help=__doc__)
@click.option("--lines", default=10_000, show_default=True, type=click.IntRange(10))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--out", type=click.Path(path_type=Path), help="Write the times here, as JSON.")
def main(lines: int, runs: int, out: Path | None) -> None:
    times: dict[str, list[float]] = {}
    for step, ms in asyncio.run(measured(long_text(lines), runs)):
        times.setdefault(step, []).append(ms)
    table = Table(
        "step", "median ms", "p99 ms", title=f"{len(times['prompt'])} keys, {lines} lines"
    )
    figures = {step: (quantile(each, 0.5), quantile(each, 0.99)) for step, each in times.items()}
    for step, (median, p99) in figures.items():
        table.add_row(step, f"{median:.2f}", f"{p99:.2f}")
    Console().print(table)
    if out:
        out.write_text(json.dumps({"lines": lines, "runs": runs, "ms": figures}, indent=1) + "\n")


async def measured(text: str, runs: int) -> list[tuple[str, float]]:
    """Each step of each key, with its milliseconds."""
    engine = FakeEngine()
    known: dict[str, list[int]] = {}

    async def tokenize(part: str) -> list[int]:
        # Three characters a token, as models' own; what is made of them is all the same here.
        if part not in known:
            known[part] = [ord(char) % 256 for char in part[::3]]
        return known[part]

    prompt_format = format_of(await engine.info())
    settings = CompletionSettings()
    budget = budget_of(await engine.info(), settings, settings.max_tokens_line, SNIPPETS)
    document = Document.of(text, "python")
    syntax = parse(document)
    found: list[tuple[str, float]] = []
    for line, units, key in keys(text, runs):
        edit = Edit(Position(line, units), Position(line, units), key)
        clock = Clock()
        document = document.edited([edit], document.version + 1)
        offset = document.offset(Position(line, units)) + 1
        edited = clock.lap()
        syntax = parse(document, syntax)
        parsed = clock.lap()
        context = gather(document, offset, syntax, "pkg/here.py", SNIPPETS)
        gathered = clock.lap()
        await render(context, prompt_format, tokenize, budget, "auto")
        prompt = clock.lap()
        found += [("edit", edited), ("tree", parsed), ("context", gathered), ("prompt", prompt)]
        found.append(("context and prompt", gathered + prompt))
    return found


def keys(text: str, runs: int) -> Iterator[tuple[int, int, str]]:
    """Where each key goes: line, column, and the character."""
    line, units = text.count("\n") // 2, 0
    for key in TYPED * runs:
        yield line, units, key
        line, units = (line + 1, 0) if key == "\n" else (line, units + 1)


def long_text(n_lines: int) -> str:
    """So many lines of Python's own library."""
    library = Path(sysconfig.get_path("stdlib"))
    lines: list[str] = []
    while len(lines) < n_lines:
        for name in MODULES:
            lines += (library / f"{name}.py").read_text("utf-8").splitlines(keepends=True)
    return "".join(lines[:n_lines])


class Clock:
    """Processor time, lap by lap."""

    def __init__(self) -> None:
        self._began = time.process_time()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        began, self._began = self._began, time.process_time()
        return (self._began - began) * 1000


def quantile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
