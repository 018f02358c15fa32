"""`python -m bench.holes`: how often the product fills a hole in code that its model has never seen.

Holes are cut into held-out files (`bench.holes_items`), each system sees only the text around them
(`bench.holes_systems`), and what it shows is compared with what was removed (`bench.holes_scoring`). The
engine runs in this process, so that nothing but a model file is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import click
from bench.holes_crossfile import cut_across_files
from bench.holes_items import KINDS, Hole, Kind, Source, cut_holes, held_out_sources, sources_in
from bench.holes_scoring import CONFIDENT_SHARES, Score, confident, lead, score, summary
from bench.holes_systems import PARTS, SHOW_ALL, SYSTEMS, Answer, Completer, System, left_out
from bench.workplace import Workplaces, context_of
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from midfill.engine import Engine, ModelInfo
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.errors import MidfillError
from midfill.settings import CompletionSettings, EngineSettings, Settings
from midfill.version import __version__
from midfill_models import embedded_model

RESULTS = Path(__file__).resolve().parent / "results"

BASELINE = "copy"
"""The system that the others are compared with, hole by hole."""

WITHOUT = "midfill-without-"
"""Begins the names of systems that lack a part of the product."""

ONE_LINE: tuple[Kind, ...] = ("line", "inline", "expression")
"""The kinds that are pooled to see what a gate would do, which does not know the kind either."""

TABLE_WIDTH = 200
"""Where the output is no terminal."""

_DEFAULTS = CompletionSettings()

SHOWN_CHARS = 90
"""Of the text on both sides of a hole, in `--show`."""


@dataclass(frozen=True)
class Filled:
    """One hole, and what one system made of it."""

    hole: Hole
    system: str
    answer: Answer
    score: Score

    def as_record(self) -> dict[str, Any]:
        """For `--items`: what a person reads, and what a gate is fitted to."""
        return {
            "system": self.system,
            "before": self.hole.prefix[-300:],
            "middle": self.hole.middle,
            "after": self.hole.suffix[:150],
            "shown_text": self.answer.text,
            "generation": self.answer.generation,
            **asdict(self.score),
        }


async def fill(
    holes: Sequence[Hole],
    engine: Engine,
    settings: CompletionSettings,
    systems: Sequence[str],
    progress: Progress,
    workplaces: Workplaces | None = None,
) -> list[Filled]:
    """Every hole filled by every system."""
    completer = Completer(engine, settings)
    chosen = {name: system_of(name)(completer) for name in systems}
    filled = []
    for hole in progress.track(holes, description="Filling holes"):
        context = await workplaces.context(hole) if workplaces else context_of(hole)
        for name, system in chosen.items():
            answer = await system.answer(context, hole.others)
            filled.append(Filled(hole, name, answer, score(hole, context, answer)))
    return filled


def system_of(name: str) -> Callable[[Completer], System]:
    """A system by its name: one of `SYSTEMS`, or `midfill-without-` and one of `PARTS`."""
    part = name.removeprefix(WITHOUT)
    return left_out(part) if part != name else SYSTEMS[name]


def summaries(filled: Sequence[Filled], seed: int) -> dict[str, dict[str, Any]]:
    """What came of each kind, by system."""
    scores: defaultdict[str, dict[str, list[Score]]] = defaultdict(dict)
    for found in filled:
        scores[found.hole.kind].setdefault(found.system, []).append(found.score)
    result: dict[str, dict[str, Any]] = {}
    for kind, by_system in scores.items():
        result[kind] = {name: summary(found, seed) for name, found in by_system.items()}
        if BASELINE in by_system:
            for name in by_system.keys() - {BASELINE}:
                ahead = lead(by_system[name], by_system[BASELINE], seed)
                result[kind][name][f"exact_ahead_of_{BASELINE}"] = ahead
    return result


def table_of(kinds: Mapping[str, Mapping[str, Any]]) -> Table:
    """The summaries for a terminal: shares in per cent, some with their 95 % interval."""
    table = Table(title="Held-out holes", title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("kind", "system") else "right")
    for kind, systems in kinds.items():
        for name, found in systems.items():
            exact, line_exact, precision = (
                _with_interval(found[metric]) for metric in ("exact", "line_exact", "precision")
            )
            rest = (_percent(found[metric]["value"]) for metric in _SHARES)
            speed = (
                f"{found[cost]['p50']:.0f}/{found[cost]['p95']:.0f}"
                for cost in ("ms", "tokens_evaluated", "tokens_generated")
            )
            table.add_row(kind, name, exact, line_exact, precision, *rest, *speed)
        table.add_section()
    return table


def confidence_table_of(systems: Mapping[str, Any]) -> Table:
    """How often the surest of what is shown in one line is right to the line's end, in per cent."""
    title = f"{', '.join(ONE_LINE)} together: right to the end of the line, among the surest …"
    table = Table(title=title, title_justify="left")
    for column in (
        "system",
        "by",
        *(f"{share:.0%} of what is shown" for share in CONFIDENT_SHARES),
    ):
        table.add_column(column, justify="left" if column in ("system", "by") else "right")
    for name, found in systems.items():
        for by, shares in found.items():
            table.add_row(name, by, *map(_percent, shares.values()))
    return table


def circumstances(model: str, settings: Settings, info: ModelInfo) -> dict[str, Any]:
    """What the figures depend on: the machine, the model's file, the version, the settings."""
    file = Path(model)
    is_file = file.is_file()
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "midfill": __version__,
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": settings.engine.n_threads,
        "n_gpu_layers": info.n_gpu_layers,
        "model": file.name if is_file else model,
        "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest() if is_file else "",
        "n_ctx": info.n_ctx,
        "completion": asdict(settings.completion),
    }


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").split("\n") if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def results_path(facts: Mapping[str, Any]) -> Path:
    """Where a run's figures go by default: named by its date and the kind of machine."""
    machine = "gpu" if facts["n_gpu_layers"] else f"cpu{facts['cores']}"
    return RESULTS / f"holes-{facts['date']}-{machine}.json"


def example_of(hole: Hole, answers: Sequence[Filled]) -> str:
    """A hole to be read: what was removed, and what each system said."""
    before, after = hole.prefix[-SHOWN_CHARS:], hole.suffix[:SHOWN_CHARS]
    lines = [f"--- {hole.kind} in {hole.source}", f"{before}├{hole.middle}┤{after}"]
    for found in answers:
        mark = "=" if found.score.exact else "~" if found.score.line_exact else " "
        said = found.answer.generation
        raw = f"  of {said!r}" if said and said != found.answer.text else ""
        lines.append(f"{mark} {found.system:10} {found.answer.text!r}{raw}")
    return "\n".join(lines)


async def run(
    engine: Engine,
    settings: Settings,
    holes: Sequence[Hole],
    systems: Sequence[str],
    seed: int,
    progress: Progress,
    workplaces: Workplaces | None = None,
) -> tuple[dict[str, Any], list[Filled]]:
    """The figures of a whole run, and what they are made of. Closes the engine."""
    try:
        info = await engine.info()
        filled = await fill(holes, engine, settings.completion, systems, progress, workplaces)
    finally:
        await engine.close()
    facts = circumstances(settings.engine.model, settings, info)
    facts |= {"seed": seed, "sources": sorted({hole.source for hole in holes})}
    figures = {
        "circumstances": facts,
        "kinds": summaries(filled, seed),
        "confident": {name: confident(_in_one_line(filled, name)) for name in systems},
    }
    return figures, filled


def open_here(settings: EngineSettings) -> Engine:
    """The engine in this process: a scripted one, or llama.cpp."""
    if settings.model.startswith(FAKE_SCHEME):
        return FakeEngine.at(settings.model)
    # Imported here because llama.cpp need not be installed for the other.
    from midfill.engines.llama import LlamaEngine  # noqa: PLC0415

    return LlamaEngine(settings.model, settings)


@click.command(help="Fill holes in held-out code, and say how often the product was right.")
@click.option("--model", default="", help="A GGUF file, or `fake:…`; by default the embedded one.")
@click.option(
    "--source",
    "folders",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Cut holes into these Python files instead of the held-out ones; may be given again.",
)
@click.option("--per-kind", type=click.IntRange(1), default=200, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Default: all.")
@click.option(
    "--system",
    "--systems",
    "systems",
    type=click.Choice(list(SYSTEMS)),
    multiple=True,
    help="Default: all.",
)
@click.option(
    "--without",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="Fill them also without this part of the product, to see what it contributes.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True)
@click.option("--prefix-tokens", type=click.IntRange(1), default=_DEFAULTS.max_prefix_tokens)
@click.option("--suffix-tokens", type=click.IntRange(0), default=_DEFAULTS.max_suffix_tokens)
@click.option("--layout", type=click.Choice(["auto", "spm", "psm"]), default=_DEFAULTS.layout)
@click.option("--healing/--no-healing", default=_DEFAULTS.healing)
@click.option("--copying", type=click.Choice(["auto", "on", "off"]), default=_DEFAULTS.copying)
@click.option("--out", type=click.Path(path_type=Path), help="Default: a file in bench/results/.")
@click.option("--items", type=click.Path(path_type=Path), help="Write every answer here, as JSON.")
@click.option(
    "--show", type=click.IntRange(0), default=0, help="Print this many holes of each kind."
)
def main(
    model: str,
    folders: tuple[Path, ...],
    per_kind: int,
    kinds: tuple[Kind, ...],
    systems: tuple[str, ...],
    parts: tuple[str, ...],
    seed: int,
    threads: int,
    prefix_tokens: int,
    suffix_tokens: int,
    layout: Literal["auto", "spm", "psm"],
    healing: bool,
    copying: Literal["auto", "on", "off"],
    out: Path | None,
    items: Path | None,
    show: int,
) -> None:
    """Cut the holes, fill them, print and keep the figures."""
    sources = _sources(folders)
    holes = cut_holes(sources, per_kind, seed, kinds or KINDS)
    if not kinds or "crossfile" in kinds:
        holes += cut_across_files(sources, per_kind, seed)
    if not holes:
        raise click.ClickException("There are no Python files here that holes could be cut into.")
    settings = Settings(
        EngineSettings(model=model or str(embedded_model()), n_threads=threads),
        replace(
            SHOW_ALL,
            max_prefix_tokens=prefix_tokens,
            max_suffix_tokens=suffix_tokens,
            layout=layout,
            healing=healing,
            copying=copying,
        ),
    )

    async def bench(progress: Progress) -> tuple[dict[str, Any], list[Filled]]:
        engine = open_here(settings.engine)
        asked = (*(systems or SYSTEMS), *(WITHOUT + part for part in parts))
        async with Workplaces(sources, settings) as workplaces:
            return await run(engine, settings, holes, asked, seed, progress, workplaces)

    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            figures, filled = asyncio.run(bench(progress))
    except MidfillError as error:
        raise click.ClickException(str(error)) from error
    console = Console(width=None if Console().is_terminal else TABLE_WIDTH)
    console.print(table_of(figures["kinds"]), confidence_table_of(figures["confident"]))
    for example in _examples(filled, show):
        console.print(example, markup=False, highlight=False, soft_wrap=True)
    out = out or results_path(figures["circumstances"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if items:
        with items.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(found.as_record()) + "\n" for found in filled)


def _in_one_line(filled: Sequence[Filled], system: str) -> list[Score]:
    return [f.score for f in filled if f.system == system and f.hole.kind in ONE_LINE]


def _sources(folders: Sequence[Path]) -> list[Source]:
    if not folders:
        return held_out_sources()
    found = (sources_in(folder, folder.resolve().name, folder) for folder in folders)
    return [source for sources in found for source in sources]


def _examples(filled: Sequence[Filled], n_per_kind: int) -> list[str]:
    by_hole: dict[Hole, list[Filled]] = {}
    for found in filled:
        by_hole.setdefault(found.hole, []).append(found)
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for hole, answers in by_hole.items():
        if len(shown[hole.kind]) < n_per_kind:
            shown[hole.kind].append(example_of(hole, answers))
    return [example for examples in shown.values() for example in examples]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _with_interval(share: Mapping[str, float | None]) -> str:
    if share["value"] is None:
        return "–"
    return f"{_percent(share['value'])} ({_percent(share['low'])}–{_percent(share['high'])})"


_SHARES = ("similarity", "shown", "kept", "adds_error", "repeats", "stopped")
_COLUMNS = (
    "kind",
    "system",
    "exact",
    "line exact",
    "precision",
    "similar",
    "shown",
    "kept",
    "adds error",
    "repeats",
    "stopped",
    "ms p50/p95",
    "evaluated",
    "generated",
)

if __name__ == "__main__":
    main()
