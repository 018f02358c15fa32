"""What is wanted at the caret `║`: with the tree, and where it can tell, from the text alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.caret import Caret, CaretKind, caret_at
from midfill.languages import languages
from midfill.syntax import parse
from midfill.text import Document

WANTED = ["nothing", "line", "block"]


def at(language: str, marked: str, *, with_tree: bool = True) -> Caret:
    text, offset = caret(marked)
    document = Document.of(text, language)
    return caret_at(document, offset, parse(document) if with_tree else None)


@pytest.mark.parametrize("with_tree", [True, False], ids=["tree", "text"])
@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param("python", "x = ║\n", "line", id="python: rest of the line"),
        pytest.param("python", "║\n", "line", id="python: blank line"),
        pytest.param("python", "def f(a):║\n", "block", id="python: header"),
        pytest.param("python", "def f(a):\n    ║\n", "block", id="python: empty body"),
        pytest.param("python", "def f(a):\n    ║\n    return a\n", "line", id="python: body"),
        pytest.param("python", "ret║urn a\n", "nothing", id="python: inside a word"),
        pytest.param("python", "    ║return a\n", "nothing", id="python: before a statement"),
        pytest.param("python", "x = ║value + 1\n", "nothing", id="python: before a word"),
        pytest.param("python", "    ║.close(a)\n", "line", id="python: a name is missing"),
        pytest.param("python", "x = f(a)║ + b\n", "nothing", id="python: behind a whole call"),
        pytest.param("python", "x = [a] ║+ b\n", "nothing", id="python: behind a whole list"),
        pytest.param("python", "x = ║ + b\n", "line", id="python: an operand is missing"),
        pytest.param("python", "f(a, ║, b)\n", "line", id="python: an argument is missing"),
        pytest.param("python", "f(val║, b)\n", "line", id="python: a word may go on"),
        pytest.param("python", "f(║)\n", "line", id="python: closer"),
        pytest.param("python", 'f("a║")\n', "line", id="python: quote and closer"),
        pytest.param("python", "if f(a║):\n", "line", id="python: closer and colon"),
        pytest.param("python", "# Say what ║it does\n", "nothing", id="python: in a sentence"),
        pytest.param("python", "# Say wh║\n", "line", id="python: end of a sentence"),
        pytest.param("python", 's = "Hello, ║ you"\n', "nothing", id="python: in a text"),
        pytest.param("python", 's = "a/║" + b\n', "line", id="python: end of a text"),
        pytest.param("typescript", "function f() {║\n", "block", id="typescript: header"),
        pytest.param("typescript", "foo(║);\n", "line", id="typescript: closers"),
        pytest.param("typescript", "let a = 1;║\n", "nothing", id="typescript: ended"),
        pytest.param("typescript", "for (let i = 0;║\n", "line", id="typescript: not ended"),
        pytest.param("typescript", "a.b║(c)\n", "line", id="typescript: name of a call"),
        pytest.param("rust", "fn f() {\n    ║\n}\n", "block", id="rust: empty body"),
        pytest.param("rust", "let a = f()║.g();\n", "nothing", id="rust: behind a call"),
        pytest.param("go", "package a\n\nfunc f() {║\n}\n", "block", id="go: header"),
        pytest.param("go", "x := ║foo\n", "nothing", id="go: before a word"),
        pytest.param("go", "if err := f(); ║\n", "line", id="go: condition behind a statement"),
        pytest.param("go", "} else if a := f(); ║\n", "line", id="go: else with a statement"),
        pytest.param("go", "a := f();║\n", "nothing", id="go: ended"),
        pytest.param("shellscript", "if [ -f a ];║\n", "line", id="bash: then is missing"),
        pytest.param("shellscript", "  a) b ;;║\n", "nothing", id="bash: ended"),
        pytest.param("yaml", "a: b;║\n", "line", id="yaml: no statement"),
        pytest.param("yaml", "a:║\nb: 1\n", "block", id="yaml: mapping"),
        pytest.param("yaml", "a:\n  ║\nb: 1\n", "block", id="yaml: empty mapping"),
        pytest.param("yaml", "a: ║\nb: 1\n", "line", id="yaml: value"),
        pytest.param("yaml", "a: |║\nb: 1\n", "block", id="yaml: text of several lines"),
        pytest.param("markdown", "The following:║\n", "line", id="markdown: no block"),
        pytest.param("javascript", "function f() {║}\n", "block", id="js: closed at once"),
        pytest.param("javascript", "a.map((b) => {║});\n", "block", id="js: all closed at once"),
        pytest.param("javascript", "f(() => {║}, [a]);\n", "block", id="js: before arguments"),
        pytest.param("javascript", "const {║} = b;\n", "line", id="js: more than closers"),
        pytest.param("go", "defer func() {║}()\n", "block", id="go: called at once"),
        pytest.param("javascript", "f({ a: 1║});\n", "line", id="js: no header"),
        pytest.param("javascript", "a = {║}\n  .b();\n", "line", id="js: deeper below"),
        pytest.param("javascript", "if (a ║) {\n}\n", "line", id="js: condition"),
        pytest.param("javascriptreact", "return (║);\n", "block", id="jsx: element"),
        pytest.param("html", "<ul>║\n</ul>\n", "block", id="html: element"),
        pytest.param("html", '<a href="║">x</a>\n', "line", id="html: attribute"),
        pytest.param("shellscript", "if a; then║\n", "block", id="bash: then"),
        pytest.param("nolang", "some ║words\n", "nothing", id="no language"),
    ],
)
def test_what_is_wanted(language: str, marked: str, expected: str, with_tree: bool) -> None:
    found = at(language, marked, with_tree=with_tree)
    assert (found.extent if found.is_wanted else "nothing") == expected


@pytest.mark.parametrize("with_tree", [True, False], ids=["tree", "text"])
@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param("python", "x = ║\n", "code", id="python: code"),
        pytest.param("python", "x = a.║\n", "member", id="python: member"),
        pytest.param("python", "x = a.na║\n", "member", id="python: begun member"),
        pytest.param("python", "x = 1.║\n", "code", id="python: number"),
        pytest.param("python", "from a.b import ║\n", "import", id="python: from"),
        pytest.param("python", "import os.║\n", "import", id="python: import path"),
        pytest.param("python", "x = 1  # it ║\n", "comment", id="python: comment"),
        pytest.param("python", "f('a.║')\n", "string", id="python: string"),
        pytest.param("typescript", 'import { a } from "./║";\n', "import", id="typescript: path"),
        pytest.param("typescript", "a?.║\n", "member", id="typescript: optional member"),
        pytest.param("typescript", "f(...║)\n", "code", id="typescript: spread"),
        pytest.param("typescript", "/* a.║ */\n", "comment", id="typescript: comment"),
        pytest.param("c", '#include "║"\n', "import", id="c: include"),
        pytest.param("c", "p->║;\n", "member", id="c: arrow"),
        pytest.param("cpp", "std::║;\n", "member", id="cpp: scope"),
        pytest.param("rust", "use std::║;\n", "import", id="rust: use"),
        pytest.param("rust", "let a = Vec::║;\n", "member", id="rust: path"),
        pytest.param("go", 'import "║"\n', "import", id="go: import"),
        pytest.param("php", "<?php\n$a->║;\n", "member", id="php"),
        pytest.param("css", '@import "║";\n', "import", id="css"),
        pytest.param("yaml", "a: 1  # the ║\n", "comment", id="yaml: comment"),
        pytest.param("yaml", "- a.b║\n", "code", id="yaml: a point is none of a member"),
        pytest.param("markdown", "It's a.║\n", "code", id="markdown: apostrophe"),
        pytest.param("sql", "-- all ║\n", "comment", id="sql: comment"),
        pytest.param("kotlin", "import a.║\n", "import", id="kotlin: import"),
        pytest.param("nolang", "a.║\n", "member", id="no language"),
    ],
)
def test_kind(language: str, marked: str, expected: CaretKind, with_tree: bool) -> None:
    assert at(language, marked, with_tree=with_tree).kind == expected


def test_only_the_tree_knows_an_import_of_several_lines() -> None:
    assert at("python", "from a import (\n    b,\n    ║c,\n)\n").kind == "import"


@given(
    st.text(st.sampled_from("ab(). \n\"'#/{}:;"), max_size=30),
    st.integers(0, 30),
    st.sampled_from(sorted(each.id for each in languages())),
)
def test_every_caret_has_an_answer(text: str, offset: int, language: str) -> None:
    document = Document.of(text, language)
    caret_at(document, min(offset, len(text)), parse(document))
