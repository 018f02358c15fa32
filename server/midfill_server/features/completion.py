"""Completion at the caret, as ghost text or as an entry of the client's list."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from midfill.errors import MidfillError
from midfill_server.answering import AskedBy, Found, answer
from midfill_server.convert import (
    from_lsp_position,
    to_lsp_completion,
    to_lsp_inline_completion,
)
from midfill_server.session import Snapshot

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)


async def inline_completion(
    ls: MidfillServer, params: lsp.InlineCompletionParams
) -> lsp.InlineCompletionList:
    """Answer `textDocument/inlineCompletion`; an empty list where there is nothing to show."""
    by_hand = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    asked_by: AskedBy = "hand" if by_hand else "typing"
    shown = await _answer(ls, params.text_document.uri, params.position, asked_by)
    if shown is None:
        return lsp.InlineCompletionList([])
    snapshot, offset, request_id, found = shown
    item = to_lsp_inline_completion(
        snapshot.document, offset, found.text, snapshot.encoding, request_id, found.n_replaced
    )
    return lsp.InlineCompletionList([item])


async def completion(ls: MidfillServer, params: lsp.CompletionParams) -> lsp.CompletionList:
    """Answer `textDocument/completion`, for clients that know no ghost text.

    A client that does would show the same text twice, so it gets an empty list here.
    """
    features = ls.client_capabilities.text_document
    if features and features.inline_completion:
        return lsp.CompletionList(is_incomplete=False, items=[])
    shown = await _answer(ls, params.text_document.uri, params.position, "list")
    if shown is None:
        return lsp.CompletionList(is_incomplete=True, items=[])
    snapshot, offset, request_id, found = shown
    item = to_lsp_completion(
        snapshot.document, offset, found.text, snapshot.encoding, request_id, found.n_replaced
    )
    # What is right here may not be after the next key, so the client is to ask again.
    return lsp.CompletionList(is_incomplete=True, items=[item])


async def _answer(
    ls: MidfillServer, uri: str, position: lsp.Position, asked_by: AskedBy
) -> tuple[Snapshot, int, str, Found] | None:
    """Snapshot, offset, request id and a completion that has a text, or None with one line in the log."""
    request_id = ls.session.request_id()
    try:
        snapshot = ls.session.snapshot(uri)
    except MidfillError as error:
        # The engine cannot even be opened; the user was told when the server started.
        logger.warning("%s: nothing, %s", request_id, error)
        return None
    if snapshot is None or not snapshot.settings.completion.enabled:
        logger.debug("%s: nothing, the document is not open or completion is off", request_id)
        return None
    offset = snapshot.document.offset(from_lsp_position(position), snapshot.encoding)
    try:
        found = await answer(ls.session, snapshot, offset, asked_by)
    except MidfillError as error:
        logger.warning("%s: nothing, %s", request_id, error)
        return None
    except Exception as error:
        # An error answered to this request pops up in the editor at every key. The message is left out of the
        # log: it may quote the user's code, which the places in our own files do not.
        places = " < ".join(
            f"{at.name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)[::-1]
        )
        logger.error("%s: nothing, a defect: %s in %s", request_id, type(error).__name__, places)
        return None
    if not found or not found[0].text:
        why = found[0].usage.stop_reason if found else "it was overtaken, or took too long"
        logger.debug("%s: nothing, %s", request_id, why)
        return None
    evaluated = found[0].usage.tokens_evaluated
    logger.debug("%s: from the %s, %d evaluated", request_id, found[0].source, evaluated)
    return snapshot, offset, request_id, found[0]
