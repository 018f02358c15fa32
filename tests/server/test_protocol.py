"""The process under messages that no editor should send: each request has one answer, and the next works."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_client import TIMEOUT_S, URI, LspClient
from midfill.engines.fake import FakeEngine
from midfill_server.framing import Frames
from midfill_server.protocol import serve
from midfill_server.server import MidfillServer, create_server
from midfill_server.session import Session

PLACE = {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 14}}
ASKED = {**PLACE, "context": {"triggerKind": 1}}


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[LspClient]:
    """A server that nobody has initialised."""
    with LspClient("--model", "fake:", state_dir=tmp_path / "state") as client:
        yield client


@pytest.fixture
def client(raw: LspClient) -> LspClient:
    return ready(raw)


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LspClient]:
    """One server for all that it must survive."""
    with LspClient("--model", "fake:", state_dir=tmp_path_factory.mktemp("state")) as client:
        yield ready(client)


def ready(client: LspClient) -> LspClient:
    client.initialize()
    client.open("first = alpha(1)\nsecond = alpha")
    return client


def frame(message: object) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def still_answers(client: LspClient) -> bool:
    return client.ghost(1, 14) == "(1)"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(b"{", -32700, id="no-json"),
        pytest.param(b"\xff\xfe", -32700, id="no-utf-8"),
        pytest.param(b"[" * 100_000, -32700, id="too-deep"),
        pytest.param([], -32600, id="a-batch"),
        pytest.param("text", -32600, id="a-string"),
        pytest.param({"id": 70, "method": "shutdown"}, -32600, id="no-version"),
        pytest.param({"jsonrpc": "2.0", "id": 70}, -32600, id="no-method"),
        pytest.param({"jsonrpc": "2.0", "id": 70, "method": 7}, -32600, id="method-is-a-number"),
        pytest.param({"jsonrpc": "2.0", "id": None, "method": "shutdown"}, -32600, id="id-is-null"),
        pytest.param(
            {"jsonrpc": "2.0", "id": [1], "method": "shutdown"}, -32600, id="id-is-a-list"
        ),
    ],
)
def test_no_message(hardened: LspClient, message: object, code: int) -> None:
    hardened.write(frame(message))
    stray = hardened.strays.get(timeout=TIMEOUT_S)
    assert stray["error"]["code"] == code
    assert stray["id"] == (70 if b'"id": 70' in frame(message) else None)
    assert still_answers(hardened)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"Content-Length: x\r\n\r\n", id="length-is-no-number"),
        pytest.param(b'{"jsonrpc":"2.0"}', id="no-header"),
        pytest.param(frame(b"{}")[:-1] + frame(b"{}"), id="a-byte-is-missing"),
        pytest.param(b"\r\n\r\n\r\n", id="empty-lines"),
    ],
)
def test_no_frame(hardened: LspClient, data: bytes) -> None:
    hardened.write(data)
    assert still_answers(hardened)
    while not hardened.strays.empty():
        assert hardened.strays.get()["error"]["code"] in (-32700, -32600)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        pytest.param("textDocument/unheardOf", {}, -32601, id="unknown-method"),
        pytest.param("textDocument/definition", PLACE, -32601, id="known-but-not-offered"),
        pytest.param("$/unheardOf", {}, -32601, id="unknown-dollar-method"),
        pytest.param("textDocument/inlineCompletion", {}, -32602, id="no-parameters"),
        pytest.param("textDocument/inlineCompletion", None, -32602, id="null"),
        pytest.param("textDocument/inlineCompletion", [1, 2], -32602, id="by-position"),
        pytest.param(
            "textDocument/inlineCompletion",
            {**ASKED, "position": {"line": "one", "character": 1}},
            -32602,
            id="line-is-text",
        ),
        pytest.param("workspace/executeCommand", {"command": "rm"}, -32602, id="unknown-command"),
        pytest.param(
            "workspace/executeCommand",
            {"command": "midfill.accepted", "arguments": []},
            -32602,
            id="no-arguments",
        ),
        pytest.param("initialize", {"capabilities": {}}, -32600, id="initialized-twice"),
    ],
)
def test_a_bad_request_gets_the_specifications_error(
    hardened: LspClient, method: str, params: Any, code: int
) -> None:
    assert hardened.request(method, params)["error"]["code"] == code
    assert still_answers(hardened)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        pytest.param("textDocument/didChange", {"textDocument": {}}, id="wrong-shape"),
        pytest.param("textDocument/unheardOf", {}, id="unknown"),
        pytest.param("$/cancelRequest", {"id": "never sent"}, id="cancel-of-nothing"),
        pytest.param("$/setTrace", {"value": "verbose"}, id="trace"),
        pytest.param("window/workDoneProgress/cancel", {"token": "x"}, id="no-such-progress"),
        pytest.param("initialized", None, id="nothing-for-an-empty-object"),
    ],
)
def test_a_notification_is_never_answered(hardened: LspClient, method: str, params: Any) -> None:
    hardened.notify(method, params)
    assert still_answers(hardened)
    assert hardened.strays.empty()
    assert hardened.notifications.empty()


def test_a_key_named_jsonrpc_is_data(hardened: LspClient) -> None:
    asked = hardened.send("textDocument/inlineCompletion", {**ASKED, "x": {"jsonrpc": "2.0"}})
    assert hardened.answer(asked)["result"]["items"]
    command = {"command": "midfill.accepted", "arguments": [{"jsonrpc": "2.0", "method": "x"}]}
    hardened.request("workspace/executeCommand", command)
    assert still_answers(hardened)


def test_an_id_may_be_text(hardened: LspClient) -> None:
    message = {"jsonrpc": "2.0", "id": "seven", "method": "textDocument/inlineCompletion"}
    hardened.write(frame({**message, "params": ASKED}))
    assert hardened.strays.get(timeout=TIMEOUT_S)["id"] == "seven"


def test_an_answer_that_nobody_asked_for_is_dropped(hardened: LspClient) -> None:
    hardened.write(frame({"jsonrpc": "2.0", "id": "never asked", "result": 1}))
    hardened.write(frame({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "no"}}))
    assert still_answers(hardened)
    assert hardened.strays.empty()


def test_requests_before_initialize_are_refused(raw: LspClient) -> None:
    assert raw.request("textDocument/inlineCompletion", ASKED)["error"]["code"] == -32002
    raw.initialize()
    raw.open("first = alpha(1)\nsecond = alpha")
    assert still_answers(raw)


def test_requests_after_shutdown_are_refused(client: LspClient) -> None:
    client.request("shutdown", None)
    assert client.request("textDocument/inlineCompletion", ASKED)["error"]["code"] == -32600
    client.notify("exit", None)
    assert client.process.wait(TIMEOUT_S) == 0


def test_an_editor_that_does_not_wait_for_shutdown(client: LspClient) -> None:
    asked = client.send("shutdown", None)
    client.notify("exit", None)
    assert client.answer(asked)["result"] is None
    assert client.process.wait(TIMEOUT_S) == 0


def test_what_is_running_at_shutdown_is_answered_once(tmp_path: Path) -> None:
    slow = "fake:text=answer&piece_delay_s=60"
    with LspClient("--model", slow, state_dir=tmp_path / "state") as client:
        client.initialize(options={"completion": {"timeLimitMs": 3_600_000}})
        uris = [f"file:///{number}.py" for number in range(5)]
        for uri in uris:
            client.open("x = ", uri=uri)
        running = [client.ask(0, 4, uri=uri) for uri in uris]
        assert client.close() == 0
        answers = [client.answer(request_id) for request_id in running]
        assert all(
            answer.get("error", {}).get("code") == -32800 or not answer["result"]["items"]
            for answer in answers
        )
        assert sorted(client.answered) == sorted({*client.answered})


def test_what_came_before_the_end_of_input_is_answered(raw: LspClient) -> None:
    initialize = {"jsonrpc": "2.0", "id": "i", "method": "initialize"}
    raw.write(frame({**initialize, "params": {"capabilities": {}}}))
    assert raw.process.stdin is not None
    raw.process.stdin.close()
    assert raw.strays.get(timeout=TIMEOUT_S)["id"] == "i"
    assert raw.process.wait(TIMEOUT_S) == 1


@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_answered_once_in_any_order(tmp_path: Path, seed: int) -> None:
    """Typing, asking, cancelling, closing, opening again and new settings, as they come."""
    rng = random.Random(seed)
    uris = [f"file:///{number}.py" for number in range(3)]
    models = [f"fake:text=answer{number}&piece_delay_s=0.003" for number in range(2)]
    with LspClient("--model", models[0], state_dir=tmp_path / "state") as client:
        client.initialize()
        asked: list[int] = []
        versions = dict.fromkeys(uris, 0)
        for _ in range(400):
            uri = rng.choice(uris)
            if not versions[uri]:
                versions[uri] = 1
                client.open("x = ", uri=uri)
            match rng.choice(
                ["type"] * 6 + ["ask"] * 6 + ["cancel"] * 3 + ["close", "set", "list"]
            ):
                case "type":
                    versions[uri] += 1
                    place = {"line": 0, "character": 4}
                    edit = {"range": {"start": place, "end": place}, "text": rng.choice("ab\n")}
                    client.change(versions[uri], edit, uri=uri)
                case "ask":
                    asked.append(client.ask(0, 4, uri=uri, by_hand=rng.random() < 0.5))
                case "list":
                    position = {"line": 0, "character": 4}
                    params = {"textDocument": {"uri": uri}, "position": position}
                    asked.append(client.send("textDocument/completion", params))
                case "cancel" if asked:
                    client.notify("$/cancelRequest", {"id": rng.choice(asked[-3:])})
                case "close":
                    versions[uri] = 0
                    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
                case "set":
                    settings = {"midfill": {"engine": {"model": rng.choice(models)}}}
                    client.notify("workspace/didChangeConfiguration", {"settings": settings})
        answers = [client.answer(request_id) for request_id in asked]
        assert {answer["error"]["code"] for answer in answers if "error" in answer} <= {-32800}
        client.open("x = ", uri="file:///last.py")
        assert client.ghost(0, 4, "file:///last.py").startswith("answer")
        assert client.close() == 0
        assert sorted(client.answered) == sorted({*client.answered})
        assert b"ERROR" not in client.stderr


async def test_what_is_cancelled_before_its_turn_is_not_begun() -> None:
    server = create_server(Session(lambda settings, role: FakeEngine()))
    begun: list[Any] = []
    said: list[bytes] = []

    @server.feature("test/work")
    async def work(ls: MidfillServer, params: Any) -> None:
        begun.append(params)

    calls: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"capabilities": {}}},
        *({"id": number, "method": "test/work"} for number in (2, 3, 4)),
        {"method": "$/cancelRequest", "params": {"id": 1}},
        {"method": "$/cancelRequest", "params": {"id": 3}},
        {"method": "$/cancelRequest", "params": ["3"]},
        # Ids are not to be used again, but nothing may be left of the first.
        {"id": 3, "method": "test/work"},
    ]
    data = b"".join(frame({"jsonrpc": "2.0", **call}) for call in calls)
    chunks = iter([data, b""])
    await serve(server.protocol, lambda size: next(chunks), said.append)
    answers = [json.loads(body or b"") for body in Frames().feed(b"".join(said))]
    codes = [(answer["id"], answer.get("error", {}).get("code")) for answer in answers]
    assert sorted(codes, key=str) == [(1, None), (2, None), (3, -32800), (3, None), (4, None)]
    assert len(begun) == 3
    assert not server.protocol.called_off - {None}


async def test_a_handler_sees_what_the_editor_had_when_it_asked() -> None:
    """Also where the next edit comes in the same bytes as the request."""
    server = create_server(Session(lambda settings, role: FakeEngine()))
    seen: list[int] = []

    @server.feature("test/version")
    async def version(ls: MidfillServer, params: Any) -> None:
        seen.append(ls.session.documents[URI].version)

    item = {"uri": URI, "languageId": "python", "version": 1, "text": ""}
    document = {"uri": URI, "version": 2}
    calls: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"capabilities": {}}},
        {"method": "textDocument/didOpen", "params": {"textDocument": item}},
        {"id": 2, "method": "test/version"},
        {
            "method": "textDocument/didChange",
            "params": {"textDocument": document, "contentChanges": [{"text": "x"}]},
        },
        {"id": 3, "method": "test/version"},
    ]
    data = b"".join(frame({"jsonrpc": "2.0", **call}) for call in calls)
    chunks = iter([data, b""])
    await serve(server.protocol, lambda size: next(chunks), lambda data: None)
    assert seen == [1, 2]
