"""The language server: which message goes where. It holds no state (that is `Session`) and no logic.

pygls is used for dispatch and capabilities, with the framing and the errors of `protocol`. Its document store is not:
it splits lines where the protocol does not (a form feed moves every later line) and takes 2 ms for an edit in a long
file, so the handlers of the document notifications are replaced by ours.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol.language_server import lsp_method

from midfill.engines.crashes import watch_loop
from midfill.hidden import plain
from midfill.version import __version__
from midfill_server.answering import read_when_idle, take_edit
from midfill_server.convert import (
    ACCEPTED_COMMAND,
    from_lsp_cells,
    from_lsp_changes,
    from_lsp_document,
    from_lsp_encoding,
    from_lsp_notebook,
)
from midfill_server.defects import reported
from midfill_server.features import configuration, instruct, notices, workspace
from midfill_server.features.completion import completion, inline_completion
from midfill_server.features.items import TRIGGER_CHARACTERS
from midfill_server.features.prompt import PROMPT_REQUEST, prompt
from midfill_server.features.status import StatusLight, snooze, status
from midfill_server.features.workspace import ALL_FILES
from midfill_server.greeting import Greeted
from midfill_server.protocol import StrictProtocol, serve
from midfill_server.session import Session

logger = logging.getLogger(__name__)


class MidfillServer(LanguageServer):
    """pygls' server, with our session beside it and without its pop-ups."""

    protocol: DocumentProtocol

    def __init__(self, session: Session) -> None:
        super().__init__(
            "midfill",
            __version__,
            protocol_cls=DocumentProtocol,
            notebook_document_sync=lsp.NotebookDocumentSyncOptions(
                [lsp.NotebookDocumentFilterWithNotebook("*")]
            ),
        )
        self.session = session
        self.status = StatusLight(self)

    def serve_stdio(self, greeted: Greeted) -> None:
        """Serve the editor at the other end of standard input and output until it leaves; it may be greeted already."""
        with (
            # Read without Python's buffer: its lock, held by a reading thread, breaks the end of the process.
            open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source,
            open(sys.stdout.fileno(), "wb", closefd=False) as sink,
        ):

            def write(data: bytes) -> None:
                sink.write(data)
                sink.flush()

            first = [greeted.taken] if greeted.taken else []
            self.protocol.greeted_id = greeted.msg_id
            self._serve(lambda size: first.pop() if first else source.read(size), write)

    def serve_tcp(self, host: str, port: int) -> None:
        """Listen there, and serve the first editor that connects until it leaves."""
        with socket.create_server((host, port)) as listener:
            connection, _ = listener.accept()
        with connection:
            self._serve(connection.recv, connection.sendall)

    def _serve(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        # What was made by now stays to the end. To look through it for what is free took 35 ms, in which nobody is
        # answered (60,000 objects, measured).
        gc.freeze()

        async def serving() -> None:
            watch_loop()
            await serve(self.protocol, read, write)

        asyncio.run(serving())
        from midfill.engines.state import state_folder  # noqa: PLC0415  # Of no use to `initialize`.

        self.session.statistics.save(state_folder())

    def tell(self, sentence: str, kind: lsp.MessageType = lsp.MessageType.Warning) -> None:
        """Show a sentence to the user."""
        self.window_show_message(lsp.ShowMessageParams(kind, f"Midfill: {plain(sentence)}"))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong without its message, which may quote the user's code."""
        logger.error("a message could not be handled: %s", reported(error.__cause__ or error))


class DocumentProtocol(StrictProtocol):
    """The protocol with our own document store."""

    _server: MidfillServer

    @lsp_method(lsp.INITIALIZE)
    def lsp_initialize(
        self, params: lsp.InitializeParams
    ) -> Generator[Any, Any, lsp.InitializeResult]:
        """Announce entries of a list only to clients that draw no ghost text."""
        result = yield from super().lsp_initialize(params)
        features = params.capabilities.text_document
        if features and features.inline_completion:
            result.capabilities.completion_provider = None
        return result

    @lsp_method(lsp.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        """Take a document."""
        self._server.session.open(from_lsp_document(params.text_document))
        self._server.session.trees.prepare(params.text_document.language_id)
        read_when_idle(self._server.session, params.text_document.uri)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        """Apply edits."""
        document = params.text_document
        changes = list(from_lsp_changes(params.content_changes))
        self._server.session.edit(document.uri, changes, document.version)
        take_edit(self._server.session, document.uri, changes)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(self, params: lsp.DidOpenNotebookDocumentParams) -> None:
        """Take a notebook and its cells."""
        cells = map(from_lsp_document, params.cell_text_documents)
        self._server.session.open_notebook(from_lsp_notebook(params.notebook_document), cells)
        for cell in params.cell_text_documents:
            self._server.session.trees.prepare(cell.language_id)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(
        self, params: lsp.DidChangeNotebookDocumentParams
    ) -> None:
        """Take cells that come, go, or change."""
        session, uri = self._server.session, params.notebook_document.uri
        cells = params.change.cells
        notebook = session.notebooks.get(uri)
        if cells is None or notebook is None:
            return
        if structure := cells.structure:
            session.open_notebook(
                from_lsp_cells(notebook, structure.array),
                map(from_lsp_document, structure.did_open or ()),
            )
            for closed in structure.did_close or ():
                session.close(closed.uri)
        for content in cells.text_content or ():
            changes = list(from_lsp_changes(content.changes))
            session.edit(content.document.uri, changes, content.document.version)
            take_edit(session, content.document.uri, changes)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(self, params: lsp.DidCloseNotebookDocumentParams) -> None:
        """Forget a notebook and its cells."""
        cells = [cell.uri for cell in params.cell_text_documents]
        self._server.session.close_notebook(params.notebook_document.uri, cells)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        """Forget a document."""
        self._server.session.close(params.text_document.uri)


def create_server(session: Session) -> MidfillServer:
    """A server that is ready to be started."""
    server = MidfillServer(session)
    feature: Callable[..., Callable[[Any], Any]] = server.feature

    @feature(lsp.INITIALIZE)
    def initialize(ls: MidfillServer, params: lsp.InitializeParams) -> None:
        ls.session.encoding = from_lsp_encoding(ls.workspace.position_encoding)
        workspace.take_folders(ls, params)
        configuration.take_initial(ls, params.initialization_options)

    @feature(lsp.INITIALIZED)
    async def initialized(ls: MidfillServer, params: lsp.InitializedParams) -> None:
        if ls.session.started:
            return
        workspace.watch(ls)
        workspace.show_indexing(ls)
        workspace.reload(ls)
        # Before the model is loaded, since they name it, and before a file is read that they leave out.
        await configuration.ask(ls)
        # In a thread, as it takes 20 ms, most of them SQLite's.
        await asyncio.to_thread(import_module, "midfill_server.indexing")
        ls.session.started = True
        # What was wrong in settings that came meanwhile.
        configuration.tell_problems(ls)
        ls.session.open_folders()
        ls.status.update()
        await configuration.load(ls)

    @feature(lsp.SHUTDOWN)
    async def shutdown(ls: MidfillServer, params: None) -> None:
        await ls.session.end()

    # Without options pygls does not announce it.
    @feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())
    async def inline(
        ls: MidfillServer, params: lsp.InlineCompletionParams
    ) -> lsp.InlineCompletionList:
        with ls.status.working():
            return await inline_completion(ls, params)

    @feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(TRIGGER_CHARACTERS))
    async def listed(ls: MidfillServer, params: lsp.CompletionParams) -> lsp.CompletionList:
        with ls.status.working():
            return await completion(ls, params)

    feature(PROMPT_REQUEST)(prompt)
    instruct.register(server)

    for name, handler in _NOTIFICATIONS.items():
        feature(name, ALL_FILES if name in _FILE_OPERATIONS else None)(handler)
    for name, command in _COMMANDS.items():
        server.command(name)(command)
    return server


_NOTIFICATIONS: dict[str, Callable[..., Any]] = {
    lsp.WORKSPACE_DID_CHANGE_CONFIGURATION: configuration.did_change,
    lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: workspace.did_change_folders,
    lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES: workspace.did_change_watched,
    lsp.WORKSPACE_DID_CREATE_FILES: workspace.did_create,
    lsp.WORKSPACE_DID_DELETE_FILES: workspace.did_delete,
    lsp.WORKSPACE_DID_RENAME_FILES: workspace.did_rename,
    lsp.TEXT_DOCUMENT_DID_SAVE: workspace.did_save,
    notices.DID_SHOW: notices.did_show,
    notices.DID_ACCEPT_IN_PART: notices.did_accept_in_part,
}

_FILE_OPERATIONS = (
    lsp.WORKSPACE_DID_CREATE_FILES,
    lsp.WORKSPACE_DID_DELETE_FILES,
    lsp.WORKSPACE_DID_RENAME_FILES,
)

_COMMANDS: dict[str, Callable[..., Any]] = {
    ACCEPTED_COMMAND: notices.accepted,
    "midfill.snooze": snooze,
    "midfill.status": status,
}
