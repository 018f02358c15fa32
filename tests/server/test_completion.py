"""What is offered, and in which shape, by a real process: as ghost text and as an entry of the editor's list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import URI, LspClient
from midfill.text import Document, Edit, Encoding, Position, units_of
from midfill_server.convert import to_lsp_completion

Start = Callable[[str], LspClient]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    clients = []

    def started(model: str) -> LspClient:
        client = LspClient("--model", model, state_dir=tmp_path / "state")
        clients.append(client)
        return client

    yield started
    for client in clients:
        with client:
            pass


def inserted(text: str, item: dict[str, Any], encoding: Encoding = "utf-16") -> str:
    """The text after an editor has taken an item."""
    new, at = item.get("insertText"), item.get("range")
    if new is None:
        new, at = item["textEdit"]["newText"], item["textEdit"]["range"]
    assert at is not None
    start, end = (Position(at[end]["line"], at[end]["character"]) for end in ("start", "end"))
    return Document.of(text).edited([Edit(start, end, new)], 2, encoding).text


def items(client: LspClient, by_hand: bool, text: str, **context: Any) -> list[dict[str, Any]]:
    client.open(text)
    answer = client.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": units_of(text, len(text), "utf-16")},
            "context": {"triggerKind": 1 if by_hand else 2, **context},
        },
    )
    found: list[dict[str, Any]] = answer["result"]["items"]
    return found


@pytest.mark.parametrize(
    ("by_hand", "n_by_hand", "texts"),
    [
        pytest.param(True, 3, ["one", "two", "three"], id="by-hand"),
        pytest.param(True, 2, ["one", "two"], id="as-many-as-are-set"),
        pytest.param(False, 3, ["one"], id="while-typing"),
    ],
)
def test_several_by_hand(start: Start, by_hand: bool, n_by_hand: int, texts: list[str]) -> None:
    client = start("fake:text=one&others=two|three")
    client.initialize(options={"completion": {"nByHand": n_by_hand}})
    found = items(client, by_hand, "x = ")
    assert [item["insertText"] for item in found] == texts
    assert [item["filterText"] for item in found] == texts
    # Each is told back by a name of its own.
    names = [item["command"]["arguments"][0] for item in found]
    assert len({*names}) == len(names)


def test_no_text_is_offered_twice(start: Start) -> None:
    client = start("fake:text=one&others=one|two")
    client.initialize()
    assert [item["insertText"] for item in items(client, True, "x = ")] == ["one", "two"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("selected", "after"),
    [
        pytest.param("alphabet", "x = '😋' + alphabet(1)", id="longer"),
        pytest.param("al", "x = '😋' + al(1)", id="what-is-typed"),
        pytest.param("Alpha", "x = '😋' + Alpha(1)", id="another-case"),
    ],
)
def test_what_goes_on_from_the_editors_own_entry(
    start: Start, encoding: Encoding, selected: str, after: str
) -> None:
    client = start("fake:")
    client.initialize(encodings=(encoding,))
    # The engine goes on as an earlier line did, so the answer depends on what it takes to be typed.
    before = f"y = {selected}(1)\n"
    line = "x = '😋' + al"
    client.open(before + line)
    start_column = units_of(line, len(line) - 2, encoding)
    end_column = units_of(line, len(line), encoding)
    typed = {
        "start": {"line": 1, "character": start_column},
        "end": {"line": 1, "character": end_column},
    }
    answer = client.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": URI},
            "position": typed["end"],
            "context": {
                "triggerKind": 2,
                "selectedCompletionInfo": {"range": typed, "text": selected},
            },
        },
    )
    (item,) = answer["result"]["items"]
    assert item["range"] == typed
    assert item["insertText"].startswith(selected)
    assert inserted(before + line, item, encoding) == before + after


def test_nothing_goes_on_from_the_editors_own_entry(start: Start) -> None:
    client = start("fake:text=%0a")
    client.initialize()
    end = {"line": 0, "character": 6}
    info = {"range": {"start": {"line": 0, "character": 4}, "end": end}, "text": "alpha"}
    assert items(client, False, "x = al", selectedCompletionInfo=info) == []


def listed(client: LspClient, text: str) -> dict[str, Any]:
    client.open(text)
    line, character = text.count("\n"), len(text.rpartition("\n")[2])
    place = {"textDocument": {"uri": URI}, "position": {"line": line, "character": character}}
    result: dict[str, Any] = client.request("textDocument/completion", place)["result"]
    return result


def test_a_list_entry_is_whole_and_ours(start: Start) -> None:
    client = start("fake:text=pha(1)")
    capabilities = client.initialize(inline=False)
    options = capabilities["completionProvider"]
    assert "." in options["triggerCharacters"]
    assert " " not in options["triggerCharacters"]
    assert not options.get("resolveProvider")
    text = "def f():\n    x = al"
    answer = listed(client, text)
    assert answer["isIncomplete"] is True
    (item,) = answer["items"]
    assert item["detail"] == item["labelDetails"]["description"] == "Midfill"
    assert item["filterText"].startswith("al")
    assert inserted(text, item) == "def f():\n    x = alpha(1)"
    edit = item["textEdit"]["range"]
    assert edit["start"]["line"] == edit["end"]["line"] == 1


def test_a_list_never_waits_for_long(start: Start) -> None:
    client = start("fake:text=slow&piece_delay_s=60")
    client.initialize(inline=False, options={"completion": {"timeLimitMs": 3_600_000}})
    assert listed(client, "x = ") == {"isIncomplete": True, "items": []}


def test_an_entry_of_several_lines() -> None:
    document = Document.of("if x:\r\n  val")
    item = to_lsp_completion(document, 12, 12, "ue()\r\n  more()", "utf-16", "c1")
    assert item.label == "value() …"
    assert item.documentation == item.filter_text == "value()\r\n  more()"
