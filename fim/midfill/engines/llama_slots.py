"""Which slot of the KV cache serves a prompt, and who gives way when the cache is full.

All slots share one pool of cells, one cell per evaluated token. Pure functions of the slots' contents, so
that the policy is tested as a table and can grow without the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    lender: Slot | None = None
    n_borrowed: int = 0
    """Leading tokens that are in the cells of `lender`, which holds them too."""
    n_spent: int = 0
    """Tokens that were evaluated here in place of another layout, since that one was last read."""


class Choice(NamedTuple):
    """The slot that serves a prompt."""

    slot_idx: int
    n_reused: int
    """Leading tokens of the prompt that are already evaluated."""
    from_idx: int
    """The slot that holds them. If it is another one, it shares them and keeps all that it has."""


class Cut(NamedTuple):
    """A slot that gives up its last tokens."""

    slot_idx: int
    n_kept: int


def choose_prompt(
    slots: Sequence[Slot], prompt: Sequence[int], instead: Sequence[int]
) -> Sequence[int]:
    """Of two layouts of the same text the one to read. Takes note of it in the slots.

    The layout that is asked for is the one that typing only adds to: a key costs 60 ms where the suffix comes first
    and 1,878 where it comes last; a caret that jumps costs 6,401 and 2,011 (Code Llama 7B's shape on a CPU,
    measured). So `instead` is right after a jump and wrong for the keys that follow, and how many will follow
    nobody knows. It is read while all that was evaluated for it stays below half of what the other needs; then
    the other is read after all. So the first text comes soon, and no more than half is evaluated in vain (the
    argument of renting skis: Karlin et al. 1988, "Competitive snoopy caching").
    """
    if not instead:
        return prompt
    n_new = len(prompt) - max(common_length(slot.tokens, prompt) for slot in slots)
    shared = [common_length(slot.tokens, instead) for slot in slots]
    rented = slots[max(range(len(slots)), key=shared.__getitem__)]
    n_rent = rented.n_spent + len(instead) - max(shared)
    takes_instead = 2 * n_rent < n_new
    rented.n_spent = n_rent if takes_instead else 0
    return instead if takes_instead else prompt


def choose_slot(
    slots: Sequence[Slot],
    prompt: Sequence[int],
    *,
    n_redrawn: int = 0,
    busy: Collection[int] = (),
    can_share: bool = False,
) -> Choice:
    """The slot with the longest common prefix; else an empty one; else the least recently used.

    A prefix counts only when it is at least half of the prompt or half of the slot: every prompt begins with
    the same few control tokens, and taking the slot of another file for those would make that file cold. Where
    slots can share, what is common with another slot is reused all the same.
    At least one token of the prompt is left to evaluate, for its logits, and the `n_redrawn` last ones too.
    Slots that are `busy` serve somebody else, and are taken only where all are.
    """
    shared = [common_length(slot.tokens, prompt) for slot in slots]
    n_most = max(0, len(prompt) - n_redrawn - 1)
    free = [idx for idx in range(len(slots)) if idx not in busy] or list(range(len(slots)))
    by_length = max(free, key=lambda idx: (shared[idx], slots[idx].last_used))
    if 2 * shared[by_length] >= max(1, min(len(slots[by_length].tokens), len(prompt))):
        return Choice(by_length, min(shared[by_length], n_most), by_length)
    # False sorts before True, so an empty slot comes first.
    chosen = min(free, key=lambda idx: (bool(slots[idx].tokens), slots[idx].last_used))
    longest = max(range(len(slots)), key=lambda idx: (shared[idx], idx == chosen))
    from_idx = longest if can_share else chosen
    return Choice(chosen, min(shared[from_idx], n_most), from_idx)


def n_cells_used(slots: Sequence[Slot]) -> int:
    """Cells that hold the tokens of all slots, those that two of them share counted once."""
    return sum(len(slot.tokens) - slot.n_borrowed for slot in slots)


def make_room(slots: Sequence[Slot], keep_idx: int, n_wanted: int, n_cells: int) -> list[Cut]:
    """What to cut so that slot `keep_idx` can grow by `n_wanted` tokens in a cache of `n_cells`.

    The least recently used give first, and only as much as is needed, from the end: the start of a prompt
    is what the next one shares with it, and what another slot shares frees nothing while that one has it.
    """
    n_missing = n_cells_used(slots) + n_wanted - n_cells
    if n_missing <= 0:
        return []
    kept: dict[int, int] = {}
    others = sorted(set(range(len(slots))) - {keep_idx}, key=lambda idx: slots[idx].last_used)
    for slot_idx in others:
        if n_missing <= 0:
            break
        n_tokens, n_shared = len(slots[slot_idx].tokens), _n_shared(slots, slots[slot_idx])
        kept[slot_idx] = max(n_shared, n_tokens - max(n_missing, _STEP))
        n_missing -= n_tokens - kept[slot_idx]
    for slot_idx in others:
        if n_missing <= 0:
            break
        n_missing -= kept[slot_idx]
        kept[slot_idx] = 0
    return [Cut(idx, n_kept) for idx, n_kept in kept.items() if n_kept < len(slots[idx].tokens)]


def _n_shared(slots: Sequence[Slot], slot: Slot) -> int:
    """Leading tokens of a slot whose cells another one holds too."""
    lent = (other.n_borrowed for other in slots if other.lender is slot)
    return max(slot.n_borrowed, *lent, 0)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    n_most = min(len(left), len(right))
    # Slices compare in C: 4,000 tokens take some microseconds instead of some hundred.
    for start in range(0, n_most, _STEP):
        end = min(start + _STEP, n_most)
        if left[start:end] != right[start:end]:
            return next(idx for idx in range(start, end) if left[idx] != right[idx])
    return n_most
