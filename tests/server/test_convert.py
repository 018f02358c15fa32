"""What an editor does with an answer: the text it has afterwards."""

from __future__ import annotations

import pytest
from lsprotocol import types as lsp

from marks import caret
from midfill.text import Document, Edit, Encoding
from midfill_server.convert import (
    from_lsp_position,
    to_lsp_completion,
    to_lsp_inline_completion,
)

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")


def taken(document: Document, where: lsp.Range, text: str, encoding: Encoding) -> str:
    """The document with an item's edit applied."""
    edit = Edit(from_lsp_position(where.start), from_lsp_position(where.end), text)
    return document.edited([edit], 1, encoding).text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("marked", "text", "n_replaced", "after"),
    [
        pytest.param("x = f(║)\n", "a, b", 0, "x = f(a, b)\n", id="inserted"),
        pytest.param("x = f(║)\n", "a).b", 1, "x = f(a).b\n", id="in-place-of-a-closer"),
        pytest.param("é = '😋' + f(val║);\n", "ue).b;", 2, "é = '😋' + f(value).b;\n", id="units"),
    ],
)
def test_an_answer_that_is_taken(
    marked: str, text: str, n_replaced: int, after: str, encoding: Encoding
) -> None:
    before, offset = caret(marked)
    document = Document.of(before)
    ghost = to_lsp_inline_completion(document, offset, offset + n_replaced, text, encoding, "c1")
    assert isinstance(ghost.insert_text, str)
    assert ghost.range is not None
    assert taken(document, ghost.range, ghost.insert_text, encoding) == after
    entry = to_lsp_completion(document, offset, offset + n_replaced, text, encoding, "c1").text_edit
    assert isinstance(entry, lsp.TextEdit)
    assert taken(document, entry.range, entry.new_text, encoding) == after
