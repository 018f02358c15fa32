"""Random orders of everything that an editor may do, against the real protocol with a scripted engine in virtual time.

`MIDFILL_INTERLEAVINGS=10000 pytest tests/server/test_interleavings.py` tries as many.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midfill.engine import Piece, Sampling
from midfill.engines.fake import Asked, FakeEngine
from midfill.settings import CompletionSettings, Settings
from midfill.text import Document
from midfill_server.server import MidfillServer, create_server
from midfill_server.session import Session
from virtual_time import run

N_INTERLEAVINGS = int(os.environ.get("MIDFILL_INTERLEAVINGS", "2000"))
CANCELLED = -32800
DOCUMENTS = {"file:///1": "1|a\nb\n", "file:///2": "2|"}
"""Each begins with what tells it apart in a prompt, which is never edited."""
HEAD_CHARS = 2

CONFIGURATIONS = (
    CompletionSettings(debounce_ms=0),
    CompletionSettings(debounce_ms=30, ahead=False),
    CompletionSettings(debounce_ms=0, eagerness=0.01),
    CompletionSettings(debounce_ms=0, time_limit_ms=50),
    CompletionSettings(enabled=False),
)


def said(asked: Asked) -> str:
    """A short line of two letters, which follows from the text around the caret alone."""
    digest = hashlib.sha256(f"{asked.prefix}\0{asked.suffix}".encode()).digest()
    return "".join("ab"[byte % 2] for byte in digest[1 : 2 + digest[0] % 6]) + "\nab"


class CountingEngine(FakeEngine):
    """Counts what runs for each document."""

    def __init__(self) -> None:
        super().__init__(said, piece_chars=1, piece_delay_s=0.013, batch_delay_s=0.007)
        self.running: Counter[bool] = Counter()
        self.most_running = 0

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """As ever."""
        is_first = b"1|" in bytes(token for token in prompt if token < 256)
        self.running[is_first] += 1
        self.most_running = max(self.most_running, self.running[is_first])
        try:
            async with aclosing(super().generate(prompt, sampling)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.running[is_first] -= 1


class Request(NamedTuple):
    document: Document | None
    caret: int


class Editor:
    """An editor at the other end of the protocol."""

    def __init__(self, server: MidfillServer) -> None:
        self.engine = CountingEngine()
        self.session = Session(
            lambda settings, role: self.engine, Settings(completion=CONFIGURATIONS[0])
        )
        self._protocol = server.protocol
        self._protocol.set_writer(self)
        server.session = self.session
        self.requests: dict[int, Request] = {}
        self.answers: Counter[int] = Counter()
        self.shown = ""
        self.stale: list[str] = []
        self.changed_s: dict[str, float] = {}
        self.uri = next(iter(DOCUMENTS))
        self.carets = {uri: len(text) for uri, text in DOCUMENTS.items()}
        for uri in DOCUMENTS:
            self.reopen(uri)

    def write(self, data: bytes) -> None:
        """Take a message of the server's."""
        message = json.loads(data.partition(b"\r\n\r\n")[2])
        if "method" in message:
            return
        request = self.requests[message["id"]]
        self.answers[message["id"]] += 1
        if error := message.get("error"):
            assert error["code"] == CANCELLED, error
            return
        for item in message["result"]["items"]:
            self._check(request, item)
            self.shown = item["insertText"]

    def close(self) -> None:
        """There is nothing to close."""

    def _check(self, request: Request, item: Any) -> None:
        text = item["insertText"]
        assert request.document is not None
        uri = request.document.uri
        is_gone = self.session.documents.get(uri) is not request.document
        # An answer and an edit of the same instant cross on their way, whichever is handled first.
        if is_gone and self.changed_s[uri] < asyncio.get_running_loop().time():
            self.stale.append(f"{text!r} for a text that is gone")
        before = request.document.text[: request.caret]
        after = request.document.text[request.caret :]
        fits = any(
            asked.suffix.lstrip(")") == after.lstrip(")")
            and before.startswith(asked.prefix)
            and (asked.prefix + said(asked)).startswith(before + text)
            for asked in self.engine.requests
        )
        if not fits:
            self.stale.append(f"{text!r} at {before!r}, {after!r}")

    def _send(self, method: str, params: Any, msg_id: int | None = None) -> None:
        if method.startswith("textDocument/did"):
            self.changed_s[params["textDocument"]["uri"]] = asyncio.get_running_loop().time()
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if msg_id is not None:
            message["id"] = msg_id
        self._protocol.handle_message(self._protocol.structure_message(message))

    # What may happen, each with a number of its own.

    def ask(self, n: int) -> None:
        document = self.session.documents.get(self.uri)
        msg_id = len(self.requests)
        self.requests[msg_id] = Request(document, self.carets[self.uri])
        line, column = (0, 0)
        if document:
            line, column = document.position(self.carets[self.uri])
        self._send(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": self.uri},
                "position": {"line": line, "character": column},
                "context": {"triggerKind": 1 + (n > 0)},
            },
            msg_id,
        )

    def cancel(self, n: int) -> None:
        """One of the last requests; perhaps one that has its answer."""
        if msg_id := max(0, len(self.requests) - 1 - n % 3):
            self._send("$/cancelRequest", {"id": msg_id})

    def type(self, n: int) -> None:
        self._edit(("a", "b", "ab", "\n", ")")[n % 5], 0)

    def follow(self, n: int) -> None:
        """Type what is shown, or take it by a part."""
        self._edit(self.shown[: n + 1], 0)

    def delete(self, n: int) -> None:
        self._edit("", 1 + n % 2)

    def type_elsewhere(self, n: int) -> None:
        caret = self.carets[self.uri]
        self.carets[self.uri] = HEAD_CHARS
        self._edit("ba"[n % 2], 0)
        self.carets[self.uri] = caret + 1

    def type_behind(self, n: int) -> None:
        """Right of the caret: a text, or a closer as editors put it."""
        caret = self.carets[self.uri]
        self._edit("b)"[n % 2], 0)
        self.carets[self.uri] = caret

    def move(self, n: int) -> None:
        if document := self.session.documents.get(self.uri):
            self.carets[self.uri] = max(HEAD_CHARS, len(document.text) - n % 3)

    def switch(self, n: int) -> None:
        self.uri = list(DOCUMENTS)[n % 2]

    def shut(self, n: int) -> None:
        if self.uri in self.session.documents:
            self._send("textDocument/didClose", {"textDocument": {"uri": self.uri}})

    def open_again(self, n: int) -> None:
        if self.uri not in self.session.documents:
            self.reopen(self.uri)

    def configure(self, n: int) -> None:
        completion = CONFIGURATIONS[n % len(CONFIGURATIONS)]
        self.session.settings = replace(self.session.settings, completion=completion)

    def reopen(self, uri: str) -> None:
        text = DOCUMENTS[uri]
        self.carets[uri] = len(text)
        item = {"uri": uri, "languageId": "plaintext", "version": 1, "text": text}
        self._send("textDocument/didOpen", {"textDocument": item})

    def _edit(self, text: str, n_deleted: int) -> None:
        document = self.session.documents.get(self.uri)
        if document is None or not (text or n_deleted):
            return
        caret = self.carets[self.uri]
        start = max(HEAD_CHARS, caret - n_deleted)
        places = [document.position(offset) for offset in (start, caret)]
        ends = [{"line": line, "character": column} for line, column in places]
        change = {"range": {"start": ends[0], "end": ends[1]}, "text": text}
        version = {"uri": self.uri, "version": document.version + 1}
        self._send("textDocument/didChange", {"textDocument": version, "contentChanges": [change]})
        self.carets[self.uri] = start + len(text)


WAITS_MS = (0, 1, 7, 20, 60, 250, 2000)
LIKELY = ("ask", "ask", "type", "follow", "follow")
RARE = (
    "cancel",
    "delete",
    "type_elsewhere",
    "type_behind",
    "move",
    "switch",
    "shut",
    "open_again",
    "configure",
)
STEP = st.tuples(st.sampled_from(LIKELY + RARE), st.integers(0, 4), st.sampled_from(WAITS_MS))


@cache
def server() -> MidfillServer:
    """One for all, since making one takes longer than an example. Its session is new each time."""
    made = create_server(Session(lambda settings, role: FakeEngine()))
    made.protocol.handle_message(
        made.protocol.structure_message(
            {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
        )
    )
    return made


@settings(max_examples=N_INTERLEAVINGS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=5, max_size=30))
def test_each_request_is_answered_once_and_never_stale(steps: list[tuple[str, int, int]]) -> None:
    async def interleaved() -> Editor:
        editor = Editor(server())
        for name, n, wait_ms in steps:
            getattr(editor, name)(n)
            await asyncio.sleep(wait_ms / 1000)
        await asyncio.sleep(120.0)
        return editor

    editor = run(interleaved())
    assert editor.answers == Counter(dict.fromkeys(editor.requests, 1))
    assert editor.stale == []
    assert editor.engine.most_running <= 1
    assert not +editor.engine.running
