"""The index of real trees: what is found, what is never in it, how it keeps up, what it survives."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from midfill.definitions import Imported, imports_of
from midfill.index import MAX_TERMS, Index
from midfill.index_store import (
    MAX_PIECE_LINES,
    Entry,
    IndexStore,
    Progress,
    Stamp,
    create_folder,
    index_folder,
    index_path,
    pieces_of,
)
from midfill.indexer import Indexer, sweep
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document
from midfill.workspace import Workspace

MAX_FILES = 1000


@dataclass
class Tree:
    """A folder, its index, and who keeps it."""

    root: Path
    path: Path
    max_files: int = MAX_FILES

    def write(self, files: dict[str, str]) -> list[Path]:
        paths = []
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            paths.append(path)
        return paths

    @property
    def indexer(self) -> Indexer:
        return Indexer(Workspace.of([self.root]), self.path, self.max_files)

    def walk(self) -> list[Progress]:
        told: list[Progress] = []
        self.indexer.walk(told.append)
        return told

    def names(self) -> list[str]:
        """The files that are in the index with something of theirs."""
        db = sqlite3.connect(self.path)
        query = "SELECT path FROM files WHERE id IN (SELECT file_id FROM symbols) ORDER BY path"
        rows = db.execute(query).fetchall()
        db.close()
        return [row[0] for row in rows]

    def bytes(self) -> bytes:
        """Everything that is on the disk."""
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.iterdir()))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "w").mkdir()
    return Tree(tmp_path / "w", tmp_path / "cache" / "index.sqlite")


def places(snippets: Iterable[Snippet]) -> list[str]:
    """Path and first line of each."""
    return [f"{each.path}: {each.text.splitlines()[0]}" for each in snippets]


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


CANARY = "zqcanaryqz"


@pytest.mark.parametrize(
    ("files", "secret"),
    [
        pytest.param({".env": f"A={CANARY}\n"}, CANARY, id="env"),
        pytest.param({"deploy.pem": CANARY}, CANARY, id="key-file"),
        pytest.param({"credentials.py": f"a_b = '{CANARY}'\n"}, CANARY, id="credentials"),
        pytest.param({".gitignore": "p/\n", "p/a.py": f"a_b = '{CANARY}'\n"}, CANARY, id="ignored"),
        pytest.param(
            {".midfillignore": "a.py\n", "a.py": f"a_b = '{CANARY}'\n"}, CANARY, id="midfillignored"
        ),
        pytest.param(
            {"big.py": f"a_b = '{CANARY}'\n" + "x = 1\n" * 60_000}, CANARY, id="too-large"
        ),
        pytest.param({"bin.py": f"a_b = '{CANARY}'\0\n"}, CANARY, id="binary"),
        pytest.param({"min.js": f"var a_b = '{CANARY}';" + "x=1;" * 300}, CANARY, id="minified"),
        pytest.param(
            {"gen.go": f"// Code generated by x. DO NOT EDIT.\npackage {CANARY}\n"},
            CANARY,
            id="generated",
        ),
        pytest.param({"notes.txt": CANARY}, CANARY, id="no-source"),
        pytest.param(
            {"a.py": "key = 'AKIAIOSFODNN7EXAMPLE'\n"}, "AKIAIOSFODNN7EXAMPLE", id="token-in-code"
        ),
        pytest.param(
            {"a.py": "def f_g(key='ghp_16C7e42F292c6912E7710c838347Ae178B4a'):\n    pass\n"},
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            id="token-in-a-header",
        ),
        pytest.param(
            {"a.py": 'class A_B:\n    password = "correcthorse"\n'}, "correcthorse", id="password"
        ),
    ],
)
def test_no_byte_of_a_secret_is_on_the_disk(tree: Tree, files: dict[str, str], secret: str) -> None:
    tree.write(files | {"plain.py": "plain_name = 'visible'\n"})
    tree.walk()
    tree.indexer.update(tree.root / name for name in files)
    assert b"visible" in tree.bytes()
    assert secret.lower().encode() not in tree.bytes().lower()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_no_byte_from_outside_is_on_the_disk(tree: Tree, tmp_path: Path) -> None:
    outside = tmp_path / "out"
    outside.mkdir()
    (outside / "a.py").write_text(f"a_b = '{CANARY}'\n", "utf-8")
    (tree.root / "link.py").symlink_to(outside / "a.py")
    (tree.root / "folder").symlink_to(outside, target_is_directory=True)
    tree.write({"plain.py": "plain_name = 'visible'\n"})
    tree.walk()
    tree.indexer.update(
        [tree.root / "link.py", tree.root / "folder", tree.root / "folder" / "a.py"]
    )
    tree.indexer.update([outside / "a.py", outside])
    assert b"visible" in tree.bytes()
    assert CANARY.encode() not in tree.bytes()


@pytest.mark.parametrize("by_walk", [True, False], ids=["walk", "update"])
@pytest.mark.parametrize(
    "take_away",
    [
        pytest.param(lambda root: (root / "a.py").unlink(), id="deleted"),
        pytest.param(lambda root: (root / ".gitignore").write_text("a.py\n"), id="ignored-later"),
        pytest.param(
            lambda root: (root / "a.py").rename(root / "id_rsa"), id="renamed-to-a-secret"
        ),
    ],
)
def test_what_is_taken_out_leaves_no_byte(
    tree: Tree, take_away: Callable[[Path], object], by_walk: bool
) -> None:
    tree.write({"a.py": f"class {CANARY}:\n    text = '{CANARY}'\n", "b.py": "visible = 1\n"})
    tree.walk()
    assert CANARY.encode() in tree.bytes()
    take_away(tree.root)
    if by_walk:
        tree.walk()
    else:
        indexer = tree.indexer
        indexer.update([tree.root / "a.py", tree.root / ".gitignore", tree.root / "id_rsa"])
        if indexer.unsettled:
            indexer.settle()
        assert not indexer.unsettled
    assert tree.names() == ["b.py"]
    assert CANARY.encode() not in tree.bytes()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX'")
def test_only_the_user_may_read_it(tree: Tree) -> None:
    tree.write({"a.py": "a_b = 1\n"})
    tree.path.parent.mkdir(mode=0o755)
    tree.walk()
    assert stat.S_IMODE(tree.path.parent.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tree.path.parent.iterdir()}
    assert modes == {0o600}


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_a_folder_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    with pytest.raises(OSError, match="not a folder"):
        create_folder(tmp_path / "link")


def found_in(tree: Tree, name: str) -> list[str]:
    return [each.path for each in Index(tree.path).definitions_for(f"{name}()", "python", "q.py")]


@pytest.mark.parametrize("by_walk", [True, False], ids=["at-the-start", "told"])
def test_it_keeps_up(tree: Tree, by_walk: bool) -> None:
    def bring_up_to_date(*names: str) -> None:
        if by_walk:
            tree.walk()
        else:
            tree.indexer.update(tree.root / name for name in names)

    tree.write(
        {"pkg/a.py": "def old_name():\n    pass\n", "pkg/b.py": "def other_name():\n    pass\n"}
    )
    tree.walk()
    assert found_in(tree, "old_name") == ["pkg/a.py"]
    tree.write({"pkg/a.py": "def brand_new_name():\n    pass\n"})
    bring_up_to_date("pkg/a.py")
    assert (found_in(tree, "old_name"), found_in(tree, "brand_new_name")) == ([], ["pkg/a.py"])
    (tree.root / "pkg/a.py").rename(tree.root / "pkg/c.py")
    bring_up_to_date("pkg/a.py", "pkg/c.py")
    assert found_in(tree, "brand_new_name") == ["pkg/c.py"]
    (tree.root / "pkg").rename(tree.root / "lib")
    bring_up_to_date("pkg", "lib")
    assert tree.names() == ["lib/b.py", "lib/c.py"]
    tree.write({"lib/d.py": "def d_name():\n    pass\n"})
    bring_up_to_date("lib/d.py")
    assert found_in(tree, "d_name") == ["lib/d.py"]
    (tree.root / "lib/d.py").unlink()
    bring_up_to_date("lib/d.py")
    assert found_in(tree, "d_name") == []
    shutil.rmtree(tree.root / "lib")
    bring_up_to_date("lib")
    assert tree.names() == []


def test_one_open_view_sees_what_is_written_later(tree: Tree) -> None:
    index = Index(tree.path)
    assert index.definitions_for("a_b()", "python", "q.py") == []
    tree.write({"a.py": "def a_b():\n    pass\n"})
    tree.walk()
    assert len(index.definitions_for("a_b()", "python", "q.py")) == 1
    tree.write({"b.py": "def c_d():\n    pass\n"})
    tree.indexer.update([tree.root / "b.py"])
    assert len(index.definitions_for("c_d()", "python", "q.py")) == 1
    index.close()


def test_only_what_changed_is_read_again(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)})
    assert tree.walk()[-1] == Progress(5, 5)
    assert tree.walk() == [Progress(0, 0)]
    tree.write({"m2.py": "a_2 = 'longer'\n", "m9.py": "a_9 = 1\n"})
    assert tree.walk()[-1] == Progress(2, 2)


def test_progress_counts_up_to_the_end(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(150)})
    told = tree.walk()
    assert told == [Progress(done, 150) for done in (0, 64, 128, 150)]


def test_no_more_files_than_the_limit(tree: Tree) -> None:
    tree.max_files = 3
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)} | {"a.txt": "not counted"})
    tree.walk()
    assert tree.names() == ["m0.py", "m1.py", "m2.py"]
    tree.indexer.update([tree.root / "m4.py"])
    assert tree.names() == ["m0.py", "m1.py", "m2.py"]
    (tree.root / "m0.py").unlink()
    tree.indexer.update([tree.root / "m0.py", tree.root / "m4.py"])
    assert tree.names() == ["m1.py", "m2.py", "m4.py"]


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _scratch(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _age(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999999")
    db.close()


@pytest.mark.parametrize("damage", [_overwrite, _cut, _scratch, _empty, _age])
def test_a_damaged_file_is_made_anew(tree: Tree, damage: Callable[[Path], None]) -> None:
    tree.write({f"m{n}.py": f"def name_{n}():\n    pass\n" for n in range(20)})
    tree.walk()
    index = Index(tree.path)
    assert len(index.definitions_for("name_3()", "python", "q.py")) == 1
    damage(tree.path)
    # Whoever reads meanwhile gets something or nothing, and no error.
    index.definitions_for("name_4()", "python", "q.py")
    Index(tree.path).similar("name_5", "q.py")
    tree.walk()
    assert len(tree.names()) == 20
    assert len(index.definitions_for("name_3()", "python", "q.py")) == 1
    index.close()


def test_damage_that_an_update_meets_is_mended(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"def name_{n}():\n    pass\n" for n in range(20)})
    tree.walk()
    _overwrite(tree.path)
    tree.write({"m3.py": "def new_name():\n    pass\n"})
    tree.indexer.update([tree.root / "m3.py"])
    assert len(tree.names()) == 20
    assert found_in(tree, "new_name") == ["m3.py"]


CRASH = """
import os, sys
from pathlib import Path
from midfill.index_store import Entry, IndexStore, Stamp
store = IndexStore.opened(Path(sys.argv[1]))
def entries():
    for n in range(1000):
        if n == 500:
            os._exit(9)
        yield Entry.of(f"new{n}.py", Stamp(1, 1), "def new_name():\\n    return other_name\\n" * 20)
store.remove(["a.py"])
store.put(entries())
"""


def test_a_crash_in_the_middle_of_a_write_leaves_a_sound_index(tree: Tree) -> None:
    tree.write({"a.py": "def a_name():\n    pass\n", "b.py": "def b_name():\n    pass\n"})
    tree.walk()
    done = subprocess.run([sys.executable, "-c", CRASH, tree.path], check=False)
    assert done.returncode == 9
    # What was committed holds, of the rest nothing is there.
    assert tree.names() == ["b.py"]
    assert found_in(tree, "new_name") == []
    db = sqlite3.connect(tree.path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    assert tree.walk()[-1] == Progress(1, 1)
    assert found_in(tree, "a_name") == ["a.py"]


def test_a_file_that_ends_the_process_is_passed_over(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        pass

    def of(path: str, stamp: Stamp, text: str) -> Entry:
        if path == "m2.py":
            raise Ended
        return whole(path, stamp, text)

    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(5)})
    whole = Entry.of
    monkeypatch.setattr(Entry, "of", of)
    with pytest.raises(Ended):
        tree.indexer.walk(lambda _: None, careful=True)
    tree.indexer.walk(lambda _: None, careful=True)
    assert tree.names() == ["m0.py", "m1.py", "m3.py", "m4.py"]


def test_several_writers_of_one_index_take_turns(tree: Tree) -> None:
    tree.write({f"m{n}.py": f"a_{n} = 1\n" for n in range(100)})
    told: list[list[Progress]] = []
    threads = [threading.Thread(target=lambda: told.append(tree.walk())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One has read all, the others found nothing to do.
    assert sorted(progress[-1] for progress in told) == [
        Progress(0, 0),
        Progress(0, 0),
        Progress(100, 100),
    ]


def test_reading_goes_on_while_someone_writes(tree: Tree) -> None:
    tree.write({"a.py": "def a_name():\n    pass\n"})
    tree.walk()
    store = IndexStore(tree.path)
    index = Index(tree.path)

    def entries() -> Iterable[Entry]:
        yield Entry.of("b.py", Stamp(1, 1), "def b_name():\n    pass\n")
        # In the middle of the transaction.
        assert len(index.definitions_for("a_name()", "python", "q.py")) == 1
        assert index.definitions_for("b_name()", "python", "q.py") == []

    store.put(entries())
    assert len(index.definitions_for("b_name()", "python", "q.py")) == 1
    index.close()
    store.close()


def test_several_roots_are_one_workspace(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(f"def in_{name}():\n    pass\n", "utf-8")
    workspace = Workspace.of([tmp_path / "one", tmp_path / "two"])
    path = index_path(workspace.roots, tmp_path / "cache")
    Indexer(workspace, path, MAX_FILES).walk(lambda _: None)
    found = Index(path).definitions_for("in_one() + in_two()", "python", "one/new.py")
    assert places(found) == ["one/m.py: def in_one():", "two/m.py: def in_two():"]
    assert path == index_path(reversed(workspace.roots), tmp_path / "cache")
    assert path != index_path(workspace.roots[:1], tmp_path / "cache")


def test_the_folder_is_in_the_user_s_cache_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path))
    assert index_folder() == tmp_path / "index"
    monkeypatch.delenv("MIDFILL_STATE_DIR")
    assert index_folder().name == "index"
    assert "midfill" in str(index_folder())


def test_indexes_that_nobody_asks_for_go(tree: Tree) -> None:
    tree.write({"a.py": "a_b = 1\n"})
    tree.walk()
    old = tree.path.with_name("index-old.sqlite")
    recent = tree.path.with_name("index-recent.sqlite")
    for path in (old, recent):
        IndexStore(path).close()
    os.utime(old, (0, 0))
    sweep(tree.path.parent, keep=tree.path)
    assert (old.exists(), recent.exists(), tree.path.exists()) == (False, True, True)
