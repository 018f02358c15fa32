"""`midfill index`: index a workspace as an editor's server does, and say what is kept where."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from midfill.errors import MidfillError
from midfill.index_store import IndexStore, index_path, remove_index
from midfill.indexer import Indexer
from midfill.settings import IndexSettings, Settings
from midfill.workspace import Workspace
from midfill_server.folders import Folders


@click.command("index")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--forget", is_flag=True, help="Take the index of these folders away.")
def command(folders: tuple[Path, ...], forget: bool) -> None:
    """Index FOLDERS (the one you are in without any), as an editor that has all of them open would.

    A server that is started there finds the index made.
    """
    defaults = IndexSettings()
    folders = folders or (Path.cwd(),)
    projects = Folders()
    projects.change(folder.absolute().as_uri() for folder in folders)
    projects.reload()
    left_out = projects.left_out(Settings())
    workspace = Workspace.of(folders, defaults.max_file_kb, left_out)
    path = index_path(workspace.roots)
    try:
        if forget:
            remove_index(path)
            path.with_suffix(".lock").unlink(missing_ok=True)
            click.echo("There is no index of this workspace now.")
            return
        n_read = _walked(Indexer(workspace, path, defaults.max_files))
        store = IndexStore(path)
        n_files = len(store.stamps())
        store.close()
    except (OSError, sqlite3.Error) as error:
        raise MidfillError(f"The index cannot be written: {error}.") from error
    click.echo(f"{n_read} files were read, {n_files} are known. {path} takes {_mb(path)} MB.")


def _walked(indexer: Indexer) -> int:
    columns = (TextColumn("indexing"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        return indexer.walk(lambda now: bar.update(task, completed=now.done, total=now.total))


def _mb(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f}"
