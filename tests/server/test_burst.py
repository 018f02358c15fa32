"""A thousand edits without a pause, as when a formatter or a macro runs: none is lost on the way to the document."""

from __future__ import annotations

import asyncio
import json
import random
import re
from itertools import accumulate
from typing import Any

import pytest

from midfill.engines.fake import FakeEngine
from midfill_server.server import create_server
from midfill_server.session import Session

URI = "file:///long.py"
PIECES = ("x", "total", " = ", "é", "😋", "\n", "\r\n", "\r", "    ", "(", ")", '"', "\f", "")
ENDINGS = ("\n", "\n", "\n", "\r\n", "\r")


@pytest.mark.parametrize(("n_lines", "seed"), [(10_000, 1), (3, 2), (0, 3)])
async def test_the_document_is_what_a_plain_string_becomes(n_lines: int, seed: int) -> None:
    found, expected = await burst(n_lines, 1_000, seed)
    assert found == expected


async def burst(n_lines: int, n_edits: int, seed: int) -> tuple[str, str]:
    """Send so many edits, one after the other; the server's document, and a plain string that was edited alike."""
    rng = random.Random(seed)
    text = "".join(
        f"value_{n} = compute('é', {n})  # 😋{rng.choice(ENDINGS)}" for n in range(n_lines)
    )
    session = Session(lambda settings, role: FakeEngine())
    protocol = create_server(session).protocol
    protocol.set_writer(_Nobody())
    protocol.receive(_message("initialize", {"capabilities": {}}, id=1))
    await asyncio.sleep(0)
    item = {"uri": URI, "languageId": "python", "version": 1, "text": text}
    protocol.receive(_message("textDocument/didOpen", {"textDocument": item}))
    for version in range(2, n_edits + 2):
        edit, text = _edited(text, rng)
        document = {"uri": URI, "version": version}
        body = _message(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [edit]}
        )
        protocol.receive(body)
    found = session.documents[URI].text
    await session.end()
    return found, text


def _edited(text: str, rng: random.Random) -> tuple[dict[str, Any], str]:
    """An edit anywhere, as an editor sends it that counts in UTF-16, and the text after it."""
    starts = [0, *accumulate(map(len, re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", text)))]
    start = rng.randrange(len(text) + 1)
    end = min(len(text), start + rng.choice((0, 0, 0, 1, 2, 30)))
    # An editor's caret never stands between the two characters of a line ending.
    start, end = (at + (text[at - 1 : at + 1] == "\r\n") for at in (start, end))
    new = rng.choice(PIECES)
    places = {
        name: {"line": line, "character": len(text[starts[line] : at].encode("utf-16-le")) // 2}
        for name, at in (("start", start), ("end", end))
        for line in [_line_of(starts, text, at)]
    }
    return {"range": places, "text": new}, text[:start] + new + text[end:]


def _line_of(starts: list[int], text: str, at: int) -> int:
    line = max(idx for idx, start in enumerate(starts) if start <= at)
    # A text that ends without a line ending has no line behind it.
    return line - 1 if line and starts[line] == len(text) and text[-1] not in "\r\n" else line


class _Nobody:
    def write(self, data: bytes) -> None:
        """Nobody reads."""

    def close(self) -> None:
        """There is nothing to close."""


def _message(method: str, params: Any, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
