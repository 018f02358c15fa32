"""Marked text: `║` is the caret, `├…┤` what was inserted. The only parser of marks in the tests."""

from __future__ import annotations

from typing import NamedTuple

CARET = "║"


class Inserted(NamedTuple):
    """A text with a piece inserted at the caret."""

    before: str
    text: str
    after: str


def caret(marked: str) -> tuple[str, int]:
    """The text without its caret mark, and the caret's offset."""
    before, mark, after = marked.partition(CARET)
    assert mark, f"no {CARET} in {marked!r}"
    assert CARET not in after, f"more than one {CARET} in {marked!r}"
    return before + after, len(before)


def inserted(marked: str) -> Inserted:
    """The three parts of a text with one inserted piece."""
    before, opening, rest = marked.partition("├")
    text, closing, after = rest.partition("┤")
    assert opening + closing == "├┤", f"no ├…┤ in {marked!r}"
    return Inserted(before, text, after)
