"""Notebooks: their cells come by messages of their own, and each is completed among the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import LspClient
from midfill.engines.fake import FakeEngine
from midfill.notebook import Notebook
from midfill.text import Document
from typist import URI, Typist, real
from virtual_time import virtual

NOTEBOOK = "file:///work/space/study.ipynb"
Cell = tuple[str, str]
"""Language and text."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        yield client


def cell_uri(name: str) -> str:
    return f"vscode-notebook-cell:/work/space/study.ipynb#{name}"


def cells_of(**cells: Cell) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cells as a notebook lists them, and their texts."""
    listed = [
        {"kind": 1 if language == "markdown" else 2, "document": cell_uri(name)}
        for name, (language, _) in cells.items()
    ]
    texts = [
        {"uri": cell_uri(name), "languageId": language, "version": 1, "text": text}
        for name, (language, text) in cells.items()
    ]
    return listed, texts


def open_notebook(client: LspClient, uri: str = NOTEBOOK, **cells: Cell) -> None:
    listed, texts = cells_of(**cells)
    notebook = {"uri": uri, "notebookType": "jupyter-notebook", "version": 1, "cells": listed}
    client.notify(
        "notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": texts}
    )


def change_notebook(client: LspClient, cells: dict[str, Any]) -> None:
    notebook = {"uri": NOTEBOOK, "version": 2}
    client.notify(
        "notebookDocument/didChange", {"notebookDocument": notebook, "change": {"cells": cells}}
    )


def text_at(client: LspClient, name: str, line: int, character: int) -> str:
    """The text that the prompt at a place of a cell holds, before and after the caret."""
    place = {"line": line, "character": character}
    params = {"textDocument": {"uri": cell_uri(name)}, "position": place}
    report = client.request("midfill/prompt", params)["result"]
    assert report["path"] == "study.ipynb"
    return "║".join(piece["text"] for piece in report["pieces"] if "text" in piece)


@pytest.fixture
def opened(client: LspClient) -> LspClient:
    capabilities = client.initialize(
        options={"completion": {"layout": "psm"}}, notebookDocument={"synchronization": {}}
    )
    assert capabilities["notebookDocumentSync"] == {"notebookSelector": [{"notebook": "*"}]}
    open_notebook(
        client,
        title=("markdown", "# Study\n\nof totals"),
        first=("python", "total = alpha(1)\n"),
        second=("python", "other = alpha"),
        third=("python", "print(other)"),
    )
    return client


def test_a_cell_is_completed_from_those_before_it(opened: LspClient) -> None:
    request_id = opened.ask(0, 13, cell_uri("second"))
    (item,) = opened.answer(request_id)["result"]["items"]
    caret = {"line": 0, "character": 13}
    assert item["insertText"] == "(1)"
    assert item["range"] == {"start": caret, "end": caret}


def test_the_prompt_holds_the_cells_in_order_and_markdown_as_comments(opened: LspClient) -> None:
    assert text_at(opened, "second", 0, 13) == (
        "# # Study\n#\n# of totals\n\ntotal = alpha(1)\n\nother = alpha║\n\nprint(other)"
    )


def test_edits_of_cells_reach_the_model(opened: LspClient) -> None:
    place = {"line": 0, "character": 14}
    edit = {"range": {"start": place, "end": place}, "text": "2, "}
    document = {"uri": cell_uri("first"), "version": 2}
    change_notebook(opened, {"textContent": [{"document": document, "changes": [edit]}]})
    assert opened.ghost(0, 13, cell_uri("second")) == "(2, 1)"


def test_what_runs_for_a_cell_is_stopped_by_its_edits(tmp_path: Path) -> None:
    model = "fake:text=alpha&piece_delay_s=3600"
    with LspClient("--model", model, state_dir=tmp_path / "state") as client:
        client.initialize(options={"completion": {"timeLimitMs": 3_600_000}})
        open_notebook(client, first=("python", "a = 1"), second=("python", "b = "))
        asked = client.ask(0, 4, cell_uri("second"))
        place = {"line": 0, "character": 4}
        edit = {"range": {"start": place, "end": place}, "text": "x"}
        document = {"uri": cell_uri("second"), "version": 2}
        change_notebook(client, {"textContent": [{"document": document, "changes": [edit]}]})
        assert client.answer(asked)["result"]["items"] == []


@virtual
async def test_what_runs_for_a_cell_is_kept_while_it_is_typed() -> None:
    engine = FakeEngine("alpha", piece_chars=1, piece_delay_s=0.1)
    typist = Typist(engine, marked="b = ║", language="python")
    first = Document.of("a = 1", "python", uri="file:///first")
    typist.session.open_notebook(Notebook("file:///a.ipynb", (first.uri, URI)), [first])
    older = typist.ask()
    await asyncio.sleep(0.25)
    typist.type("al")
    await asyncio.sleep(0.01)
    assert await typist.ghost() == "pha"
    assert await older == ()
    assert real(engine) == ["a = 1\n\nb = "]


def test_cells_come_and_go(opened: LspClient) -> None:
    listed, texts = cells_of(new=("python", "other = beta(2)"))
    change_notebook(
        opened,
        {
            "structure": {
                "array": {"start": 0, "deleteCount": 2, "cells": listed},
                "didOpen": texts,
                "didClose": [{"uri": cell_uri("title")}, {"uri": cell_uri("first")}],
            }
        },
    )
    assert text_at(opened, "second", 0, 13) == "other = beta(2)\n\nother = alpha║\n\nprint(other)"
    assert opened.ghost(0, 5, cell_uri("first")) == ""


def test_a_closed_notebook_is_forgotten(opened: LspClient) -> None:
    cells = [{"uri": cell_uri(name)} for name in ("title", "first", "second", "third")]
    opened.notify(
        "notebookDocument/didClose",
        {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": cells},
    )
    assert opened.ghost(0, 13, cell_uri("second")) == ""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param("ignore = '*.ipynb'", "", id="by-name"),
        pytest.param("languages = '!python'", "", id="by-language"),
        pytest.param("ignore = '*.py'", "(1)", id="others"),
    ],
)
def test_a_project_leaves_out_notebooks(
    client: LspClient, tmp_path: Path, rule: str, said: str
) -> None:
    (tmp_path / "midfill.toml").write_text(f"[completion]\n{rule}\n")
    client.initialize(folders=(tmp_path.as_uri(),))
    cells = {"one": ("python", "first = alpha(1)"), "two": ("python", "second = alpha")}
    open_notebook(client, (tmp_path / "study.ipynb").as_uri(), **cells)
    assert client.ghost(0, 14, cell_uri("two")) == said
