"""An instruct model's whole path: server, host, llama.cpp, conversation, stream, verification, edit or refusal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import TIMEOUT_S, LspClient
from midfill.text import Document, Edit, Position
from midfill_models import TEST_INSTRUCT_MODEL, embedded_model

pytestmark = pytest.mark.model

CODE = """\
import math


def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value


def parse_version(text):
    parts = text.strip().lstrip("v").split(".")
    # Missing parts count as zero.
    while len(parts) < 3:
        parts.append("0")
    return tuple(int(part) for part in parts)


def area(radius):
    return math.pi * radius * radius
"""
URI = "file:///work/space/shapes.py"
FUNCTIONS = ("clamp", "parse_version", "area")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LspClient]:
    folder = tmp_path_factory.mktemp("instruct")
    model = str(embedded_model(TEST_INSTRUCT_MODEL))
    with LspClient("--model", "fake:", state_dir=folder / "state") as client:
        client.initialize(
            options={"instruct": {"model": model}, "engine": {"hostLingerS": 0, "nThreads": 1}},
            textDocument={
                "codeAction": {
                    "dataSupport": True,
                    "resolveSupport": {"properties": ["edit"]},
                    "codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}},
                }
            },
            workspace={"workspaceEdit": {"documentChanges": True}},
        )
        client.open(CODE, uri=URI)
        yield client


def place_of(name: str) -> dict[str, Any]:
    position = {"line": CODE[: CODE.index(f"def {name}")].count("\n"), "character": 5}
    return {"start": position, "end": position}


def test_an_explanation_is_facts_and_what_the_model_says(client: LspClient) -> None:
    place = {"textDocument": {"uri": URI}, "range": place_of("clamp")}
    answer = client.request("midfill/explain", {"id": "1", **place})["result"]
    kinds, said = list[str](), ""
    while "done" not in kinds:
        message = client.notifications.get(timeout=TIMEOUT_S)
        if message["method"] == "midfill/explanation":
            kinds.append(message["params"]["kind"])
            said += message["params"]["markdown"] if kinds[-1] == "delta" else ""
    assert kinds[0] == "facts"
    assert "delta" in kinds
    # It was taught to begin with the function's name.
    assert "clamp" in said
    assert said in answer["markdown"]


def test_an_edit_is_verified_or_refused(client: LspClient) -> None:
    """Which it is depends on the machine's arithmetic in the last digit; that it is one of both does not."""
    outcomes = []
    for name in FUNCTIONS:
        asked = {
            "textDocument": {"uri": URI},
            "range": place_of(name),
            "context": {"diagnostics": [], "triggerKind": 1},
        }
        actions = client.request("textDocument/codeAction", asked)["result"]
        document = next(action for action in actions if action["title"] == "Document")
        answer = client.request("codeAction/resolve", document)
        edit = answer.get("result", {}).get("edit")
        outcomes.append(bool(edit))
        if not edit:
            continue
        (change,) = edit["documentChanges"]
        assert change["textDocument"] == {"uri": URI, "version": 1}
        edits = [
            Edit(
                Position(*one["range"]["start"].values()),
                Position(*one["range"]["end"].values()),
                one["newText"],
            )
            for one in change["edits"]
        ]
        text = Document.of(CODE).edited(sorted(edits, reverse=True), 2, "utf-16").text
        changed = [node for node in ast.parse(text).body if getattr(node, "name", "") == name]
        assert isinstance(changed[0], ast.FunctionDef)
        assert ast.get_docstring(changed[0])
        # Nothing but the documentation has changed.
        changed[0].body = changed[0].body[1:]
        assert ast.dump(changed[0]) == ast.dump(
            next(n for n in ast.parse(CODE).body if getattr(n, "name", "") == name)
        )
    # Of the three it documents two where this was written.
    assert any(outcomes)


def test_it_is_never_taken_by_itself(tmp_path: Path) -> None:
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        client.initialize()
        client.open(CODE, uri=URI)
        place = {"textDocument": {"uri": URI}, "range": place_of("clamp")}
        answer = client.request("midfill/explain", {"id": "1", **place})["result"]
        assert "No instruct model is set" in answer["note"]
