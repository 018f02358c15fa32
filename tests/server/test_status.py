"""What a status bar, a bar of progress and the local statistics are told, by a real process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import TIMEOUT_S, URI, LspClient

WANTS_STATUS: dict[str, Any] = {"experimental": {"midfill": {"status": True}}}
WANTS_PROGRESS: dict[str, Any] = {"window": {"workDoneProgress": True}}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def client(state_dir: Path) -> Iterator[LspClient]:
    with LspClient("--model", "fake:", state_dir=state_dir) as client:
        yield client


def told(client: LspClient) -> dict[str, Any]:
    message = client.notifications.get(timeout=TIMEOUT_S)
    assert message["method"] == "midfill/status", message
    params: dict[str, Any] = message["params"]
    return params


def command(client: LspClient, name: str, *arguments: Any) -> dict[str, Any]:
    answer = client.request(
        "workspace/executeCommand", {"command": name, "arguments": list(arguments)}
    )
    result: dict[str, Any] = answer.get("result") or answer["error"]
    return result


def until(client: LspClient, state: str) -> dict[str, Any]:
    while (status := told(client))["state"] != state:
        pass
    return status


def test_an_editor_that_wants_it_is_told_of_each_change(state_dir: Path) -> None:
    with LspClient("--model", "fake:load_s=0.3&text=x", state_dir=state_dir) as client:
        client.initialize(**WANTS_STATUS)
        loading = {"state": "loading", "model": "", "message": "The model is being loaded."}
        assert told(client) == loading
        ready = {"state": "ready", "model": "fake", "message": "Midfill completes as you type."}
        assert told(client) == ready
        client.open("x = ")
        assert client.ghost(0, 4) == "x"
        # An answer that comes at once is no news.
        assert client.notifications.empty()


def test_a_long_answer_is_told(state_dir: Path) -> None:
    with LspClient("--model", "fake:text=x&piece_delay_s=0.6", state_dir=state_dir) as client:
        client.initialize(**WANTS_STATUS)
        until(client, "ready")
        client.open("x = ")
        assert client.ghost(0, 4) == "x"
        assert [told(client)["state"] for _ in range(2)] == ["working", "ready"]


def test_nobody_else_is_told(client: LspClient) -> None:
    client.initialize()
    client.open("x = ")
    client.ghost(0, 4)
    command(client, "midfill.snooze", 1)
    assert client.notifications.empty()


@pytest.mark.parametrize(
    ("options", "state", "message"),
    [
        pytest.param(
            {"completion": {"enabled": False}}, "off", "Completion is turned off.", id="off"
        ),
        pytest.param(
            {"engine": {"model": "fake:load=refuse"}},
            "error",
            "The fake model refuses to load, as it was told to.",
            id="error",
        ),
    ],
)
def test_why_nothing_comes(client: LspClient, options: Any, state: str, message: str) -> None:
    client.initialize(options=options, **WANTS_STATUS)
    while (found := client.notifications.get(timeout=TIMEOUT_S))["params"].get("state") != state:
        pass
    assert found["params"]["message"] == message
    assert command(client, "midfill.status")["state"] == state


def test_snoozing(client: LspClient) -> None:
    client.initialize(**WANTS_STATUS)
    until(client, "ready")
    client.open("first = alpha(1)\nsecond = alpha")
    assert command(client, "midfill.snooze", 5)["message"] == "Midfill rests for another 5 min."
    assert told(client)["state"] == "snoozed"
    assert client.ghost(1, 14) == ""
    assert command(client, "midfill.status", URI)["completes"] is False
    assert command(client, "midfill.snooze", 0)["state"] == "ready"
    assert told(client)["state"] == "ready"
    assert client.ghost(1, 14) == "(1)"
    assert command(client, "midfill.status", URI)["completes"] is True


def test_a_snooze_ends_by_itself(client: LspClient) -> None:
    client.initialize(**WANTS_STATUS)
    until(client, "ready")
    assert command(client, "midfill.snooze", 0.01)["state"] == "snoozed"
    assert told(client)["state"] == "snoozed"
    assert told(client)["state"] == "ready"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="none"),
        pytest.param([-1], id="negative"),
        pytest.param([1e9], id="years"),
        pytest.param([True], id="true"),
        pytest.param(["soon"], id="text"),
        pytest.param([1, 2], id="two"),
    ],
)
def test_a_snooze_of_no_minutes_is_refused(client: LspClient, arguments: list[Any]) -> None:
    client.initialize()
    assert command(client, "midfill.snooze", *arguments)["code"] == -32602


def progress(client: LspClient) -> Iterator[dict[str, Any]]:
    while True:
        message = client.notifications.get(timeout=TIMEOUT_S)
        assert message["method"] == "$/progress"
        yield message["params"]["value"]
        if message["params"]["value"]["kind"] == "end":
            return


def test_loading_has_a_bar(state_dir: Path) -> None:
    with LspClient("--model", "fake:load_s=2", state_dir=state_dir) as client:
        client.replies["window/workDoneProgress/create"] = None
        client.initialize(**WANTS_PROGRESS)
        values = list(progress(client))
        assert [values[0]["kind"], values[-1]["kind"]] == ["begin", "end"]
        assert values[0]["title"] == "Midfill: loading the model"
        shares = [value["percentage"] for value in values[:-1]]
        assert shares == sorted(shares)
        assert 0 < shares[-1] <= 100


def test_indexing_has_a_bar(state_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "space"
    folder.mkdir()
    for n in range(2500):
        (folder / f"m{n}.py").write_text(f"def name_{n}(value):\n    return value + {n}\n" * 4)
    with LspClient("--model", "fake:", state_dir=state_dir) as client:
        client.replies["window/workDoneProgress/create"] = None
        client.initialize(folders=(folder.as_uri(),), **WANTS_PROGRESS)
        values = list(progress(client))
        assert [values[0]["kind"], values[-1]["kind"]] == ["begin", "end"]
        assert values[0]["title"] == "Midfill: indexing"
        shares = [value["percentage"] for value in values[:-1]]
        assert shares == sorted(shares)
        assert 0 < shares[-1] <= 100


@pytest.mark.parametrize(
    ("capabilities", "asked"),
    [pytest.param({}, False, id="cannot"), pytest.param(WANTS_PROGRESS, True, id="never-answers")],
)
def test_an_editor_without_bars(state_dir: Path, capabilities: Any, asked: bool) -> None:
    with LspClient("--model", "fake:load_s=1.5", state_dir=state_dir) as client:
        client.initialize(**capabilities)
        while command(client, "midfill.status")["state"] != "ready":
            time.sleep(0.1)
        assert client.requests.empty() != asked
        assert client.notifications.empty()


def test_what_became_of_a_completion_is_counted_and_only_that_is_kept(state_dir: Path) -> None:
    with LspClient("--model", "fake:text=secret", state_dir=state_dir) as client:
        client.initialize()
        client.open("x = ")
        items = [client.answer(client.ask(0, 4))["result"]["items"][0] for _ in range(3)]
        assert [item["insertText"] for item in items] == ["secret"] * 3
        client.notify("textDocument/didShowCompletion", {"item": items[0]})
        part = {"item": items[1], "acceptedLength": 2}
        client.notify("textDocument/didPartiallyAcceptCompletion", part)
        nameless: Any = {"item": {"command": {"arguments": [[]]}}}
        shapes: list[Any] = [None, [], {}, {"item": {}}, nameless]
        for shapeless in shapes:
            client.notify("textDocument/didShowCompletion", shapeless)
            client.notify("textDocument/didPartiallyAcceptCompletion", shapeless)
        for _ in range(2):  # The second time it is not news.
            client.request("workspace/executeCommand", items[2]["command"])
        found = command(client, "midfill.status")["statistics"]
        names = ("offered", "shown", "accepted", "accepted_in_part", "accepted_chars")
        assert [found[name] for name in names] == [3, 1, 1, 1, 8]
        assert found["answered_from"] == {"model": 3}
        assert found["ms"]["p50"] is not None
        client.close()
    (written,) = state_dir.glob("statistics*.json")
    assert "secret" not in written.read_text("utf-8")
    assert json.loads(written.read_text("utf-8"))["counts"]["accepted"] == 1
