"""The same trace under llama.vim's request policy, against a `llama-server` with the same weights.

From its source (ggml-org/llama.vim, autoload/llama.vim at a1c8e6e); window, ring and what is discarded are those of
`bench.baselines.llama_vim`.

* A move of the caret hides what is shown, looks into the cache (`s:on_move`, `s:fim_try_hint`), and then asks
  (`llama#fim`).
* While a request runs no other is sent: it is tried again 100 ms after the last key. None is cancelled.
* Nothing is asked with more than 8 characters right of the caret.
* An answer is kept under its text and the texts without their first one to three lines, 250 in all; a place is looked
  for up to 128 characters back, where the longest remainder that goes on as typed wins.
* What is shown is followed by a request as if it had been taken. The first may generate for 250 ms, this one for 1000.
* After 3 s without a move a queued chunk goes into the ring, and the server reads the ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from typing import Any

import httpx
from bench.baselines.llama_vim import (
    CHUNK_LINES,
    N_PREDICT,
    N_PREFIX_LINES,
    N_SUFFIX_LINES,
    RING_CHUNKS,
    SCOPE_LINES,
    TOO_NEAR,
    LlamaVim,
    around,
    cut,
    pick,
    similarity,
)
from bench.replay.record import Asked, Display, Record, total
from bench.replay.traces import Key, Trace, applied

from midfill.context import CompletionContext, gather
from midfill.engine import Usage
from midfill.errors import EngineRefused
from midfill.snippets import Snippet
from midfill.text import Document

AGAIN_S = 0.1
MAX_RIGHT_CHARS = 8
MAX_ENTRIES = 250
SCAN_BACK_CHARS = 128
FIRST_MS, AS_IF_TAKEN_MS = 250, 1000
MOVED_LINES = 32
RING_EVERY_S, RING_REST_S = 1.0, 3.0
LAST_ANSWERS_S = 30.0


class LlamaVimEditor:
    """One window with one file and the plug-in. Lives on the running loop."""

    def __init__(self, client: httpx.AsyncClient, trace: Trace) -> None:
        self.record = Record(trace, "llama.vim")
        self._client, self._trace = client, trace
        self._text, self._caret = trace.start, 0
        self._shown = ""
        self._usages: list[Usage] = []
        self._cache: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._job: asyncio.Task[None] | None = None
        self._refusal: EngineRefused | None = None
        self._again: asyncio.TimerHandle | None = None
        self._ring: list[Snippet] = []
        self._queued: list[Snippet] = []
        self._picked_line_idx = -9999
        self._rng = random.Random(1)
        self._began_s = self._moved_s = time.perf_counter()

    async def play(self) -> Record:
        """Type the whole trace, and wait for the last answer.

        Raises:
            EngineRefused: the server did not take a request.
        """
        self._began_s = at_s = self._moved_s = time.perf_counter()
        reading = asyncio.ensure_future(self._read_ring())
        try:
            for key in self._trace.keys:
                at_s += key.gap_ms / 1000
                await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
                if self._refusal is not None:
                    raise self._refusal
                self._press(key)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._settled(), LAST_ANSWERS_S)
        finally:
            reading.cancel()
        if self._refusal is not None:
            raise self._refusal
        self.record.tokens = total(self._usages)
        return self.record

    async def _settled(self) -> None:
        while self._job is not None or self._again is not None:
            await (self._job or asyncio.sleep(AGAIN_S))

    def _press(self, key: Key) -> None:
        self.record.key_ms.append(self._ms())
        self.record.standing.append(self._shown)
        goes_on = bool(key.typed) and key.patches[0].position == self._caret
        fits = goes_on and self._shown.startswith(key.typed)
        left = self._shown[len(key.typed) :] if fits else ""
        self._text, self._caret = applied(self._text, key.patches), key.caret
        self._moved_s = time.perf_counter()
        self._shown = ""
        self._hint(left)
        self._fim("")

    def _hint(self, left: str) -> None:
        """Show what the cache has for this place; `left` is what stood there and still fits."""
        before, after = self._place()
        found = self._cached(before, after)
        context = self._context()
        shown = LlamaVim().shown(found, context).text if found else ""
        if not shown.strip():
            return
        if shown != left:
            key_idx = len(self.record.key_ms) - 1
            flickers = bool(left) and not left.startswith(shown)
            self.record.displays.append(Display(key_idx, self._ms(), shown, flickers))
        self._shown = shown
        self._fim(shown)

    def _fim(self, taken: str) -> None:
        """Ask, as if `taken` had been taken."""
        if self._job is not None:
            if self._again:
                self._again.cancel()
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(AGAIN_S, self._fim_again, taken)
            return
        if not taken and len(self._context().line_tail) > MAX_RIGHT_CHARS:
            return
        before, after = self._place(taken)
        keys = _keys(before, after)
        if any(key in self._cache for key in keys):
            return
        asked = Asked(len(self.record.key_ms) - 1, self._text, self._caret, self._ms())
        if not taken:
            self.record.asked.append(asked)
        self._drop_what_is_near()
        self._job = asyncio.ensure_future(self._answered(asked, before, after, taken))
        self._pick_far()

    def _fim_again(self, taken: str) -> None:
        self._again = None
        # It asks for where the caret is by then; what was to be taken may stand there no more.
        self._fim(taken if taken == self._shown else "")

    async def _answered(self, asked: Asked, before: str, after: str, taken: str) -> None:
        try:
            said, usage = await self._infill(
                before, after, FIRST_MS if not taken else AS_IF_TAKEN_MS
            )
        except EngineRefused as error:
            self._refusal = error
            return
        finally:
            self._job = None
        self._usages.append(usage)
        asked.answered_ms, asked.answer, asked.usages = self._ms(), said, (usage,)
        for key in _keys(before, after):
            self._cache[key] = said
            self._cache.move_to_end(key)
            if len(self._cache) > MAX_ENTRIES:
                self._cache.popitem(last=False)
        if not self._shown:
            self._hint("")

    async def _infill(self, before: str, after: str, generate_ms: int) -> tuple[str, Usage]:
        above, _, head = before.rpartition("\n")
        body: dict[str, Any] = {
            "id_slot": 0,
            "input_prefix": above + "\n",
            "input_suffix": after,
            "input_extra": [{"text": one.text, "filename": one.path} for one in self._ring],
            "prompt": head,
            "n_predict": N_PREDICT if generate_ms else 0,
            "n_indent": len(head) - len(head.lstrip()),
            "top_k": 40,
            "top_p": 0.9,
            "samplers": ["top_k", "top_p", "infill"],
            "seed": 1,
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": generate_ms or 1,
        }
        response = await self._client.post("/infill", json=body)
        if response.is_error:
            raise EngineRefused(f"llama-server refuses: {response.text}")
        answer = response.json()
        timings = answer["timings"]
        usage = Usage(
            tokens_reused=int(timings.get("cache_n", 0)),
            tokens_evaluated=int(timings["prompt_n"]),
            tokens_generated=int(timings["predicted_n"]) if generate_ms else 0,
            stop_reason="eot",
        )
        return str(answer["content"]), usage

    def _cached(self, before: str, after: str) -> str:
        """The longest of what is left of earlier answers here."""
        if (before, after) in self._cache:
            self._cache.move_to_end((before, after))
            return self._cache[before, after]
        best = ""
        for n_back in range(1, min(SCAN_BACK_CHARS, len(before)) + 1):
            said = self._cache.get((before[:-n_back], after), "")
            if said.startswith(before[-n_back:]) and len(said) - n_back > len(best):
                best = said[n_back:]
        return best

    def _place(self, taken: str = "") -> tuple[str, str]:
        """The text that is sent: before and after the caret, as if something had been taken."""
        context = self._context()
        if not taken:
            ask = LlamaVim().ask(context, ())
            return ask.prefix, ask.suffix
        *above, head = (context.prefix + taken + context.line_tail).split("\n")
        below = context.suffix.split("\n")[1:][:N_SUFFIX_LINES]
        return "\n".join([*above[-N_PREFIX_LINES:], head]), "\n".join(["", *below, ""])

    def _context(self) -> CompletionContext:
        document = Document.of(self._text, self._trace.language)
        return gather(document, self._caret, None, self._trace.name)

    def _drop_what_is_near(self) -> None:
        lines = self._text.split("\n")
        near = cut(around(lines, self._text.count("\n", 0, self._caret)), self._rng)
        self._ring[1:] = [
            chunk
            for chunk in self._ring[1:]
            if similarity(chunk.text.split("\n"), near) <= TOO_NEAR
        ]

    def _pick_far(self) -> None:
        line_idx = self._text.count("\n", 0, self._caret)
        if abs(line_idx - self._picked_line_idx) <= MOVED_LINES:
            return
        lines = self._text.split("\n")
        self._picked_line_idx = line_idx
        far = lines[max(0, line_idx - SCOPE_LINES) : max(0, line_idx - N_PREFIX_LINES)]
        under = lines[line_idx + N_SUFFIX_LINES : line_idx + N_SUFFIX_LINES + CHUNK_LINES]
        for part in (far, under):
            pick(self._queued, self._trace.name, part, self._rng, evicts=False)

    async def _read_ring(self) -> None:
        while True:
            await asyncio.sleep(RING_EVERY_S)
            if not self._queued or time.perf_counter() - self._moved_s < RING_REST_S:
                continue
            self._ring = [*self._ring, self._queued.pop(0)][-RING_CHUNKS:]
            _, usage = await self._infill("\n", "", 0)
            self._usages.append(usage)

    def _ms(self) -> float:
        return (time.perf_counter() - self._began_s) * 1000


def _keys(before: str, after: str) -> list[tuple[str, str]]:
    """What an answer is kept under: its text, and that without its first one to three lines."""
    above, _, head = before.rpartition("\n")
    lines = above.split("\n")
    return [("\n".join([*lines[n:], head]), after) for n in range(min(4, len(lines)))]
