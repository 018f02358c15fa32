"""Indentation as the document has it: with the same characters, and not twice where the caret's line has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import gcd

from midfill.blocks import header_at
from midfill.context import CompletionContext
from midfill.languages import language
from midfill.nesting import closers

NEAR_LINES = 100
"""So many lines on each side of the caret tell how a document is indented."""
DEFAULT_WIDTH = 4
"""Of a level of spaces where nothing tells."""


def fit_indentation(text: str, context: CompletionContext) -> str:
    """With the document's tabs or spaces, and without an indentation that the caret's line has already."""
    return _in_own_characters(_without_doubled_indent(text, context), context)


def _without_doubled_indent(text: str, context: CompletionContext) -> str:
    """On an indented blank line a model may say the indentation again; what fits no deeper place is that."""
    head, content = context.line_head, text.lstrip(" \t")
    if not head or head.strip() or content == text or content[:1] in ("", "\n"):
        return text
    document, known = context.document, language(context.document.language)
    line_idx = document.line_of(context.offset)
    above = next((n for n in range(line_idx - 1, -1, -1) if document.lines[n].strip()), None)
    if above is None:
        return text
    width = _width(document.lines[above])
    if header_at(document, known, above):
        width = width + _level(context) if _level(context) else max(width, _width(head))
    elif closers(known, document.lines[above]):
        return text  # In brackets a line stands where it likes.
    said = text[: len(text) - len(content)]
    return content if _width(head) <= width < _width(head + said) else text


def _in_own_characters(text: str, context: CompletionContext) -> str:
    """Only lines that begin in the text are changed, and such as are indented in the other way alone."""
    wanted = context.indent[:1] or _usual(context)
    if not wanted or "\n" not in text:
        return text
    other = " " if wanted == "\t" else "\t"
    first, *lines = text.split("\n")
    depths = [len(line) - len(line.lstrip(other)) for line in lines if line.strip()]
    if not any(depths):
        return text
    if wanted == " ":
        level = _level(context) or DEFAULT_WIDTH
        lines = [" " * level * (n := len(x) - len(x.lstrip(other))) + x[n:] for x in lines]
    else:
        # The first line stands as deep as the caret's line, or one level deeper behind a header.
        n_levels = len(context.indent) + bool(context.line_head.strip() and not first.strip())
        level = gcd(*depths)
        if len({*depths}) == 1:
            level = level // n_levels if n_levels and level % n_levels == 0 else DEFAULT_WIDTH
        lines = ["\t" * ((n := len(x) - len(x.lstrip(other))) // level) + x[n:] for x in lines]
    return "\n".join([first, *lines])


def _usual(context: CompletionContext) -> str:
    """The character that most lines near the caret are indented with."""
    return next(iter(dict(Counter(line[0] for line in _indented(context)).most_common(1))), "")


def _level(context: CompletionContext) -> int:
    """How many spaces a level has near the caret: the usual step from one line to a deeper one."""
    widths = [0, *(_width(line) for line in _near(context))]
    steps = Counter(b - a for a, b in pairwise(widths) if b - a > 1)
    return steps.most_common(1)[0][0] if steps else 0


def _indented(context: CompletionContext) -> Iterator[str]:
    return (line for line in _near(context) if line[0] in " \t")


def _near(context: CompletionContext) -> Iterator[str]:
    line_idx = context.document.line_of(context.offset)
    lines = context.document.lines[max(0, line_idx - NEAR_LINES) : line_idx + NEAR_LINES]
    return (line for line in lines if line.strip())


def _width(line: str) -> int:
    text = line.rstrip("\r\n")
    return len(text[: len(text) - len(text.lstrip(" \t"))].expandtabs(DEFAULT_WIDTH))
