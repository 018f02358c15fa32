"""`midfill models`: get model files, see which there are, and choose which of them all editors use."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from midfill.engine import Role
from midfill.engines.gguf_header import read_header
from midfill.engines.gguf_info import file_info
from midfill.engines.model_files import (
    EMBEDDED,
    Record,
    choose,
    chosen_model,
    installed,
    located,
    models_folder,
    read_records,
    record,
)
from midfill.engines.state import state_folder
from midfill.errors import MidfillError, ModelError, RoleError
from midfill.hidden import plain, shown
from midfill_models.catalogue import (
    CatalogueFile,
    CatalogueModel,
    catalogue,
    find_file,
    find_model,
)
from midfill_server import downloads
from midfill_server.cli.model_info import info
from midfill_server.model_choice import Choice, emptied, fit_of, gib, machine, recommended
from midfill_server.model_list import ROLES, listed, listed_as
from midfill_server.model_sources import Source, on_hub, safe_name, source_of

_DEFAULT: Mapping[Role, str] = {"completion": "the embedded model", "instruct": "none"}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_ROLE = click.option(
    "--role", type=click.Choice(ROLES), help="What for; by default all that the file can do."
)


@click.group("models")
def command() -> None:
    """Get model files, see which there are, and choose which of them all editors use.

    NAME is what `midfill models list` shows, such as codellama-7b, or the name of a file. With --json list, info, pull,
    check and recommend print it for programs.
    """


command.add_command(info)


@command.command("list")
@_JSON
@click.option("--here", is_flag=True, help="Only those that are on this machine.")
def list_models(as_json: bool, here: bool) -> None:
    """Show the models that Midfill knows, and those that are on this machine."""
    rows = listed()
    if here:
        rows = [
            {**row, "files": files}
            for row in rows
            if (files := [file for file in row["files"] if file["installed"]])
        ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "quantization", "size", "runs on", "for", "licence", "here"):
        kept = heading in ("name", "quantization", "size")
        table.add_column(heading, justify="right" if heading == "size" else "left", no_wrap=kept)
    for row in rows:
        for idx, file in enumerate(row["files"]):
            where = file["where"] or ("" if file["fits"] is not False else "too large")
            here_as = ", ".join(["yes", *(f"for {role}" for role in file["chosen"])])
            cells = (
                row["name"] if idx == 0 else "",
                file["quantization"],
                f"{file['size_bytes'] / 1e9:.3g} GB",
                where,
                ", ".join(row["roles"]) if idx == 0 else "",
                row["licence"] if idx == 0 else "",
                here_as if file["installed"] else "",
            )
            # Some of it is what a file says of itself.
            table.add_row(*(Text(plain(cell)) for cell in cells))
    # Other programs get whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    _say(f"\nFiles are kept in {models_folder()}.")


@command.command("pull")
@click.argument("name")
@click.option(
    "--quantization", help="Which of a model's files, such as Q4_K_M; by default what fits best."
)
@click.option("--file", help="The same by the file's name.")
@click.option("--sha256", default="", help="The checksum that the file must have.")
@click.option("--again", is_flag=True, help="Also if a file of that name is there already.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a line of JSON for each step, and at the end one with the path or the error.",
)
def pull(
    name: str,
    quantization: str | None,
    file: str | None,
    sha256: str,
    again: bool,
    as_json: bool,
) -> None:
    """Fetch a model: NAME from the catalogue, OWNER/REPOSITORY:FILE on the hub, an address, or a path.

    What was interrupted goes on where it stopped. HF_ENDPOINT names a mirror of the hub, HF_TOKEN a key for it,
    HTTPS_PROXY a proxy; with HF_HUB_OFFLINE nothing is fetched.
    """
    downloads.quiet()
    with _errors(as_json):
        source = _source(name, quantization, file, sha256)
        folder = models_folder()
        if as_json:
            path = downloads.fetch(source, folder, _lines(), again=again)
            click.echo(json.dumps({"path": str(path)}))
            return
        with _bar(source.name) as tell:
            path = downloads.fetch(source, folder, tell, again=again)
        click.echo(path)


@command.command("add")
@click.argument("path", type=click.Path(path_type=Path))
def add(path: Path) -> None:
    """Let a model file that lies elsewhere be named as if it lay in the folder. Nothing is copied.

    `pull PATH` copies it instead.
    """
    path = path.expanduser().resolve()
    name = safe_name(path.name)
    read_header(path)
    folder = models_folder()
    known = installed(folder).get(name)
    if known is not None and known != path:
        raise ModelError(f"There is another {name} already, at {known}; rename one of them.")
    record(folder, name, Record("", path.stat().st_size, "added", str(path)))
    _say(f"{name} is {path}.")


@command.command("use")
@click.argument("name", required=False)
@_ROLE
def use(name: str | None, role: Role | None) -> None:
    """Choose a model for all editors and commands that name none themselves; without NAME, show which these are.

    NAME may also be a path, `embedded` for the small model that is installed with Midfill, or `none`.
    """
    folder = models_folder()
    if name is None:
        for each in ROLES:
            _say(f"{each}: {chosen_model(each, folder) or _DEFAULT[each]}")
        return
    if name in (EMBEDDED, "none"):
        rid = role or ("completion" if name == EMBEDDED else "instruct")
        choose(folder, rid, "")
        click.echo(f"{rid}: {_DEFAULT[rid]}")
        return
    path = Path(located(name, folder))
    able = file_info(path, listed_as(path)).abilities
    roles: tuple[Role, ...] = (role,) if role else able.roles
    if not roles or not set(roles) <= set(able.roles):
        raise RoleError(able.refusals[-1 if role == "instruct" else 0])
    kept = path.name if installed(folder).get(path.name) == path else str(path)
    for each in roles:
        choose(folder, each, kept)
        _say(f"{each}: {kept}")
    click.echo("Editors take it at their next start, unless their own settings name a model.")


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also while it is loaded.")
def remove(name: str, yes: bool, force: bool) -> None:
    """Take a model file away. One that was added where it lies is only forgotten."""
    folder = models_folder()
    here = installed(folder)
    known = find_model(name)
    names = (
        [name]
        if name in here
        else [file.name for file in known.files if file.name in here]
        if known
        else []
    )
    if not names:
        downloads.forget_part(folder, name)
        raise ModelError(f"There is no {name} in {folder}.")
    for each in names:
        path = folder / safe_name(each)
        elsewhere = here[each] != path
        if not elsewhere and not force and (users := _users(each)):
            raise ModelError(
                f"{each} is loaded by process {users}; close the editors, or use --force."
            )
        question = f"Forget {here[each]}?" if elsewhere else f"Remove {path}?"
        if not yes and not click.confirm(shown(question)):
            continue
        for role in ROLES:
            if chosen_model(role, folder) == each:
                choose(folder, role, "")
        record(folder, each, None)
        if not elsewhere:
            path.unlink()
            downloads.forget_part(folder, each)
        _say(f"{each} is {'forgotten' if elsewhere else 'removed'}.")


@command.command("check")
@click.argument("names", nargs=-1)
@_JSON
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Read all model files and compare them with the checksums that are known. The exit status tells."""
    folder = models_folder()
    here, records = installed(folder), read_records(folder).files
    if missing := sorted(set(names) - set(here)):
        raise ModelError(f"There is no {missing[0]} in {folder}.")
    wrong = {}
    for name in names or here:
        known = records.get(name, Record()).sha256
        with _bar(name, is_shown=not as_json) as tell:
            wrong[name] = _wrong_with(here[name], known, tell)
    told = [
        {
            "file": name,
            "sound": not why,
            "checksum": bool(records.get(name, Record()).sha256),
            "error": why,
        }
        for name, why in wrong.items()
    ]
    if as_json:
        click.echo(json.dumps(told))
    else:
        for row in told:
            sound = "sound" if row["checksum"] else "sound, but no checksum of it is known"
            _say(f"{row['file']}: {row['error'] or sound}")
        if not told:
            _say(f"There are no model files in {folder}.")
    sys.exit(any(wrong.values()))


def _say(text: str) -> None:
    """Print a text that may hold names by others."""
    click.echo(shown(text))


def _wrong_with(path: Path, sha256: str, tell: downloads.Progress) -> str:
    """Why a file is not sound, in a sentence; empty if it is, as far as can be told."""
    try:
        read_header(path)
        if sha256 and downloads.sha256_of(path, tell) != sha256:
            return "It has changed since it came; fetch it again with `pull --again`."
    except (OSError, ModelError) as error:
        return str(error)
    return ""


@command.command("recommend")
@_JSON
def recommend(as_json: bool) -> None:
    """Name the best models for this machine's memory, for completion and for explanations and edits."""
    found = machine()
    choices = recommended(catalogue(), emptied(found))
    if as_json:
        rows = [{"role": role, **_chosen_row(choice)} for role, choice in choices.items() if choice]
        click.echo(json.dumps(rows))
        return
    click.echo(f"This machine has {gib(found)}.")
    for role, choice in choices.items():
        if choice is None:
            click.echo(f"\n{role}: none of the catalogue's models fits.")
            continue
        model, file = choice.model, choice.file
        click.echo(
            f"\n{role}: {model.title}, {file.quantization}, {file.size_gb:g} GB, licence {model.licence}"
        )
        click.echo(f"  {choice.fit.why}")
        click.echo(f"  midfill models pull {model.name} --quantization {file.quantization}")
        click.echo(f"  midfill models use {model.name} --role {role}")


def _chosen_row(choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.model.name,
        "title": choice.model.title,
        "licence": choice.model.licence,
        "file": choice.file.name,
        "quantization": choice.file.quantization,
        "size_bytes": choice.file.size_bytes,
        "where": choice.fit.where,
        "why": choice.fit.why,
        "installed": choice.file.name in installed(models_folder()),
    }


def _source(name: str, quantization: str | None, file: str | None, sha256: str) -> Source:
    if model := find_model(name):
        return _of_catalogue(model, _file_of(model, quantization, file), sha256)
    if quantization or file:
        raise ModelError(f"{name} is no model of the catalogue, so it has no files to choose from.")
    if found := find_file(name):
        return _of_catalogue(*found, sha256)
    return source_of(name, sha256)


def _file_of(model: CatalogueModel, quantization: str | None, name: str | None) -> CatalogueFile:
    """The file to take: the one that was asked for, or the first that fits, which is the best one."""
    if asked := name or quantization:
        for file in model.files:
            if asked.lower() in (file.name.lower(), file.quantization.lower()):
                return file
        known = ", ".join(file.quantization for file in model.files)
        raise ModelError(f"{model.title} is in the catalogue as {known}, not as {asked}.")
    if len(model.files) > 1:
        empty = emptied(machine())
        fits = [fit_of(model, file, empty) for file in model.files]
        for where in ("gpu", "gpu and cpu", "cpu"):
            for file, fit in zip(model.files, fits, strict=True):
                if fit.where == where:
                    return file
    return model.files[-1]


def _of_catalogue(model: CatalogueModel, file: CatalogueFile, sha256: str) -> Source:
    if not file.confirmed:
        raise ModelError(
            f"Whether the hub has {model.title} under this name is not confirmed; to try it, write it out: "
            f"midfill models pull {file.repository}:{file.name}"
        )
    return on_hub(file.repository, file.name, sha256=sha256)


def _users(name: str) -> str:
    """The processes that have a file loaded or at hand."""
    # Imported here: it takes longer to import than most of these commands take.
    from midfill.engines.host_stats import running_hosts  # noqa: PLC0415

    hosts = asyncio.run(running_hosts(state_folder()))
    return ", ".join(str(host.state.pid) for host in hosts if name in host.files)


@contextmanager
def _errors(as_json: bool) -> Any:
    """For programs, what went wrong is the last line of JSON."""
    try:
        yield
    except MidfillError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"error": str(error)}))
        sys.exit(1)


def _lines() -> downloads.Progress:
    """A line for every hundredth part, and for the first and the last byte."""
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        step = done * 100 // total if total else done >> 24
        if step != shown or done == total:
            shown = step
            click.echo(json.dumps({"done": done, "total": total}))
            sys.stdout.flush()

    return tell


@contextmanager
def _bar(name: str, *, is_shown: bool = True) -> Any:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    is_shown = is_shown and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task(plain(name), total=None)
        tell: Callable[[int, int], None] = lambda done, total: bar.update(  # noqa: E731
            task, completed=done, total=total or None
        )
        yield tell
