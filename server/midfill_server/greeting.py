"""The answer to `initialize`, given before the rest of the server is loaded: half a second of work, nearly all of it
Python's making of the protocol's classes, for which an editor then does not wait.

What the server can do stands in `capabilities.json`, made from what the features say of themselves; a test compares it
with what pygls would say to several editors. The message is handled again once all is loaded, and not answered again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from midfill.version import __version__
from midfill_server.framing import Frames

CHUNK = 1 << 16
"""Bytes read at a time: what a pipe holds."""

CAPABILITIES = Path(__file__).with_name("capabilities.json")
"""What is said to an editor that has heard of all of it but ghost text."""
ENCODINGS = ("utf-8", "utf-16", "utf-32")


class Greeted(NamedTuple):
    """What came of it."""

    taken: bytes
    """All that was read: the first message, and what came with it."""
    msg_id: int | str | None = None
    """The request that was answered; None where the first message is another, or not as it should be."""


def greet(
    read: Callable[[int], bytes] | None = None, write: Callable[[bytes], object] | None = None
) -> Greeted:
    """Read the first message and answer it if it is `initialize`; from standard input and to standard output."""
    read = read or (lambda size: os.read(0, size))
    write = write or _write
    frames, taken, first = Frames(), b"", list[bytes | None]()
    # A connection that breaks is one that ends, which the server sees as well.
    with suppress(OSError):
        while not first and (data := read(CHUNK)):
            taken += data
            first += frames.feed(data)
    try:
        message = json.loads(first[0] or b"") if first else None
    except (ValueError, RecursionError, MemoryError):
        message = None
    if not _is_sound(message):
        return Greeted(taken)
    result = initialize_result(message["params"]["capabilities"])
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    with suppress(OSError):
        write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return Greeted(taken, message["id"])


def initialize_result(client: Mapping[str, Any]) -> dict[str, Any]:
    """What is answered to a client with these capabilities."""
    capabilities: dict[str, Any] = json.loads(CAPABILITIES.read_text("utf-8"))
    if client.get("notebookDocument") is None:
        del capabilities["notebookDocumentSync"]
    if draws_ghost_text(client):
        del capabilities["completionProvider"]
    known = _within(_within(client, "workspace"), "fileOperations")
    offered = capabilities["workspace"]["fileOperations"]
    capabilities["workspace"]["fileOperations"] = {
        name: options for name, options in offered.items() if known.get(name)
    }
    capabilities["positionEncoding"] = position_encoding(client)
    info = {"name": "midfill", "version": __version__}
    return {"capabilities": capabilities, "serverInfo": info}


def draws_ghost_text(client: Mapping[str, Any]) -> bool:
    """Whether a client says so. It would show an entry of its list as well, and so is offered none: it is not to ask
    for one with each key."""
    return isinstance(_within(client, "textDocument").get("inlineCompletion"), dict)


def position_encoding(client: Mapping[str, Any]) -> str:
    """The first of the client's that there is; UTF-16, which all know, where it names none."""
    wanted = _within(client, "general").get("positionEncodings")
    named = wanted if isinstance(wanted, list) else []
    return next((each for each in named if each in ENCODINGS), "utf-16")


def _is_sound(message: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return False
    msg_id, params = message.get("id"), message.get("params")
    return (
        message.get("method") == "initialize"
        and isinstance(msg_id, int | str)
        and not isinstance(msg_id, bool)
        and isinstance(params, dict)
        and isinstance(params.get("capabilities"), dict)
    )


def _within(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
