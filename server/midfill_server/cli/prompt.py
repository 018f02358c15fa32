"""`midfill prompt FILE:LINE:COL`: what would be sent to the model at a place, for a shell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from midfill.engine import Engine, Role
from midfill.engines.select import open_engine
from midfill.formats import Layout
from midfill.hidden import shown
from midfill.settings import EngineSettings, Settings
from midfill_server.cli.complete import LINGER_S
from midfill_server.cli.engines import MODEL, URLS
from midfill_server.cli.place import Place, check_wanted, read_place
from midfill_server.project import settings_at
from midfill_server.prompt_report import prompt_report
from midfill_server.session import Session


# "-:3:7" is a place in standard input, which click would take for an option that it does not know.
@click.command("prompt", context_settings={"ignore_unknown_options": True})
@click.argument("place", metavar="FILE[:LINE[:COL]]")
@click.option(
    "--language", help="Language of the text, such as python; by default from FILE's name."
)
@MODEL
@URLS
@click.option("--layout", type=click.Choice(["spm", "psm"]), help="Order of the prompt.")
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the workspace, whose other files count as in an editor; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(
    place: str,
    language: str | None,
    model: str,
    urls: tuple[str, ...],
    layout: Layout | None,
    folders: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Print what would be sent to the model at a place. Nothing is generated.

    The settings are those of the project that FILE is in.

    LINE and COL count from 1, as compilers print them; without them the caret is at the end. FILE may be
    "-" for standard input. The model is needed for its tokenizer.
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
    if layout:
        settings = replace(settings, completion=replace(settings.completion, layout=layout))
    found = asyncio.run(report_at(where, settings, folders))
    # Files of other people may hold what steers a terminal; JSON has it as it is.
    click.echo(json.dumps(found) if as_json else shown("\n".join(spelled(found))))


async def report_at(place: Place, settings: Settings, folders: Sequence[Path]) -> dict[str, Any]:
    """What a server would send that has these folders open and has read them, and of documents this one alone."""
    session = Session(_open_engine, settings)
    document = place.document
    try:
        if folders:
            session.folders.change(folder.absolute().as_uri() for folder in folders)
            session.folders.reload()
            session.started = True
            session.open_folders()
            await session.gathering.settled()
        session.open(document)
        snapshot = session.snapshot(document.uri)
        assert snapshot is not None, "the document was opened above"
        caret = session.caret(snapshot, place.offset)
        if folders:
            # What the index finds for a place is there for the next request.
            await session.gathering.settled()
            caret = session.caret(snapshot, place.offset)
        return await prompt_report(caret, snapshot.engine, settings.completion)
    finally:
        await session.end()


def spelled(report: dict[str, Any]) -> list[str]:
    """A report for a person, line by line. Control tokens stand between `⟨` and `⟩`."""
    text = "".join(
        f"⟨{piece['control']}⟩" if "control" in piece else piece["text"]
        for piece in report["pieces"]
    )
    lines = [
        f"Model: {report['model']}, in the format of {report['family']}",
        f"Order: {report['layout']}, up to the end of the {report['extent']}",
        f"Prompt: {report['tokens']} tokens",
    ]
    if report["instead"]:
        other = report["instead"]
        lines.append(
            f"Or, if the engine finds more of it read: {other['layout']}, {other['tokens']} tokens"
        )
    for one in report["snippets"]:
        lines.append(f"From {one['path']}: {len(one['text'])} characters, {_WHY[one['reason']]}")
    for one in report["leftOut"]:
        lines.append(f"Not from {one['path']} ({_WHY[one['reason']]}): {one['why']}")
    for rest in report["copyFrom"]:
        lines.append(f"To copy from: {len(rest)} more characters of the file")
    return [*lines, "", text]


def _open_engine(settings: Settings, role: Role) -> Engine:
    return open_engine(settings.engine, tell=lambda sentence: click.echo(sentence, err=True))


_WHY = {
    "definition": "defines what is used near the caret",
    "similar": "like the lines near the caret",
    "recent": "edited or looked at lately",
}
