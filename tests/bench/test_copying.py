"""The baseline that copies: what it finds, and where it ends."""

from __future__ import annotations

import pytest
from bench.copying import cut_as_an_editor, cut_to_block, cut_to_tail, longest_repetition

from marks import caret
from midfill.context import gather
from midfill.syntax import parse
from midfill.text import Document


@pytest.mark.parametrize(
    ("marked", "following", "n_matched"),
    [
        pytest.param("abcd1 abcd║", "1 abcd", 4, id="before"),
        pytest.param("abc1;abc2,abc║", "2,abc", 3, id="nearest-before"),
        pytest.param("xabc1 abc2 xabc║", "1 abc2 xabc", 4, id="longest-rather-than-nearest"),
        pytest.param("abc║ abc1 abc2", "1 abc2", 3, id="after"),
        pytest.param("abc1;abc║,abc2", "1;abc", 3, id="before-rather-than-after"),
        pytest.param("abc1;xabc║,xabc2", "2", 4, id="longer-after"),
        pytest.param("ab1;ab║,ab2", "", 0, id="too-short"),
        pytest.param("aaaa║", "a", 3, id="overlapping-itself"),
        pytest.param("║abc", "", 0, id="nothing-before"),
    ],
)
def test_longest_repetition(marked: str, following: str, n_matched: int) -> None:
    text, offset = caret(marked)
    assert longest_repetition(text[:offset], text[offset:]) == (following, n_matched)


def test_elsewhere_the_longest_repetition_counts_and_at_home_the_nearest() -> None:
    others = ("y = sum(b)", "y = sum(c)")
    assert longest_repetition("z = sum(a)\ny = sum(", "", others) == ("c)", 8)
    assert longest_repetition("z = sum(a)\nx = sum(", "", others) == ("a)\nx = sum(", 7)


@pytest.mark.parametrize(
    ("line", "tail", "left"),
    [
        pytest.param("a, b)", "", "a, b)", id="no-tail"),
        pytest.param("a, b)", ")", "a, b", id="closing-bracket"),
        pytest.param("a, b) + c)", ")", "a, b) + c", id="only-the-last-bracket"),
        pytest.param("a, x=1) # why", "x=1)", "a, ", id="longer-tail"),
        pytest.param("a, b", "x=1)", "a, b", id="tail-is-not-there"),
        pytest.param("ab", "b", "ab", id="a-letter-is-no-end"),
    ],
)
def test_cut_to_tail(line: str, tail: str, left: str) -> None:
    assert cut_to_tail(line, tail) == left


@pytest.mark.parametrize(
    ("following", "line_head", "left"),
    [
        pytest.param("\n    a\n    b\nc", "if x:", "\n    a\n    b", id="behind-a-header"),
        pytest.param("a\n    b\nc", "    ", "a\n    b", id="on-the-indented-line"),
        pytest.param("a\n\n    b\n\nc", "    ", "a\n\n    b", id="blank-lines"),
        pytest.param(" y\n    a\nb", "if x:", "", id="the-copied-header-went-on"),
        pytest.param("a", "    ", "a", id="end-of-file"),
    ],
)
def test_cut_to_block(following: str, line_head: str, left: str) -> None:
    assert cut_to_block(following, line_head) == left


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        pytest.param("first = f(a, b)\nfirst = f(║)\n", "a, b", id="line"),
        pytest.param("if ok:\n    go()\n    on()\nif ok:║\n", "\n    go()\n    on()", id="block"),
        pytest.param("x = 1\nq║\n", "", id="nothing-alike"),
    ],
)
def test_cut_as_an_editor(marked: str, text: str) -> None:
    """The extent is the product's own decision at that caret."""
    source, offset = caret(marked)
    document = Document.of(source, "python")
    found = longest_repetition(source[:offset], source[offset:])
    assert cut_as_an_editor(found.following, gather(document, offset, parse(document))) == text
