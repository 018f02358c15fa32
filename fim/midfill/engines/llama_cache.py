"""The KV cache as slots: finds what is already evaluated, makes room, and keeps count of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_slots import Choice, Slot, choose_prompt, choose_slot, make_room


class PromptCache:
    """Slots and the context that holds their tokens, always changed together. Used by the engine's thread."""

    def __init__(self, context: LlamaContext) -> None:
        self._context = context
        self._slots = [Slot() for _ in range(context.n_slots)]
        self._requests = count(1)
        self._owners: list[object] = [None] * context.n_slots
        self.n_evaluated = 0
        """Tokens evaluated since the cache was made, of prompts and of generations. Any thread may read it."""

    def choose(self, prompt: Sequence[int], instead: Sequence[int]) -> Sequence[int]:
        """Of two layouts of the same text the one to read."""
        return choose_prompt(self._slots, prompt, instead)

    def take(self, prompt: Sequence[int], n_redrawn: int = 0, owner: object = None) -> Choice:
        """The slot for a prompt, cut down to what the two share without the prompt's last `n_redrawn` tokens."""
        busy = [idx for idx, other in enumerate(self._owners) if other not in (None, owner)]
        choice = choose_slot(
            self._slots,
            prompt,
            n_redrawn=n_redrawn,
            busy=busy,
            can_share=self._context.can_share,
        )
        slot_idx, n_reused, from_idx = choice
        self._slots[slot_idx].last_used = next(self._requests)
        if from_idx != slot_idx:
            self.keep(slot_idx, 0)
            n_shared = self._context.share(from_idx, slot_idx, n_reused)
            slot, lender = self._slots[slot_idx], self._slots[from_idx]
            slot.tokens = lender.tokens[:n_shared]
            if not self._context.is_split:
                slot.lender, slot.n_borrowed = lender, n_shared
        self._owners[slot_idx] = owner
        return choice._replace(n_reused=self.keep(slot_idx, n_reused))

    def let_go(self, owner: object) -> None:
        """The generation is over; what it read stays until the room is needed."""
        self._owners = [None if other is owner else other for other in self._owners]

    def held(self, slot_idx: int, owner: object) -> int:
        """Tokens in the owner's slot; 0 if somebody else has taken it meanwhile."""
        if self._owners[slot_idx] is not owner:
            return 0
        return len(self._slots[slot_idx].tokens)

    def evaluate(self, slot_idx: int, tokens: Sequence[int], *, n_logits: int) -> Decoded:
        """Append at most a batch of tokens to a slot. Other slots give way where the cache is full."""
        self._make_room(slot_idx, len(tokens))
        decoded = self._append(slot_idx, tokens, n_logits)
        if decoded is Decoded.NO_ROOM and not self._context.is_split:
            # Our count says that there is room. Should llama.cpp's differ, the other slots give all they have.
            for other_idx in range(len(self._slots)):
                if other_idx != slot_idx:
                    self.keep(other_idx, 0)
            decoded = self._append(slot_idx, tokens, n_logits)
        return decoded

    def keep(self, slot_idx: int, n_tokens: int) -> int:
        """Forget what a slot holds after its first `n_tokens`; tells how many it then holds."""
        slot = self._slots[slot_idx]
        if n_tokens < len(slot.tokens):
            del slot.tokens[self._context.keep(slot_idx, n_tokens) :]
            for other in self._slots:
                if other is slot or other.lender is slot:
                    other.n_borrowed = min(other.n_borrowed, len(slot.tokens))
        return len(slot.tokens)

    def fork(self, slot_idx: int, n_candidates: int, n_wanted: int) -> list[int]:
        """Sequences for candidates that go on from a slot, itself the first, with room for `n_wanted` tokens each.

        Fewer where there are no more. Where too few sequences are spare, the slots that were used longest ago
        give up what they hold. `unfork` them.
        """
        n_slots, n_others = (
            self._context.n_slots,
            n_candidates - 1 if self._context.can_share else 0,
        )
        spares = list(range(n_slots, n_slots + min(n_others, self._context.n_spare)))
        idle = [idx for idx, owner in enumerate(self._owners) if owner is None and idx != slot_idx]
        idle.sort(key=lambda idx: self._slots[idx].last_used)
        for idx in idle[: n_others - len(spares)] if not self._context.n_spare else ():
            self.keep(idx, 0)
            spares.append(idx)
        self._make_room(slot_idx, n_wanted * (1 + len(spares)))
        n_tokens = len(self._slots[slot_idx].tokens)
        for spare in spares:
            self._context.share(slot_idx, spare, n_tokens)
        return [slot_idx, *spares]

    def evaluate_each(self, sequences: Sequence[int], tokens: Sequence[int]) -> Decoded:
        """Append a token to each of several forked sequences, with the logits of each."""
        starts = [self._context.length(sequence) for sequence in sequences]
        decoded = self._context.decode_each(sequences, tokens, starts)
        if decoded is Decoded.DONE:
            self.n_evaluated += len(tokens)
            if sequences[0] < len(self._slots):
                self._slots[sequences[0]].tokens.append(tokens[0])
        return decoded

    def unfork(self, sequences: Sequence[int]) -> None:
        """Forget the candidates but the first."""
        for sequence in sequences[1:]:
            self._context.keep(sequence, 0)
        slot = self._slots[sequences[0]]
        del slot.tokens[self._context.length(sequences[0]) :]

    def contents(self) -> tuple[tuple[int, ...], ...]:
        """The tokens that each slot holds."""
        return tuple(tuple(slot.tokens) for slot in self._slots)

    def _make_room(self, slot_idx: int, n_wanted: int) -> None:
        if self._context.is_split:
            return
        for cut in make_room(self._slots, slot_idx, n_wanted, self._context.n_cells):
            self.keep(cut.slot_idx, cut.n_kept)

    def _append(self, slot_idx: int, tokens: Sequence[int], n_logits: int) -> Decoded:
        slot = self._slots[slot_idx]
        start = len(slot.tokens)
        slot.tokens += tokens
        decoded = None
        try:
            decoded = self._context.decode(slot_idx, tokens, start, n_logits=n_logits)
        finally:
            if decoded is not Decoded.DONE:
                # After an abort or an error llama.cpp keeps the batches that it finished: ask, never assume.
                del slot.tokens[self._context.length(slot_idx) :]
            self.n_evaluated += len(slot.tokens) - start
        return decoded
