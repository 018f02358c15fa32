"""A caret's context from text with marks, for tests of what may be shown there."""

from __future__ import annotations

from typing import NamedTuple

from marks import inserted
from midfill.caret import Extent
from midfill.context import CompletionContext
from midfill.syntax import parse
from midfill.text import Document


class Said(NamedTuple):
    """What a model said, and where."""

    text: str
    context: CompletionContext


def context_of(
    before: str, after: str, extent: Extent = "line", language: str = ""
) -> CompletionContext:
    """The context between two texts, with a tree if the language has a grammar."""
    document = Document.of(before + after, language)
    return CompletionContext(document, len(before), extent, parse(document))


def said(marked: str, extent: Extent = "line", language: str = "") -> Said:
    """What stands between `├` and `┤`, and the context there without it."""
    before, text, after = inserted(marked)
    return Said(text, context_of(before, after, extent, language))
