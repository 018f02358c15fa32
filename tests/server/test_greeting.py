"""`initialize` is answered before the server is loaded, with what the server then says of itself."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lsp_client import LspClient
from midfill.engines.fake import FakeEngine
from midfill_server.framing import Frames
from midfill_server.greeting import CAPABILITIES, Greeted, greet, initialize_result
from midfill_server.server import create_server
from midfill_server.session import Session

FILES = ("didCreate", "willCreate", "didRename", "willRename", "didDelete", "willDelete")
EVERYTHING: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]},
    "notebookDocument": {"synchronization": {"dynamicRegistration": True}},
    "workspace": {"fileOperations": dict.fromkeys(FILES, True)},
}
"""All that what is announced depends on, but ghost text, for which there is less."""
GHOST = {"textDocument": {"inlineCompletion": {"dynamicRegistration": True}}}


async def said_by_pygls(client: Any) -> Any:
    """What the server with all that it has registered answers."""
    server = create_server(Session(lambda settings, role: FakeEngine()))
    said: list[bytes] = []

    class Writer:
        def write(self, data: bytes) -> None:
            said.append(data)

        def close(self) -> None:
            """There is nothing to close."""

    server.protocol.set_writer(Writer())
    params = {"capabilities": client, "processId": None, "rootUri": None}
    server.protocol.receive(as_bytes("initialize", params))
    await asyncio.sleep(0)
    (body,) = Frames().feed(said[0])
    return json.loads(body or b"")["result"]


def as_bytes(method: str, params: Any, msg_id: Any = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}).encode()


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_the_file_is_made_from_what_the_features_say() -> None:
    found = (await said_by_pygls(EVERYTHING))["capabilities"]
    text = json.dumps(found, indent=1) + "\n"
    if "UPDATE" in os.environ:
        CAPABILITIES.write_text(text, "utf-8")
    assert CAPABILITIES.read_text("utf-8") == text, "run UPDATE=1 pytest tests/server"


# What of their capabilities counts.
CLIENTS: dict[str, Any] = {
    "everything": EVERYTHING,
    "minimal": {},
    "vscode": {**EVERYTHING, **GHOST, "general": {"positionEncodings": ["utf-16"]}},
    "neovim-0.12": {
        "textDocument": {"completion": {}, "inlineCompletion": {"dynamicRegistration": False}},
        "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]},
        "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": False}},
    },
    "neovim-0.10": {"general": {"positionEncodings": ["utf-16"]}, "workspace": {}},
    "no-ghost-text": {"textDocument": {"inlineCompletion": None, "completion": {}}},
    "emacs": {
        "general": {"positionEncodings": ["utf-32", "utf-8", "utf-16"]},
        "experimental": {},
        "notebookDocument": None,
        "workspace": {"configuration": True, "fileOperations": None},
    },
    "unknown-encodings": {"general": {"positionEncodings": ["utf-7", "utf-32"]}},
    "no-encoding": {"general": {"positionEncodings": []}},
    "renames": {"workspace": {"fileOperations": {"didRename": True, "didCreate": False}}},
}


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
async def test_the_greeting_is_what_the_server_says(client: Any) -> None:
    said = await said_by_pygls(client)
    for name in ("willSave", "willSaveWaitUntil"):
        assert not said["capabilities"]["textDocumentSync"].pop(name, False)
    assert initialize_result(client) == said


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_entries_of_a_list_are_for_clients_without_ghost_text(client: Any) -> None:
    draws = bool((client.get("textDocument") or {}).get("inlineCompletion"))
    capabilities = initialize_result(client)["capabilities"]
    assert ("completionProvider" in capabilities) is not draws
    assert "inlineCompletionProvider" in capabilities


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no-json"),
        pytest.param(as_bytes("shutdown", None), id="another"),
        pytest.param(as_bytes("initialize", None), id="no-parameters"),
        pytest.param(as_bytes("initialize", {"capabilities": []}), id="no-capabilities"),
        pytest.param(as_bytes("initialize", {"capabilities": {}}, True), id="no-id"),
    ],
)
def test_what_is_not_as_it_should_be_is_left_to_the_server(body: bytes) -> None:
    chunks, said = [framed(body) if body else b"", b""], list[bytes]()
    assert greet(lambda size: chunks.pop(0), said.append) == Greeted(framed(body) if body else b"")
    assert said == []


def test_what_came_with_it_is_kept() -> None:
    data = framed(as_bytes("initialize", {"capabilities": {}}, "a")) + b"Content-Le"
    chunks, said = [data[:7], data[7:]], list[bytes]()
    assert greet(lambda size: chunks.pop(0), said.append) == Greeted(data, "a")
    assert len(said) == 1


def test_a_real_server_answers_once_and_works_on(tmp_path: Path) -> None:
    with LspClient("--model", "fake:text=x", state_dir=tmp_path) as client:
        client.initialize()
        client.open("a = ")
        assert client.ghost(0, 4) == "x"
        again = client.request("initialize", {"capabilities": {}})
        assert again["error"]["code"] == -32600
        client.close()
        assert sorted(client.answered) == sorted({*client.answered})


def test_capabilities_of_no_shape_count_as_none(tmp_path: Path) -> None:
    with LspClient("--model", "fake:text=x", state_dir=tmp_path) as client:
        odd = {"textDocument": 7, "general": {"positionEncodings": ["utf-8"]}}
        answer = client.request("initialize", {"capabilities": odd})["result"]
        assert answer["capabilities"]["positionEncoding"] == "utf-8"
        client.notify("initialized", {})
        client.open("é = ")
        assert client.ghost(0, 5) == "x"
        client.close()
        assert sorted(client.answered) == sorted({*client.answered})
    assert b"initialize does not have its shape" in client.stderr
