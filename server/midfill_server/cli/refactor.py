"""`midfill refactor|document|fix|tests FILE:START-END`: verified edits, for a shell.

The difference is printed, and with `--apply` made. The exit status tells: 0 there is a verified edit, 3 what the
model said was refused, 4 there is nothing to do; 1 and 2 are errors and wrong usage, as everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any, NoReturn

import click

from midfill.edits import applied
from midfill.engine import Engine
from midfill.errors import DocumentError, RoleError
from midfill.hidden import shown
from midfill.instruct import Proposal, Task, file_for_tests, proposal, refusal, tasks
from midfill.subject import Subject
from midfill.text import split_lines
from midfill_server.cli.lines import SETTINGS, about_lines, open_instruct, read_subject

VERIFIED, REFUSED, NOTHING = 0, 3, 4

_READY = [
    name
    for name, task in tasks().items()
    if task.kind.startswith("refactor.") and task.result == "edit"
]
_apply = click.option("--apply", is_flag=True, help="Make the change instead of printing it.")


@click.command("refactor", context_settings=SETTINGS)
@about_lines
@click.option("--instruction", default="", help="What is to be done, in your words.")
@click.option("--task", "name", type=click.Choice(_READY), help="What is to be done, ready made.")
@_apply
def command(lines: str, instruction: str, name: str | None, apply: bool, **options: Any) -> None:
    """Rewrite some lines; the verified difference is printed.

    One line means the definition around it; FILE may be "-" for standard input, whose changed text --apply prints.
    """
    instruction = instruction.strip()
    if bool(instruction) == bool(name):
        raise click.UsageError("name either --instruction or --task")
    task = tasks()[name] if name else tasks()["refactor"].with_instruction(instruction)
    _run(task, lines, apply, **options)


@click.command("document", context_settings=SETTINGS)
@about_lines
@_apply
def document(lines: str, apply: bool, **options: Any) -> None:
    """Write the documentation of some lines; nothing else may change."""
    _run(tasks()["document"], lines, apply, **options)


@click.command("fix", context_settings=SETTINGS)
@about_lines
@click.option(
    "--problem", "problems", multiple=True, help="What is wrong, such as a compiler's message."
)
@_apply
def fix(lines: str, problems: tuple[str, ...], apply: bool, **options: Any) -> None:
    """Mend what is wrong with some lines; without --problem, their syntax errors."""
    _run(tasks()["fix"], lines, apply, problems=problems, **options)


@click.command("tests", context_settings=SETTINGS)
@about_lines
@_apply
def tests(lines: str, apply: bool, **options: Any) -> None:
    """Write tests for a function or class, into a new file beside it; one that exists is left as it is."""
    _run(tasks()["tests"], lines, apply, **options)


@dataclass(frozen=True)
class _File:
    """What is to be written."""

    name: str
    path: Path | None
    """None for standard input."""
    before: str | None
    """None for a new file."""
    after: str

    def diff(self) -> str:
        """The unified difference; git's sign marks a last line without an ending."""
        old = [] if self.before is None else _lines(self.before)
        named = "/dev/null" if self.before is None else f"a/{self.name}"
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in unified_diff(old, _lines(self.after), named, f"b/{self.name}")
        )

    def write(self) -> None:
        """Put it in its place, whole or not at all.

        Raises:
            DocumentError: the file is not what it was, or cannot be written.
        """
        if self.path is None:
            sys.stdout.buffer.write(self.after.encode())
            return
        path = self.path.resolve()
        if self.before is not None and not _is_writable(path):
            raise DocumentError(f"{self.path} is read-only and is left as it is.")
        try:
            if self.before is None:
                with path.open("xb") as new:
                    new.write(self.after.encode())
                return
            if path.read_bytes() != self.before.encode():
                raise DocumentError(f"{self.path} has changed meanwhile; ask again.")
            descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self.after.encode())
                was = path.stat()
                with suppress(AttributeError, PermissionError):
                    os.chown(fresh, was.st_uid, was.st_gid)
                Path(fresh).chmod(was.st_mode)
                Path(fresh).replace(path)
            except BaseException:
                Path(fresh).unlink(missing_ok=True)
                raise
        except FileExistsError:
            raise DocumentError(f"{self.path} exists already and is left as it is.") from None
        except OSError as error:
            raise DocumentError(f"{self.path} cannot be written: {error.strerror}.") from None


def _is_writable(path: Path) -> bool:
    """Whether a file may be changed. Its mode holds for the superuser too, and where its folder would let us."""
    with suppress(OSError):
        return os.access(path, os.W_OK) and bool(path.stat().st_mode & 0o222)
    return True  # It is gone, which is told better.


def _run(
    task: Task,
    argument: str,
    apply: bool,
    *,
    language: str | None,
    model: str,
    urls: tuple[str, ...],
    as_json: bool,
    problems: Sequence[str] = (),
) -> None:
    """Do a task and end the process with the status that tells what came of it."""
    lines, subject = read_subject(argument, language, problems)
    if task.needs_diagnostics and not problems:
        subject = replace(subject, diagnostics=_syntax_errors(subject))
        if not subject.diagnostics:
            _end(Proposal(), None, as_json)
    if why := refusal(task, subject, has_model=bool(model or urls)):
        raise RoleError(why)
    beside = (lines.path or Path()).parent / file_for_tests(subject)
    if task.result == "file" and beside.exists():
        raise DocumentError(f"{beside} exists already and is left as it is.")
    engine = open_instruct(model, urls)
    assert engine is not None, "without a model the task was refused"
    made = asyncio.run(_proposed(task, subject, engine))
    file = None
    if made.file_text:
        file = _File(beside.as_posix(), beside, None, made.file_text)
    elif made.changes:
        text = subject.document.text
        name = lines.path.as_posix() if lines.path else "stdin"
        file = _File(name, lines.path, text, applied(text, made.changes))
    if file is not None and apply and as_json and file.path is None:
        _end(made, file, as_json, text=file.after)
    if file is not None and apply:
        file.write()
    elif file is not None and not as_json:
        # To a program it goes as it is. The lines around may hold what steers a terminal.
        click.echo(shown(file.diff()) if sys.stdout.isatty() else file.diff(), nl=False)
    _end(made, file, as_json)


async def _proposed(task: Task, subject: Subject, engine: Engine) -> Proposal:
    try:
        return await proposal(task, subject, engine)
    finally:
        await engine.close()


def _syntax_errors(subject: Subject) -> tuple[str, ...]:
    if subject.syntax is None:
        return ()
    first, last = subject.syntax.byte_of(subject.start), subject.syntax.byte_of(subject.end)
    lines = {
        subject.document.line_of(subject.syntax.offset_of(error.start)) + 1
        for error in subject.syntax.byte_errors
        if error.start <= last and error.end >= first
    }
    return tuple(f"line {line}: syntax error" for line in sorted(lines))


def _end(made: Proposal, file: _File | None, as_json: bool, **more: str) -> NoReturn:
    status = REFUSED if made.reason else VERIFIED if file is not None else NOTHING
    if as_json:
        click.echo(json.dumps(_report(made, file, status) | more))
    elif status != VERIFIED:
        click.echo(f"midfill: {made.reason or 'There is nothing to do.'}", err=True)
    sys.exit(status)


def _report(made: Proposal, file: _File | None, status: int) -> dict[str, Any]:
    return {
        "outcome": {VERIFIED: "verified", REFUSED: "refused", NOTHING: "nothing to do"}[status],
        "reason": made.reason,
        "file": file and file.name,
        "diff": file and file.diff(),
        "answers": len(made.usages),
        "tokens": {
            name: sum(getattr(usage, f"tokens_{name}") for usage in made.usages)
            for name in ("reused", "evaluated", "generated", "drafted", "accepted")
        },
        "copied_share": round(made.copied_share, 3),
    }


def _lines(text: str) -> list[str]:
    lines = split_lines(text)
    return lines[:-1] if lines[-1] == "" else lines
