from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marks import caret
from midfill.languages import languages
from midfill.syntax import MAX_CHARACTERS, Syntax, opens_block_by_text, parse
from midfill.text import Document, Edit

SAMPLES = Path(__file__).parent / "languages"
IDENTIFIERS = sorted({identifier for each in languages() for identifier in each.ids})


def syntax_of(text: str, language: str) -> Syntax:
    syntax = parse(Document.of(text, language))
    assert syntax is not None
    return syntax


def sample(name: str) -> tuple[Syntax, int]:
    path = SAMPLES / name
    text, offset = caret(path.read_text("utf-8"))
    syntax = syntax_of(text, path.stem)
    assert syntax.byte_errors == (), "a sample must be sound"
    return syntax, offset


LANGUAGES = [
    pytest.param(
        "python.py",
        [("class", "Stock"), ("method", "scarce")],
        ["from __future__ import annotations", "import json", "from pathlib import Path"],
        ["LIMIT", "Stock", "__init__", "scarce", "show"],
        id="python",
    ),
    pytest.param(
        "javascript.js",
        [("class", "Stock"), ("method", "scarce")],
        ['import { readFile } from "node:fs/promises";', 'const path = require("node:path");'],
        ["path", "LIMIT", "Stock", "constructor", "scarce", "load", "show"],
        id="javascript",
    ),
    pytest.param(
        "javascriptreact.jsx",
        [("function", "Counter"), ("function", "add")],
        ['import { useState } from "react";'],
        ["Counter", "add"],
        id="jsx",
    ),
    pytest.param(
        "typescript.ts",
        [("class", "Shelf"), ("method", "take")],
        ['import { readFile } from "node:fs/promises";'],
        ["Article", "price", "Stock", "Size", "Shelf", "take", "Shop", "greet"],
        id="typescript",
    ),
    pytest.param(
        "typescriptreact.tsx",
        [("function", "Counter")],
        ['import { useState } from "react";'],
        ["Props", "Counter"],
        id="tsx",
    ),
    pytest.param(
        "rust.rs",
        [("implementation", "Stock"), ("method", "scarce")],
        ["use std::collections::HashMap;", "use std::io::{self, Read};"],
        ["LIMIT", "Stock", "Scarce", "scarce", "Stock", "scarce", "main"],
        id="rust",
    ),
    pytest.param(
        "go.go",
        [("method", "Scarce")],
        ['import (\n\t"fmt"\n\t"sort"\n)'],
        ["limit", "Stock", "Scarcer", "Scarce", "Show"],
        id="go",
    ),
    pytest.param(
        "java.java",
        [("class", "Stock"), ("method", "scarce")],
        ["import java.util.List;", "import java.util.Map;"],
        ["Scarce", "scarce", "Stock", "Stock", "scarce", "show", "Size"],
        id="java",
    ),
    pytest.param(
        "c.c",
        [("function", "show")],
        ["#include <stdio.h>", '#include "stock.h"'],
        ["STOCK_H", "LIMIT", "article", "stock_t", "is_scarce", "show"],
        id="c",
    ),
    pytest.param(
        "cpp.cpp",
        [("module", "shop"), ("function", "show")],
        ["#include <string>", "#include <vector>", "using namespace std;"],
        ["shop", "Stock", "Stock", "count", "Article", "show"],
        id="c++",
    ),
    pytest.param(
        "csharp.cs",
        [("module", "Shop"), ("class", "Stock"), ("method", "Scarce")],
        ["using System;", "using System.Collections.Generic;"],
        ["Shop", "IScarce", "Scarce", "Stock", "Limit", "Scarce", "Size"],
        id="c#",
    ),
    pytest.param(
        "ruby.rb",
        [("module", "Shop"), ("class", "Stock"), ("method", "scarce")],
        ['require "json"', 'require_relative "article"'],
        ["Shop", "LIMIT", "Stock", "scarce", "load", "to_s"],
        id="ruby",
    ),
    pytest.param(
        "php.php",
        [("class", "Stock"), ("method", "scarce")],
        ["use Countable;", "require_once 'article.php';"],
        ["LIMIT", "Scarce", "scarce", "Stock", "scarce", "show"],
        id="php",
    ),
    pytest.param(
        "lua.lua",
        [("method", "Stock:scarce")],
        ['local json = require("json")'],
        ["Stock.new", "Stock:scarce", "show"],
        id="lua",
    ),
    pytest.param(
        "shellscript.sh",
        [("function", "scarce")],
        ["source ./common.sh", ". ./more.sh"],
        ["scarce", "show"],
        id="bash",
    ),
    pytest.param(
        "html.html",
        [("element", "html"), ("element", "body"), ("element", "main"), ("element", "p")],
        ['<link rel="stylesheet" href="shop.css">'],
        ["stock"],
        id="html",
    ),
    pytest.param(
        "css.css",
        [("rule", ".scarce, main > p")],
        ['@import url("base.css");'],
        [".scarce, main > p", ".scarce"],
        id="css",
    ),
    pytest.param(
        "json.json", [("pair", "articles")], [], ["name", "articles", "limits"], id="json"
    ),
]


@pytest.mark.parametrize(("name", "scopes", "imports", "definitions"), LANGUAGES)
def test_what_is_found_in_each_language(
    name: str, scopes: list[tuple[str, str]], imports: list[str], definitions: list[str]
) -> None:
    syntax, offset = sample(name)
    text = syntax.document.text
    assert [(scope.kind, scope.name) for scope in syntax.scopes(offset)] == scopes
    assert [text[span.start : span.end] for span in syntax.imports()] == imports
    assert [each.name for each in syntax.definitions()] == definitions
    assert syntax.place(offset) == "code"


COMMENTS_AND_STRINGS = [
    pytest.param("python.py", "Sorted", "shop", id="python"),
    pytest.param("javascript.js", "Sorted", "node:fs", id="javascript"),
    pytest.param("javascriptreact.jsx", "One more", "react", id="jsx"),
    pytest.param("typescript.ts", "Never below", "Welcome", id="typescript"),
    pytest.param("typescriptreact.tsx", "Shown", "count", id="tsx"),
    pytest.param("rust.rs", "Sorted", "scarce: ", id="rust"),
    pytest.param("go.go", "Scarce lists", "fmt", id="go"),
    pytest.param("java.java", "Sorted", "scarce: ", id="java"),
    pytest.param("c.c", "Nothing is", "scarce: ", id="c"),
    pytest.param("cpp.cpp", "Raw, because", "(scarce", id="c++"),
    pytest.param("csharp.cs", "One at", "scarce: ", id="c#"),
    pytest.param("ruby.rb", "Sorted", "scarce: ", id="ruby"),
    pytest.param("php.php", "Keys only", "scarce: ", id="php"),
    pytest.param("lua.lua", "Three is", "scarce: ", id="lua"),
    pytest.param("shellscript.sh", "One article", "scarce:'", id="bash"),
    pytest.param("html.html", "Filled by", "stylesheet", id="html"),
    pytest.param("css.css", "Stands out", "base.css", id="css"),
    pytest.param("json.json", None, "shop", id="json"),
]


@pytest.mark.parametrize(("name", "comment", "string"), COMMENTS_AND_STRINGS)
def test_comments_and_strings_in_each_language(name: str, comment: str | None, string: str) -> None:
    syntax, _ = sample(name)
    text = syntax.document.text
    if comment is not None:
        assert syntax.place(text.index(comment) + 1) == "comment"
    # The last place of the word that is in quotes: some also name a function.
    places = {syntax.place(at + 1) for at in range(len(text)) if text.startswith(string, at)}
    assert "string" in places


@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param("python", "x = 1  # why║", "comment", id="the end of a line comment"),
        pytest.param("python", "# why║\nx = 1", "comment", id="the end of the comment's line"),
        pytest.param("python", "# why\n║x = 1", "code", id="the line after a comment"),
        pytest.param("python", "x = 1 ║# why", "code", id="before a comment"),
        pytest.param("c", "/* why║ */ x;", "comment", id="inside a block comment"),
        pytest.param("c", "/* why */║ x;", "code", id="after a block comment"),
        pytest.param("c", "x; // why║\n", "comment", id="the end of a slash comment"),
        pytest.param("python", 'x = "a║b"', "string", id="inside a string"),
        pytest.param("python", 'x = "ab"║', "code", id="after a string"),
        pytest.param("python", 'x = ║"ab"', "code", id="before a string"),
        pytest.param("python", 'x = f"a{b║}c"', "code", id="in an interpolation"),
        pytest.param("python", 'x = f"a{b}c║"', "string", id="after an interpolation"),
        pytest.param("python", 'x = f"{y["a║"]}"', "string", id="a string in an interpolation"),
        pytest.param("javascript", "x = `a${b║}`", "code", id="in a template's substitution"),
        pytest.param("ruby", 'x = "a#{b║}"', "code", id="in ruby's interpolation"),
        pytest.param("rust", "/// why║\nfn f() {}", "comment", id="a doc comment"),
        pytest.param("rust", "/// why\n║fn f() {}", "code", id="a doc comment holds its newline"),
        pytest.param("python", 'é = "😀║"', "string", id="behind astral characters"),
        pytest.param("python", "# é😀\n║x", "code", id="after an astral comment"),
        pytest.param("python", "║", "code", id="an empty document"),
    ],
)
def test_place(language: str, marked: str, expected: str) -> None:
    text, offset = caret(marked)
    assert syntax_of(text, language).place(offset) == expected


@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param("python", "def f():\n    x = 1\n    ║\n", ["f"], id="behind the last line"),
        pytest.param("python", "def f():\n    x = 1\n║\n", [], id="dedented behind the last line"),
        pytest.param(
            "python",
            "class A:\n    def f(self):\n        x = 1\n    ║",
            ["A"],
            id="dedented by one",
        ),
        pytest.param(
            "python",
            "class A:\n    def f(self):\n        x = 1\n\n        ║",
            ["A", "f"],
            id="after an empty line",
        ),
        pytest.param(
            "python",
            "class A:\n    def f(self): pass\n║\n    b = 1",
            ["A"],
            id="an empty line inside",
        ),
        pytest.param("python", "def f(): return ║1", ["f"], id="one line"),
        pytest.param("python", "║def f(): return 1", [], id="before"),
        pytest.param("c", "int f() { return 1; }║", [], id="after the brace"),
        pytest.param("c", "int f() { return 1; ║}", ["f"], id="before the brace"),
        pytest.param("rust", 'mod é { fn ß() { "😀"; ║ } }', ["é", "ß"], id="not ASCII"),
        pytest.param("python", "x = 1\f\ndef f():\n    y = ║2\n", ["f"], id="a form feed above"),
        pytest.param("python", "def f():\r\n    y = ║2\r\n", ["f"], id="CRLF"),
    ],
)
def test_scopes(language: str, marked: str, expected: list[str]) -> None:
    text, offset = caret(marked)
    assert [scope.name for scope in syntax_of(text, language).scopes(offset)] == expected


@pytest.mark.parametrize(
    ("language", "marked", "expected"),
    [
        pytest.param(
            "python",
            "class A:\n    def f(\n        self,\n    ):\n        x = foo(║\n",
            ["class A:", "def f(\n        self,\n    ):"],
            id="an open bracket",
        ),
        pytest.param(
            "javascript",
            "class A {\n  f(a) {\n    const x = {\n      b: foo(║\n",
            ["class A {", "f(a) {", "const x = {"],
            id="open braces",
        ),
        pytest.param(
            "lua",
            "function f(a)\n  if a then\n    x = (║\n",
            ["function f(a)", "if a then"],
            id="lua",
        ),
    ],
)
def test_scopes_in_a_broken_document_come_from_the_indentation(
    language: str, marked: str, expected: list[str]
) -> None:
    text, offset = caret(marked)
    scopes = syntax_of(text, language).scopes(offset)
    assert [text[scope.start : scope.header_end] for scope in scopes] == expected
    assert all(scope.start < offset <= scope.end for scope in scopes)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        pytest.param(
            "python",
            "def f(a):  # why\n    # what\n    return a\n",
            "def f(a):  # why",
            id="python",
        ),
        pytest.param(
            "c", "int f(int a)\n{\n  return a;\n}\n", "int f(int a)\n{", id="brace on its own line"
        ),
        pytest.param("c", "int f(void) { return 1; }", "int f(void) { return 1; }", id="one line"),
        pytest.param(
            "lua", "function f(a,\n  b)\n  return a\nend", "function f(a,\n  b)", id="lua"
        ),
        pytest.param("go", "type A interface {\n\tB()\n}\n", "type A interface {", id="go"),
    ],
)
def test_header_of_a_scope(language: str, text: str, expected: str) -> None:
    (scope,) = syntax_of(text, language).scopes(len(text.rstrip("}\n")) - 1)
    assert text[scope.start : scope.header_end] == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        pytest.param(
            "python",
            "def f(\n    a,\n    b=1,\n) -> int:\n    pass",
            "def f( a, b=1, ) -> int",
            id="python",
        ),
        pytest.param("python", "class A(B):  # why\n    pass", "class A(B)", id="a comment"),
        pytest.param("c", "int f(int a)\n{\n}", "int f(int a)", id="c"),
        pytest.param(
            "javascript", "const f = async (a) => {\n};", "const f = async (a) =>", id="arrow"
        ),
        pytest.param(
            "rust",
            "fn f<T>(a: T) -> T\nwhere\n    T: A,\n{ a }",
            "fn f<T>(a: T) -> T where T: A,",
            id="rust",
        ),
    ],
)
def test_signature(language: str, text: str, expected: str) -> None:
    assert syntax_of(text, language).definitions()[0].signature == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        pytest.param(
            "python",
            "try:\n    import a\nexcept ImportError:\n    b = 1",
            ["import a"],
            id="in try",
        ),
        pytest.param("python", "def f():\n    if a:\n        import b", [], id="not in functions"),
        pytest.param(
            "c", "#ifndef A\n#define A\n#include <b.h>\n#endif", ["#include <b.h>"], id="in a guard"
        ),
        pytest.param("python", "é = '😀'; import a", ["import a"], id="behind astral characters"),
    ],
)
def test_imports(language: str, text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in syntax_of(text, language).imports()] == expected


OPENS_BLOCK = [
    pytest.param("python", "def f(a):║\n", True, id="end of a header"),
    pytest.param("python", "def f(a):\n    ║\n", True, id="first line of an empty body"),
    pytest.param("python", "def f(a):\n\n    ║\n\nx = 1\n", True, id="an empty line between"),
    pytest.param("python", "def f(a):\n    # Why.\n    ║\n", True, id="only a comment"),
    pytest.param(
        "python", "def f(a):  # why: because\n    ║\n", True, id="a comment in the header"
    ),
    pytest.param(
        "python", "def f(\n    a,\n    b,\n) -> int:\n    ║\n", True, id="a header of several lines"
    ),
    pytest.param("python", "def f(a,\n        b):\n    ║\n", True, id="an aligned header"),
    pytest.param("python", "if a:\n    b\nelse:║\n", True, id="else"),
    pytest.param("python", "    async def f(self):║", True, id="async"),
    pytest.param("python", "def f(a):\r\n    ║\r\n", True, id="CRLF"),
    pytest.param("python", "def f(a):║\n    return a\n", False, id="a body is there"),
    pytest.param("python", "def f(a):\n    ║\n    return a\n", False, id="a body is below"),
    pytest.param("python", "def f(a):\n    b = a\n    ║\n", False, id="a body is above"),
    pytest.param("python", "def f(a):║ pass\n", False, id="text to the right"),
    pytest.param("python", "def f(a)║\n", False, id="no colon yet"),
    pytest.param("python", "x = {'a':║\n", False, id="a dictionary's colon"),
    pytest.param("python", "x = [1,\n  ║\n]", False, id="a list"),
    pytest.param("python", "if f(lambda x:║", False, id="a lambda's colon in a header"),
    pytest.param("python", "x = 1\n\n\n║\n", False, id="between statements"),
    pytest.param("python", "# if a:║\n", False, id="a comment"),
    pytest.param("python", "║", False, id="an empty document"),
    pytest.param("c", "int f(void) {║\n", True, id="c: end of a header"),
    pytest.param("c", "int f(void)\n{\n    ║\n}\n", True, id="c: brace on its own line"),
    pytest.param("c", "int f(void) {\n    ║\n    return 1;\n}\n", False, id="c: a body is below"),
    pytest.param("c", "int f(void) {\n    int a;\n    ║\n}\n", False, id="c: a body is above"),
    pytest.param("c", "switch (a) {\n    case 1:\n        ║\n    case 2:\n}", True, id="c: a case"),
    pytest.param("c", "// if (a) {║\n", False, id="c: a comment"),
    pytest.param("javascript", "foo((a) => {\n  ║\n});\n", True, id="javascript: callback"),
    pytest.param("javascript", "} else {║\n", True, id="javascript: else"),
    pytest.param("javascriptreact", "return (\n  <ul>\n    ║\n  </ul>\n)", True, id="jsx: element"),
    pytest.param("rust", "match a {\n    ║\n}\n", True, id="rust"),
    pytest.param("ruby", "def f(a)\n  ║\nend\n", True, id="ruby: def"),
    pytest.param("ruby", "def f║\nend\n", False, id="ruby: a name half typed"),
    pytest.param("ruby", "a.each do |b|║\nend\n", True, id="ruby: do"),
    pytest.param("lua", "if a then\n  ║\nend\n", True, id="lua: then"),
    pytest.param("lua", "local x = 1\n║\n", False, id="lua: statement"),
    pytest.param("shellscript", "for a in b; do\n  ║\ndone\n", True, id="bash: do"),
    pytest.param("html", "<ul>\n  ║\n</ul>\n", True, id="html: element"),
    pytest.param("html", "<br>\n║\n", False, id="html: an element without content"),
    pytest.param("css", ".a {\n  ║\n}\n", True, id="css"),
    pytest.param("json", "{\n  ║\n}\n", True, id="json: object"),
    pytest.param("json", '{\n  "a": 1,\n  ║\n}\n', False, id="json: a member is above"),
]


@pytest.mark.parametrize(("language", "marked", "expected"), OPENS_BLOCK)
def test_opens_block(language: str, marked: str, expected: bool) -> None:
    text, offset = caret(marked)
    assert syntax_of(text, language).opens_block(offset) is expected
    assert opens_block_by_text(Document.of(text, language), offset) is expected


@pytest.mark.parametrize(
    ("marked", "with_tree", "without"),
    [
        pytest.param('def f(a):\n    """Why."""\n    ║\n', True, False, id="only a docstring"),
        pytest.param('x = """\nif a:\n    ║\n"""\n', False, True, id="in a string"),
    ],
)
def test_opens_block_where_only_the_tree_knows(marked: str, with_tree: bool, without: bool) -> None:
    text, offset = caret(marked)
    assert syntax_of(text, "python").opens_block(offset) is with_tree
    assert opens_block_by_text(Document.of(text, "python"), offset) is without


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        pytest.param("fun f() {\n  ║\n}\n", True, id="brace"),
        pytest.param("f x:║\n", True, id="colon"),
        pytest.param("f x:\n  y\n  ║\n", False, id="a body is above"),
        pytest.param("f x║\n", False, id="neither"),
    ],
)
def test_opens_block_in_an_unknown_language(marked: str, expected: bool) -> None:
    text, offset = caret(marked)
    assert opens_block_by_text(Document.of(text, "nolang"), offset) is expected


def test_no_syntax_without_a_grammar_or_of_a_very_large_text() -> None:
    assert parse(Document.of("x = 1", "plaintext")) is None
    assert parse(Document.of("x" * (MAX_CHARACTERS + 1), "python")) is None


def test_errors_in_a_piece() -> None:
    syntax = syntax_of("x = 1\ny = = 2\nz = 3\n", "python")
    assert syntax.errors_in(6, 13) == 1
    assert syntax.errors_in(0, 5) == 0
    assert syntax.errors_in(14, 20) == 0


@pytest.mark.parametrize("name", [path.name for path in sorted(SAMPLES.iterdir())])
def test_parsing_again_after_an_edit_gives_the_tree_of_the_whole(name: str) -> None:
    syntax, offset = sample(name)
    document = syntax.document
    for version, typed in enumerate(["é", "😀(", "\r\n", "", "x"]):
        at = document.position(min(offset + version, len(document.text)))
        document = document.edited([Edit(at, at, typed)], version)
        again, fresh = parse(document, syntax), parse(document)
        assert again is not None
        assert fresh is not None
        assert again.data == fresh.data
        assert again.byte_errors or str(again.tree.root_node) == str(fresh.tree.root_node)
        syntax = again
    mended = parse(Document.of(*[sample(name)[0].document.text, syntax.document.language]), syntax)
    assert mended is not None
    assert str(mended.tree.root_node) == str(sample(name)[0].tree.root_node)


def test_a_previous_tree_of_another_language_is_not_used() -> None:
    previous = syntax_of("int f() { return 1; }", "c")
    syntax = parse(Document.of("def f(): return 1", "python"), previous)
    assert syntax is not None
    assert [each.kind for each in syntax.definitions()] == ["function"]


any_text = st.text(
    st.one_of(
        st.sampled_from("\n\r\t\f (){}[]\"'`:;=#/*<>\\\0abéß😀\u2028\ud800\udc00"),
        st.characters(exclude_categories=[]),
    ),
    max_size=60,
)


@given(any_text, st.sampled_from(IDENTIFIERS), st.data())
@example("\ud800\n😀", "python", None)
@example("x{\U0010ffff\U000f0000k:{", "bash", None)  # It ended the process.
def test_any_text_is_safe(text: str, language: str, data: st.DataObject | None) -> None:
    syntax = syntax_of(text, language)
    offset = len(text) if data is None else data.draw(st.integers(0, len(text)))
    byte = syntax.byte_of(offset)
    assert byte == len(text[:offset].encode("utf-8", "surrogatepass"))
    assert syntax.offset_of(byte) == offset
    for scope in syntax.scopes(offset):
        assert 0 <= scope.start <= scope.header_end <= scope.end <= len(text)
        assert scope.start <= offset
    for each in syntax.definitions():
        assert 0 <= each.start <= each.end <= len(text)
        assert "\n" not in each.signature
    for span in syntax.imports():
        assert 0 <= span.start <= span.end <= len(text)
    assert syntax.place(offset) in ("code", "comment", "string")
    if syntax.opens_block(offset):
        assert not text[offset:].partition("\n")[0].partition("\r")[0].strip()
    assert syntax.errors_in(0, len(text)) == len(syntax.byte_errors)


def test_what_is_parsed_in_steps_is_freed() -> None:
    document = Document.of("def f(a):\n    return a\n" * 2000, "python")
    parse(document, on_step=lambda: False)
    tracemalloc.start()
    try:
        for _ in range(20):
            parse(document, on_step=lambda: False)
        n_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_bytes < len(document.text)
