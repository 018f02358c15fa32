"""Bytes on the wire, and messages of every shape: each request is answered once, and the good one after it too."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from functools import cache
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz.values import JSON, TEXT, changed
from midfill.engines.fake import FakeEngine
from midfill.settings import IndexSettings, InstructSettings, Settings
from midfill_server.framing import Frames
from midfill_server.server import MidfillServer, create_server
from midfill_server.session import Session
from virtual_time import run

GOOD = b"Content-Length: 3\r\n\r\none"
LONGEST = 256
"""Bytes that a length in the garbage may swallow, so that what comes after it can be fed."""

_PIECES = st.sampled_from(
    [
        *(b"Content-Length: ", b"content-length:", b"Content-Length", b": ", b"\r\n", b"\n", b"\r"),
        *(
            b"\r\n\r\n",
            b"\n\n",
            b"0",
            b"1",
            b"7",
            b"-1",
            b"99",
            b"1e3",
            b"0x10",
            b"+3",
            b" 5 ",
            b"{}",
        ),
        *(b"Content-Type: x", b"\x00", b"\xff\xfe", b"9" * 20, b"9" * 5000, b"\t", GOOD, b"[" * 30),
        *("१".encode(), b"Content-Length: 2\r\n\r\n", b'{"jsonrpc":"2.0"}', b"x" * 100),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES | st.binary(max_size=12), max_size=12).map(b"".join), st.integers(1, 40))
@example(b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 7)
def test_a_message_is_found_again(garbage: bytes, size: int) -> None:
    whole = list(Frames().feed(garbage))
    frames = Frames()
    size = max(size, len(garbage) // 400)
    parts = [garbage[at : at + size] for at in range(0, len(garbage), size)]
    assert [body for part in parts for body in frames.feed(part)] == whole
    lengths = [int(digits) for digits in re.findall(rb"\d{1,18}(?!\d)", garbage)]
    if all(length <= LONGEST for length in lengths):
        later = list(frames.feed(b"\r\n\r\n" + GOOD * (LONGEST // len(GOOD) + 3)))
        assert later[-1] == b"one"


URIS = ("file:///w/a.py", "file:///w/b.ts", "untitled:1", "file:///w/n.ipynb")
_DOCUMENT = {"uri": URIS[0]}
_PLACE = {"textDocument": _DOCUMENT, "position": {"line": 1, "character": 3}}
_RANGE = {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 2}}
_TEXT_OF = "def f(a):\n    x = f(😋)\n\x0cfirst = 1\r\nsecond = first\n"
_ITEM = {"uri": URIS[0], "languageId": "python", "version": 1, "text": _TEXT_OF}
_NOTEBOOK = {
    "uri": URIS[3],
    "notebookType": "jupyter",
    "version": 1,
    "cells": [{"kind": 2, "document": "cell:1"}],
}
_CALLS: dict[str, Any] = {
    "textDocument/didOpen": {"textDocument": _ITEM},
    "textDocument/didChange": {
        "textDocument": {"uri": URIS[0], "version": 2},
        "contentChanges": [{"range": _RANGE, "text": "é\n"}, {"text": "all = 1\n"}],
    },
    "textDocument/didClose": {"textDocument": _DOCUMENT},
    "textDocument/didSave": {"textDocument": _DOCUMENT, "text": "x"},
    "textDocument/inlineCompletion": {
        **_PLACE,
        "context": {"triggerKind": 1, "selectedCompletionInfo": {"range": _RANGE, "text": "fir"}},
    },
    "textDocument/completion": {**_PLACE, "context": {"triggerKind": 2, "triggerCharacter": "."}},
    "textDocument/hover": _PLACE,
    "textDocument/codeAction": {
        "textDocument": _DOCUMENT,
        "range": _RANGE,
        "context": {"diagnostics": [{"range": _RANGE, "message": "m"}], "triggerKind": 1},
    },
    "codeAction/resolve": {"title": "t", "kind": "refactor", "data": {"task": "x", "uri": URIS[0]}},
    "workspace/executeCommand": {"command": "midfill.accepted", "arguments": ["c1"]},
    "workspace/didChangeConfiguration": {"settings": {"midfill": {"completion": {"ahead": True}}}},
    "workspace/didChangeWorkspaceFolders": {"event": {"added": [], "removed": []}},
    "workspace/didChangeWatchedFiles": {"changes": [{"uri": URIS[0], "type": 1}]},
    "workspace/didCreateFiles": {"files": [{"uri": URIS[0]}]},
    "workspace/didRenameFiles": {"files": [{"oldUri": URIS[0], "newUri": URIS[1]}]},
    "notebookDocument/didOpen": {
        "notebookDocument": _NOTEBOOK,
        "cellTextDocuments": [{**_ITEM, "uri": "cell:1"}],
    },
    "notebookDocument/didChange": {
        "notebookDocument": {"version": 2, "uri": URIS[3]},
        "change": {
            "cells": {
                "structure": {"array": {"start": 0, "deleteCount": 1, "cells": []}},
                "textContent": [
                    {
                        "document": {"uri": "cell:1", "version": 2},
                        "changes": [{"range": _RANGE, "text": "y"}],
                    }
                ],
            }
        },
    },
    "notebookDocument/didClose": {
        "notebookDocument": {"uri": URIS[3]},
        "cellTextDocuments": [{"uri": "cell:1"}],
    },
    "midfill/explain": {**_PLACE, "range": _RANGE},
    "midfill/prompt": _PLACE,
    "textDocument/didShowCompletion": {
        "item": {"insertText": "x", "command": {"arguments": ["c1"]}}
    },
    "$/cancelRequest": {"id": 1},
    "$/setTrace": {"value": "verbose"},
    "window/workDoneProgress/cancel": {"token": "t"},
    "initialize": {"capabilities": {}},
    "nothing/known": {},
}
_COMMANDS = (
    "midfill.accepted",
    "midfill.snooze",
    "midfill.status",
    "midfill.explain",
    "midfill.refactor",
)
_ids = (
    st.none() | st.integers(-3, 9) | st.sampled_from(["a", "b", "1", True, 1.5, [], {}, "\ud800"])
)


@st.composite
def _messages(draw: st.DrawFn) -> Any:
    method = draw(st.sampled_from(sorted(_CALLS)))
    params = _CALLS[method]
    if method == "workspace/executeCommand":
        arguments = draw(st.lists(JSON, max_size=3))
        params = {"command": draw(st.sampled_from(_COMMANDS)), "arguments": arguments}
    message = {
        "jsonrpc": "2.0",
        "id": draw(_ids),
        "method": method,
        "params": draw(changed(params)),
    }
    for name in draw(st.sets(st.sampled_from(["id", "params", "jsonrpc", "method"]), max_size=1)):
        del message[name]
    return message


class _Editor:
    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.said.append(json.loads(data.partition(b"\r\n\r\n")[2]))

    def close(self) -> None:
        """There is nothing to close."""

    def answers(self) -> Counter[int | str | None]:
        return Counter(said["id"] for said in self.said if "method" not in said)


class _Defects(logging.Handler):
    """What the log says of errors that nobody foresaw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.found.append(record.getMessage())


_DEFECTS = _Defects()


@cache
def _server() -> MidfillServer:
    """One for all, since making one takes longer than an example. Its session is new each time."""
    logging.getLogger("midfill_server").addHandler(_DEFECTS)
    made = create_server(Session(lambda settings, role: FakeEngine()))
    made.protocol.set_writer(_Editor())
    start = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
    made.protocol.receive(json.dumps(start).encode())
    return made


async def _told(messages: list[Any]) -> _Editor:
    server, editor = _server(), _Editor()
    protocol = server.protocol
    protocol.set_writer(editor)
    protocol._request_futures.clear()
    # A folder would start a process that reads it.
    command_line = Settings(index=IndexSettings(enabled=False), instruct=InstructSettings("fake:"))
    server.session = Session(lambda settings, role: FakeEngine("answer"), command_line)
    protocol.receive(_said("textDocument/didOpen", _CALLS["textDocument/didOpen"]))
    for message in messages:
        protocol.receive(json.dumps(message).encode())
        await asyncio.sleep(0.003)
    await asyncio.sleep(200.0)
    item = {**_ITEM, "uri": "file:///last.py"}
    protocol.receive(_said("workspace/didChangeConfiguration", {"settings": {"midfill": {}}}))
    protocol.receive(_said("textDocument/didOpen", {"textDocument": item}))
    place = {"textDocument": {"uri": item["uri"]}, "position": {"line": 1, "character": 8}}
    params = {**place, "context": {"triggerKind": 1}}
    protocol.receive(_said("textDocument/inlineCompletion", params, "last"))
    await asyncio.sleep(200.0)
    server.session.scheduler.stop()
    return editor


def _said(method: str, params: Any, msg_id: str | None = None) -> bytes:
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message if msg_id is None else {**message, "id": msg_id}).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_messages() | JSON, max_size=5))
@example(
    [
        {
            "jsonrpc": "2.0",
            "method": "textDocument/didOpen",
            "params": {"textDocument": {**_ITEM, "uri": uri}},
        }
        for uri in ("file:///a%00b", "file://[", "file:///\ud800")
    ]
)
@example([{"jsonrpc": "2.0", "method": "window/workDoneProgress/cancel", "params": {"token": []}}])
def test_every_request_is_answered_once(messages: list[Any]) -> None:
    _DEFECTS.found.clear()
    editor = run(_told(messages))
    assert not _DEFECTS.found, (_DEFECTS.found, messages)
    answers = editor.answers()
    for message in messages:
        asked = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
        if asked and isinstance(message.get("method"), str) and "id" in message:
            msg_id = message["id"]
            known = isinstance(msg_id, int | str) and not isinstance(msg_id, bool)
            assert answers[msg_id if known else None] >= 1, message
    assert all(
        n == 1
        for msg_id, n in answers.items()
        if msg_id is not None and _said_once(messages, msg_id)
    )
    last = next(said for said in editor.said if said.get("id") == "last")
    assert "result" in last, last


def _said_once(messages: list[Any], msg_id: int | str) -> bool:
    ids = [message.get("id") for message in messages if isinstance(message, dict)]
    return ids.count(msg_id) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=60)
    | TEXT.map(str.encode)
    | JSON.map(lambda value: json.dumps(value).encode())
)
def test_a_body_of_any_bytes_does_no_harm(body: bytes) -> None:
    server, editor = _server(), _Editor()
    server.protocol.set_writer(editor)
    server.protocol.receive(body or None)
    assert sum(editor.answers().values()) <= 1
