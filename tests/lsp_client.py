"""A small blocking LSP client over a subprocess' pipes: real processes, real bytes, nothing in between."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

TIMEOUT_S = 60.0
"""Long enough for a busy machine; a test never waits it out unless it fails."""

URI = "file:///work/space/example.py"


Client = TypeVar("Client", bound="LspClient")


class LspClient:
    """One server process and what it said."""

    def __init__(
        self,
        *arguments: str,
        state_dir: Path,
        env: dict[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "midfill_server", "serve"),
    ) -> None:
        command = [sys.executable, *program, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "MIDFILL_STATE_DIR": str(state_dir), **(env or {})},
        )
        self.notifications: queue.Queue[dict[str, Any]] = queue.Queue()
        self.requests: queue.Queue[dict[str, Any]] = queue.Queue()
        """What the server asked of us."""
        self.replies: dict[str, Any] = {}
        """What it is answered at once, by method. What is not named here gets no answer."""
        self.strays: queue.Queue[dict[str, Any]] = queue.Queue()
        """Answers to messages that had no id, or none that could be read."""
        self._writing = threading.Lock()
        self.stderr = b""
        self._answers: dict[int | str, queue.Queue[dict[str, Any]]] = {}
        self._next_id = 0
        self.answered: list[int | str] = []
        """The id of every answer, in the order in which they came."""
        self._threads = [
            threading.Thread(target=self._read_messages, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None and kind is None:
            self.close()
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def initialize(
        self,
        encodings: tuple[str, ...] = ("utf-16",),
        options: Any = None,
        inline: bool = True,
        folders: tuple[str, ...] = (),
        **capabilities: Any,
    ) -> dict[str, Any]:
        """Agree on capabilities, also on those named here; the server's are returned."""
        text_document: dict[str, Any] = {"inlineCompletion": {}} if inline else {}
        answer = self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": folders[0] if folders else None,
                "workspaceFolders": [{"uri": uri, "name": uri} for uri in folders],
                "initializationOptions": options,
                "capabilities": {
                    "general": {"positionEncodings": list(encodings)},
                    "textDocument": text_document,
                    **capabilities,
                },
            },
        )
        self.notify("initialized", {})
        servers: dict[str, Any] = answer["result"]["capabilities"]
        return servers

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        """Open a document as version 1."""
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, version: int, *changes: dict[str, Any], uri: str = URI) -> None:
        """Send edits."""
        document = {"uri": uri, "version": version}
        self.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": list(changes)}
        )

    def ask(self, line: int, character: int, uri: str = URI, by_hand: bool = True) -> int:
        """Ask for ghost text without waiting; the request's id is returned."""
        return self.send(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 1 if by_hand else 2},
            },
        )

    def ghost(self, line: int, character: int, uri: str = URI) -> str:
        """The ghost text at a place; empty if there is none."""
        items = self.answer(self.ask(line, character, uri))["result"]["items"]
        return str(items[0]["insertText"]) if items else ""

    def request(self, method: str, params: Any) -> dict[str, Any]:
        """Ask and wait for the whole answer."""
        return self.answer(self.send(method, params))

    def send(self, method: str, params: Any) -> int:
        """Ask without waiting; the request's id is returned."""
        self._next_id += 1
        self._answers[self._next_id] = queue.Queue()
        self.send_message(
            {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        )
        return self._next_id

    def answer(self, request_id: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The answer to a request."""
        return self._answers[request_id].get(timeout=timeout_s)

    def respond(self, request_id: int | str, result: Any) -> None:
        """Answer a request of the server's, which is among `requests`."""
        self.send_message({"jsonrpc": "2.0", "id": request_id, "result": result})

    def notify(self, method: str, params: Any) -> None:
        """Tell the server something."""
        self.send_message({"jsonrpc": "2.0", "method": method, "params": params})

    def close(self) -> int:
        """Shut the server down as an editor does; its exit status is returned."""
        self.request("shutdown", None)
        self.notify("exit", None)
        return self.process.wait(TIMEOUT_S)

    def write(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        assert self.process.stdin is not None
        with self._writing:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def send_message(self, message: dict[str, Any]) -> None:
        """Send a whole message."""
        body = json.dumps(message).encode()
        self.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def _read_messages(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while header := stream.readline():
            length = (
                int(header.split(b":")[1]) if header.lower().startswith(b"content-length") else 0
            )
            while header.strip():
                header = stream.readline()
                if header.lower().startswith(b"content-length"):
                    length = int(header.split(b":")[1])
            message = json.loads(stream.read(length))
            if "method" in message and "id" in message:
                if message["method"] in self.replies:
                    result = self.replies[message["method"]]
                    self.send_message({"jsonrpc": "2.0", "id": message["id"], "result": result})
                self.requests.put(message)
            elif "method" in message:
                self.notifications.put(message)
            elif message["id"] not in self._answers:
                self.strays.put(message)
            else:
                self.answered.append(message["id"])
                self._answers[message["id"]].put(message)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.stderr = self.process.stderr.read()
