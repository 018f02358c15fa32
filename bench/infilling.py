"""`python -m bench.infilling --data FILE`: HumanEval-Infilling, scored by running each problem's own tests.

The file is OpenAI's (openai/human-eval-infilling; `.jsonl` or `.jsonl.gz`), not part of this repository.
Two ways to ask:

* `published`: prompt and suffix as they stand in the file, the model alone, its text cut at the end of its first line
  that is not blank: the protocol that Code Llama's figures stand for (arXiv 2308.12950, table 14: 7B 74.1 PSM and 83.3
  SPM, 13B 75.9 and 85.6, single-line, greedy).
* the systems of `bench.holes`: the caret stands on a blank line where the line was taken out, as it does in an editor,
  and what the system shows is put there.

pass@1 has a 95 % interval by drawing whole problems anew: the lines of one problem are alike.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
from bench.holes import circumstances, open_here, system_of
from bench.holes_scoring import N_RESAMPLES
from bench.holes_systems import SHOW_ALL, SYSTEMS, Completer
from bench.sandbox import Outcome, outcome, without_network
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from midfill.context import gather
from midfill.engine import Engine, Sampling
from midfill.errors import MidfillError
from midfill.formats import format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings, EngineSettings, Settings
from midfill.syntax import parse
from midfill.text import Document
from midfill_models import embedded_model

PUBLISHED = "published"
MAX_TOKENS = 128
"""For the published way; no line of the benchmark is longer."""
TIME_LIMIT_S = 10.0


@dataclass(frozen=True)
class Problem:
    """One line taken out of one solution."""

    task_id: str
    entry_point: str
    prompt: str
    """The text before what was taken out."""
    suffix: str
    test: str

    @property
    def origin(self) -> str:
        """The HumanEval problem, of which there are 164: `SingleLineInfilling/HumanEval/0/L0` is of `HumanEval/0`."""
        return "/".join(self.task_id.split("/")[1:3])

    def program(self, middle: str) -> str:
        """The solution with a text in its hole, and its tests."""
        check = f"check({self.entry_point})"
        return f"{self.prompt}{middle}{self.suffix}\n{self.test}\n{check}\n"


@dataclass(frozen=True)
class Result:
    """What one system made of one problem."""

    problem: Problem
    system: str
    middle: str
    outcome: Outcome


def read_problems(file: Path) -> list[Problem]:
    """The problems of a file of JSON lines.

    Raises:
        ValueError: a line is not one of this benchmark.
    """
    packed = file.read_bytes()
    text = (gzip.decompress(packed) if file.suffix == ".gz" else packed).decode()
    try:
        found = [json.loads(line) for line in text.split("\n") if line.strip()]
        names = ("task_id", "entry_point", "prompt", "suffix", "test")
        return [Problem(*(one[name] for name in names)) for one in found]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file.name} is no file of HumanEval-Infilling: {error}.") from error


async def published(problem: Problem, engine: Engine, settings: CompletionSettings) -> str:
    """What the model says between the two texts, up to the end of its first line."""
    model = await engine.info()
    document = Document.of(problem.prompt + problem.suffix, "python")
    context = gather(document, len(problem.prompt), None)
    budget = budget_of(model, settings, MAX_TOKENS)
    layout: Literal["psm", "spm"] = "psm" if settings.layout == "psm" else "spm"
    prompt = await render(context, format_of(model), engine.tokenize, budget, layout)
    sampling = Sampling(MAX_TOKENS, stop_ids=prompt.end_ids, copy=False, heal=settings.healing)
    said = ""
    async for piece in engine.generate(prompt.ids, sampling):
        said += piece.text
        if "\n" in said.lstrip("\n"):
            break
    blank = len(said) - len(said.lstrip("\n"))
    line, ended, _ = said[blank:].partition("\n")
    return said[:blank] + line + ended


async def middles(
    problem: Problem, engine: Engine, settings: CompletionSettings, systems: Sequence[str]
) -> dict[str, str]:
    """What each system puts into the hole."""
    completer = Completer(engine, settings)
    document = Document.of(f"{problem.prompt}\n{problem.suffix}", "python")
    context = gather(document, len(problem.prompt), parse(document))
    result = {}
    for name in systems:
        if name == PUBLISHED:
            result[name] = await published(problem, engine, settings)
        else:
            answer = await system_of(name)(completer).answer(context)
            result[name] = answer.text + "\n"
    return result


async def solve(
    problems: Sequence[Problem],
    engine: Engine,
    settings: CompletionSettings,
    systems: Sequence[str],
    progress: Progress,
    time_limit_s: float = TIME_LIMIT_S,
) -> list[Result]:
    """Every problem by every system. A program that several say is run once."""
    results = []
    for problem in progress.track(problems, description="Filling in"):
        outcomes: dict[str, Outcome] = {}
        for name, middle in (await middles(problem, engine, settings, systems)).items():
            if middle not in outcomes:
                program = problem.program(middle)
                outcomes[middle] = await asyncio.to_thread(outcome, program, time_limit_s)
            results.append(Result(problem, name, middle, outcomes[middle]))
    return results


def pass_rates(results: Sequence[Result], seed: int) -> dict[str, dict[str, Any]]:
    """pass@1 by system with its interval, and how often time ran out."""
    grouped: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        grouped[result.system][result.problem.origin].append(result.outcome == "passed")
    rates: dict[str, dict[str, Any]] = {}
    for name, by_problem in grouped.items():
        groups = list(by_problem.values())
        rng = random.Random(seed)
        drawn = sorted(_share(rng.choices(groups, k=len(groups))) for _ in range(N_RESAMPLES))
        of_system = [result for result in results if result.system == name]
        rates[name] = {
            "n": len(of_system),
            "n_problems": len(groups),
            "pass@1": _share(groups),
            "low": drawn[int(0.025 * N_RESAMPLES)],
            "high": drawn[int(0.975 * N_RESAMPLES)],
            "out_of_time": sum(result.outcome == "time" for result in of_system),
        }
    return rates


def table_of(rates: Mapping[str, Mapping[str, Any]]) -> Table:
    """The rates in per cent."""
    table = Table("system", "n", "pass@1 (95 %)", "out of time", title="HumanEval-Infilling")
    for name, found in rates.items():
        share, low, high = (100 * found[key] for key in ("pass@1", "low", "high"))
        told = f"{share:.1f} ({low:.1f}–{high:.1f})"
        table.add_row(name, str(found["n"]), told, str(found["out_of_time"]))
    return table


@click.command(help="Fill in HumanEval-Infilling, and run its tests.")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--model", default="", help="A GGUF file, or `fake:…`; by default the embedded one.")
@click.option(
    "--system",
    "--systems",
    "systems",
    type=click.Choice([PUBLISHED, *SYSTEMS]),
    multiple=True,
    default=(PUBLISHED, "midfill", "naive", "llama.vim", "tabby"),
    show_default=True,
)
@click.option("--limit", type=click.IntRange(1), help="Take so many problems, drawn by the seed.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True)
@click.option("--layout", type=click.Choice(["auto", "spm", "psm"]), default="auto")
@click.option("--time-limit", "time_limit_s", type=float, default=TIME_LIMIT_S, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rates here, as JSON.")
@click.option("--items", type=click.Path(path_type=Path), help="Write every answer, as JSON lines.")
def main(
    data: Path,
    model: str,
    systems: tuple[str, ...],
    limit: int | None,
    seed: int,
    threads: int,
    layout: Literal["auto", "spm", "psm"],
    time_limit_s: float,
    out: Path | None,
    items: Path | None,
) -> None:
    """Ask, run, print and keep."""
    try:
        problems = read_problems(data)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if limit is not None and limit < len(problems):
        problems = random.Random(seed).sample(problems, limit)
    if not without_network():
        click.echo("This system does not let programs be run apart from the network.", err=True)
    engine_settings = EngineSettings(model=model or str(embedded_model()), n_threads=threads)
    completion = replace(SHOW_ALL, layout=layout)

    async def bench(progress: Progress) -> tuple[dict[str, Any], list[Result]]:
        engine = open_here(engine_settings)
        try:
            info = await engine.info()
            results = await solve(problems, engine, completion, systems, progress, time_limit_s)
        finally:
            await engine.close()
        facts = circumstances(engine_settings.model, Settings(engine_settings, completion), info)
        facts |= {"seed": seed, "data": data.name, "no_network": bool(without_network())}
        return {"circumstances": facts, "systems": pass_rates(results, seed)}, results

    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            figures, results = asyncio.run(bench(progress))
    except MidfillError as error:
        raise click.ClickException(str(error)) from error
    Console().print(table_of(figures["systems"]))
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if items:
        with items.open("w", encoding="utf-8") as file:
            for result in results:
                told = {"task_id": result.problem.task_id, "system": result.system}
                told |= {"middle": result.middle, "outcome": result.outcome}
                file.write(json.dumps(told) + "\n")


def _share(groups: Sequence[Sequence[bool]]) -> float:
    return round(sum(map(sum, groups)) / sum(map(len, groups)), 4)


if __name__ == "__main__":
    main()
