"""What the commands about some lines have in common: their argument, their options, their engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import click

from midfill.engine import Engine
from midfill.engines.model_files import chosen_model
from midfill.engines.select import open_engine
from midfill.errors import DocumentError
from midfill.settings import EngineSettings, InstructSettings
from midfill.subject import Subject, subject_at
from midfill.syntax import parse
from midfill_server.cli.complete import LINGER_S
from midfill_server.cli.place import Lines, read_lines

_OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.argument("lines", metavar="FILE[:START[-END]]"),
    click.option(
        "--language", help="Language of the text, such as python; by default from FILE's name."
    ),
    click.option(
        "--model",
        default=partial(chosen_model, "instruct"),
        help="A model's name or a GGUF file's path; by default the one that is chosen for it.",
    ),
    click.option(
        "--url", "urls", multiple=True, help="Address of a running server to use instead."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print all that is known, as JSON."),
)


def about_lines(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument and the options of all that are about some lines."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


SETTINGS = {"ignore_unknown_options": True}
"""For click: "-:3-7" are lines of standard input, which it would take for an option that it does not know."""


def read_subject(
    argument: str, language: str | None, diagnostics: Sequence[str] = ()
) -> tuple[Lines, Subject]:
    """The lines that are meant.

    Raises:
        DocumentError: they do not exist, or nothing is there.
    """
    if argument.startswith("-") and argument != "-" and not argument.startswith("-:"):
        raise click.NoSuchOption(argument)
    lines = read_lines(argument, language)
    subject = subject_at(lines.document, parse(lines.document), lines.start, lines.end)
    if subject is None:
        line = lines.document.lines[lines.document.line_of(lines.start)]
        is_caret = lines.start == lines.end and line.strip()
        place = "no function or class around this line" if is_caret else "no code here"
        raise DocumentError(f"There is {place}; name the lines as FILE:START-END.")
    return lines, replace(subject, diagnostics=tuple(diagnostics))


def open_instruct(model: str, urls: tuple[str, ...]) -> Engine | None:
    """The engine that explains and edits, or None where no model was named."""
    if not (model or urls):
        return None
    settings = EngineSettings(urls=urls, host_linger_s=LINGER_S)
    return open_engine(
        settings,
        InstructSettings(model=model),
        role="instruct",
        tell=lambda sentence: click.echo(sentence, err=True),
    )
