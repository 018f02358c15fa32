"""What the text itself proposes: how it goes on where it runs as it does right before the point of generation.

A small model is short-sighted, but code repeats itself. Here the longest such places are found, and how far
what follows there is to be trusted is put as a probability. The idea has many names: cache language models
(for code: Hellendoorn & Devanbu 2017, "Are deep neural networks the best choice for modeling source code?"),
pointer networks (See et al. 2017), kNN-LM (Khandelwal et al. 2020).

Everything is bytes, never tokens: the caret often stands inside what is one token elsewhere, so that the same
text is not the same tokens. Pure: it knows neither llama.cpp nor a vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MIN_MATCH = 3
"""Bytes before the point of generation that must be the same elsewhere. Two are the same everywhere."""
MAX_MATCH = 64
"""Of two places that are the same for longer than this, none counts more."""
MAX_PLACES = 16
"""Places that are asked how the text goes on, the nearest first."""
FOLLOWING = 32
"""Bytes that are read at a place: longer than nearly every token."""


class Place(NamedTuple):
    """Where the text runs as it does before the point of generation."""

    n_matched: int
    following: bytes
    """What stands there next; empty at the end of a text."""
    n_rejoined: int
    """How many bytes of it are the text after the caret, if enough of them are: then the middle ends here."""
    in_word: bool
    """Whether it goes on with a word that has been begun."""
    leaves_line: bool
    """Whether it begins a new line though the caret's has text after the caret."""


class Evidence(NamedTuple):
    """What speaks for the token that most places propose."""

    place: Place
    """Of those that propose it the one that rejoins most, else the nearest."""
    n_same: int
    """Places that propose it."""
    n_places: int


class Opinion(NamedTuple):
    """What the model itself thinks."""

    log_probability: float
    """Of the proposed token."""
    log_rival: float
    """Of the most probable other token."""
    rival_ends: bool
    """Whether that other token is the end."""
    is_first: bool
    """Whether nothing has been generated yet."""


class CopySource:
    """The texts to copy from, and the one that grows. Owned by one generation."""

    def __init__(self, before: bytes, after: bytes = b"", others: Sequence[bytes] = ()) -> None:
        """`before` and `after` stand around the caret; of `others` the nearest comes last."""
        self._text = bytearray(_SEAM.join((*others, after, before)))
        self._start = len(self._text) - len(before)
        self._n_given = len(self._text)
        self._after = after[:FOLLOWING]
        self._rejoins = _rejoining_length(after)
        self._line_goes_on = bool(after.partition(b"\n")[0].strip())
        self.is_untouched = True
        """Whether nothing has been generated yet."""

    def append(self, text: bytes) -> None:
        """The generation went on with `text`.

        It is compared, but never copied from: a generation that copies itself goes round in circles (of 207
        holes 9 did not end within 48 tokens, and 5 without; one more was right, none less).
        """
        self._text += text
        self.is_untouched = self.is_untouched and not text

    def places(self) -> list[Place]:
        """The nearest places with the longest match; none where too little matches."""
        text, end = self._text, self._end
        tail = bytes(text[max(self._start, len(text) - MAX_MATCH) :]).rpartition(_SEAM)[2]
        n_matched = self._longest_match(tail)
        if n_matched < MIN_MATCH:
            return []
        same = tail[-n_matched:]
        places: list[Place] = []
        found = text.rfind(same, 0, end)
        while found >= 0 and len(places) < MAX_PLACES:
            stop = found + n_matched
            following = bytes(text[stop : min(stop + FOLLOWING, self._n_given)])
            following = following.partition(_SEAM)[0]
            places.append(
                Place(
                    n_matched,
                    following,
                    self._n_rejoined(following),
                    in_word=_is_word(same[-1:]) and _is_word(following[:1]),
                    leaves_line=self._line_goes_on and following.startswith(b"\n"),
                )
            )
            found = text.rfind(same, 0, stop - 1)
        return places

    @property
    def _end(self) -> int:
        """Where a match may end at the latest: never where the generation stands."""
        return min(self._n_given, len(self._text) - 1)

    def _longest_match(self, tail: bytes) -> int:
        # Where the last n bytes stand, the last n - 1 do too. So five searches in C find the length, and no
        # index has to be built for every key that is typed (a dict over 5 KB takes longer than 20 tokens).
        text, end = self._text, self._end
        low, high = 0, len(tail)
        while low < high:
            middle = (low + high + 1) // 2
            if text.find(tail[-middle:], 0, end) >= 0:
                low = middle
            else:
                high = middle - 1
        return low

    def _n_rejoined(self, following: bytes) -> int:
        n_most = min(len(following), len(self._after))
        n_same = next((idx for idx in range(n_most) if following[idx] != self._after[idx]), n_most)
        return n_same if n_same >= self._rejoins else 0


def trust(evidence: Evidence, opinion: Opinion) -> float:
    """How probable it is that the proposed token is right, between 0 and 1."""
    score = sum(_TRUST[name] * value for name, value in features(evidence, opinion).items())
    return 1 / (1 + math.exp(-score))


def features(evidence: Evidence, opinion: Opinion) -> dict[str, float]:
    """What the trust is weighed from, by name; `bench.copy_fit` finds the weights."""
    place = evidence.place
    said = opinion.log_probability
    odds = said - math.log1p(-min(math.exp(said), 1 - _SURE))
    is_end = place.n_rejoined > 0
    return {
        "always": 1.0,
        "match": math.log2(place.n_matched),
        "agreement": evidence.n_same / evidence.n_places,
        "votes": math.log2(evidence.n_same),
        "model": max(odds, _LEAST_ODDS),
        "rival": max(opinion.log_rival, _LEAST_ODDS),
        "end": is_end,
        "rejoined": is_end * math.log2(1 + place.n_rejoined),
        "word": place.in_word and not is_end,
        "leaves line": place.leaves_line and not is_end,
        "model ends word": opinion.rival_ends and place.in_word and not is_end,
        "first": opinion.is_first,
    }


_TRUST = {
    "always": -3.02,
    "match": 0.36,  # per doubling of the bytes that match
    "agreement": 1.76,  # share of the places that propose it
    "votes": 0.13,  # per doubling of their number
    "model": 0.46,  # the model's log odds for it
    "rival": -0.24,  # the model's log-probability of its best other token
    "end": 1.78,  # it is the end, since what follows there is what stands after the caret
    "rejoined": 0.67,  # per doubling of the bytes that do
    "word": 1.31,  # it goes on with a word
    "leaves line": -1.16,  # it begins a new line though the caret's goes on
    "model ends word": 0.4,  # the model would rather end, in the middle of a word
    "first": 0.61,  # nothing has been generated yet
}
"""A logistic regression of "was the proposed token the right one?", in natural units, by `bench.copy_fit` for the
embedded model (4.2M parameters, 43.0M tokens).

Fitted on 6,945 proposals at 600 holes (ends of lines, inside lines, expressions in equal parts) in code that
`models/training/corpus.toml` leaves out of training and holds out for no bench; once with the prompt to copy from
and once with the rest of the file; ridge 1. On 300 holes in what training holds out, a token for which there was
a proposal cost 1.64 nats instead of the model's 2.06. The weights of an earlier model cost 1.65: they carry over.
What to weigh was chosen with holes of that kind at hand.
"""

_SURE = 1e-6
_LEAST_ODDS = -9.0
"""What the model finds less probable than one in 8,000 is all the same to it."""

_SEAM = b"\xff"
"""Between two texts. UTF-8 never holds it, so no match and no proposal runs over it."""


def _is_word(byte: bytes) -> bool:
    return byte.isalnum() or byte == b"_" or byte >= b"\x80"


def _rejoining_length(after: bytes) -> int:
    """Bytes of `after` that show, where they follow a place, that what is missing there ends.

    On the caret's own line one is enough (63 % right, 70 % at two, then 90 %). Where nothing is left on it, a
    line end says little about where a block ends, so the whole next line must be the same.
    """
    line = after.partition(b"\n")[0]
    if line.strip():
        return 1
    code = after.lstrip()
    if not code:
        return FOLLOWING + 1  # Nothing to rejoin.
    return min(FOLLOWING, len(after) - len(code) + len(code.partition(b"\n")[0]) + 1, len(after))
