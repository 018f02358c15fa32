"""The folders and files of the workspace: which there are, and when a project's own settings change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from midfill_server.features.configuration import tell_problems
from midfill_server.features.progress import watched
from midfill_server.project import PROJECT_FILE

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

ALL_FILES = lsp.FileOperationRegistrationOptions(
    [lsp.FileOperationFilter(pattern=lsp.FileOperationPattern(glob="**/*"), scheme="file")]
)


def take_folders(ls: MidfillServer, params: lsp.InitializeParams) -> None:
    """The folders from `initialize`. Their files are read afterwards, by `reload`."""
    uris = [folder.uri for folder in params.workspace_folders or ()]
    if not uris and params.root_uri:
        uris = [params.root_uri]
    ls.session.folders.change(uris)


def did_change_folders(ls: MidfillServer, params: lsp.DidChangeWorkspaceFoldersParams) -> None:
    """Folders come and go."""
    added = [folder.uri for folder in params.event.added]
    removed = [folder.uri for folder in params.event.removed]
    ls.session.folders.change(added, removed)
    reload(ls)


def did_create(ls: MidfillServer, params: lsp.CreateFilesParams) -> None:
    """The editor made files."""
    _changed(ls, [file.uri for file in params.files])


def did_delete(ls: MidfillServer, params: lsp.DeleteFilesParams) -> None:
    """The editor took files away."""
    _changed(ls, [file.uri for file in params.files])


def did_rename(ls: MidfillServer, params: lsp.RenameFilesParams) -> None:
    """The editor moved files or whole folders. Those that are open it closes and opens anew."""
    _changed(ls, [uri for file in params.files for uri in (file.old_uri, file.new_uri)])


def did_change_watched(ls: MidfillServer, params: lsp.DidChangeWatchedFilesParams) -> None:
    """Files changed, by whatever program."""
    _changed(ls, [change.uri for change in params.changes])


def did_save(ls: MidfillServer, params: lsp.DidSaveTextDocumentParams) -> None:
    """A file was saved: for editors that watch none."""
    # What was worked on in it is worth keeping.
    ls.session.gathering.rest(params.text_document.uri)
    _changed(ls, [params.text_document.uri])


def reload(ls: MidfillServer) -> None:
    """Read the projects' own settings, let them hold, and tell what is wrong with them."""
    ls.session.folders.reload()
    ls.session.open_folders()
    tell_problems(ls)


def show_indexing(ls: MidfillServer) -> None:
    """Show how far the folders are read, where files are new and it takes long."""
    gathering, showing = ls.session.gathering, set[asyncio.Task[None]]()

    async def show() -> None:
        with watched(ls, "Midfill: indexing", gathering.indexing):
            await gathering.indexed()

    def begin() -> None:
        if showing:
            return
        task = asyncio.ensure_future(show())
        showing.add(task)
        task.add_done_callback(showing.discard)

    gathering.on_indexing = begin


def watch(ls: MidfillServer) -> None:
    """Ask the editor to tell when a project's own settings change, if it can."""
    workspace = ls.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace else None
    if watched and watched.dynamic_registration:
        watcher = lsp.FileSystemWatcher(f"**/{PROJECT_FILE}")
        options = lsp.DidChangeWatchedFilesRegistrationOptions([watcher])
        registration = lsp.Registration(
            PROJECT_FILE, lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES, options
        )
        # Nobody waits for the answer: an editor that refuses tells nothing, and that is all.
        params = lsp.RegistrationParams([registration])
        ls.protocol.send_request(lsp.CLIENT_REGISTER_CAPABILITY, params)


def _changed(ls: MidfillServer, uris: list[str]) -> None:
    ls.session.gathering.changed(uris)
    # A folder that moves may have one in it.
    if any(uri.endswith(f"/{PROJECT_FILE}") or "." not in uri.rpartition("/")[2] for uri in uris):
        reload(ls)
