"""`midfill/prompt`: what would be sent for a completion at a place, for whoever wants to see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInternalError, JsonRpcInvalidParams

from midfill.errors import MidfillError
from midfill_server.convert import from_lsp_position
from midfill_server.prompt_report import prompt_report

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

PROMPT_REQUEST = "midfill/prompt"
"""Its parameters are those of every request at a place: `textDocument` and `position`."""


async def prompt(ls: MidfillServer, params: Any) -> dict[str, Any] | None:
    """Answer with `prompt_report`, or with null for a document that is not open.

    Raises:
        JsonRpcInvalidParams: the parameters are no document and position.
        JsonRpcInternalError: no prompt is ever made here, or none can be; the message says why.
    """
    try:
        uri = str(params.textDocument.uri)
        position = lsp.Position(int(params.position.line), int(params.position.character))
    except (AttributeError, TypeError, ValueError):
        raise JsonRpcInvalidParams("midfill/prompt takes textDocument and position.") from None
    try:
        snapshot = ls.session.snapshot(uri)
        if snapshot is None:
            return None
        if not ls.session.gathering.may_complete(uri):
            raise JsonRpcInternalError(
                "Nothing is completed in this file: it is secret by its name, or ignored."
            )
        offset = snapshot.document.offset(from_lsp_position(position), snapshot.encoding)
        caret = ls.session.caret(snapshot, offset)
        engine = snapshot.engine_for(caret.context())
        return await prompt_report(caret, engine, snapshot.settings.completion)
    except MidfillError as error:
        raise JsonRpcInternalError(str(error)) from None
