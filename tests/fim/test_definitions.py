"""Definitions and imports of a file, and which files a module's name can mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tree_sitter import Query

from midfill.definitions import MAX_OUTLINE_LINES, Imported, Symbol, imports_of, symbols_of
from midfill.languages import grammar, languages
from midfill.modules import Target, modules_of, reversed_stem, stem_of, targets
from midfill.syntax import Syntax, parse
from midfill.text import Document

TAGS = Path(sys.modules["midfill.languages"].__file__ or "").parent / "queries" / "tags"


def syntax(text: str, language: str) -> Syntax:
    parsed = parse(Document.of(text, language))
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in TAGS.glob("*.scm")])
def test_every_query_is_a_language_s_and_compiles(path: Path) -> None:
    users = [each for each in languages() if each.query == path.stem]
    assert users
    for each in users:
        tables = grammar(each.id)
        assert tables is not None
        Query(tables.tables, path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        pytest.param("python", "import a.b", [("a.b", "", "a.b")], id="python-module"),
        pytest.param("python", "import a.b as c", [("a.b", "", "c")], id="python-module-as"),
        pytest.param(
            "python",
            "from .m import n as o, p",
            [(".m", "n", "o"), (".m", "p", "p")],
            id="python-names",
        ),
        pytest.param("python", "from .. import q", [("..", "q", "q")], id="python-from-above"),
        pytest.param("python", "from r import *", [("r", "*", "*")], id="python-all"),
        pytest.param(
            "python",
            "def f():\n    from k import (\n        l,\n    )",
            [("k", "l", "l")],
            id="python-deep",
        ),
        pytest.param(
            "typescript",
            "import D, { a, b as c } from './m'",
            [("./m", "default", "D"), ("./m", "a", "a"), ("./m", "b", "c")],
            id="typescript-names",
        ),
        pytest.param(
            "typescript", "import type { T } from '../t.js'", [("../t.js", "T", "T")], id="type"
        ),
        pytest.param(
            "typescript", 'import * as ns from "../n"', [("../n", "", "ns")], id="typescript-all-as"
        ),
        pytest.param(
            "typescript",
            "export { x as y } from './z'\nexport * from './all'",
            [("./z", "x", "y"), ("./all", "*", "*")],
            id="typescript-handed-on",
        ),
        pytest.param(
            "typescript", "export default class Foo {}", [("", "Foo", "default")], id="default"
        ),
        pytest.param(
            "javascript",
            "const r = require('rr'), { p, q: s } = require('./t')",
            [("rr", "", "r"), ("./t", "p", "p"), ("./t", "q", "s")],
            id="require",
        ),
        pytest.param("javascript", "const r = inquire('rr')", [], id="another-call"),
        pytest.param(
            "typescriptreact",
            "import A from './a'\nfunction B() {}\nexport default B",
            [("./a", "default", "A"), ("", "B", "default")],
            id="tsx",
        ),
        pytest.param(
            "go",
            'package x\nimport (\n\t"fmt"\n\tu "me.org/p/util"\n)',
            [("fmt", "", "fmt"), ("me.org/p/util", "", "u")],
            id="go",
        ),
        pytest.param(
            "rust",
            "use crate::a::B;\nuse s::{t, u as v};\nuse x::*;",
            [("crate::a", "B", "B"), ("s", "t", "t"), ("s", "u", "v"), ("x", "*", "*")],
            id="rust",
        ),
        pytest.param(
            "java",
            "import a.b.C;\nimport static a.b.D.m;\nimport x.y.*;",
            [("a.b", "C", "C"), ("a.b.D", "m", "m"), ("x.y", "*", "*")],
            id="java",
        ),
        pytest.param(
            "c",
            '#include "a/b.h"\n#include <c.h>',
            [("a/b.h", "*", "*"), ("c.h", "*", "*")],
            id="c",
        ),
        pytest.param("cpp", '#include "a.hpp"', [("a.hpp", "*", "*")], id="cpp"),
        pytest.param("csharp", "using A.B;", [("A.B", "*", "*")], id="csharp"),
        pytest.param(
            "rust", "use a::b::{self, C};", [("a::b", "", "b"), ("a::b", "C", "C")], id="rust-self"
        ),
        pytest.param(
            "ruby",
            "require 'json'\nrequire_relative '../a/b'\nputs 'c'",
            [("json", "*", "*"), ("../a/b", "*", "*")],
            id="ruby",
        ),
        pytest.param(
            "php",
            "<?php\nuse A\\B\\C;\nuse A\\D as E;",
            [("A\\B", "C", "C"), ("A", "D", "E")],
            id="php",
        ),
        pytest.param("lua", "local x = require 'y'", [], id="no-query"),
    ],
)
def test_imports(language: str, text: str, expected: list[tuple[str, str, str]]) -> None:
    assert imports_of(syntax(text + "\n", language)) == tuple(Imported(*each) for each in expected)


LONG_BODY = "".join(f"        x{n} = {n}\n" for n in range(12))

PYTHON = f'''\
LIMIT = 7


class Store:
    """Keeps things."""

    size: int = 0

    def get(self, key: str) -> int:
        return 1

    def put(
        self, key: str, value: int
    ) -> None:
{LONG_BODY}

def load(path):
{LONG_BODY.replace("        ", "    ")}    def inner():
        pass
'''

OUTLINE = '''\
class Store:
    """Keeps things."""
    size: int = 0
    def get(self, key: str) -> int:
        return 1
    def put( self, key: str, value: int ) -> None: ...
'''


def test_definitions_are_kept_whole_or_by_their_headers() -> None:
    assert symbols_of(syntax(PYTHON, "python")) == (
        Symbol("LIMIT", "constant", "", 0, "LIMIT = 7\n"),
        Symbol("Store", "class", "", 3, OUTLINE),
        Symbol(
            "get",
            "method",
            "Store",
            8,
            "class Store:\n    def get(self, key: str) -> int:\n        return 1\n",
        ),
        Symbol(
            "put",
            "method",
            "Store",
            11,
            "class Store:\n    def put( self, key: str, value: int ) -> None: ...\n",
        ),
        Symbol("load", "function", "", 28, "def load(path): ...\n"),
    )


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        pytest.param(
            "typescript",
            "export interface A {\n  b: string\n}\nnamespace N {\n  export function f(x: A) {}\n}\n",
            [("A", ""), ("f", "")],
            id="typescript",
        ),
        pytest.param(
            "go",
            "package p\ntype S struct {\n\tA int\n}\nfunc (s *S) Do() {\n}\nfunc New() *S {\n}\n",
            [("S", ""), ("Do", ""), ("New", "")],
            id="go",
        ),
        pytest.param(
            "rust",
            "struct S { a: u8 }\nimpl S {\n    fn new() -> S { S { a: 1 } }\n}\n",
            [("S", ""), ("S", ""), ("new", "S")],
            id="rust",
        ),
        pytest.param(
            "java",
            "class A {\n  int f;\n  int g() {\n    return f;\n  }\n}\n",
            [("A", ""), ("g", "A")],
            id="java",
        ),
        pytest.param(
            "cpp",
            "namespace n {\nclass A {\n  int f();\n};\n}\nint g(int x) {\n  return x;\n}\n",
            [("A", ""), ("f", "A"), ("g", "")],
            id="cpp",
        ),
    ],
)
def test_definitions_in_other_languages(
    language: str, text: str, expected: list[tuple[str, str]]
) -> None:
    found = symbols_of(syntax(text, language))
    assert [(each.name, each.container) for each in found] == expected
    lines = text.split("\n")
    assert all(each.name in lines[each.line] for each in found)


def test_a_broken_file_gives_what_is_left() -> None:
    found = symbols_of(syntax("def f(a):\n    return (\n\ndef g(b):\n    pass\n", "python"))
    assert "g" in [each.name for each in found] or "f" in [each.name for each in found]


def test_a_long_class_is_cut() -> None:
    text = "class A:\n" + "".join(f"    x{n}: int = {n}\n" for n in range(100))
    assert symbols_of(syntax(text, "python"))[0].text.count("\n") == MAX_OUTLINE_LINES


@pytest.mark.parametrize(
    ("language", "path", "module", "expected"),
    [
        pytest.param("python", "a/b.py", "x.y", [("x/y", False)], id="python"),
        pytest.param("python", "a/b.py", ".y", [("a/y", True)], id="python-beside"),
        pytest.param("python", "a/b.py", ".", [("a", True)], id="python-own-package"),
        pytest.param("python", "a/b/c.py", "..y.z", [("a/y/z", True)], id="python-above"),
        pytest.param("python", "a/__init__.py", ".y", [("a/y", True)], id="python-in-a-package"),
        pytest.param("python", "b.py", ".", [("", True)], id="python-at-the-top"),
        pytest.param("typescript", "a/b.ts", "./y", [("a/y", True)], id="typescript-beside"),
        pytest.param("typescript", "a/b.ts", "../y.js", [("y", True)], id="typescript-above"),
        pytest.param("typescript", "a/b.ts", "./", [("a", True)], id="typescript-own-folder"),
        pytest.param("typescript", "a/b.ts", "react", [("react", False)], id="typescript-package"),
        pytest.param(
            "typescript", "a/b.ts", "@/x/y", [("x/y", False), ("y", False)], id="typescript-alias"
        ),
        pytest.param("go", "a/b.go", "encoding/json", [("encoding/json", False)], id="go-own"),
        pytest.param(
            "go",
            "a/b.go",
            "x.org/p/q",
            [("x.org/p/q", False), ("p/q", False), ("q", False)],
            id="go-with-a-domain",
        ),
        pytest.param("rust", "src/a/b.rs", "super::c", [("src/a/c", True)], id="rust-above"),
        pytest.param("rust", "src/a/mod.rs", "self::c", [("src/a/c", True)], id="rust-below"),
        pytest.param("rust", "src/a.rs", "crate::c", [("c", False)], id="rust-crate"),
        pytest.param("rust", "src/a.rs", "std::io", [("std/io", False)], id="rust-own"),
        pytest.param("java", "a/B.java", "x.y.Z", [("x/y/Z", False)], id="java"),
        pytest.param("c", "a/b.c", "x/y.h", [("x/y", False)], id="c"),
    ],
)
def test_targets(language: str, path: str, module: str, expected: list[tuple[str, bool]]) -> None:
    found = targets(module, path, modules_of(language))
    assert found == [Target(*each) for each in expected]


@pytest.mark.parametrize(
    ("path", "language", "stem"),
    [
        pytest.param("src/a/b.py", "python", "src/a/b", id="file"),
        pytest.param("src/a/__init__.py", "python", "src/a", id="package"),
        pytest.param("__init__.py", "python", "", id="package-at-the-top"),
        pytest.param("a/b.d.ts", "typescript", "a/b", id="declarations"),
        pytest.param("a/index.tsx", "typescriptreact", "a", id="index"),
        pytest.param("src/a/mod.rs", "rust", "src/a", id="rust"),
    ],
)
def test_stems(path: str, language: str, stem: str) -> None:
    assert stem_of(path, modules_of(language)) == stem


def test_the_end_of_a_stem_is_the_beginning_of_its_reverse() -> None:
    assert reversed_stem("src/a/b") == "b/a/src/"
    assert reversed_stem("src/a/b").startswith(reversed_stem("a/b"))
    assert not reversed_stem("src/aa/b").startswith(reversed_stem("a/b"))
