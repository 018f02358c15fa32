"""Which lines around the caret a prompt holds: whole pieces of the file, whose edges rest while a person types.

A file is cut in blocks of so many characters, and each has one edge: the line in it where a definition or a statement
best begins. A piece is what stands between two edges; a window is made of whole pieces, and of what stands between
the caret and the nearest edge. Edges before the caret follow from the lines above the caret's alone, counted from
the beginning of the file, and those after it from the lines below, counted from its end; so neither typing nor a
new line moves any of them. All pieces but the nearest are the same text at the next key, and so are their tokens.

Edges are read from the lines. The tree only tells, above the caret, which lines stand in a string or a comment: below
it, all that follows becomes a string with each quote that is typed, and around it definitions come and go with each
bracket, and every such change would make a whole prompt new.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from midfill.blocks import headers_above
from midfill.context import CompletionContext, unix
from midfill.languages import language
from midfill.syntax import Syntax
from midfill.text import Document

MOST_IMPORTS_CHARS = 20_000
"""How far into a file imports are looked for: some 500 lines. In all of 10,000 lines that takes 4.5 ms."""

_BLANK = re.compile(r"\s*")

_MOST_TRIES = 4
"""Lines of a block that are looked up in the tree."""

_TAB = 8


class Segment(NamedTuple):
    """A piece of a document, with `\\n` line endings."""

    start: int
    """Offset in the document, as `end`."""
    end: int
    text: str


def before(context: CompletionContext, step_chars: int) -> Iterator[Segment]:
    """The text before the caret in pieces, the nearest first; all but the first begin and end at an edge."""
    document = context.document
    starts = document.line_starts
    end = context.offset
    for block in range(starts[document.line_of(end)] // step_chars - 1, 0, -1):
        first = bisect_left(starts, block * step_chars)
        last = bisect_left(starts, (block + 1) * step_chars)
        if first < last:
            start = _edge(document, first, last, context.syntax)
            yield _segment(document, start, end)
            end = start
    yield _segment(document, 0, end)


def after(context: CompletionContext, step_chars: int) -> Iterator[Segment]:
    """The text after the caret in pieces, the nearest first; all but the first begin and end at an edge."""
    document = context.document
    starts = document.line_starts
    n_chars = starts[-1] + len(document.lines[-1])
    start = context.offset
    line_below = document.line_of(start) + 1
    n_below = n_chars - starts[line_below] if line_below < len(starts) else 0
    for block in range(n_below // step_chars, 0, -1):
        first = bisect_left(starts, n_chars - block * step_chars)
        last = bisect_left(starts, n_chars - (block - 1) * step_chars)
        if first < last:
            end = _edge(document, first, last, None)
            yield _segment(document, start, end)
            start = end
    yield _segment(document, start, n_chars)


def frame(context: CompletionContext, start: int, max_chars: int) -> tuple[Segment, ...]:
    """What a window that begins at `start` is to know of the lines above it: the imports, and the headers of the
    classes, functions and other blocks that its first line stands in; at most `max_chars` of them.

    The innermost headers go first where there is no room for all, then the first imports. Like the edges it follows
    from the lines above `start`, except where what is typed at the caret hides an import from the parser.
    """
    document = context.document
    blank = _BLANK.match(document.text, start)
    at = blank.end() if blank else start
    first_line = document.line_of(at)
    known = language(document.language)
    spans = [(each.first_line, each.last_line) for each in headers_above(document, known, at)]
    imports = context.syntax.imports(min(start, MOST_IMPORTS_CHARS)) if context.syntax else ()
    spans += [(document.line_of(span.start), document.line_of(span.end)) for span in imports]
    kept: dict[int, Segment] = {}
    for first, last in spans:
        if last >= first_line or first in kept:
            continue
        end = document.line_starts[last] + len(document.lines[last])
        segment = _segment(document, document.line_starts[first], end)
        if len(segment.text) > max_chars:
            break
        max_chars -= len(segment.text)
        kept[first] = segment
    return tuple(kept[first] for first in sorted(kept))


def _edge(document: Document, first: int, last: int, syntax: Syntax | None) -> int:
    """The offset between the lines from `first` up to `last` at which a definition or a statement best begins.

    It stands before the line breaks above: most vocabularies have tokens of line breaks with the indentation that
    follows, so there a cut leaves the tokens as they are without it, and a new edge does not make others of them.
    """
    line = _beginning(document, first, last, syntax)
    while line > first and not document.lines[line - 1].strip():
        line -= 1
    above = document.lines[line - 1]
    return document.line_starts[line] - (len(above) - len(above.rstrip("\r\n")))


def _beginning(document: Document, first: int, last: int, syntax: Syntax | None) -> int:
    """The line that is the least indented one, after a blank line if there is such, and no line that begins with
    what closes a bracket or stands in a string or a comment."""
    closing = tuple(pair[1] for pair in language(document.language).brackets)
    ranked = []
    for line in range(first, last):
        text = document.lines[line]
        code = text.lstrip()
        if code and not code.startswith(closing):
            width = len(text[: len(text) - len(code)].expandtabs(_TAB))
            follows_blank = line > first and not document.lines[line - 1].strip()
            ranked.append((width, not follows_blank, line, len(text) - len(code)))
    for _, _, line, column in sorted(ranked)[:_MOST_TRIES]:
        if syntax is None or syntax.place(document.line_starts[line] + column) == "code":
            return line
    return first


def _segment(document: Document, start: int, end: int) -> Segment:
    return Segment(start, end, unix(document.text[start:end]))
