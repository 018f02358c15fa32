"""The language server: which message goes where. It holds no state (that is `Session`) and no logic.

pygls is used for dispatch and capabilities, with the framing and the errors of `protocol`. Its document store is not: it splits lines where the
protocol does not (a form feed moves every later line) and takes 2 ms for an edit in a long file, so the
handlers of the document notifications are replaced by ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol.language_server import lsp_method

from midfill.version import __version__
from midfill_server.convert import (
    ACCEPTED_COMMAND,
    from_lsp_changes,
    from_lsp_document,
    from_lsp_encoding,
)
from midfill_server.features.completion import completion, inline_completion
from midfill_server.options import settings_from_client
from midfill_server.protocol import StrictProtocol, serve
from midfill_server.session import Session

logger = logging.getLogger(__name__)


class MidfillServer(LanguageServer):
    """pygls' server, with our session beside it and without its pop-ups."""

    protocol: DocumentProtocol

    def __init__(self, session: Session) -> None:
        super().__init__("midfill", __version__, protocol_cls=DocumentProtocol)
        self.session = session

    def serve_stdio(self) -> None:
        """Serve the editor at the other end of standard input and output until it leaves."""
        with (
            # Read without Python's buffer: its lock, held by a reading thread, breaks the end of the process.
            open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source,
            open(sys.stdout.fileno(), "wb", closefd=False) as sink,
        ):

            def write(data: bytes) -> None:
                sink.write(data)
                sink.flush()

            asyncio.run(serve(self.protocol, source.read, write))

    def serve_tcp(self, host: str, port: int) -> None:
        """Listen there, and serve the first editor that connects until it leaves."""
        with socket.create_server((host, port)) as listener:
            connection, _ = listener.accept()
        with connection:
            asyncio.run(serve(self.protocol, connection.recv, connection.sendall))

    def tell(self, sentence: str, kind: lsp.MessageType = lsp.MessageType.Warning) -> None:
        """Show a sentence to the user."""
        self.window_show_message(lsp.ShowMessageParams(kind, f"Midfill: {sentence}"))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong by its kind only: the message may quote the user's code."""
        logger.error("a message could not be handled: %s", type(error).__name__)


class DocumentProtocol(StrictProtocol):
    """The protocol with our own document store."""

    _server: MidfillServer

    @lsp_method(lsp.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        """Take a document."""
        self._server.session.open(from_lsp_document(params.text_document))

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        """Apply edits."""
        document = params.text_document
        changes = from_lsp_changes(params.content_changes)
        self._server.session.edit(document.uri, changes, document.version)

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
        ls.session.settings, problems = settings_from_client(
            params.initialization_options, ls.session.settings
        )
        ls.session.problems = problems
        logging.getLogger().setLevel(ls.session.settings.log_level.upper())

    @feature(lsp.INITIALIZED)
    async def initialized(ls: MidfillServer, params: lsp.InitializedParams) -> None:
        for problem in ls.session.problems:
            ls.tell(problem)
        await ls.session.warm_up()
        if ls.session.trouble:
            ls.tell(ls.session.trouble, lsp.MessageType.Error)

    @feature(lsp.SHUTDOWN)
    async def shutdown(ls: MidfillServer, params: None) -> None:
        await ls.session.end()

    # Without options pygls does not announce it.
    feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())(inline_completion)
    feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions())(completion)

    @server.command(ACCEPTED_COMMAND)
    def accepted(ls: MidfillServer, request_id: str) -> None:
        logger.debug("%s was accepted", request_id)

    return server
