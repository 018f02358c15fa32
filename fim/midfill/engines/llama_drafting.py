"""Prompt lookup: guess the next tokens from what followed the same tokens earlier, and verify them in one batch.

A batch of a few tokens costs little more than one, so every right guess is nearly free; edits, which repeat most
of what they were given, profit most. The guess is only evaluated, never trusted: the output is what it would
be without. The idea is Saxena's "Prompt lookup decoding" (2023), after speculative decoding (Leviathan et al.
2022); that a change is expected again is ours. How many tokens to guess follows from how often guesses have been
right in this generation, and from what batches of each size have cost on this machine: on one CPU a batch of 4
costs as much as 1.5 single tokens and one of 8 as much as 3.6; on another model file of the same shape 1.4 and 2.6,
beside other programs 2.3 and 4.9 (measured), on a GPU far less. For 30 functions of this repository in which a
name is replaced, that makes 2.5, 3.5 and 2.2 tokens in the time of one (computed from these costs).
Pure: it knows neither llama.cpp nor a vocabulary.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SIZES = (1, 2, 4, 8, 16)
"""Tokens of a batch: the one that is known and those that are guessed."""

_MATCHES = ((8, 0.9), (5, 0.8), (3, 0.6), (2, 0.4))
"""Tokens before the point of generation that must be the same, and how often such a guess is taken to be right
before any was tried."""
_FOLLOWED, _CHANGED = -1, 0
_AFTERWARDS = {_FOLLOWED: 0.9, _CHANGED: 0.5}
"""The same for the text behind what was repeated so far, and behind a token that was not as guessed: an edit often
changes one token of many."""
_SURE = 3
"""Repeated tokens after which a place is followed whatever else matches."""
_CHANGE_MOST = 8
"""Tokens of what is looked for again as a change: a name, and the one that took its place."""
_LEARNING = 0.3
"""How much of the opinion is the last guess."""
_WORTHWHILE = 1.05
"""Gain below which nothing is guessed: the times are not known to a few per cent."""
_MOVED = 0.02
"""Share by which a time must have changed for anything to be reckoned anew."""
_TIMES_KEPT = 9
_REMEMBERED = 256
"""Evaluations after which a size that was not tried among them is as if it never was: one busy moment must not rule
it out for good."""
_UNTRIED_SLOPE = 0.05
"""What a further token in a batch is taken to cost before it was tried: little, so that it is tried."""


class BatchCosts:
    """What evaluating a batch costs, by its size, from the last times it was done. One per engine."""

    def __init__(self) -> None:
        self._ms: dict[int, deque[float]] = {}
        self._median_ms: dict[int, float] = {}
        self._n_noted = 0
        self._tried = {1}
        """Sizes since the last look."""
        self._relative: dict[int, float] = {}
        """Of `SIZES`, while it holds; it is asked for with each token."""
        self._reckoned_ms: dict[int, float] = {}
        """The times that those are of."""

    def note(self, n_tokens: int, ms: float) -> None:
        """A batch was evaluated."""
        times = self._ms.get(n_tokens)
        if times is None:
            times = self._ms[n_tokens] = deque(maxlen=_TIMES_KEPT)
        times.append(ms)
        # `statistics.median` takes three times as long, and this is asked with each token.
        ordered, middle = sorted(times), len(times) // 2
        median_ms = self._median_ms[n_tokens] = (ordered[middle] + ordered[~middle]) / 2
        reckoned_ms = self._reckoned_ms.get(n_tokens, 0.0)
        if abs(median_ms - reckoned_ms) > _MOVED * reckoned_ms:
            self._relative = {}
        self._tried.add(n_tokens)
        self._n_noted += 1
        if self._n_noted % _REMEMBERED == 0:
            for untried in self._ms.keys() - self._tried:
                del self._ms[untried], self._median_ms[untried]
            self._tried = {1}
            self._relative = {}

    def of_sizes(self) -> Mapping[int, float]:
        """`relative` for each of `SIZES`, from times that have hardly moved since."""
        if not self._relative:
            self._reckoned_ms = dict(self._median_ms)
            self._relative = {size: self.relative(size) for size in SIZES}
        return self._relative

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
    kind: int
    """Tokens that matched, or one of `_AFTERWARDS`."""
    n_tokens: int


class _Place(NamedTuple):
    """Where a text that is being repeated goes on."""

    at: int
    """The token's place in the text."""
    n_said: int = 0
    """Tokens that were said of what comes in place of what stands there."""


class _Change(NamedTuple):
    """Where the generation left the text that it repeats."""

    source: int
    """Where the token stands that did not come."""
    said: int
    """Where the one stands that came instead."""


class Drafter:
    """The tokens of one generation, and what they suggest. Owned by it.

    A place that is repeated is followed until the generation leaves it. What came in place of what, as a new name for
    an old one, is expected again wherever the old one stands.
    """

    def __init__(self, prompt: Sequence[int], costs: BatchCosts) -> None:
        # As bytes, because searching bytes backwards is done in C.
        self._data = bytearray(array("i", prompt).tobytes())
        self._costs = costs
        self._rates = dict(_MATCHES) | _AFTERWARDS
        self._guess: _Guess | None = None
        self._next: _Place | None = None
        """Where the text goes on that is being repeated."""
        self._n_followed = 0
        """Tokens that were repeated since it was found or left."""
        self._change: _Change | None = None
        """The last one, until it is known where it ends."""
        self._changes: dict[int, tuple[list[int], list[int]]] = {}
        """What came in place of what, by the first token of the latter."""

    def append(self, tokens: Sequence[int]) -> None:
        """The generation went on with `tokens`, which tells how good the last draft was."""
        guess, self._guess = self._guess, None
        n_before = self._n_tokens
        self._data += array("i", tokens).tobytes()
        if self._next is None or not tokens:
            return
        expected, places = self._expected(self._next, len(tokens), n_before)
        n_right = next(
            (idx for idx, (a, b) in enumerate(zip(expected, tokens, strict=False)) if a != b),
            min(len(expected), len(tokens)),
        )
        if guess is not None:
            n_tried = min(guess.n_tokens, len(tokens))
            n_good = min(n_right, n_tried)
            rate = n_good / min(n_tried, n_good + 1)
            self._rates[guess.kind] += _LEARNING * (rate - self._rates[guess.kind])
        self._n_followed += n_right
        if n_right and self._change and self._n_followed >= _SURE:
            n_since = self._n_followed - n_right
            self._learn(self._change, places[0].at - n_since, n_before - n_since)
        self._next = places[n_right]
        for idx in range(n_right, len(tokens)):
            if self._next is not None:
                self._leave(self._next.at, n_before + idx, tokens[idx])

    def draft(self, n_most: int) -> list[int]:
        """What comes next, as far as guessing pays; at most `n_most` tokens."""
        kind = self._find()
        if self._next is None:
            return []
        rate = self._rates[kind]
        # With each token: what it costs to guess is looked up once, and the text only where guessing pays.
        gains = {
            size: _tokens_won(size, rate) / cost
            for size, cost in self._costs.of_sizes().items()
            if size <= n_most + 1
        }
        size = _best(gains)
        if size == 1:
            return []
        expected, _ = self._expected(self._next, size - 1, self._n_tokens)
        if len(expected) < size - 1:  # The text ends before.
            size = _best({n: gain for n, gain in gains.items() if n <= len(expected) + 1})
            if size == 1:
                return []
        self._guess = _Guess(kind, size - 1)
        return expected[: size - 1]

    def _find(self) -> int:
        """Choose the place to repeat; tells why that one, as in `_rates`."""
        if self._next is not None and self._n_followed >= _SURE:
            return _FOLLOWED
        for n_matched, _ in _MATCHES:
            if self._next is not None and n_matched < _SURE:
                break
            at = self._behind_last(n_matched)
            if at is not None:
                if self._next is None or self._next.at != at:
                    self._next, self._n_followed = _Place(at), 0
                return n_matched
        return _CHANGED

    def _leave(self, source: int, said: int, token: int) -> None:
        """Instead of what stands at `source`, or of what takes its place, came `token`, which stands at `said`."""
        if [token] == self._tokens(source, 1):
            self._changes.pop(token, None)
            self._next = _Place(source + 1)
            return
        change, was_sure = self._change, self._n_followed >= _SURE
        self._n_followed = 0
        if change is None or said - change.said >= _CHANGE_MOST:
            is_new = change is None or was_sure
            self._change = _Change(source, said) if is_new else None
            self._next = _Place(source + 1) if is_new else None
            return
        # A change may be longer on either side than a token; where it ends, the text goes on as before.
        behind = self._tokens(change.source + 1, _CHANGE_MOST)
        if token in behind:
            self._next, self._n_followed = _Place(change.source + 2 + behind.index(token)), 1
        else:
            self._next = _Place(change.source + 1)

    def _learn(self, change: _Change, source: int, said: int) -> None:
        """The change ends before `source` there and before `said` here, unless another place is followed by now."""
        old = self._tokens(change.source, source - change.source)
        new = self._tokens(change.said, said - change.said)
        if 0 < len(old) <= _CHANGE_MOST and 0 < len(new) <= _CHANGE_MOST:
            self._change = None
            self._changes[old[0]] = (old, new)

    def _expected(self, place: _Place, n_most: int, n_there: int) -> tuple[list[int], list[_Place]]:
        """What comes if the first `n_there` tokens are repeated from a place on; the places of each and of the end."""
        tokens: list[int] = []
        places: list[_Place] = []
        at, n_said = place
        source = self._tokens(at, min(n_most + _CHANGE_MOST, n_there - at))
        idx = 0
        while len(tokens) < n_most and idx < len(source):
            alone = [source[idx]]
            old, new = self._changes.get(source[idx], (alone, alone))
            if source[idx : idx + len(old)] != old:
                old, new = alone, alone
            tokens += new[n_said:]
            places += [_Place(at + idx, n) for n in range(n_said, len(new))]
            idx, n_said = idx + len(old), 0
        places.append(_Place(at + idx))
        return tokens[:n_most], places

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

    @property
    def _n_tokens(self) -> int:
        return len(self._data) // _WIDTH

    def _tokens(self, start: int, n_tokens: int) -> list[int]:
        return array("i", bytes(self._data[start * _WIDTH : (start + n_tokens) * _WIDTH])).tolist()


def _tokens_won(size: int, rate: float) -> float:
    """By a batch of so many, when each guess is right with the probability `rate`."""
    rate = min(rate, 0.99)
    return (1 - rate**size) / (1 - rate)


def _best(gains: Mapping[int, float]) -> int:
    """The batch that wins most; of one token where none is worthwhile."""
    best = max(gains, key=lambda size: gains[size], default=1)
    return best if gains.get(best, 0) >= _WORTHWHILE else 1


_WIDTH = array("i").itemsize
