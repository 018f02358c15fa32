"""Prompt lookup: guess the next tokens from what followed the same tokens earlier, and verify them in one batch.

A batch of a few tokens costs little more than one, so every right guess is nearly free; edits, which repeat most
of what they were given, profit most. The guess is only evaluated, never trusted: the output is what it would
be without. The idea is Saxena's "Prompt lookup decoding" (2023), after speculative decoding (Leviathan et al.
2022). How many tokens to guess follows from how often guesses have been right in this generation, and from
what batches of each size have cost on this machine: on one CPU a batch of 4 costs as much as 1.5 single tokens and
one of 8 as much as 3.6; on another model file of the same shape 1.4 and 2.6 (measured), on a GPU far less.
Pure: it knows neither llama.cpp nor a vocabulary.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

SIZES = (1, 2, 4, 8, 16)
"""Tokens of a batch: the one that is known and those that are guessed."""

_MATCHES = ((8, 0.9), (5, 0.8), (3, 0.6), (2, 0.4))
"""Tokens before the point of generation that must be the same, and how often such a guess is taken to be right
before any was tried."""
_AFTER_A_CHANGE = 0.5
"""The same for the text behind a token that was not as guessed: an edit often changes one token of many."""
_LEARNING = 0.3
"""How much of the opinion is the last guess."""
_WORTHWHILE = 1.05
"""Gain below which nothing is guessed: the times are not known to a few per cent."""
_TIMES_KEPT = 9
_UNTRIED_SLOPE = 0.05
"""What a further token in a batch is taken to cost before it was tried: little, so that it is tried."""


class BatchCosts:
    """What evaluating a batch costs, by its size, from the last times it was done. One per engine."""

    def __init__(self) -> None:
        self._ms: dict[int, deque[float]] = {}
        self._median_ms: dict[int, float] = {}

    def note(self, n_tokens: int, ms: float) -> None:
        """A batch was evaluated."""
        times = self._ms.get(n_tokens)
        if times is None:
            times = self._ms[n_tokens] = deque(maxlen=_TIMES_KEPT)
        times.append(ms)
        # `statistics.median` takes three times as long, and this is asked with each token.
        ordered, middle = sorted(times), len(times) // 2
        self._median_ms[n_tokens] = (ordered[middle] + ordered[~middle]) / 2

    def relative(self, n_tokens: int) -> float:
        """The cost of a batch, that of a single token being 1."""
        known = {1: 1.0}
        if 1 in self._median_ms:
            single_ms = max(self._median_ms[1], 1e-6)
            known = {n: ms / single_ms for n, ms in self._median_ms.items()}
        below = max(n for n in known if n <= n_tokens)
        untried = known[below] + _UNTRIED_SLOPE * (n_tokens - below)
        # A larger batch that was cheap shows that this one is no dearer.
        return min([untried, *(cost for n, cost in known.items() if n >= n_tokens)])


class _Guess(NamedTuple):
    start: int
    """Where in the text it was read."""
    kind: int
    """Tokens that matched; 0 for what stands behind a change."""
    n_tokens: int


class Drafter:
    """The tokens of one generation, and what they suggest. Owned by it."""

    def __init__(self, prompt: Sequence[int], costs: BatchCosts) -> None:
        # As bytes, because searching bytes backwards is done in C.
        self._data = bytearray(array("i", prompt).tobytes())
        self._costs = costs
        self._rates = dict(_MATCHES) | {0: _AFTER_A_CHANGE}
        self._guess: _Guess | None = None
        self._behind_change: int | None = None

    def append(self, tokens: Sequence[int]) -> None:
        """The generation went on with `tokens`, which tells how good the last draft was."""
        guess, self._guess = self._guess, None
        self._behind_change = None
        if guess is not None:
            said = self._tokens(guess.start, guess.n_tokens)
            n_right = next(
                (idx for idx, (a, b) in enumerate(zip(said, tokens, strict=False)) if a != b),
                min(len(said), len(tokens)),
            )
            was_wrong = n_right < min(len(said), len(tokens))
            if n_right or was_wrong:
                rate = n_right / (n_right + was_wrong)
                self._rates[guess.kind] += _LEARNING * (rate - self._rates[guess.kind])
            if was_wrong:
                self._behind_change = guess.start + n_right + 1
        self._data += array("i", tokens).tobytes()

    def draft(self, n_most: int) -> list[int]:
        """What comes next, as far as guessing pays; at most `n_most` tokens."""
        found = self._found()
        if found is None:
            return []
        start, kind = found
        n_there = len(self._data) // _WIDTH - start
        rate = self._rates[kind]
        sizes = [size for size in SIZES if size - 1 <= min(n_most, n_there)]
        best = max(sizes, key=lambda size: self._gain(size, rate), default=1)
        if best == 1 or self._gain(best, rate) < _WORTHWHILE:
            return []
        self._guess = _Guess(start, kind, best - 1)
        return self._tokens(start, best - 1)

    def _gain(self, size: int, rate: float) -> float:
        """Tokens won per cost of one, when each guess is right with the probability `rate`."""
        rate = min(rate, 0.99)
        return (1 - rate**size) / (1 - rate) / self._costs.relative(size)

    def _found(self) -> tuple[int, int] | None:
        for n_matched, _ in _MATCHES:
            start = self._behind_last(n_matched)
            if start is not None:
                return start, n_matched
        if self._behind_change is not None:
            return self._behind_change, 0
        return None

    def _behind_last(self, n_matched: int) -> int | None:
        """Where the text goes on that runs as its last tokens do; the nearest such place."""
        data, n_bytes = self._data, n_matched * _WIDTH
        if len(data) <= n_bytes:
            return None
        tail = bytes(data[-n_bytes:])
        found = data.rfind(tail, 0, len(data) - 1)
        while found >= 0 and found % _WIDTH:  # Within a token's number: none.
            found = data.rfind(tail, 0, found + n_bytes - 1)
        return None if found < 0 else (found + n_bytes) // _WIDTH

    def _tokens(self, start: int, n_tokens: int) -> list[int]:
        return array("i", bytes(self._data[start * _WIDTH : (start + n_tokens) * _WIDTH])).tolist()


_WIDTH = array("i").itemsize
