"""`midfill complete FILE:LINE:COL`: the completion at a place, for a shell."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, replace
from typing import Any

import click

from midfill.complete import Completion, complete
from midfill.context import gather
from midfill.engines.select import open_engine
from midfill.formats import Layout, limits_of
from midfill.settings import EngineSettings, Settings
from midfill.syntax import parse
from midfill_server.cli.engines import MODEL, URLS
from midfill_server.cli.place import Place, check_wanted, read_place
from midfill_server.project import settings_at

LINGER_S = 120.0
"""A model loaded for the shell stays this long, so that a second command is answered at once."""


# "-:3:7" is a place in standard input, which click would take for an option that it does not know.
@click.command("complete", context_settings={"ignore_unknown_options": True})
@click.argument("place", metavar="FILE[:LINE[:COL]]")
@click.option(
    "--language", help="Language of the text, such as python; by default from FILE's name."
)
@MODEL
@URLS
@click.option("--layout", type=click.Choice(["spm", "psm"]), help="Order of the prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens generated at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the cost and the reason too, as JSON.")
def command(
    place: str,
    language: str | None,
    model: str,
    urls: tuple[str, ...],
    layout: Layout | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Print the completion at a place.

    The settings are those of the project that FILE is in.

    LINE and COL count from 1, as compilers print them; without them the caret is at the end. FILE may be
    "-" for standard input. Nothing is printed where there is nothing to complete.
    """
    if place.startswith("-") and place != "-" and not place.startswith("-:"):
        raise click.NoSuchOption(place)
    where = read_place(place, language)
    settings = Settings(EngineSettings(model=model, urls=urls, host_linger_s=LINGER_S))
    if where.path is not None:
        settings, problems = settings_at(where.path, settings)
        for problem in problems:
            click.echo(problem, err=True)
    check_wanted(where, settings)
    # Who asks wants to see what there is, sure or not.
    completion = replace(settings.completion, eagerness=1.0)
    if layout:
        completion = replace(completion, layout=layout)
    if max_tokens:
        completion = replace(completion, max_tokens_line=max_tokens, max_tokens_block=max_tokens)
    started = time.perf_counter()
    found = asyncio.run(complete_at(where, replace(settings, completion=completion)))
    total_ms = (time.perf_counter() - started) * 1000
    if as_json:
        click.echo(json.dumps(report(found, total_ms)))
    elif found.text:
        click.echo(found.text)


async def complete_at(place: Place, settings: Settings) -> Completion:
    """Complete once, with an engine opened and closed for it."""
    engine = open_engine(settings.engine, tell=lambda sentence: click.echo(sentence, err=True))
    try:
        if limits := limits_of(await engine.info()):
            click.echo(limits, err=True)
        context = gather(place.document, place.offset, parse(place.document))
        return await complete(context, engine, settings.completion)
    finally:
        await engine.close()


def report(found: Completion, total_ms: float) -> dict[str, Any]:
    """A completion and what it cost, for `--json`."""
    usage = asdict(found.usage)
    return {
        "text": found.text,
        "generation": found.generation,
        "model": found.model,
        "layout": found.layout,
        "confidence": found.confidence and round(found.confidence, 4),
        "stop_reason": usage["stop_reason"],
        "tokens": {
            name.removeprefix("tokens_"): count
            for name, count in usage.items()
            if name.startswith("tokens_")
        },
        "slot": usage["slot_idx"],
        "ms": {
            "prompt": round(found.prompt_ms, 2),
            "wait": round(usage["wait_ms"], 2),
            "prefill": round(usage["prefill_ms"], 2),
            "decode": round(usage["decode_ms"], 2),
            "filter": round(found.filter_ms, 2),
            "total": round(total_ms, 2),
        },
    }
