"""Completion at the caret, as ghost text or as an entry of the client's list."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from midfill.complete import Completion, candidates, warm
from midfill.context import gather
from midfill.errors import MidfillError
from midfill_server.convert import (
    from_lsp_position,
    from_lsp_selection,
    to_lsp_completion,
    to_lsp_inline_completion,
)
from midfill_server.defects import described
from midfill_server.session import Snapshot
from midfill_server.statistics import Offer

if TYPE_CHECKING:
    from midfill_server.server import MidfillServer

logger = logging.getLogger(__name__)


TRIGGER_CHARACTERS = (".", "(", "[", "{", "=", ",")
"""Besides those of a word: where a line can be gone on with, and people pause (as `midfill demo` has it)."""

LIST_TIME_LIMIT_S = 0.25
"""Some clients show no list before every server has answered. What is not there by then comes with the next key, as the
list is said to be incomplete."""


@dataclass(frozen=True)
class Answer:
    """What may be shown, and the text that it was made for."""

    snapshot: Snapshot
    offset: int
    request_id: str
    found: tuple[Completion, ...]
    """The likeliest first; none of them empty."""


async def inline_completion(
    ls: MidfillServer, params: lsp.InlineCompletionParams
) -> lsp.InlineCompletionList:
    """Answer `textDocument/inlineCompletion`; an empty list where there is nothing to show."""
    context = params.context
    by_hand = context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    selected = context.selected_completion_info
    answer = await _answer(ls, params.text_document.uri, params.position, by_hand, selected)
    if answer is None:
        return lsp.InlineCompletionList([])
    snapshot, offset, before = answer.snapshot, answer.offset, ""
    document, encoding = snapshot.document, snapshot.encoding
    start = offset
    if selected is not None:
        # The editor shows what goes on from its own selected entry, if the text begins with that.
        taken = from_lsp_selection(selected)
        start, before = document.offset(taken.start, encoding), taken.text
        offset = document.offset(taken.end, encoding)
    items = [
        to_lsp_inline_completion(
            document, start, offset + each.n_replaced, before + each.text, encoding, request_id
        )
        for request_id, each in _offered(ls, answer, document.text[start:offset], before)
    ]
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
    # What is right here may not be after the next key, so the client is to ask again.
    return lsp.CompletionList(
        is_incomplete=True,
        items=[
            to_lsp_completion(
                answer.snapshot.document,
                answer.offset,
                answer.offset + each.n_replaced,
                each.text,
                answer.snapshot.encoding,
                request_id,
            )
            for request_id, each in _offered(ls, answer, "", "")
        ]
        if answer
        else [],
    )


def _offered(
    ls: MidfillServer, answer: Answer, replaced: str, before: str
) -> Iterator[tuple[str, Completion]]:
    """Each text with a name, by which it is told back when it is taken."""
    document = answer.snapshot.document
    head = document.text[document.line_starts[document.line_of(answer.offset)] : answer.offset]
    for idx, each in enumerate(answer.found):
        request_id = f"{answer.request_id}.{idx}" if idx else answer.request_id
        offer = Offer(document.uri, head.removesuffix(replaced) + before, each.text)
        ls.session.statistics.offered(request_id, offer)
        yield request_id, each


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
