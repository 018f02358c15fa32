"""Where a block opens, read from a document's lines: its headers, and whether a body follows them.

At the caret the tree is at its worst, because a half-typed header is an error to it, and the lines are at
their best, because a person has just indented them. So headers are read from lines, in every language the
same way: a header is a line that one of the language's `blocks` patterns knows, joined with the lines above
it whose brackets it closes, and its body is what is indented deeper below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from midfill.languages import Language
from midfill.nesting import closers
from midfill.text import Document

MAX_HEADER_LINES = 30
"""A header of more lines than this is read from its last ones only."""


class Header(NamedTuple):
    """The header of a block."""

    first_line: int
    last_line: int


def opens_block(
    document: Document, language: Language, offset: int, stands_alone: Callable[[int], bool]
) -> bool:
    """Whether an empty body begins at the caret; `Syntax.opens_block` says when.

    `stands_alone` tells whether a line holds nothing but a comment or a docstring.
    """
    line = document.line_of(offset)
    column = offset - document.line_starts[line]
    head, tail = document.lines[line][:column], document.lines[line][column:]
    if tail.strip() and not _is_closed(language, head, tail):
        return False
    alone = stands_alone(line)
    if alone and comment_alone(document, language, line) and head.strip():
        return False
    if head.strip() and not alone:
        header = header_at(document, language, line, column)
    else:
        # On a blank line, or behind a docstring, the header stands above.
        above = (n for n in range(line - 1, -1, -1) if document.lines[n].strip())
        last = next((n for n in above if not stands_alone(n)), None)
        header = None if last is None else header_at(document, language, last)
    if header is None:
        return False
    below = (n for n in range(line + 1, len(document.lines)) if document.lines[n].strip())
    first = next((n for n in below if not stands_alone(n)), None)
    return first is None or indentation(document, first) <= indentation(document, header.first_line)


def header_at(
    document: Document, language: Language, line: int, column: int | None = None
) -> Header | None:
    """The header that ends in a line (or at a column of it, where the caret is), if that opens a block."""
    text = _bare(language, document.lines[line][:column])
    if column is None:
        text += "\n"
    first, unopened = line, _unopened(language, text)
    while unopened > 0 and first > 0 and line - first < MAX_HEADER_LINES:
        first -= 1
        above = _bare(language, document.lines[first])
        unopened += _unopened(language, above)
        text = f"{above}\n{text}"
    if language.style == "indent" and unopened != 0:
        return None  # The colon stands in a dictionary, a slice or a lambda.
    return Header(first, line) if language.block_opened_by(text) else None


def headers_above(document: Document, language: Language, offset: int) -> Iterator[Header]:
    """The headers whose blocks hold the caret as far as the indentation tells, the innermost first."""
    line = document.line_of(offset)
    column = offset - document.line_starts[line]
    width = indentation(document, line)
    if not document.lines[line][:column].strip():
        width = len(document.lines[line][:column].expandtabs(TAB))
    for above in range(line - 1, -1, -1):
        if width == 0:
            return
        text = document.lines[above]
        if text.strip() and indentation(document, above) < width:
            header = header_at(document, language, above)
            width = indentation(document, above)
            if header is not None:
                width = min(width, indentation(document, header.first_line))
                yield header


def body_end(document: Document, header: Header, line: int) -> int:
    """The offset at which the body that holds `line` ends: before a line indented no deeper than its header."""
    width = indentation(document, header.first_line)
    for below in range(line + 1, len(document.lines)):
        if document.lines[below].strip() and indentation(document, below) <= width:
            return document.line_starts[below]
    return document.line_starts[-1] + len(document.lines[-1])


def indentation(document: Document, line: int) -> int:
    """The column of a line's first character that is no white space, with tabs expanded."""
    text = document.lines[line]
    return len(text[: len(text) - len(text.lstrip())].expandtabs(TAB))


def comment_alone(document: Document, language: Language, line: int) -> bool:
    """Whether a line starts with a comment, by its text."""
    text = document.lines[line].lstrip()
    starts = (language.line_comment, language.block_comment[0] if language.block_comment else "")
    return any(start and text.startswith(start) for start in starts)


def _is_closed(language: Language, head: str, tail: str) -> bool:
    """Whether what closes the line's own brackets stands right of the caret, as an editor puts it there at once, and
    nothing behind it but arguments: `f(() => {║}, a);`."""
    after = _CLOSED.fullmatch("".join(tail.split()))
    return after is not None and closers(language, head).startswith(after[1])


def _bare(language: Language, line: str) -> str:
    """A line without what stands in its strings and its comment, so that only code is left to be matched."""
    text = _STRING.sub('""', line.rstrip("\r\n"))
    if language.line_comment:
        comment = rf"(?:^|(?<=[\s;{{}}():,])){re.escape(language.line_comment)}.*"
        text = re.sub(comment, "", text, flags=re.DOTALL)
    return text


def _unopened(language: Language, text: str) -> int:
    """How many more brackets a text closes than it opens."""
    if language.style == "markup":
        return 0
    return sum(text.count(closing) - text.count(opening) for opening, closing in language.brackets)


TAB = 8
"""The width of a tab in Python's own reading; any other keeps the order of lines indented the same way."""

_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")

_CLOSED = re.compile(r"([)\]}]+)(?:[;,(].*)?")
