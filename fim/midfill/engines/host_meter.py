"""What a host has done: counts that only grow, the last times, and which slot holds how much. Never a text."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

from midfill.engine import Piece, Usage
from midfill.engines.dialect import Json

LATENCIES_KEPT = 512
"""Generations of which the times are kept: some minutes of typing."""

PHASES = ("wait", "prefill", "decode")
TOKENS = ("reused", "evaluated", "healed", "drafted", "accepted", "generated")
QUANTILES = (0.5, 0.95)


@dataclass
class _Slot:
    n_tokens: int = 0
    n_users: int = 0


class Meter:
    """Watches a host's generations. Lives on one event loop."""

    def __init__(self) -> None:
        self.n_running = 0
        """Generations that were asked for and have not ended."""
        self.tokens: Counter[str] = Counter()
        """By kind, as in `TOKENS`."""
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        """By phase, as in `PHASES`."""
        self.stops: Counter[str] = Counter()
        """Generations that ended, by why. `cancelled` are also those whose reader had what it wanted."""
        self.latencies: deque[tuple[float, ...]] = deque(maxlen=LATENCIES_KEPT)
        """Seconds of each phase."""
        self._slots: dict[tuple[str, int], _Slot] = {}
        self._since = time.monotonic()

    @property
    def uptime_s(self) -> float:
        """Seconds since it began to count."""
        return time.monotonic() - self._since

    async def watched(
        self, model: str, n_prompt: int, pieces: AsyncGenerator[Piece, None]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of a generation, counted when it ends, however it does."""
        usages: dict[int, Usage] = {}
        slot: _Slot | None = None
        self.n_running += 1
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    usages[piece.candidate_idx] = usage = piece.usage
                    if slot is None and usage.slot_idx >= 0:
                        slot = self._slots.setdefault((model, usage.slot_idx), _Slot())
                        slot.n_users += 1
                    if slot is not None:
                        slot.n_tokens = n_prompt + usage.tokens_generated
                    yield piece
        finally:
            self.n_running -= 1
            if slot is not None:
                slot.n_users -= 1
            self._count(list(usages.values()))

    def forget(self, model: str) -> None:
        """A model has been unloaded, and its slots with it."""
        self._slots = {key: slot for key, slot in self._slots.items() if key[0] != model}

    def slots(self, model: str, n_slots: int, n_ctx: int) -> list[Json]:
        """Each slot of a model, as llama-server tells it, without any text."""
        return [
            {
                "id": idx,
                "n_ctx": n_ctx,
                "is_processing": slot.n_users > 0,
                "n_prompt_tokens": slot.n_tokens,
            }
            for idx in range(n_slots)
            for slot in (self._slots.get((model, idx), _Slot()),)
        ]

    def quantiles(self) -> Iterator[tuple[str, float, float]]:
        """Phase, quantile and seconds, of the last generations."""
        for phase, values in zip(PHASES, zip(*self.latencies, strict=True), strict=False):
            for quantile in QUANTILES:
                yield phase, quantile, _quantile(sorted(values), quantile)

    def _count(self, usages: Sequence[Usage]) -> None:
        reasons = [usage.stop_reason or "cancelled" for usage in usages] or ["cancelled"]
        self.stops.update(reasons[:1])
        if not usages:
            return
        # The cost of each candidate but its tokens is that of all.
        last = usages[-1]
        self.tokens.update({kind: getattr(last, f"tokens_{kind}") for kind in TOKENS[:-1]})
        self.tokens["generated"] += sum(usage.tokens_generated for usage in usages)
        times = tuple(getattr(last, f"{phase}_ms") / 1000 for phase in PHASES)
        self.latencies.append(times)
        for phase, seconds in zip(PHASES, times, strict=True):
            self.seconds[phase] += seconds


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
