from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_sitter import Tree

from marks import caret
from midfill import validity
from midfill.languages import languages
from midfill.syntax import Syntax, parse
from midfill.text import Document
from midfill.validity import MAX_PARSES, adds_errors, longest_valid

IDENTIFIERS = sorted({identifier for each in languages() for identifier in each.ids})


def syntax_of(text: str, language: str) -> Syntax:
    syntax = parse(Document.of(text, language))
    assert syntax is not None
    return syntax


def check(language: str, marked: str, text: str, expected: str) -> None:
    before, offset = caret(marked)
    assert longest_valid(syntax_of(before, language), offset, offset, text) == expected


SOUND = [
    pytest.param("python", "def f(a):\n    ║\n", "return a", "return a", id="python: a line"),
    pytest.param(
        "python", "def f(a):\n    ║\n", "return (a", "return", id="python: an open bracket"
    ),
    pytest.param(
        "python", "x = foo(║)\n", "a, b[1])", "a, b[1]", id="python: the bracket is there"
    ),
    pytest.param(
        "python",
        "def f(a):\n    ║\n\nx = 1\n",
        "b = a\n    c = b d\n    return c",
        "b = a\n    c = b",
        id="python: cut in the second line",
    ),
    pytest.param(
        "python",
        "def f(a):\n    ║\n",
        'b = "é😀"\n    c = "😀" + g(]\n',
        'b = "é😀"\n    c = "😀" + g',
        id="python: behind astral characters",
    ),
    pytest.param("python", "é = '😀'\n║\n", "x = foo(a))", "x = foo(a)", id="python: astral above"),
    pytest.param("python", "\f\nx = 1\n║\n", "y = 2\fz", "y = 2", id="python: form feed"),
    pytest.param(
        "python",
        "def f(a):\r\n    ║\r\n",
        "if a:\r\n        return a\r\n    return b]",
        "if a:\r\n        return a\r\n    return b",
        id="python: CRLF",
    ),
    pytest.param(
        "python",
        "class A:\n    ║\n\n    def g(self):\n        pass\n",
        "def f(self):\n        return 1\n\n    x = )",
        "def f(self):\n        return 1\n\n    x",
        id="python: into a class",
    ),
    pytest.param(
        "python", "def f(a):\n    ║\n", "for b in a:", "for b in a:", id="python: a header"
    ),
    pytest.param("python", "def f():\n    ║\n", '"""Do this.', "", id="python: an open docstring"),
    pytest.param(
        "python",
        "def f(a):\n    ║\n",
        '"""Do this.\n\n    And that (or that.\n    """\n    return a',
        '"""Do this.\n\n    And that (or that.\n    """\n    return a',
        id="python: an open bracket in a docstring",
    ),
    pytest.param(
        "python",
        'def f(a):║\n\n\ndef g(a):\n    """Do this.\n    """\n',
        '\n    """\n    if a:',
        "",
        id="python: a header in an open docstring",
    ),
    pytest.param("python", "║", ")", "", id="python: nothing is valid"),
    pytest.param("python", "# why ║\n", "not (or", "not (or", id="python: in a comment"),
    pytest.param("c", "int f() {\n    ║\n}\n", "if (x) {", "if (x) {", id="c: a header"),
    pytest.param(
        "c",
        "int f() {\n    ║\n}\n",
        "if (x) {\n        return 1;\n    }\n}",
        "if (x) {\n        return 1;\n    }",
        id="c: one brace too many",
    ),
    pytest.param(
        "c",
        "int f() {\n    ║\n}\n",
        "if (x) {\n        g();\n    } else {\n        h(",
        "if (x) {\n        g();\n    } else {",
        id="c: unfinished",
    ),
    pytest.param(
        "javascript",
        "║\n",
        "const x = y.map((a) => {",
        "const x = y.map((a) => {",
        id="javascript: a header in brackets",
    ),
    pytest.param(
        "javascript", "const x = {║};\n", "a: 1, b: [2, 3", "a: 1, b", id="javascript: a list"
    ),
    pytest.param(
        "javascript",
        "f(() => {\n  ║\n});\n",
        "const s = `a ${b}`;\n  return s);",
        "const s = `a ${b}`;\n  return s",
        id="javascript: one parenthesis too many",
    ),
    pytest.param(
        "typescript",
        "║\n",
        "let a: Map<string, number> = ;",
        "let a: Map<string, number>",
        id="typescript",
    ),
    pytest.param(
        "rust", "fn f() {\n    ║\n}\n", "let a = b?;\n    c(;", "let a = b?;\n    c", id="rust"
    ),
    pytest.param("go", "package a\n\n║\n", "func f() {", "func f() {", id="go: a header"),
    pytest.param(
        "java",
        "class A {\n    ║\n}\n",
        "int f() { return 1; } }",
        "int f() { return 1; }",
        id="java",
    ),
    pytest.param(
        "lua",
        "local function f(a)\n  ║\nend\n",
        "if a then return 1 end end",
        "if a then return 1 end",
        id="lua: one end too many",
    ),
    pytest.param("lua", "║\n", "for a, b in c do", "for a, b in c do", id="lua: a header"),
    pytest.param(
        "ruby", "def f(a)\n  ║\nend\n", "a.each do |b|", "a.each do |b|", id="ruby: a header"
    ),
    pytest.param("shellscript", "f() {\n  ║\n}\n", "if a; then", "if a; then", id="bash: a header"),
    pytest.param(
        "shellscript",
        "case $x in\n  ║\nesac\n",
        "a) b ;;\n  c) d ;;",
        "a) b ;;\n  c) d ;;",
        id="bash: brackets that nothing opens",
    ),
    pytest.param("css", ".a {\n  ║\n}\n", "color: red;\n}\n}", "color: red;", id="css"),
    pytest.param("json", '{\n  "a": 1║\n}\n', ',\n  "b": 2\n}', ',\n  "b": 2', id="json"),
]


@pytest.mark.parametrize(("language", "marked", "text", "expected"), SOUND)
def test_in_a_sound_document(language: str, marked: str, text: str, expected: str) -> None:
    check(language, marked, text, expected)


BROKEN = [
    pytest.param("python", "x = foo(║", "a, b)", "a, b)", id="closes the bracket"),
    pytest.param("python", "x = foo(║", "a, b))", "a, b)", id="closes one too many"),
    pytest.param(
        "python", "x = foo(║", "a, b))\nbar()", "a, b)", id="closes one too many, goes on"
    ),
    pytest.param("python", "x = foo(║", "a, b", "a, b", id="leaves the bracket open"),
    pytest.param("python", "x = foo(║", "a, b c", "a, b", id="leaves it open, adds an error"),
    pytest.param("python", "x = foo(║", "a, b(c", "a, b", id="leaves it open, opens another"),
    pytest.param("python", "x = foo(\n    ║\ny = 1\n", "a, b,", "a, b,", id="the bracket is above"),
    pytest.param(
        "python",
        "def g():\n    y = foo(║\n    if x and z > 1:\n        return 2\n",
        "a, b",
        "a, b",
        id="the lines below are drawn in",
    ),
    pytest.param("python", "def f(║", "a, b):", "a, b):", id="a header without a body"),
    pytest.param("python", "def f(║\n\nx = 1\n", "a, b):", "a, b):", id="a header, code below"),
    pytest.param(
        "python",
        "def f(║\n\nx = 1\n",
        "a, b):\n    return a +",
        "a, b):\n    return a",
        id="a header, cut",
    ),
    pytest.param(
        "python", 'print("hello ║\nx = 1\n', "world", "world", id="leaves the string open"
    ),
    pytest.param("python", 'print("hello ║\nx = 1\n', 'world", y))', 'world", y)', id="closes it"),
    pytest.param("python", "x = ║\n", "foo(a", "foo", id="a value that is missing"),
    pytest.param("python", "x = = 1\n║\ny = 2\n", "z = foo(a)", "z = foo(a)", id="broken above"),
    pytest.param(
        "python", "x = = 1\n║\ny = 2\n", "z = foo(a))", "z = foo(a)", id="broken above, cut"
    ),
    pytest.param("python", "x = foo(║\n\ny = = 2\n", "a)", "a)", id="broken below as well"),
    pytest.param("python", "║\n\ny = foo(\n", "x = 1", "x = 1", id="broken below"),
    pytest.param(
        "python",
        'x = {\n    "a": b,\n    "c": f"{d(║\n}\ndef g():\n    return 1\n',
        "b] = c}",
        "b]",
        id="no more errors elsewhere",
    ),
    pytest.param("c", "int f() {\n    ║", "return 1;", "return 1;", id="c: leaves the brace open"),
    pytest.param("c", "int f() {\n    ║", "return 1;\n}", "return 1;\n}", id="c: closes it"),
    pytest.param(
        "c", "int f() {\n    ║", "return 1;\n}\n\nint g(", "return 1;\n}", id="c: goes on"
    ),
    pytest.param("c", "int f() {\n    ║", "if (x) {", "if (x) {", id="c: opens another"),
    pytest.param(
        "c",
        "int f() {\n    for (int i = 0║\n}\n",
        "; i < n; i++) {",
        "; i < n; i++) {",
        id="c: a header half typed",
    ),
    pytest.param("javascript", "foo(║", "() => {", "() => {", id="javascript: a callback"),
    pytest.param("lua", "if a ║", "then", "then", id="lua: a header half typed"),
]


@pytest.mark.parametrize(("language", "marked", "text", "expected"), BROKEN)
def test_in_a_broken_document(language: str, marked: str, text: str, expected: str) -> None:
    check(language, marked, text, expected)


@pytest.mark.parametrize(
    ("document", "start", "end", "text", "expected"),
    [
        pytest.param("x = foo(a, b)\n", 8, 12, "c", "c", id="arguments"),
        pytest.param("x = foo(a, b)\n", 8, 13, "c)", "c)", id="with their bracket"),
        pytest.param("x = foo(a, b)\n", 8, 12, "c)", "c", id="the bracket stays"),
        pytest.param("é = 😀\n", 4, 5, "1", "1", id="an error is replaced"),
    ],
)
def test_replacing_a_piece(document: str, start: int, end: int, text: str, expected: str) -> None:
    assert longest_valid(syntax_of(document, "python"), start, end, text) == expected


@pytest.mark.parametrize("text", ["", " ", "\n", "\n    "])
def test_blank_text_is_left_as_it_is(text: str) -> None:
    check("python", "def f():\n    pass\n║\n", text, text)


@pytest.mark.parametrize(
    ("marked", "text", "expected"),
    [
        pytest.param("x = 1\n║\n", "y = 2", False, id="sound"),
        pytest.param("x = 1\n║\n", "y = )", True, id="an error"),
        pytest.param("x = foo(║", "a", False, id="left broken"),
        pytest.param("x = foo(║", "a)", False, id="mended"),
    ],
)
def test_adds_errors(marked: str, text: str, expected: bool) -> None:
    document, offset = caret(marked)
    assert adds_errors(syntax_of(document, "python"), offset, offset, text) is expected


def test_the_number_of_parses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse_in_place = validity._Trial._parse

    def counted(trial: validity._Trial, text: bytes, max_steps: int) -> Tree | None:
        parsed.append(text)
        return parse_in_place(trial, text, max_steps)

    monkeypatch.setattr(validity._Trial, "_parse", counted)
    text = "\n".join(["f(a, b)) c"] * 200)
    assert longest_valid(syntax_of("x = foo(\n", "python"), 8, 8, text) == ""
    # A beginning that ends with the header of a block counts once, with and without its block.
    assert MAX_PARSES <= len(parsed) <= MAX_PARSES + 1


def test_a_text_that_takes_too_long_to_tell_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    below = "".join(f"def f{n}(a):\n    return g(a, {n}) or [a, {n}]\n\n\n" for n in range(300))
    syntax = syntax_of(below, "python")
    at = len(below) // 2 - len(below[: len(below) // 2].rpartition("\ndef")[2]) - 4
    assert longest_valid(syntax, at, at, "x = 1") == "x = 1"
    monkeypatch.setattr(validity, "MAX_STEPS_WHOLE", 10)
    monkeypatch.setattr(validity, "MAX_STEPS_CUT", 20)
    assert longest_valid(syntax, at, at, "x = 1") == ""
    assert adds_errors(syntax, at, at, "x = 1")


any_text = st.text(
    st.one_of(
        st.sampled_from("\n\r\t\f (){}[]\"'`:;=#/*<>\\\0abéß😀\u2028\ud800\udc00"),
        st.characters(exclude_categories=[]),
    ),
    max_size=40,
)


@given(any_text, any_text, st.sampled_from(IDENTIFIERS), st.data())
def test_any_text_is_safe(document: str, text: str, language: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    syntax = syntax_of(document, language)
    kept = longest_valid(syntax, start, end, text)
    assert text.startswith(kept)
    if not syntax.byte_errors and kept and not syntax.language.block_opened_by(kept + "\n"):
        after = syntax_of(document[:start] + kept + document[end:], language)
        assert not after.byte_errors
