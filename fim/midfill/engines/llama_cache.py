"""The KV cache as slots: finds what is already evaluated, makes room, and keeps count of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_slots import Choice, Slot, choose_slot, make_room


class PromptCache:
    """Slots and the context that holds their tokens, always changed together. Used by the engine's thread."""

    def __init__(self, context: LlamaContext) -> None:
        self._context = context
        self._slots = [Slot() for _ in range(context.n_slots)]
        self._requests = count(1)
        self.n_evaluated = 0
        """Tokens evaluated since the cache was made, of prompts and of generations. Any thread may read it."""

    def take(self, prompt: Sequence[int]) -> Choice:
        """The slot for a prompt, cut down to what the two share."""
        choice = choose_slot(self._slots, prompt)
        self._slots[choice.slot_idx].last_used = next(self._requests)
        n_kept = self._keep(choice.slot_idx, choice.n_reused)
        return Choice(choice.slot_idx, n_kept)

    def evaluate(self, slot_idx: int, tokens: Sequence[int], *, wants_logits: bool) -> Decoded:
        """Append at most a batch of tokens to a slot. Other slots give way where the cache is full."""
        for cut in make_room(self._slots, slot_idx, len(tokens), self._context.n_cells):
            self._keep(cut.slot_idx, cut.n_kept)
        decoded = self._append(slot_idx, tokens, wants_logits)
        if decoded is Decoded.NO_ROOM:
            # Our count says that there is room. Should llama.cpp's differ, the other slots give all they have.
            for other_idx in range(len(self._slots)):
                if other_idx != slot_idx:
                    self._keep(other_idx, 0)
            decoded = self._append(slot_idx, tokens, wants_logits)
        return decoded

    def contents(self) -> tuple[tuple[int, ...], ...]:
        """The tokens that each slot holds."""
        return tuple(tuple(slot.tokens) for slot in self._slots)

    def _append(self, slot_idx: int, tokens: Sequence[int], wants_logits: bool) -> Decoded:
        slot = self._slots[slot_idx]
        start = len(slot.tokens)
        slot.tokens += tokens
        try:
            return self._context.decode(slot_idx, tokens, start, wants_logits=wants_logits)
        finally:
            # After an abort or an error llama.cpp keeps the batches that it finished: ask, never assume.
            del slot.tokens[self._context.length(slot_idx) :]
            self.n_evaluated += len(slot.tokens) - start

    def _keep(self, slot_idx: int, n_tokens: int) -> int:
        slot = self._slots[slot_idx]
        if n_tokens < len(slot.tokens):
            del slot.tokens[self._context.keep(slot_idx, n_tokens) :]
        return len(slot.tokens)
