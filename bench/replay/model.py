"""A model that knows what will be typed: it answers from the trace, sometimes wrongly, in the time of its tokens.

It stands for a model in a run on virtual time. Its tokens are pieces of about three characters, as a code model's are;
it reuses the longest common prefix of what its slots have read, evaluates in batches that a closed request ends, and
lets requests that yield wait. So what a prompt costs is what its layout makes it cost.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from midfill.engine import ModelInfo, Piece, Sampling, StopReason, Usage
from midfill.errors import EngineGone
from midfill.formats import control_pieces

Answer = Callable[[str, str], str]
"""What is typed next between a prefix and a suffix, as they stand in a prompt."""

_PIECE = re.compile(r" ?[A-Za-z_]{1,4}|\d{1,3}|\n[ \t]*|[ \t]+|[^\w\s]{1,2}|.", re.S)
"""3.0 to 3.4 characters each in Python, TypeScript and Rust, as `CHARS_PER_TOKEN` has it."""

_PRE, _SUF, _MID = "▁<PRE>", "▁<SUF>", "▁<MID>"
BATCH_TOKENS = 64


@dataclass(frozen=True)
class Rates:
    """How fast a machine is, in tokens a second, and what each request costs besides."""

    prefill: float = 2000.0
    decode: float = 60.0
    request_ms: float = 2.0


RATES: Mapping[str, Rates] = {
    # 7B weights of 4 bit, by what the field reports for llama.cpp.
    "rtx3060": Rates(2400.0, 77.0),
    "rtx4090": Rates(14800.0, 189.0),
    "m2ultra": Rates(1200.0, 94.0),
    # A 7B on one core, extrapolated from four of its layers (measured).
    "cpu": Rates(28.0, 5.0),
}


class TraceModel:
    """Keeps the promise of `midfill.engine.Engine`. Lives on one event loop."""

    def __init__(
        self,
        answer: Answer,
        rates: Rates = RATES["rtx3060"],
        *,
        wrong_share: float = 0.35,
        seed: int = 1,
        n_slots: int = 4,
        n_ctx: int = 16384,
    ) -> None:
        self.usages: list[Usage] = []
        """The cost of every request that has ended."""
        self._answer = answer
        self._rates = rates
        self._wrong_share = wrong_share
        self._seed = seed
        self._n_ctx = n_ctx
        self._pieces = [*control_pieces(), "<s>"]
        self._ids = {piece: idx for idx, piece in enumerate(self._pieces)}
        self._n_control = len(self._pieces)
        self._slots: list[list[int]] = [[] for _ in range(n_slots)]
        self._free = asyncio.Lock()
        self._n_urgent = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def info(self) -> ModelInfo:
        """A model of Code Llama's family."""
        names = {name: self._ids[name] for name in (_PRE, _SUF, _MID, "▁<EOT>")}
        bos, end = self._ids["<s>"], (self._ids["▁<EOT>"],)
        return ModelInfo("trace", self._n_ctx, 1 << 20, bos, end, names, architecture="trace")

    async def tokenize(self, text: str) -> list[int]:
        """Pieces of about three characters; each gets its number when it is first seen."""
        return [self._id(piece) for piece in _PIECE.findall(text)]

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return "".join(self._pieces[token] for token in ids if token >= self._n_control)

    def loading(self) -> float | None:
        """Nothing is ever loaded."""
        return None

    async def close(self) -> None:
        """Nothing more is answered."""
        self._closed = True

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Read the prompt, then say what will be typed; each takes its time.

        Raises:
            EngineGone: the engine was closed.
        """
        if self._closed:
            raise EngineGone("The engine was closed; open it again.")
        self._count(not sampling.yields)
        usage = Usage()
        try:
            await asyncio.sleep(self._rates.request_ms / 1000)
            slot, prompt, instead = self._slot_for(list(prompt), list(sampling.instead))
            n_reused = _n_shared(slot, prompt[:-1])
            usage = Usage(tokens_reused=n_reused, took_instead=instead)
            del slot[n_reused:]
            while len(slot) < len(prompt):
                batch = prompt[len(slot) :][:BATCH_TOKENS]
                await self._step(len(batch) / self._rates.prefill, sampling.yields)
                slot += batch
                usage = replace(usage, tokens_evaluated=len(slot) - n_reused)
            async for piece in self._said(slot, prompt, sampling, usage):
                usage = piece.usage
                yield piece
        finally:
            self._count(-(not sampling.yields))
            self.usages.append(replace(usage, stop_reason=usage.stop_reason or "cancelled"))

    async def _said(
        self, slot: list[int], prompt: list[int], sampling: Sampling, usage: Usage
    ) -> AsyncGenerator[Piece, None]:
        prefix, suffix = await self._parts(prompt)
        text, logprob = self._drawn(prefix, suffix)
        pieces = _PIECE.findall(text)
        reason: StopReason = "eot" if len(pieces) < sampling.max_tokens else "budget"
        for idx, piece in enumerate(pieces[: sampling.max_tokens], start=1):
            await self._step(1 / self._rates.decode, sampling.yields)
            token = self._id(piece)
            slot.append(token)
            usage = replace(usage, tokens_generated=idx)
            yield Piece(piece, (token,), (logprob if idx == 1 else 0.0,), usage)
        usage = replace(usage, tokens_generated=usage.tokens_generated + (reason == "eot"))
        yield Piece("", (), (), replace(usage, stop_reason=reason))

    def _count(self, n_urgent: int) -> None:
        self._n_urgent += n_urgent
        if self._n_urgent:
            self._idle.clear()
        else:
            self._idle.set()

    async def _step(self, seconds: float, yields: bool) -> None:
        """Compute for a while, one request at a time; those that yield wait for the others."""
        if yields:
            await self._idle.wait()
        async with self._free:
            await asyncio.sleep(seconds)

    def _slot_for(self, prompt: list[int], instead: list[int]) -> tuple[list[int], list[int], bool]:
        """A slot that holds the longest common prefix, and which of two layouts is read there.

        The other layout where it needs less than half; a slot of its own with the prefix in it where little is shared:
        both as our engine has it.
        """
        idx, n_shared = self._nearest(prompt)
        took_instead = False
        if instead:
            other_idx, n_other = self._nearest(instead)
            if len(instead) - n_other < (len(prompt) - n_shared) / 2:
                idx, n_shared, prompt, took_instead = other_idx, n_other, instead, True
        if n_shared < len(prompt) // 2:
            self._slots[0][:] = self._slots[idx][:n_shared]
            idx = 0
        self._slots.append(self._slots.pop(idx))
        return self._slots[-1], prompt, took_instead

    def _nearest(self, prompt: list[int]) -> tuple[int, int]:
        shared = [(_n_shared(slot, prompt), idx) for idx, slot in enumerate(self._slots)]
        n_shared, idx = max(shared, key=lambda found: (found[0], -found[1]))
        return idx, n_shared

    def _drawn(self, prefix: str, suffix: str) -> tuple[str, float]:
        """What is said at a place, always the same, and how sure of it the model is."""
        text = self._answer(prefix, suffix)
        rng = random.Random(f"{self._seed}/{prefix[-40:]}/{suffix[:20]}")
        if not text or rng.random() < self._wrong_share:
            cut = rng.randint(0, len(text) // 2)
            return text[:cut] + "wrong_" + str(rng.randint(0, 99)), math.log(rng.uniform(0.02, 0.7))
        return text, math.log(rng.uniform(0.3, 1.0))

    async def _parts(self, prompt: list[int]) -> tuple[str, str]:
        pre, suf, mid = (self._ids[name] for name in (_PRE, _SUF, _MID))
        if not {pre, suf, mid} <= set(prompt):
            return await self.detokenize(prompt), ""
        at_suffix, at_middle = prompt.index(suf), prompt.index(mid)
        suffix = await self.detokenize(prompt[at_suffix + 1 : at_middle])
        first = prompt[:at_suffix] if at_middle == len(prompt) - 1 else prompt[at_middle + 1 :]
        return await self.detokenize(first), suffix

    def _id(self, piece: str) -> int:
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return self._ids[piece]


def _n_shared(before: Sequence[int], now: Sequence[int]) -> int:
    pairs = enumerate(zip(before, now, strict=False))
    return next((idx for idx, (old, new) in pairs if old != new), min(len(before), len(now)))
