"""What the text itself proposes: how it goes on where it runs as it does right before the point of generation.

A small model is short-sighted, but code repeats itself. Here the longest such places are found, and what follows
there is weighed with what the model finds likely, and with what the caret's line says about where to end: its
brackets, and whether it goes on. The result is a probability for each token that is considered. The weights are
data, `llama_copying.toml`, fitted by `bench.copy_fit`; that file says on what. The idea has many names: cache
language models (for code: Hellendoorn & Devanbu 2017, "Are deep neural networks the best choice for modeling source
code?"), pointer networks (See et al. 2017), kNN-LM (Khandelwal et al. 2020).

Everything is bytes, never tokens: the caret often stands inside what is one token elsewhere, so that the same
text is not the same tokens. Pure: it knows neither llama.cpp nor a vocabulary.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MIN_MATCH = 3
"""Bytes before the point of generation that must be the same elsewhere, white space around them aside. Two are the same
everywhere, and so is an indentation: to copy what follows it made 9 instead of 13 of 250 lines of HumanEval right."""
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


class Option(NamedTuple):
    """A token that may come next: one the model finds likely, or one that places propose."""

    log_probability: float
    """By the model alone."""
    is_end: bool
    begins_line: bool
    n_same: int = 0
    """Places that propose it."""
    n_rejoined: int = 0
    """The most that one of those rejoins."""
    in_word: bool = False
    """Whether it goes on with a word that has been begun, at one of them."""


class Situation(NamedTuple):
    """What holds for all that may come next."""

    n_matched: int
    """Bytes that are the same at the places; 0 where there is none."""
    n_places: int
    n_open: int
    """Brackets that the caret's line has open, less those that its rest closes."""
    line_goes_on: bool
    """Whether text stands after the caret on its line."""
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
        rest = after.partition(b"\n")[0]
        self._line_goes_on = bool(rest.strip())
        self._n_closed_after = _brackets(rest)[1]
        self._is_untouched = True

    def append(self, text: bytes) -> None:
        """The generation went on with `text`.

        It is compared, but never copied from: a generation that copies itself goes round in circles (of 207
        holes 9 did not end within 48 tokens, and 5 without; one more was right, none less).
        """
        self._text += text
        self._is_untouched = self._is_untouched and not text

    def situation(self, places: Sequence[Place]) -> Situation:
        """What holds at the point of generation, whose places are known."""
        line = bytes(self._text[-_LINE_BYTES:]).rpartition(b"\n")[2].rpartition(_SEAM)[2]
        return Situation(
            places[0].n_matched if places else 0,
            len(places),
            _brackets(line)[0] - self._n_closed_after,
            self._line_goes_on,
            self._is_untouched,
        )

    def places(self) -> list[Place]:
        """The nearest places with the longest match; none where too little matches."""
        text, end = self._text, self._end
        tail = bytes(text[max(self._start, len(text) - MAX_MATCH) :]).rpartition(_SEAM)[2]
        n_matched = self._longest_match(tail)
        same = tail[len(tail) - n_matched :]
        if len(same.strip()) < MIN_MATCH:
            return []
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


def mixture(options: Sequence[Option], situation: Situation) -> list[float]:
    """The natural logarithm of how probable each option is, and at the end that of any other token.

    Together they are 1. The model's own opinion is one of the things that are weighed.
    """
    return _normalized([_score(row, _weights()) for row in features(options, situation)])


def features(options: Sequence[Option], situation: Situation) -> list[tuple[float, ...]]:
    """What speaks for each option, in the order of `FEATURES`, and at the end for any other token."""
    left = 1 - sum(math.exp(option.log_probability) for option in options)
    other = max(math.log(max(left, _SURE)), _LEAST)
    log_matched = math.log2(situation.n_matched) if situation.n_matched else 0.0
    unsure = -max(_LEAST, *(option.log_probability for option in options))
    rows = [_features(option, situation, log_matched, unsure) for option in options]
    nothing = (0.0,) * (len(FEATURES) - 3)
    return [*rows, (other, other * log_matched, *nothing, 1.0)]


FEATURES = (
    "model",  # the model's log-probability of it
    "model, matched",  # the same, for each doubling of the bytes that match somewhere
    "model, proposed",  # the same, if a place proposes it
    "share",  # share of the places that propose it
    "share, unsure",  # the same, for each nat that the model's likeliest token costs
    "share, matched",  # the same, for each doubling of the bytes that match
    "share, long",  # and for each above 16 bytes
    "word",  # it goes on with a word, as in another place
    "first",  # it is proposed, and nothing has been generated yet
    "rejoined",  # it is the end, per doubling of the bytes that follow a place and stand after the caret
    "end",  # it is the end
    "end, open",  # and a bracket of the line stays open
    "end, closed",  # and a bracket is closed that the line has not opened
    "end, inside",  # and the line goes on after the caret
    "leaves line",  # it begins a new line though the caret's goes on
    "other",  # it is none of the options
)


def _features(
    option: Option, situation: Situation, log_matched: float, unsure: float
) -> tuple[float, ...]:
    model = max(option.log_probability, _LEAST)
    is_proposed, is_end = option.n_same > 0, option.is_end
    share = option.n_same / situation.n_places if is_proposed else 0.0
    return (
        model,
        model * log_matched,
        model * is_proposed,
        share,
        share * unsure,
        share * log_matched,
        share * max(0.0, log_matched - 4),
        float(option.in_word and not is_end),
        float(is_proposed and situation.is_first),
        is_end * math.log2(1 + option.n_rejoined),
        float(is_end),
        float(is_end and situation.n_open > 0),
        float(is_end and situation.n_open < 0),
        float(is_end and situation.line_goes_on),
        float(option.begins_line and situation.line_goes_on),
        0.0,
    )


def _score(row: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, row, weights))


def _normalized(scores: Sequence[float]) -> list[float]:
    most = max(scores)
    total = most + math.log(sum(math.exp(score - most) for score in scores))
    return [min(0.0, score - total) for score in scores]


@cache
def _weights() -> tuple[float, ...]:
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["weights"]
    return tuple(float(known[name]) for name in FEATURES)


_SURE = 1e-6
_LEAST = -12.0
"""What the model finds less probable than that is all the same to it."""
_LINE_BYTES = 400
"""Of a longer line only the brackets at its end are counted."""

_SEAM = b"\xff"
"""Between two texts. UTF-8 never holds it, so no match and no proposal runs over it."""


def _brackets(line: bytes) -> tuple[int, int]:
    """How many a piece of a line opens and does not close, and how many it closes and did not open."""
    n_open = n_closed = 0
    for byte in line.translate(None, delete=_NO_BRACKETS):
        if byte in _OPENING:
            n_open += 1
        elif n_open:
            n_open -= 1
        else:
            n_closed += 1
    return n_open, n_closed


_OPENING = b"([{"
_NO_BRACKETS = bytes(set(range(256)) - set(b"([{)]}"))


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
