"""Where a generation's text ends before the model ends it: at given texts, at a lesser indent, in time.

The programs that speak `llama-server`'s and OpenAI's dialect ask for this of the server; our own decide on
their side. What could be the beginning of a stop is held back until it is one or is not.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from midfill.engine import Piece, StopReason


@dataclass(frozen=True)
class Stops:
    """What ends a text besides the model. The default is nothing."""

    words: tuple[str, ...] = ()
    """Texts that end it, and are left out."""
    n_indent: int = 0
    """A later line that begins with fewer white characters ends it, and is left out."""
    time_limit_ms: float = 0.0
    """Time of decoding after which a text that has several lines ends. 0: none."""


async def stopped(
    pieces: AsyncGenerator[Piece, None], stops: Stops, n_candidates: int = 1
) -> AsyncGenerator[Piece, None]:
    """The pieces up to where each candidate's text stops, then the end of the generation.

    Their tokens are not told: a stop may halve one.
    """
    ends = [_End(stops) for _ in range(n_candidates)]
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            end = ends[piece.candidate_idx]
            if end.reason:
                continue
            text = end.feed(piece.text, piece.usage.decode_ms, last=bool(piece.usage.stop_reason))
            end.reason = end.reason or piece.usage.stop_reason
            if text or end.reason:
                usage = replace(piece.usage, stop_reason=end.reason)
                yield replace(piece, text=text, token_ids=(), logprobs=(), usage=usage)
            if all(end.reason for end in ends):
                return


class _End:
    """One text as it grows, and where it stops."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._text = ""
        self._n_told = 0
        self.reason: StopReason = ""

    def feed(self, text: str, decode_ms: float, *, last: bool) -> str:
        """What may be told of the text now; `reason` is set when it has stopped."""
        self._text += text
        hits: list[tuple[int, StopReason]] = [
            (found, "word")
            for word in self._stops.words
            if (found := self._text.find(word, self._n_told)) >= 0
        ]
        if self._stops.n_indent:
            lesser = rf"\n(?:[^\S\n]*\n)*[^\S\n]{{0,{self._stops.n_indent - 1}}}(?=\S)"
            if found_line := re.compile(lesser).search(self._text, self._n_told):
                hits.append((found_line.start(), "block"))
        if hits:
            until, self.reason = min(hits)
        elif last:
            until = len(self._text)
        else:
            until = len(self._text) - self._n_held()
            late = 0 < self._stops.time_limit_ms < decode_ms
            if late and "\n" in self._text:
                until, self.reason = len(self._text), "time"
        told = self._text[self._n_told : until]
        self._n_told = max(self._n_told, until)
        return told

    def _n_held(self) -> int:
        """How many characters at the end could belong to a stop."""
        held = 0
        for word in self._stops.words:
            longest = min(len(word) - 1, len(self._text) - self._n_told)
            sizes = range(longest, held, -1)
            held = next((n for n in sizes if self._text.endswith(word[:n])), held)
        if self._stops.n_indent and (blank := re.search(r"\n\s*\Z", self._text[self._n_told :])):
            held = max(held, len(blank[0]))
        return held
