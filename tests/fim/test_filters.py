"""Filters: a document with what the model said marked `├…┤`, and what is left of it.

`test_overlap`, `test_noise` and `test_indenting` have those of their modules.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from carets import context_of, said
from midfill.caret import Extent
from midfill.filters import (
    FILTERS,
    close_brackets,
    cut_to_valid_syntax,
    drop_blank,
    filtered,
    keep_first_line,
    set_closers_apart,
)
from midfill.indenting import fit_indentation
from midfill.languages import languages
from midfill.nesting import closers
from midfill.overlap import n_replaced, trim_group, trim_overlap
from midfill.scope import limit_scope
from midfill.syntax import parse
from midfill.text import Document


@pytest.mark.parametrize(
    ("marked", "extent", "left"),
    [
        pytest.param("├a\nb┤", "line", "a", id="line"),
        pytest.param("├a\nb┤", "block", "a\nb", id="block"),
        pytest.param("├\nb┤", "line", "", id="line-was-done"),
    ],
)
def test_keep_first_line(marked: str, extent: Extent, left: str) -> None:
    assert keep_first_line(*said(marked, extent)) == left


@pytest.mark.parametrize(
    ("language", "marked", "left"),
    [
        pytest.param("python", "if x:├\n    a\n    b\nc┤", "\n    a\n    b", id="head-of-a-block"),
        pytest.param("c", "if x {├\n  a\n}\nb┤", "\n  a\n}", id="its-closer-belongs-to-it"),
        pytest.param("c", "if x {├\n  a\n}┤\n}\n", "\n  a", id="unless-it-is-there"),
        pytest.param("python", "  if x:├\n    a\n  b┤", "\n    a", id="level-with-the-head"),
        pytest.param("python", "def f():\n    ├a\n    b\n\nc┤", "a\n    b\n", id="blank-line"),
        pytest.param(
            "python", "if a:\n├    b\n    c\nd┤", "    b\n    c", id="blank-line-at-the-margin"
        ),
        pytest.param("python", "  if a:\n  ├  b\n  c┤", "  b", id="blank-line-as-deep-as-the-head"),
        pytest.param("python", "if a:\n├\n    b\nc┤", "\n    b", id="first-line-blank"),
        pytest.param("c", "if (a) {\n├  b;\n}\nc┤", "  b;\n}", id="closed-from-the-margin"),
        pytest.param(
            "python",
            "def f():\n    ├if a:\n        b\n    c┤",
            "if a:\n        b\n    c",
            id="deeper",
        ),
        pytest.param("python", 'def f():\n    """Do."""├\n    a\nb┤', "\n    a", id="docstring"),
        pytest.param("ruby", "for i in x do├\n  a\nend\nb┤", "\n  a\nend", id="keyword-closer"),
        pytest.param("shellscript", "if a; then├\n  b\nfi\nc┤", "\n  b\nfi", id="bash"),
        pytest.param("html", "<ul>├\n  <li>\n</ul>\n<p>┤", "\n  <li>\n</ul>", id="html"),
        pytest.param("typescript", "f(() => {├\n  a();\n});\nb┤", "\n  a();\n});", id="typescript"),
        pytest.param("rust", "fn f() {├\n    a\n} else {┤", "\n    a", id="no-second-branch"),
        pytest.param(
            "python", "if x:├ return 1\n    a┤", " return 1", id="body-on-the-head's-line"
        ),
        pytest.param("c", "if (x) {├ return 1; }\n  a┤", " return 1; }", id="in-braces"),
        pytest.param("c", "if (x) {├ // why\n  a\n}\nb┤", " // why\n  a\n}", id="only-a-comment"),
        pytest.param(
            "python",
            'if x:├\n    a = """\nb\n"""\n    c\nd┤',
            '\n    a = """\nb\n"""\n    c',
            id="lines-of-a-string-stand-where-they-like",
        ),
        pytest.param(
            "python",
            "if x:├\n    a = 'it\nb┤",
            "\n    a = 'it",
            id="a-forgotten-quote-does-not-count",
        ),
    ],
)
def test_limit_scope(language: str, marked: str, left: str) -> None:
    assert limit_scope(*said(marked, "block", language)) == left


@pytest.mark.parametrize(
    ("marked", "left"),
    [
        pytest.param("├  \n ┤", "", id="blank"),
        pytest.param("├ a \n┤", " a", id="leading-space-stays"),
        pytest.param("├a ┤)", "a", id="before-a-closer"),
        pytest.param("├a ┤ + b", "a", id="before-white-space"),
        pytest.param("├not ┤a", "not ", id="before-a-word"),
        pytest.param("├a ┤= b", "a ", id="before-an-operator"),
    ],
)
def test_drop_blank(marked: str, left: str) -> None:
    assert drop_blank(*said(marked)) == left


@pytest.mark.parametrize(
    ("marked", "language", "extent", "left"),
    [
        pytest.param("x = f(├a, b)\nrest┤)\n", "python", "line", "a, b", id="python-line"),
        pytest.param("x = f(├a, b) + 1┤)\n", "python", "line", "a, b) + 1", id="closer-replaced"),
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
    assert filtered(*said(marked, extent, language)) == left


@pytest.mark.parametrize(
    ("language", "marked", "left"),
    [
        pytest.param("python", "print(├a, b┤\n", "a, b)", id="python"),
        pytest.param("python", "print(├a, b┤\n)\n", "a, b", id="the-suffix-closes"),
        pytest.param("python", "print(├a, b)┤\n", "a, b)", id="closed"),
        pytest.param("python", "print(├a,┤\n", "a,", id="in-the-middle"),
        pytest.param("python", "print(├a, b┤, c\n", "a, b", id="the-line-goes-on"),
        pytest.param("python", "x = ├f([a, b┤\n", "f([a, b])", id="opened-in-the-text"),
        pytest.param("typescript", "foo(├a, [b]┤\n", "a, [b])", id="typescript"),
        pytest.param("go", "package a\n\nfunc f() {\n\tfmt.Println(├a┤\n}\n", "a)", id="go"),
        pytest.param("rust", 'fn f() {\n    g(├"a"┤\n}\n', '"a")', id="rust"),
        pytest.param("html", "<p ├id=a┤\n", "id=a", id="tags-are-not-closed"),
        pytest.param("nolang", "f(├a┤\n", "a", id="no-grammar"),
    ],
)
def test_close_brackets(language: str, marked: str, left: str) -> None:
    assert close_brackets(*said(marked, language=language)) == left


@pytest.mark.parametrize(
    ("language", "marked", "left"),
    [
        pytest.param("python", "x = f(├a).b┤)\n", "a).b", id="in-place-of-the-closer"),
        pytest.param("python", "x = f(├a) +┤)\n", "a", id="cut-to-where-none-is-replaced"),
        pytest.param("typescript", "f(├a) + ;┤)\n", "a", id="typescript"),
        pytest.param("rust", "fn f() {\n    g(├a)?;┤)\n}\n", "a)?;", id="rust"),
    ],
)
def test_cut_to_valid_syntax_in_place_of_closers(language: str, marked: str, left: str) -> None:
    assert cut_to_valid_syntax(*said(marked, language=language)) == left


_TEXT = st.text(st.sampled_from("ab() \n:\t{}\"'."), max_size=30)
_EXTENT = st.sampled_from(["line", "block"])
_LANGUAGE = st.sampled_from(sorted({each.id for each in languages()} | {""}))


def left_alone(text: str) -> str:
    """A text but for the white space that its lines begin with."""
    return "\n".join(line.lstrip(" \t") for line in text.split("\n"))


@given(_TEXT, _TEXT, _TEXT, _EXTENT, _LANGUAGE)
def test_a_filter_only_takes_away(
    before: str, text: str, after: str, extent: Extent, language: str
) -> None:
    """But one sets the indentation, one adds closers at the end, and one sets those that stand there apart."""
    context = context_of(before, after, extent, language)
    for step in FILTERS:
        left = step(text, context)
        if step is fit_indentation:
            assert left_alone(text) == left_alone(left)
        elif step is close_brackets and left != text:
            kept = text.rstrip()
            assert left.startswith(kept)
            assert not left[len(kept) :].strip(")]}")
        elif step is set_closers_apart and left != text:
            assert left == f"{text.rstrip()}\n{context.indent}"
        else:
            assert text.startswith(left)


@given(_TEXT, _TEXT, _TEXT, _EXTENT, _LANGUAGE)
def test_what_was_filtered_passes_the_filters(
    before: str, text: str, after: str, extent: Extent, language: str
) -> None:
    """As it does when it comes from a cache.

    In a document that is broken there, the parser's guess may be another for what was left; and what ends as its
    right begins is cut once more.
    """
    context = context_of(before, after, extent, language)
    assume(context.syntax is None or not context.syntax.byte_errors)
    shown = filtered(text, context)
    assume(trim_group(trim_overlap(shown, context), context) == shown)
    assert filtered(shown, context) == shown


_SOUND = (
    ("python", "x = f(║)\n"),
    ("python", "def f():\n    ║\n    return 1\n"),
    ("python", "x = ['║', b]\n"),
    ("python", "class A:\n    def f(self):\n        return 1\n║\nx = 1\n"),
    ("javascript", "f(║);\n"),
    ("javascript", "if (a) {\n  ║\n}\n"),
    ("typescript", "const a = { b: `║` };\n"),
    ("rust", "fn f() {\n    g(║);\n}\n"),
    ("go", "package a\n\nfunc f() {\n\tg(║)\n}\n"),
    ("java", "class A { int f() { return g(║); } }\n"),
    ("lua", "f(║)\n"),
    ("json", '{"a": [║]}\n'),
)
_PIECES = st.lists(
    st.sampled_from([*"abc(){}[]:;,.=\"'`\n#", "    ", "if ", "else:", "return ", "//", " + "]),
    min_size=1,
    max_size=12,
).map("".join)


@given(st.sampled_from(_SOUND), _PIECES, _EXTENT)
def test_what_is_shown_leaves_a_sound_document_sound(
    sound: tuple[str, str], text: str, extent: Extent
) -> None:
    language, marked = sound
    before, after = marked.split("║")
    context = context_of(before, after, extent, language)
    assert context.syntax is not None
    assert not context.syntax.byte_errors
    shown = filtered(text, context)
    rest = after[n_replaced(shown, context) :]
    # A header may end the text: its body is the next completion's.
    missing = closers(context.syntax.language, shown)
    ends = [block.closes for block in context.syntax.language.blocks]
    closes = ["", *(end + missing.removeprefix(end) for end in ends)]
    found = [parse(Document.of(f"{before}{shown}{close}{rest}", language)) for close in closes]
    assert any(syntax is not None and not syntax.byte_errors for syntax in found)
