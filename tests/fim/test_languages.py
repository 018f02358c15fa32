from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from midfill.languages import Language, grammar, language, language_of, languages

QUERIES = Path(sys.modules["midfill.languages"].__file__ or "").parent / "queries"
SAMPLES = Path(__file__).parent / "languages"
EACH = [pytest.param(each, id=each.id) for each in languages()]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("a/b.py", "python", id="python"),
        pytest.param("stub.pyi", "python", id="python stub"),
        pytest.param("a.js", "javascript", id="javascript"),
        pytest.param("a.jsx", "javascriptreact", id="jsx"),
        pytest.param("a.ts", "typescript", id="typescript"),
        pytest.param("a.tsx", "typescriptreact", id="tsx"),
        pytest.param("src/Main.java", "java", id="java"),
        pytest.param("x.h", "c", id="header"),
        pytest.param("x.HPP", "cpp", id="upper case"),
        pytest.param("/home/me/.bashrc", "shellscript", id="whole name"),
        pytest.param("Gemfile", "ruby", id="whole name without a dot"),
        pytest.param("archive.tar.rs", "rust", id="last ending counts"),
        pytest.param("notes.txt", "", id="unknown ending"),
        pytest.param("Makefile", "", id="unknown name"),
        pytest.param("README.md", "", id="prose is in no index"),
        pytest.param("a.kt", "kotlin", id="known by its text"),
        pytest.param("a.yml", "yaml", id="yaml"),
        pytest.param("App.vue", "vue", id="vue"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_language_of_a_path(path: str, expected: str) -> None:
    assert language_of(path) == expected


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        pytest.param("javascriptreact", "javascript", id="jsx has the grammar of javascript"),
        pytest.param("typescriptreact", "typescriptreact", id="tsx has its own"),
        pytest.param("bash", "shellscript", id="neovim's bash"),
        pytest.param("sh", "shellscript", id="neovim's sh"),
        pytest.param("cs", "csharp", id="neovim's cs"),
        pytest.param("jsonc", "json", id="json with comments"),
        pytest.param("vue", "html", id="vue is markup"),
    ],
)
def test_several_identifiers_name_one_language(identifier: str, expected: str) -> None:
    assert language(identifier).id == expected
    assert grammar(identifier) is grammar(expected)


@pytest.mark.parametrize("identifier", ["", "plaintext", "Python"])
def test_an_unknown_language_has_no_grammar(identifier: str) -> None:
    assert language(identifier).style == "none"
    assert grammar(identifier) is None


@pytest.mark.parametrize(
    ("identifier", "mark"), [("kotlin", "//"), ("swift", "//"), ("yaml", "#"), ("sql", "--")]
)
def test_a_language_without_a_grammar_is_known_by_its_text(identifier: str, mark: str) -> None:
    known = language(identifier)
    assert known.id == identifier
    assert known.line_comment == mark
    assert grammar(identifier) is None
    assert known not in languages()


@pytest.mark.parametrize("each", EACH)
def test_every_language_is_complete(each: Language) -> None:
    known = language(each.id)
    loaded = grammar(known.id)
    assert loaded is not None
    assert known.line_comment or known.block_comment
    assert known.brackets
    assert known.blocks
    for query in (loaded.structure, loaded.places):
        assert query.pattern_count > 0
    assert set(known.extensions.values()) <= set(known.ids)


def test_every_language_has_a_sample_and_every_query_a_language() -> None:
    identifiers = {path.stem for path in SAMPLES.iterdir()}
    assert {each.id for each in languages()} <= identifiers
    assert {path.stem for path in QUERIES.glob("*.scm")} == {each.query for each in languages()}


def test_no_grammar_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, midfill.validity\n"
        "from midfill.languages import language_of\n"
        "language_of('a.py')\n"
        "print([name for name in sys.modules if name.startswith('tree_sitter_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
