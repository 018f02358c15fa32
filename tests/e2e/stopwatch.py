"""Runs a language server and notes how long it takes to answer requests for ghost text.

`stopwatch.py FILE COMMAND…`: each answer adds a line of JSON to FILE, with the moments at which the request came in and
the answer goes out, in ms since 1970, and the number of items in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def main() -> None:
    """Pass everything on, both ways, until the server ends."""
    notes, *command = sys.argv[1:]
    asked: dict[Any, float] = {}

    def request(body: bytes) -> None:
        if b"textDocument/inlineCompletion" in body:
            message = json.loads(body)
            if message.get("method") == "textDocument/inlineCompletion":
                asked[message["id"]] = 1000 * time.time()

    def response(body: bytes) -> None:
        now = 1000 * time.time()
        message = json.loads(body)
        if "method" not in message and message.get("id") in asked:
            result = message.get("result") or {}
            note = {
                "asked": asked.pop(message["id"]),
                "answered": now,
                "items": len(result.get("items", ())),
            }
            with Path(notes).open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(note)}\n")

    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin
    assert server.stdout
    # It is still there when the server has ended, waiting for an editor that says nothing more.
    threading.Thread(
        target=_pass, args=(sys.stdin.buffer, server.stdin, request), daemon=True
    ).start()
    _pass(server.stdout, sys.stdout.buffer, response)
    sys.exit(server.wait())


def _pass(source: IO[bytes], sink: IO[bytes], note: Callable[[bytes], None]) -> None:
    while head := source.readline():
        n_bytes = 0
        while head.strip():
            name, _, value = head.partition(b":")
            n_bytes = int(value) if name.lower() == b"content-length" else n_bytes
            sink.write(head)
            head = source.readline()
        body = source.read(n_bytes)
        # Before the answer goes out, so that whoever has seen its effect finds the note.
        note(body)
        sink.write(b"\r\n" + body)
        sink.flush()
    sink.close()


if __name__ == "__main__":
    main()
