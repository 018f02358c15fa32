"""What the index of real trees finds, and in which order."""

from __future__ import annotations

import pytest

from index_tree import Tree, places
from midfill.definitions import Imported, imports_of
from midfill.index import MAX_TERMS, Index
from midfill.index_store import (
    MAX_PIECE_LINES,
    pieces_of,
)
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document

PYTHON = {
    "src/pkg/__init__.py": "from .store import Store as PublicStore\nfrom pkg.deep import *\n",
    "src/pkg/store.py": "class Store:\n    size = 0\n    def get(self):\n        pass\n\ndef open_store():\n    pass\n",
    "src/pkg/deep/__init__.py": "from .core import deep_thing\n",
    "src/pkg/deep/core.py": "def deep_thing():\n    pass\n",
    "src/pkg/near.py": "def beside():\n    pass\n\ndef both():\n    'near'\n",
    "src/pkg/json.py": "def loads():\n    pass\n",
    "src/pkg/app.py": "def own_name():\n    pass\n",
    "other/far.py": "def only_here():\n    pass\n\ndef both():\n    'far'\n\ndef user():\n    pass\n",
    "other/store.py": "class Store:\n    'another'\n\nclass Twice:\n    'a'\n",
    "third/m.py": "class Twice:\n    'b'\n",
    "web/only.ts": "export function onlyInTypescript() {}\n",
}
APP = "src/pkg/app.py"


@pytest.mark.parametrize(
    ("imports", "text", "expected"),
    [
        pytest.param(
            "from pkg.store import Store",
            "s = Store()",
            ["src/pkg/store.py: class Store:"],
            id="name",
        ),
        pytest.param(
            "from .store import Store as S",
            "s = S()",
            ["src/pkg/store.py: class Store:"],
            id="alias",
        ),
        pytest.param(
            "from other.store import Store", "Store", ["other/store.py: class Store:"], id="other"
        ),
        pytest.param(
            "from . import store",
            "store.open_store()",
            ["src/pkg/store.py: def open_store():"],
            id="module-of-the-own-package",
        ),
        pytest.param(
            "import pkg.store",
            "pkg.store.open_store()",
            ["src/pkg/store.py: def open_store():"],
            id="whole-module",
        ),
        pytest.param(
            "import pkg.store as st",
            "st.open_store()",
            ["src/pkg/store.py: def open_store():"],
            id="module-as",
        ),
        pytest.param(
            "from pkg.store import Store",
            "Store.get()",
            ["src/pkg/store.py: class Store:", "src/pkg/store.py: class Store:"],
            id="member",
        ),
        pytest.param(
            "from pkg import PublicStore",
            "PublicStore()",
            ["src/pkg/store.py: class Store:"],
            id="handed-on",
        ),
        pytest.param(
            "from pkg import deep_thing",
            "deep_thing()",
            ["src/pkg/deep/core.py: def deep_thing():"],
            id="handed-on-twice-through-a-star",
        ),
        pytest.param(
            "from pkg.store import *",
            "open_store()",
            ["src/pkg/store.py: def open_store():"],
            id="star",
        ),
        pytest.param("import json", "json.loads()", [], id="not-a-module-inside-a-package"),
        pytest.param("", "beside()", ["src/pkg/near.py: def beside():"], id="same-folder"),
        pytest.param("", "both()", ["src/pkg/near.py: def both():"], id="same-folder-before-far"),
        pytest.param("", "only_here()", ["other/far.py: def only_here():"], id="unique"),
        pytest.param("", "a user came", [], id="a-plain-word-is-no-name"),
        pytest.param("", "Twice()", [], id="ambiguous"),
        pytest.param("", "own_name()", [], id="its-own"),
        pytest.param("", "onlyInTypescript()", [], id="another-language"),
        pytest.param("from nowhere import only_here", "only_here()", [], id="not-in-the-workspace"),
    ],
)
@pytest.mark.parametrize("unsaved", [True, False], ids=["imports-given", "imports-indexed"])
def test_python(tree: Tree, imports: str, text: str, expected: list[str], unsaved: bool) -> None:
    tree.write(PYTHON | ({} if unsaved else {APP: imports + "\n" + PYTHON[APP]}))
    tree.walk()
    given = None
    if unsaved:
        syntax = parse(Document.of(imports, "python"))
        assert syntax is not None
        given = imports_of(syntax)
    found = Index(tree.path).definitions_for(text, "python", APP, imports=given)
    assert places(found) == expected


TYPESCRIPT = {
    "app/src/api/client.ts": "export class Client {\n  get(path: string) { return 1 }\n}\nexport const LIMIT = 7\n",
    "app/src/api/index.ts": "export * from './client'\nexport { helper as help } from '../lib/helper.js'\n",
    "app/src/lib/helper.ts": "export function helper(x: number) { return x }\n",
    "app/src/lib/widget.tsx": "export default function Widget() { return null }\n",
    "app/src/lib/types.d.ts": "export interface Shape { area: number }\n",
    "app/src/lib/old.js": "function legacy() {}\nmodule.exports = { legacy }\n",
    "app/src/views/main.ts": "",
    "app/node_modules/dep/index.ts": "export class Client {}\n",
}


@pytest.mark.parametrize(
    ("imports", "text", "expected"),
    [
        pytest.param(
            "import { Client } from '../api/client'",
            "new Client()",
            ["app/src/api/client.ts: export class Client {"],
            id="name",
        ),
        pytest.param(
            "import { Client as C } from '../api/client.js'",
            "new C()",
            ["app/src/api/client.ts: export class Client {"],
            id="alias-and-ending",
        ),
        pytest.param(
            "import { Client } from '../api'",
            "new Client()",
            ["app/src/api/client.ts: export class Client {"],
            id="index-hands-on-all",
        ),
        pytest.param(
            "import { help } from '../api'",
            "help(1)",
            ["app/src/lib/helper.ts: export function helper(x: number) { return x }"],
            id="index-hands-on-by-another-name",
        ),
        pytest.param(
            "import * as api from '../api/client'",
            "api.LIMIT",
            ["app/src/api/client.ts: export const LIMIT = 7"],
            id="namespace",
        ),
        pytest.param(
            "import W from '../lib/widget'",
            "W()",
            ["app/src/lib/widget.tsx: export default function Widget() { return null }"],
            id="default",
        ),
        pytest.param(
            "import type { Shape } from '@/lib/types'",
            "let s: Shape",
            ["app/src/lib/types.d.ts: export interface Shape { area: number }"],
            id="bundler's-alias-and-declarations",
        ),
        pytest.param(
            "const { legacy } = require('../lib/old')",
            "legacy()",
            ["app/src/lib/old.js: function legacy() {}"],
            id="require-javascript",
        ),
        pytest.param(
            "import { Client } from 'dep'", "new Client()", [], id="a-package-is-not-read"
        ),
    ],
)
def test_typescript(tree: Tree, imports: str, text: str, expected: list[str]) -> None:
    main = "app/src/views/main.ts"
    tree.write(TYPESCRIPT | {main: imports + "\n"})
    tree.walk()
    assert places(Index(tree.path).definitions_for(text, "typescript", main)) == expected


@pytest.mark.parametrize(
    ("language", "files", "path", "text", "expected"),
    [
        pytest.param(
            "go",
            {
                "internal/store/store.go": "package store\n\nfunc Open(path string) error {\n\treturn nil\n}\n",
                "cmd/main.go": 'package main\n\nimport "me.org/proj/internal/store"\n',
                "cmd/flags.go": "package main\n\nfunc parseFlags() {\n}\n",
            },
            "cmd/main.go",
            "store.Open(parseFlags())",
            [
                "internal/store/store.go: func Open(path string) error {",
                "cmd/flags.go: func parseFlags() {",
            ],
            id="go",
        ),
        pytest.param(
            "rust",
            {
                "src/store/mod.rs": "pub struct Store { a: u8 }\n",
                "src/util.rs": "pub fn load() {}\n",
                "src/main.rs": "use crate::store::Store;\nuse crate::util;\n",
            },
            "src/main.rs",
            "let s: Store = util::load();",
            ["src/store/mod.rs: pub struct Store { a: u8 }", "src/util.rs: pub fn load() {}"],
            id="rust",
        ),
        pytest.param(
            "java",
            {
                "src/main/java/org/me/Store.java": "package org.me;\npublic class Store {\n  int size;\n}\n",
                "src/main/java/app/Main.java": "package app;\nimport org.me.Store;\n",
            },
            "src/main/java/app/Main.java",
            "new Store()",
            ["src/main/java/org/me/Store.java: public class Store {"],
            id="java",
        ),
        pytest.param(
            "cpp",
            {
                "lib/store.hpp": "class Store {\n  int get();\n};\n",
                "app/main.cpp": '#include "lib/store.hpp"\n',
            },
            "app/main.cpp",
            "Store s;",
            ["lib/store.hpp: class Store {"],
            id="cpp",
        ),
        pytest.param(
            "c",
            {
                "inc/store.h": "int store_open(const char *path);\n",
                "main.c": '#include "store.h"\n',
            },
            "main.c",
            "store_open(p)",
            ["inc/store.h: int store_open(const char *path);"],
            id="c",
        ),
        pytest.param(
            "ruby",
            {
                "lib/store.rb": "class Store\n  def get\n  end\nend\n",
                "bin/run.rb": "require_relative '../lib/store'\n",
                "test/store.rb": "class Store\nend\n",
            },
            "bin/run.rb",
            "Store.new",
            ["lib/store.rb: class Store"],
            id="ruby",
        ),
        pytest.param(
            "php",
            {
                "app/Models/User.php": "<?php\nclass User {\n  public $a;\n}\n",
                "old/User.php": "<?php\nclass User {\n}\n",
                "app/Http/Run.php": "<?php\nuse App\\Models\\User;\n",
            },
            "app/Http/Run.php",
            "new User()",
            ["app/Models/User.php: class User {"],
            id="php",
        ),
    ],
)
def test_other_languages(
    tree: Tree, language: str, files: dict[str, str], path: str, text: str, expected: list[str]
) -> None:
    tree.write(files)
    tree.walk()
    assert places(Index(tree.path).definitions_for(text, language, path)) == expected


def test_what_is_used_most_comes_first_and_the_limit_holds(tree: Tree) -> None:
    tree.write({"m.py": "".join(f"def name_{n}():\n    pass\n\n" for n in range(9))})
    tree.walk()
    text = "name_3() + name_5() + name_5() + name_1()"
    found = places(Index(tree.path).definitions_for(text, "python", "new.py", limit=2))
    assert found == ["m.py: def name_5():", "m.py: def name_3():"]


def test_an_import_in_a_circle_ends(tree: Tree) -> None:
    tree.write({"a.py": "from b import x_y\n", "b.py": "from a import x_y\n"})
    tree.walk()
    given = [Imported("a", "x_y", "x_y")]
    assert Index(tree.path).definitions_for("x_y", "python", "c.py", imports=given) == []


SIMILAR = {
    "a.py": "def frobnicate(widget):\n    return widget.spin(velocity=3)\n",
    "b.py": "def other(thing):\n    return thing.spin()\n",
    "c.py": "def unrelated(alpha, beta):\n    return alpha + beta\n",
    "d.ts": "function frobnicate(widget) { return widget.spin(velocity) }\n",
}


def test_similar_pieces_are_of_other_files_and_the_best_first(tree: Tree) -> None:
    tree.write(SIMILAR)
    tree.walk()
    index = Index(tree.path)
    text = "frobnicate(widget, velocity) or spin"
    assert [each.path for each in index.similar(text, "new.py")] == ["a.py", "b.py"]
    assert [each.path for each in index.similar(text, "a.py")] == ["b.py"]
    assert [each.path for each in index.similar(text, "new.py", limit=1)] == ["a.py"]
    assert index.similar("nothing known here", "new.py") == []
    assert index.similar("", "new.py") == []
    (snippet, *_) = index.similar(text, "new.py")
    assert snippet == Snippet("a.py", SIMILAR["a.py"])


def test_words_that_are_everywhere_are_not_searched_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midfill.index_store.MAX_COMMON", 3)
    tree.write({f"m{n}.py": f"common_word = rare_{n}\n" for n in range(4)})
    tree.walk()
    assert Index(tree.path).similar("common_word", "new.py") == []
    assert [each.path for each in Index(tree.path).similar("common_word rare_2", "n.py")] == [
        "m2.py"
    ]


def test_a_search_is_bounded(tree: Tree) -> None:
    names = [f"name_{n}" for n in range(MAX_TERMS + 4)]
    tree.write({f"{name}.py": f"{name} = other_{name}\n" for name in names})
    tree.walk()
    assert len(Index(tree.path).similar(" ".join(names), "new.py", limit=50)) == MAX_TERMS


def test_text_is_cut_into_pieces_where_it_hurts_least() -> None:
    functions = [f"def f{n}(a, b):\n" + "    x_y = a\n" * 9 + "\n" for n in range(6)]
    pieces = list(pieces_of("".join(functions)))
    assert all(piece.startswith("def ") for piece in pieces)
    assert all(piece.count("\n") <= MAX_PIECE_LINES for piece in pieces)
    assert "".join(pieces).replace("\n", "") == "".join(functions).replace("\n", "")
    long = list(pieces_of("    first, second\n" * 100))
    assert sum(piece.count("\n") for piece in long) == 100
    assert max(piece.count("\n") for piece in long) <= MAX_PIECE_LINES
