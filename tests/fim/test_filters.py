"""Filters: a document with what the model said marked `├…┤`, and what is left of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import inserted
from midfill.context import CompletionContext, Extent
from midfill.filters import (
    FILTERS,
    Filter,
    drop_blank,
    drop_repeat_of_suffix,
    drop_repetition,
    filtered,
    keep_first_line,
    limit_scope,
    refuse_control_characters,
)
from midfill.syntax import parse
from midfill.text import Document


def context_of(before: str, after: str, extent: Extent, language: str = "") -> CompletionContext:
    document = Document.of(before + after, language)
    return CompletionContext(document, len(before), extent, parse(document))


def check(step: Filter, marked: str, left: str, extent: Extent = "line") -> None:
    before, text, after = inserted(marked)
    assert step(text, context_of(before, after, extent)) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("a\tb\nc", "a\tb\nc", id="tab-and-newline-stay"),
        pytest.param("a\x1b[31mb", "a", id="escape"),
        pytest.param("a\u202eb", "a", id="bidi-override"),
        pytest.param("a\u200bb", "a", id="zero-width"),
        pytest.param("a\x00b", "a", id="nul"),
        pytest.param("a\ufffdb", "a", id="broken-character"),
        pytest.param("a\U000e0041", "a", id="tag"),
        pytest.param("a\ud800b", "a", id="lone-surrogate"),
        pytest.param("a\rb", "a", id="carriage-return"),
        pytest.param("é日😋", "é日😋", id="other-scripts-stay"),
    ],
)
def test_refuse_control_characters(text: str, left: str) -> None:
    check(refuse_control_characters, f"├{text}┤", left)


@pytest.mark.parametrize(
    ("marked", "extent", "left"),
    [
        pytest.param("├a\nb┤", "line", "a", id="line"),
        pytest.param("├a\nb┤", "block", "a\nb", id="block"),
        pytest.param("├\nb┤", "line", "", id="line-was-done"),
    ],
)
def test_keep_first_line(marked: str, extent: Extent, left: str) -> None:
    check(keep_first_line, marked, left, extent)


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("if x:├\n    a\n    b\nc┤", "\n    a\n    b", id="head-of-a-block"),
        pytest.param("if x {├\n  a\n}\nb┤", "\n  a\n}", id="its-closer-belongs-to-it"),
        pytest.param("if x {├\n  a\n}┤\n}\n", "\n  a", id="unless-it-is-there"),
        pytest.param("  if x:├\n    a\n  b┤", "\n    a", id="level-with-the-head"),
        pytest.param("def f():\n    ├a\n    b\n\nc┤", "a\n    b\n", id="blank-line-in-a-body"),
        pytest.param(
            "def f():\n    ├if a:\n        b\n    c┤", "if a:\n        b\n    c", id="deeper"
        ),
        pytest.param('def f():\n    """Do."""├\n    a\nb┤', "\n    a", id="behind-a-docstring"),
        pytest.param("for i in x do├\n  a\nend\nb┤", "\n  a\nend", id="keyword-closer"),
    ],
)
def test_limit_scope(marked: str, left: str) -> None:
    check(limit_scope, marked, left, "block")


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("f(├a, b)┤)", "a, b", id="closer-is-there"),
        pytest.param("f(├g(1)┤)", "g(1)", id="closer-of-its-own"),
        pytest.param("f(├g(1))┤)", "g(1)", id="both"),
        pytest.param("x = [├1, 2]┤]\n", "1, 2", id="bracket"),
        pytest.param('print("├hello")┤")', "hello", id="quote-and-closer"),
        pytest.param("def f(├a, b=None):┤, b=None):\n    pass\n", "a", id="rest-of-the-line"),
        pytest.param("a = 1\n├b = 2┤\nb = 2\n", "", id="next-line-again"),
        pytest.param("├a = 1\nb = 2\nc┤\nb = 2\n", "a = 1", id="next-line-comes-later"),
        pytest.param("├if x {\n  y\n}┤\n}\n", "if x {\n  y\n}", id="a-closing-line-of-its-own"),
        pytest.param("├  y\n}┤\n}\n", "  y", id="a-closing-line-that-is-there"),
        pytest.param("x = ├y┤ + y\n", "y", id="no-overlap"),
        pytest.param("self.├register(a, b)┤(c, d)\n", "register", id="call-is-there"),
        pytest.param("x = ├f(a)[i]┤[j]\n", "f(a)", id="index-is-there"),
        pytest.param("x = ├f(a)┤[j]\n", "f(a)", id="another-bracket"),
        pytest.param(
            "if ├self.a not in known:┤ not in known:\n", "self.a", id="rest-is-said-on-the-way"
        ),
    ],
)
def test_drop_repeat_of_suffix(marked: str, left: str) -> None:
    check(drop_repeat_of_suffix, marked, left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("log._log._log._log._log._log._log", "", id="stuck"),
        pytest.param("x = 1\nx = 1\nx = 1\nx = 1\ny", "", id="same-line-four-times"),
        pytest.param("x = 1\nx = 1\ny = 2", "x = 1\nx = 1\ny = 2", id="twice-is-fine"),
        pytest.param("[0, 0, 0, 0]", "[0, 0, 0, 0]", id="a-table-is-fine"),
        pytest.param("\n\n\n\n\na", "\n\n\n\n\na", id="blank-lines-are-fine"),
    ],
)
def test_drop_repetition(text: str, left: str) -> None:
    check(drop_repetition, f"├{text}┤", left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("  \n ", "", id="blank"),
        pytest.param(" a \n", " a", id="leading-space-stays"),
    ],
)
def test_drop_blank(text: str, left: str) -> None:
    check(drop_blank, f"├{text}┤", left)


@pytest.mark.parametrize(
    ("marked", "language", "extent", "left"),
    [
        pytest.param("x = f(├a, b) + 1\nrest┤)\n", "python", "line", "a, b", id="python-line"),
        pytest.param("x = f(├a))┤\n", "python", "line", "a)", id="one-closer-too-many"),
        pytest.param(
            "if x:├\n    y = 1\n  z = 2┤\n", "python", "block", "\n    y = 1", id="bad-dedent"
        ),
        pytest.param("x = ├errors.append(┤\n", "python", "line", "", id="no-half-lines"),
        pytest.param("x = f(├a, b))┤, c)\n", "python", "line", "a, b", id="half-lines-before-text"),
        pytest.param(
            "if x:├\n    y = 1\n    z = (┤\n", "python", "block", "\n    y = 1", id="whole-lines"
        ),
        pytest.param("let x = g(├a, b);┤", "rust", "line", "a, b);", id="rust"),
        pytest.param("whatever ├)(┤", "nolang", "line", ")(", id="no-grammar"),
    ],
)
def test_the_whole_chain(marked: str, language: str, extent: Extent, left: str) -> None:
    before, text, after = inserted(marked)
    assert filtered(text, context_of(before, after, extent, language)) == left


@given(
    st.text(st.sampled_from("ab() \n:\t{}"), max_size=20),
    st.text(st.sampled_from("ab() \n:\t{}"), max_size=40),
    st.text(st.sampled_from("ab() \n:\t{}"), max_size=20),
    st.sampled_from(["line", "block"]),
)
def test_every_filter_only_takes_away(before: str, text: str, after: str, extent: Extent) -> None:
    context = context_of(before, after, extent)
    for step in FILTERS:
        left = step(text, context)
        assert text.startswith(left)
