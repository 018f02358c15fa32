"""Which slot of the KV cache serves a prompt, and who gives way when the cache is full.

All slots share one pool of cells, one cell per evaluated token. Pure functions of the slots' contents, so
that the policy is tested as a table and can grow without the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_STEP = 64
"""Tokens that a slot gives up at least when it must: one cut per 64 generated tokens instead of one each."""


@dataclass
class Slot:
    """One sequence of the cache: the tokens that are evaluated in it, in order from position 0."""

    tokens: list[int] = field(default_factory=list)
    last_used: int = 0
    """Counts requests: the larger, the more recent."""


class Choice(NamedTuple):
    """The slot that serves a prompt."""

    slot_idx: int
    n_reused: int
    """Leading tokens of the prompt that are already evaluated there."""


class Cut(NamedTuple):
    """A slot that gives up its last tokens."""

    slot_idx: int
    n_kept: int


def choose_slot(slots: Sequence[Slot], prompt: Sequence[int]) -> Choice:
    """The slot with the longest common prefix; else an empty one; else the least recently used.

    A prefix counts only when it is at least half of the prompt or half of the slot: every prompt begins with
    the same few control tokens, and taking the slot of another file for those would make that file cold.
    At least one token of the prompt is left to evaluate, for its logits.
    """
    shared = [common_length(slot.tokens, prompt) for slot in slots]
    by_length = max(range(len(slots)), key=lambda idx: (shared[idx], slots[idx].last_used))
    if 2 * shared[by_length] >= max(1, min(len(slots[by_length].tokens), len(prompt))):
        chosen = by_length
    else:
        # False sorts before True, so an empty slot comes first.
        chosen = min(
            range(len(slots)), key=lambda idx: (bool(slots[idx].tokens), slots[idx].last_used)
        )
    return Choice(chosen, max(0, min(shared[chosen], len(prompt) - 1)))


def make_room(slots: Sequence[Slot], keep_idx: int, n_wanted: int, n_cells: int) -> list[Cut]:
    """What to cut so that slot `keep_idx` can grow by `n_wanted` tokens in a cache of `n_cells`.

    The least recently used give first, and only as much as is needed, from the end: the start of a prompt
    is what the next one shares with it.
    """
    n_missing = sum(len(slot.tokens) for slot in slots) + n_wanted - n_cells
    if n_missing <= 0:
        return []
    cuts: list[Cut] = []
    for slot_idx in sorted(range(len(slots)), key=lambda idx: slots[idx].last_used):
        n_tokens = len(slots[slot_idx].tokens)
        if n_missing <= 0:
            break
        if slot_idx != keep_idx and n_tokens:
            n_kept = max(0, n_tokens - max(n_missing, _STEP))
            cuts.append(Cut(slot_idx, n_kept))
            n_missing -= n_tokens - n_kept
    return cuts


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    n_most = min(len(left), len(right))
    # Slices compare in C: 4,000 tokens take some microseconds instead of some hundred.
    for start in range(0, n_most, _STEP):
        end = min(start + _STEP, n_most)
        if left[start:end] != right[start:end]:
            return next(idx for idx in range(start, end) if left[idx] != right[idx])
    return n_most
