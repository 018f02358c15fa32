"""Imports go down the floors only, and an import loads no more than it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    # 0: what everything speaks of
    ("midfill.version", "midfill", "midfill.errors", "midfill.text", "midfill.settings"),
    ("midfill.engine", "midfill.hidden", "midfill.plain_file", "midfill.private_file"),
    ("midfill.generation", "midfill.habit"),
    ("midfill.markdown",),
    # 1: languages and models as data
    ("midfill.languages", "midfill.trees", "midfill.snippets", "midfill.masking"),
    ("midfill.nesting",),
    ("midfill.similarity",),
    ("midfill.blocks", "midfill.answers"),
    ("midfill.syntax",),
    # The workspace: what may be read of it, and what is known of it
    ("midfill.ignored", "midfill.modules"),
    ("midfill.workspace", "midfill.definitions"),
    ("midfill.index_store",),
    ("midfill.index", "midfill.indexer"),
    ("midfill.validity", "midfill.code_facts", "midfill.caret"),
    ("midfill.recent", "midfill.selection", "midfill.notebook"),
    ("midfill.trained",),
    ("midfill.formats",),
    ("midfill.chat_formats", "midfill.chat_sandbox"),
    ("midfill.thoughts",),
    ("midfill.speech",),
    ("midfill.chat_template",),
    ("midfill.chat",),
    ("midfill.abilities", "midfill.selftest"),
    # 2, 3: the caret, its prompt, what may be shown
    ("midfill.context",),
    ("midfill.following",),
    ("midfill.window",),
    ("midfill.prompt", "midfill.overlap", "midfill.noise", "midfill.indenting"),
    ("midfill.scope",),
    ("midfill.filters", "midfill.stopping", "midfill.confidence"),
    ("midfill.cache", "midfill.ahead"),
    # the lines that are explained and edited, and what may be offered for them
    ("midfill.conversions_python",),
    ("midfill.conversions",),
    ("midfill.subject",),
    ("midfill.edits", "midfill.kept"),
    ("midfill.verification",),
    # 4: the whole
    ("midfill.complete", "midfill.instruct"),
    # the wing
    ("midfill.engines",),
    # 5: the adapter
    ("midfill_server", "midfill_models"),
)
"""From the ground up; a name stands for a module and, for the last two rows, everything in the package."""


def floor_of(module: str) -> int:
    for floor, names in enumerate(FLOORS):
        packages = names if floor >= len(FLOORS) - 2 else ()
        if module in names or any(module.startswith(f"{name}.") for name in packages):
            return floor
    raise AssertionError(f"{module} stands on no floor; put it in FLOORS")


def modules() -> Iterator[tuple[str, Path]]:
    for source in (ROOT / "fim", ROOT / "server"):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()]
)
def test_imports_go_down(module: str, path: Path) -> None:
    own_package = module.split(".", maxsplit=1)[0]
    for name in imported(path):
        if name.split(".")[0] in ("midfill", "midfill_server") and name != "midfill.version":
            below = floor_of(name) < floor_of(module)
            same_wing = floor_of(name) == floor_of(module) >= len(FLOORS) - 2
            assert below or same_wing, f"{module} imports {name}"
        if name.split(".")[0] == "llama_cpp":
            assert module.startswith("midfill.engines.llama"), f"{module} imports llama_cpp"
        if name.split(".")[0] in ("pygls", "lsprotocol"):
            assert own_package == "midfill_server", f"{module} imports {name}"


def test_only_convert_knows_both_worlds() -> None:
    both = {
        module
        for module, path in modules()
        if "lsprotocol" in path.read_text("utf-8") and "midfill.text" in set(imported(path))
    }
    assert both == {"midfill_server.convert"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        pytest.param("midfill", ["llama_cpp", "pygls", "httpx", "tree_sitter"], id="library"),
        pytest.param("midfill.complete", ["llama_cpp", "pygls", "httpx"], id="complete"),
        # A host is there as soon as an editor asks: what few requests need is imported by them.
        pytest.param(
            "midfill.engines.host", ["llama_cpp", "jinja2", "tree_sitter", "pygls"], id="host"
        ),
        pytest.param(
            "midfill_server.server",
            ["llama_cpp", "httpx", "rich", "sqlite3", "pathspec", "filelock"],
            id="server",
        ),
        # What an editor waits for when it starts a server.
        pytest.param(
            "midfill_server.cli.serve",
            ["lsprotocol", "pygls", "tree_sitter", "asyncio", "midfill.settings"],
            id="serve",
        ),
        # Imported by a running server, when it has answered `initialize`.
        pytest.param(
            "midfill_server.indexing", ["llama_cpp", "pygls", "pathspec", "filelock"], id="indexing"
        ),
        pytest.param("midfill_server.cli", ["llama_cpp", "pygls", "httpx", "rich"], id="cli"),
        pytest.param(
            "midfill_server.cli.models", ["llama_cpp", "pygls", "huggingface_hub"], id="models"
        ),
        # Read by a server before it answers.
        pytest.param(
            "midfill.engines.model_files", ["filelock", "httpx", "tomllib"], id="model-files"
        ),
    ],
)
def test_an_import_loads_no_more_than_it_says(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print([n for n in {absent} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
