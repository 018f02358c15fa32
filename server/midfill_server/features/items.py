"""From what may be shown to the protocol's items, each with a name by which it is told back when it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lsprotocol import types as lsp

from midfill_server.answering import Found
from midfill_server.convert import (
    from_lsp_selection,
    to_lsp_completion,
    to_lsp_inline_completion,
)
from midfill_server.session import Snapshot
from midfill_server.statistics import Offer, Statistics

TRIGGER_CHARACTERS = (".", "(", "[", "{", "=", ",")
"""After these, besides those of a word, a list is asked for: where a line can be gone on with, and people pause."""


@dataclass(frozen=True)
class Answer:
    """What may be shown, and where."""

    snapshot: Snapshot
    """What the editor had when it asked."""
    offset: int
    request_id: str
    found: tuple[Found, ...]
    """The likeliest first; none of them empty."""


def inline_items(
    answer: Answer, selected: lsp.SelectedCompletionInfo | None, statistics: Statistics
) -> list[lsp.InlineCompletionItem]:
    """Ghost text. Where an entry of the editor's own list is selected, it begins with that, and takes the same place:
    an editor shows no other."""
    document, encoding = answer.snapshot.document, answer.snapshot.encoding
    start = end = answer.offset
    before = ""
    if selected is not None:
        entry = from_lsp_selection(selected)
        before = entry.text
        start, end = (document.offset(at, encoding) for at in (entry.start, entry.end))
    return [
        to_lsp_inline_completion(
            document, start, end + each.n_replaced, before + each.text, encoding, request_id
        )
        for request_id, each in _offered(answer, statistics, start, before)
    ]


def list_items(answer: Answer, statistics: Statistics) -> list[lsp.CompletionItem]:
    """Entries for the list of a client without ghost text."""
    document, offset = answer.snapshot.document, answer.offset
    return [
        to_lsp_completion(
            document,
            offset,
            offset + each.n_replaced,
            each.text,
            answer.snapshot.encoding,
            request_id,
        )
        for request_id, each in _offered(answer, statistics, offset, "")
    ]


def _offered(
    answer: Answer, statistics: Statistics, start: int, before: str
) -> Iterator[tuple[str, Found]]:
    document = answer.snapshot.document
    head = document.text[document.line_starts[document.line_of(start)] : start]
    for idx, each in enumerate(answer.found):
        request_id = f"{answer.request_id}.{idx}" if idx else answer.request_id
        statistics.offered(request_id, Offer(document.uri, head + before, each.text))
        yield request_id, each
