"""Completion at the caret, as ghost text or as an entry of the client's list."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from midfill.complete import Completion, candidates, warm
from midfill.context import gather
from midfill.errors import MidfillError
from midfill_server.convert import from_lsp_position, from_lsp_selection
from midfill_server.defects import described
from midfill_server.features.items import Answer, inline_items, list_items
from midfill_server.session import Snapshot

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)


LIST_TIME_LIMIT_S = 0.25
"""Some clients show no list before every server has answered. What is not there by then comes with the next key, as the
list is said to be incomplete."""


async def inline_completion(
    ls: MidfillServer, params: lsp.InlineCompletionParams
) -> lsp.InlineCompletionList:
    """Answer `textDocument/inlineCompletion`; an empty list where there is nothing to show."""
    context = params.context
    by_hand = context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    selected = context.selected_completion_info
    answer = await _answer(ls, params.text_document.uri, params.position, by_hand, selected)
    items = inline_items(answer, selected, ls.session.statistics) if answer else []
    return lsp.InlineCompletionList(items)


async def completion(ls: MidfillServer, params: lsp.CompletionParams) -> lsp.CompletionList:
    """Answer `textDocument/completion`, for clients that know no ghost text.

    A client that does would show the same text twice, so it gets an empty list here.
    """
    features = ls.client_capabilities.text_document
    if features and features.inline_completion:
        return lsp.CompletionList(is_incomplete=False, items=[])
    answering = asyncio.ensure_future(
        _answer(ls, params.text_document.uri, params.position, by_hand=False)
    )
    try:
        # Shielded, since what was read and drawn so far helps the next key.
        answer = await asyncio.wait_for(asyncio.shield(answering), LIST_TIME_LIMIT_S)
    except asyncio.TimeoutError:
        answer = None
    except asyncio.CancelledError:
        answering.cancel()
        raise
    items = list_items(answer, ls.session.statistics) if answer else []
    # What is right here may not be after the next key, so the client is to ask again.
    return lsp.CompletionList(is_incomplete=True, items=items)


async def _answer(
    ls: MidfillServer,
    uri: str,
    position: lsp.Position,
    by_hand: bool,
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
    assumed, caret = snapshot, offset
    if selected is not None:
        assumed, caret = snapshot.taken(from_lsp_selection(selected))
    try:
        found = await ls.session.scheduler.latest(uri, lambda: _completed(assumed, caret, by_hand))
    except MidfillError as error:
        logger.warning("%s: nothing, %s", request_id, error)
        return None
    except Exception as error:
        # An error answered to this request pops up in the editor at every key.
        logger.error("%s: nothing, a defect: %s", request_id, described(error))
        return None
    if found and found[0].unread:
        # The caret has jumped; what will be typed here is to find its layout read.
        ls.session.scheduler.meanwhile(uri, warm(snapshot.engine, found[0].unread))
    shown = tuple(each for each in found or () if each.text)
    if not found or not shown:
        why = found[0].usage.stop_reason if found else "a later request took its place"
        logger.debug("%s: nothing, %s", request_id, why)
        return None
    total_ms = 1000 * (time.perf_counter() - started)
    ls.session.statistics.answered("model", total_ms, found[0].usage)
    return Answer(snapshot, offset, request_id, shown)


async def _completed(snapshot: Snapshot, offset: int, by_hand: bool) -> tuple[Completion, ...]:
    settings = snapshot.settings.completion
    n_candidates = 1
    if by_hand:
        # Who asks wants to see what there is.
        settings, n_candidates = replace(settings, min_confidence=0.0), settings.n_by_hand
    else:
        await asyncio.sleep(settings.debounce_ms / 1000)
    context = gather(snapshot.document, offset, snapshot.syntax)
    return await candidates(context, snapshot.engine, settings, n_candidates)
