"""Completion at the caret, as ghost text or as an entry of the client's list."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from midfill.errors import MidfillError
from midfill_server.answering import AskedBy, answer
from midfill_server.convert import from_lsp_position, from_lsp_selection
from midfill_server.defects import reported
from midfill_server.features.items import Answer, inline_items, list_items

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)


async def inline_completion(
    ls: MidfillServer, params: lsp.InlineCompletionParams
) -> lsp.InlineCompletionList:
    """Answer `textDocument/inlineCompletion`; an empty list where there is nothing to show."""
    context = params.context
    by_hand = context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    selected = context.selected_completion_info
    asked_by: AskedBy = "hand" if by_hand else "typing"
    shown = await _answer(ls, params.text_document.uri, params.position, asked_by, selected)
    items = inline_items(shown, selected, ls.session.statistics) if shown else []
    return lsp.InlineCompletionList(items)


async def completion(ls: MidfillServer, params: lsp.CompletionParams) -> lsp.CompletionList:
    """Answer `textDocument/completion`, for clients that know no ghost text.

    A client that does would show the same text twice, so it gets an empty list here.
    """
    features = ls.client_capabilities.text_document
    if features and features.inline_completion:
        return lsp.CompletionList(is_incomplete=False, items=[])
    shown = await _answer(ls, params.text_document.uri, params.position, "list")
    items = list_items(shown, ls.session.statistics) if shown else []
    # What is right here may not be after the next key, so the client is to ask again.
    return lsp.CompletionList(is_incomplete=True, items=items)


async def _answer(
    ls: MidfillServer,
    uri: str,
    position: lsp.Position,
    asked_by: AskedBy,
    selected: lsp.SelectedCompletionInfo | None = None,
) -> Answer | None:
    """What may be shown at a place, or None with one line in the log.

    With an entry `selected` in the editor's own list, it is what goes on from there.
    """
    request_id, started = ls.session.request_id(), time.perf_counter()
    ls.session.statistics.counts["asked"] += 1
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
    if asked_by != "hand":
        ls.session.foresight.asked(snapshot.document, None if selected else offset)
    assumed, caret = snapshot, offset
    if selected is not None:
        assumed, caret = snapshot.taken(from_lsp_selection(selected))
    try:
        n_candidates = snapshot.settings.completion.n_by_hand if asked_by == "hand" else 1
        live = snapshot.document if selected is not None else None
        found = await answer(ls.session, assumed, caret, asked_by, n_candidates, live)
    except MidfillError as error:
        logger.warning("%s: nothing, %s", request_id, error)
        if trouble := ls.session.fails(error):
            ls.tell(trouble, lsp.MessageType.Error)
        return None
    except Exception as error:
        # An error answered to this request pops up in the editor at every key.
        logger.error("%s: nothing, a defect: %s", request_id, reported(error))
        return None
    shown = tuple(each for each in found if each.text)
    if not shown:
        why = found[0].usage.stop_reason if found else "it was overtaken, or took too long"
        logger.debug("%s: nothing, %s", request_id, why)
        return None
    total_ms = 1000 * (time.perf_counter() - started)
    ls.session.statistics.answered(found[0].source, total_ms)
    if asked_by != "hand" and selected is None:
        ls.session.habits.shows(
            request_id, snapshot.document, offset, shown[0].text, shown[0].confidence
        )
    evaluated = found[0].usage.tokens_evaluated
    logger.debug("%s: from the %s, %d evaluated", request_id, found[0].source, evaluated)
    return Answer(snapshot, offset, request_id, shown)
