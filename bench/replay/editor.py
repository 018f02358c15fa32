"""An editor with somebody at it: plays a trace to a server as VS Code or Neovim would, and sees what they would show.

Both keep what is on the screen while it goes on as it is typed, and neither takes it away for an empty answer. VS Code
rests 50 ms after each key, cancels what runs at the next, and keeps what stands before what is new (its fixed debounce
and its cancelling were observed). Neovim 0.12 rests 200 ms, never cancels, shows whatever comes where the
item's range begins, and looks at no version (its source, and run).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.replay.connection import Connection, Message
from bench.replay.record import Asked, Display, Record
from bench.replay.traces import Key, Trace, applied

from midfill.engine import Usage

LAST_ANSWERS_S = 30.0
"""How long the answers to the last requests are waited for."""

AUTOMATIC = 2


@dataclass(frozen=True)
class Policy:
    """When an editor asks, and what it does with what comes."""

    name: str
    debounce_ms: float
    cancels: bool
    """It cancels a request at the next key, and shows no answer to it."""
    keeps_standing: bool
    """What still fits stays, whatever is new."""


VS_CODE = Policy("vscode", 50.0, cancels=True, keeps_standing=True)
NEOVIM = Policy("neovim", 200.0, cancels=False, keeps_standing=False)
POLICIES = {policy.name: policy for policy in (VS_CODE, NEOVIM)}


class Editor:
    """One window with one file. Lives on the running loop, by whose clock it types."""

    def __init__(
        self,
        connection: Connection,
        policy: Policy,
        trace: Trace,
        usages: Callable[[], Sequence[Usage]] | None = None,
        root: str = "file:///replay",
    ) -> None:
        self.record = Record(trace, policy.name)
        self._connection, self._policy, self._trace = connection, policy, trace
        self._usages = usages
        """All that the model has done so far, where that can be told."""
        self._root, self._uri = root, f"{root}/{trace.name}"
        self._text = trace.start
        self._caret = 0
        self._version = 1
        self._standing = ""
        self._n_usages = 0
        """What the model had done before the last key: it may begin before it is asked."""
        self._resting: asyncio.Task[None] | None = None
        self._running: dict[asyncio.Task[None], tuple[int, Asked]] = {}
        self._loop = asyncio.get_running_loop()
        self._began_s = 0.0

    async def initialize(self, options: dict[str, Any] | None = None) -> float:
        """Greet the server and open the file; the milliseconds until it had greeted back."""
        started = self._loop.time()
        capabilities = {
            "general": {"positionEncodings": ["utf-16"]},
            "textDocument": {"inlineCompletion": {"dynamicRegistration": False}},
        }
        params = {"processId": None, "rootUri": self._root, "capabilities": capabilities}
        params["initializationOptions"] = options or {}
        await self._connection.request("initialize", params)
        ms = (self._loop.time() - started) * 1000
        self._connection.notify("initialized", {})
        item = {"uri": self._uri, "languageId": self._trace.language, "version": 1}
        self._connection.notify(
            "textDocument/didOpen", {"textDocument": item | {"text": self._text}}
        )
        return ms

    async def ask_by_hand(self) -> None:
        """Ask once at the file's beginning, and wait: the model is loaded then."""
        params = {
            "textDocument": {"uri": self._uri},
            "position": {"line": 0, "character": 0},
            "context": {"triggerKind": 1},
        }
        await self._connection.request("textDocument/inlineCompletion", params)

    async def play(self) -> Record:
        """Type the whole trace, and wait for the last answers."""
        self._began_s = at_s = self._loop.time()
        for key_idx, key in enumerate(self._trace.keys):
            at_s += key.gap_ms / 1000
            await asyncio.sleep(max(0.0, at_s - self._loop.time()))
            self._press(key_idx, key)
        if self._resting:
            await asyncio.wait({self._resting})
        if self._running:
            await asyncio.wait(set(self._running), timeout=LAST_ANSWERS_S)
        for task in self._running:
            task.cancel()
        self.record.n_answered_twice = sum(n > 1 for n in self._connection.n_answers.values())
        return self.record

    def _press(self, key_idx: int, key: Key) -> None:
        record = self.record
        record.key_ms.append(self._ms())
        record.standing.append(self._standing)
        goes_on = key.typed and key.patches[0].position == self._caret
        fits = goes_on and self._standing.startswith(key.typed)
        self._standing = self._standing[len(key.typed) :] if fits else ""
        self._n_usages = len(self._usages()) if self._usages else 0
        self._change(key)
        if self._policy.cancels:
            for request_id, asked in self._running.values():
                asked.cancelled = True
                self._connection.cancel(request_id)
        if self._resting:
            self._resting.cancel()
        self._resting = asyncio.ensure_future(self._ask_after_rest(key_idx))

    def _change(self, key: Key) -> None:
        changes = []
        for patch in key.patches:
            start = lsp_position(self._text, patch.position)
            end = lsp_position(self._text, patch.position + patch.n_deleted)
            changes.append({"range": {"start": start, "end": end}, "text": patch.text})
            self._text = applied(self._text, (patch,))
        self._caret = key.caret
        self._version += 1
        document = {"uri": self._uri, "version": self._version}
        self._connection.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": changes}
        )

    async def _ask_after_rest(self, key_idx: int) -> None:
        await asyncio.sleep(self._policy.debounce_ms / 1000)
        asked = Asked(key_idx, self._text, self._caret, self._ms())
        self.record.asked.append(asked)
        request_id, answer = self._connection.ask(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": self._uri},
                "position": lsp_position(self._text, self._caret),
                "context": {"triggerKind": AUTOMATIC},
            },
        )
        task = asyncio.ensure_future(self._take(asked, answer, self._n_usages))
        self._running[task] = (request_id, asked)
        task.add_done_callback(lambda done: self._running.pop(done, None))

    async def _take(self, asked: Asked, answer: asyncio.Future[Message], n_before: int) -> None:
        message = await answer
        asked.answered_ms = self._ms()
        if self._usages:
            asked.usages = tuple(self._usages()[n_before:])
        asked.answer = shown_at(asked, message)
        if asked.answer and not asked.cancelled:
            self._show(asked)

    def _show(self, asked: Asked) -> None:
        typed = _typed_since(asked, self._text, self._caret)
        stale = typed is None or not asked.answer.startswith(typed)
        left = asked.answer if typed is None else asked.answer[len(typed) :]
        if not left:
            return
        if self._standing and (self._policy.keeps_standing or self._standing == left):
            return
        key_idx = len(self.record.key_ms) - 1
        flickers = bool(self._standing) and not self._standing.startswith(left)
        self.record.displays.append(Display(key_idx, self._ms(), left, flickers, stale))
        # What does not fit is on the screen too, but nobody will type it.
        self._standing = "" if stale else left

    def _ms(self) -> float:
        return (self._loop.time() - self._began_s) * 1000


def shown_at(asked: Asked, message: Message) -> str:
    """What the first item of an answer puts at the caret, as the text would read with it; empty for none.

    An item that takes the place of text right of the caret counts up to where the rest of the line goes on.
    """
    result = message.get("result") or {}
    items = result.get("items", []) if isinstance(result, dict) else result
    if not items:
        return ""
    text = str(items[0]["insertText"])
    if found := items[0].get("range"):
        start = offset_of(asked.text, found["start"])
        end = offset_of(asked.text, found["end"])
        left, right = asked.text[start : asked.offset], asked.text[asked.offset : end]
        if not text.startswith(left):
            return ""
        text = text[len(left) :]
        if right and text.endswith(right):
            text = text[: -len(right)]
    return text


def lsp_position(text: str, offset: int) -> dict[str, int]:
    """The protocol's position of an offset, columns in UTF-16 units."""
    start = text.rfind("\n", 0, offset) + 1
    column = len(text[start:offset].encode("utf-16-le")) // 2
    return {"line": text.count("\n", 0, offset), "character": column}


def offset_of(text: str, position: dict[str, int]) -> int:
    """The offset of the protocol's position."""
    start = 0
    for _ in range(position["line"]):
        start = text.index("\n", start) + 1
    line = text[start:].partition("\n")[0].encode("utf-16-le")
    return start + len(line[: 2 * position["character"]].decode("utf-16-le", "ignore"))


def _typed_since(asked: Asked, text: str, caret: int) -> str | None:
    """What was typed at the caret since a request, or None if anything else happened."""
    typed = text[asked.offset : caret]
    same = text == asked.text[: asked.offset] + typed + asked.text[asked.offset :]
    return typed if same and caret >= asked.offset else None
