"""What is wanted at a caret: nothing, the rest of the line, or a block; and what stands there.

A pure function of the text and its tree. Nothing is wanted where a text would be in the way of what a person has
written already; a completion that is asked for by hand is tried there too.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from midfill.languages import Language, language
from midfill.nesting import nesting
from midfill.syntax import Syntax, opens_block_by_text
from midfill.text import Document

Extent = Literal["line", "block"]
"""Complete to the end of the line at most, or over several lines."""

CaretKind = Literal["code", "comment", "string", "import", "member"]
"""What stands at the caret: the path or names of an import, the name of a member behind its dot, …"""


class Caret(NamedTuple):
    """What is known of a caret before anything is asked for there."""

    extent: Extent
    kind: CaretKind
    is_wanted: bool
    """Whether a completion may be shown that nobody has asked for."""


def caret_at(document: Document, offset: int, syntax: Syntax | None) -> Caret:
    """What is wanted at an offset. The tree, if there is one yet, is that of this very document."""
    known = language(document.language)
    line_idx = document.line_of(offset)
    column = offset - document.line_starts[line_idx]
    line = document.lines[line_idx].rstrip("\r\n")
    head, tail = line[:column], line[column:]
    opens = syntax.opens_block(offset) if syntax else opens_block_by_text(document, offset)
    kind = _kind(known, head, offset, syntax)
    return Caret("block" if opens else "line", kind, _is_wanted(known, kind, head, tail))


def _kind(known: Language, head: str, offset: int, syntax: Syntax | None) -> CaretKind:
    # A string in an import is its path.
    if known.import_line.search(head) or (syntax and syntax.in_import(offset)):
        return "import"
    place = syntax.place(offset) if syntax else _place_by_text(known, head)
    if place != "code":
        return place
    is_member = any(
        re.search(rf"(?<![\d\s{re.escape(mark)}]){re.escape(mark)}\w*\Z", head)
        for mark in known.member
    )
    return "member" if is_member else "code"


def _place_by_text(known: Language, head: str) -> Literal["code", "comment", "string"]:
    found = nesting(known, head)
    if found.in_comment:
        return "comment"
    return "string" if found.closers[:1] in ("'", '"', "`") and found.closers else "code"


def _is_wanted(known: Language, kind: CaretKind, head: str, tail: str) -> bool:
    """Whether the line leaves room for a text.

    There is none inside a word or right before one, before the words of a sentence in a comment or a string,
    before a statement that stands there already, and behind something that is whole, such as `f(a)`, where code
    goes on. Closers and punctuation alone are no code: an editor has put them there.
    """
    if tail[:1].isalnum() or tail[:1] == "_":
        return False
    goes_on = bool(re.search(r"\w", tail))
    if not goes_on:
        is_over = not tail and known.ended.search(head.rstrip())
        return not is_over or bool(nesting(known, head).closers)
    if kind in ("comment", "string") and re.match(r"\s*\w", tail):
        return False
    if kind == "comment":
        return False
    if not head.strip():
        return tail.lstrip()[0] in _BEGINS_NO_STATEMENT
    is_whole = head.rstrip()[-1] in ")]}\"'`;" and kind != "string"
    return not is_whole


_BEGINS_NO_STATEMENT = ".,:;=+*/%&|^<>?)]}"
"""Before one of these the beginning of a line is missing."""
