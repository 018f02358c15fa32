"""`midfill explain FILE:START-END`: what some lines do, for a shell."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import click

from midfill.engine import Engine
from midfill.instruct import Told, explanation
from midfill.subject import Subject
from midfill_server.cli.lines import SETTINGS, about_lines, open_instruct, read_subject


@click.command("explain", context_settings=SETTINGS)
@about_lines
def command(
    lines: str, language: str | None, model: str, urls: tuple[str, ...], as_json: bool
) -> None:
    """Explain some lines in Markdown.

    One line means the definition around it; FILE may be "-" for standard input. Facts that are read from the code
    come first, and without a model they are all. The reasoning of a model that thinks goes to standard error.
    """
    _, subject = read_subject(lines, language)
    told = asyncio.run(_explained(subject, open_instruct(model, urls), quiet=as_json))
    if as_json:
        click.echo(json.dumps({"name": subject.name, "lines": subject.lines, **told}))


def _print(told: Told, *, after_thought: bool) -> None:
    if told.kind == "thought":
        click.secho(told.markdown, err=True, dim=True, nl=False)
    elif told.kind in ("facts", "said"):
        if after_thought:
            click.echo("\n", err=True)
        click.echo(told.markdown, nl=told.kind == "facts")


async def _explained(subject: Subject, engine: Engine | None, *, quiet: bool) -> dict[str, str]:
    """What was said by its kind, printed as it comes unless `quiet`."""
    whole = {"facts": "", "said": "", "thought": "", "done": ""}
    try:
        async with aclosing(explanation(subject, engine)) as parts:
            async for told in parts:
                if not quiet:
                    _print(told, after_thought=bool(whole["thought"]) and not whole["said"])
                whole[told.kind] += told.markdown
    finally:
        if engine is not None:
            await engine.close()
    if not quiet and whole["said"]:
        click.echo()
    if not quiet and whole["done"]:
        click.echo(whole["done"], err=True)
    return {
        "facts": whole["facts"],
        "explanation": whole["said"],
        "reasoning": whole["thought"],
        "note": whole["done"],
    }
