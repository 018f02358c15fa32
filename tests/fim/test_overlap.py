"""Nothing is said twice: the text `├…┤`, what is left of it, and how much right of the caret it replaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carets import said
from midfill.filters import filtered
from midfill.overlap import (
    distance,
    drop_following_lines,
    drop_rest_of_line,
    n_replaced,
    trim_group,
    trim_overlap,
)


@pytest.mark.parametrize(
    ("language", "marked", "left"),
    [
        pytest.param("python", "f(├a, b)┤)", "a, b", id="closer-is-there"),
        pytest.param("python", "f(├g(1)┤)", "g(1)", id="closer-of-its-own"),
        pytest.param("python", "f(├g(1))┤)", "g(1)", id="both"),
        pytest.param("python", "x = [├1, 2]┤]\n", "1, 2", id="bracket"),
        pytest.param("python", 'print("├hello")┤")', "hello", id="quote-and-closer"),
        pytest.param("python", 'f("├a(┤(")', "a", id="an-opener-in-a-string-needs-no-closer"),
        pytest.param("python", 'f("├(" + g(b)┤)', '(" + g(b)', id="a-bracket-in-the-string"),
        pytest.param("python", "def f(├a, b=None):┤, b=None):\n    pass\n", "a", id="rest-of-line"),
        pytest.param("python", "x = ├y┤ + y\n", "y", id="no-overlap"),
        pytest.param("python", "├  y\n}┤\n}\n", "  y", id="a-closing-line-that-is-there"),
        pytest.param("c", "├if x {\n  y\n}┤\n}\n", "if x {\n  y\n}", id="one-of-its-own"),
        pytest.param("typescript", "f(├a => { g(a); })┤)", "a => { g(a); }", id="arrow"),
        pytest.param("rust", "let v = vec![├1, 2];┤];", "1, 2", id="rust"),
        pytest.param("html", '<a href=├"x">┤>', '"x"', id="tag"),
        pytest.param("python", "f(├a) + b┤) + b", "a", id="the-longest"),
        pytest.param("python", "f(├a).c + b┤) + b", "a).c", id="behind-what-is-replaced"),
        pytest.param("python", "f({a: ├b}})┤})", "b", id="one-more-of-them"),
    ],
)
def test_trim_overlap(language: str, marked: str, left: str) -> None:
    assert trim_overlap(*said(marked, language=language)) == left


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("self.├register(a, b)┤(c, d)\n", "register", id="call-is-there"),
        pytest.param("x = ├f(a)[i]┤[j]\n", "f(a)", id="index-is-there"),
        pytest.param("x = ├f(a)┤[j]\n", "f(a)", id="another-bracket"),
    ],
)
def test_trim_group(marked: str, left: str) -> None:
    assert trim_group(*said(marked)) == left


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("if ├self.a not in known:┤ not in known:\n", "self.a", id="on-the-way"),
        pytest.param("if ├a):┤):\n", "a):", id="short-rests-tell-nothing"),
    ],
)
def test_drop_rest_of_line(marked: str, left: str) -> None:
    assert drop_rest_of_line(*said(marked)) == left


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("a = 1\n├b = 2┤\nb = 2\n", "", id="next-line-again"),
        pytest.param("├a = 1\nb = 2\nc┤\nb = 2\n", "a = 1", id="next-line-comes-later"),
        pytest.param("├a1 = 1┤\na2 = 1\n", "a1 = 1", id="one-line-must-be-the-same"),
        pytest.param(
            "├x()\nfirst = read(one)\nlast = read(ten)┤\n\nfirst = read(one)\nlast = read(tem)\n",
            "x()",
            id="of-two-lines-a-little-may-differ",
        ),
        pytest.param(
            "├first = read(one)\nlast = read(ten)┤\nfirst = read(two)\nlast = read(six)\n",
            "first = read(one)\nlast = read(ten)",
            id="but-no-more",
        ),
        pytest.param("├if x {\n  y\n}┤\n}\n", "if x {\n  y\n}", id="closing-lines-come-twice"),
        pytest.param("a\n├b┤", "b", id="nothing-below"),
        pytest.param(
            "def a():├\n    self.extend(other)\n    x┤\n\ndef b():\n    self.extend(other)\n",
            "\n    self.extend(other)\n    x",
            id="the-head-is-not-said",
        ),
    ],
)
def test_drop_following_lines(marked: str, left: str) -> None:
    assert drop_following_lines(*said(marked)) == left


@pytest.mark.parametrize(
    ("language", "marked", "n_chars"),
    [
        pytest.param("python", "x = f(├a) + 1┤)", 1, id="one-closer"),
        pytest.param("python", "x = f(├g(a)┤)", 0, id="it-closes-its-own"),
        pytest.param("python", "x = f(g(├a), b)┤))", 2, id="two-closers"),
        pytest.param("python", "x = f(g(├a).b┤), c)", 1, id="the-line-goes-on"),
        pytest.param("python", "x = f(├a).b(┤)", 0, id="the-closer-serves-another"),
        pytest.param("python", 'print("├hello" + x┤")', 1, id="quote"),
        pytest.param("python", 'print("├hello" + x)  # it┤")', 2, id="quote-and-closer"),
        pytest.param("python", "if f(├a) and b:┤):", 2, id="punctuation-goes-with-it"),
        pytest.param("python", "if f(├a) and b┤):", 1, id="unless-it-is-not-said"),
        pytest.param("python", "x = f(├a┤)", 0, id="nothing-is-closed"),
        pytest.param("python", "x = ├a)┤ + b", 0, id="no-closer-is-there"),
        pytest.param("python", "x = f(├a] + b┤)", 0, id="another-bracket"),
        pytest.param("python", "# f(├a) + b┤)", 0, id="in-a-comment"),
        pytest.param("typescript", "foo(├a).then(b);┤);", 2, id="typescript"),
        pytest.param("typescript", "const x = `├a` + b┤`", 1, id="template"),
        pytest.param("go", 'fmt.Println("├a", b┤")', 1, id="go"),
        pytest.param("rust", "let v = f(├a)?;┤)", 1, id="rust"),
        pytest.param("html", '<a href="├x" id="y┤">', 0, id="html-balanced"),
        pytest.param("html", '<a href="├x" id=y┤">', 1, id="html"),
    ],
)
def test_n_replaced(language: str, marked: str, n_chars: int) -> None:
    assert n_replaced(*said(marked, language=language)) == n_chars


_CODE = st.text(st.sampled_from("ab()[]\"', :;"), max_size=12)


@given(_CODE, _CODE, _CODE, st.sampled_from(["python", "typescript", "nolang"]))
def test_what_is_replaced_is_said_again_in_order(
    before: str, text: str, after: str, language: str
) -> None:
    context = said(f"{before}├┤{after}", language=language).context
    rest = iter(text)
    replaced = after[: n_replaced(text, context)]
    assert all(char in rest for char in replaced if char != " ")


@given(_CODE, _CODE, st.text(st.sampled_from("ab() ="), max_size=12))
def test_what_is_shown_does_not_end_as_its_right_begins(before: str, text: str, after: str) -> None:
    context = said(f"{before}├┤{after}").context
    shown = filtered(text, context)
    tail = after[n_replaced(shown, context) :].rstrip()
    if tail and not set(tail) & set("()[]"):
        assert not shown.endswith(tail)


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_distance(a: str, b: str) -> None:
    row = list(range(len(b) + 1))
    for i, ours in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (ours != theirs))
    assert distance(a, b) == row[-1]
