"""The most probable token where the text itself has a say beside the model.

The model says how probable each token is; the text says which one followed in other places. Both are weighed in one
distribution over the tokens that either proposes (`llama_copying.mixture`), so that the log-probabilities that are
reported are those of what was drawn.

Filled exactly, of 1,200 ends of lines, 1,200 holes inside lines and 1,200 expressions that nothing was fitted or
chosen on (`bench.holes`, seeds 91 to 93; the embedded model of 4.2M parameters, 59.4M tokens; cut and filtered as an
editor shows it):

| | end of line | in line | expression |
|---|---|---|---|
| the nearest longest repetition, in the whole file | .148 | .228 | .200 |
| the same, in pieces of the package's other files too | .243 | .298 | .258 |
| **the mixture, with 52 KB of the rest of the file and such pieces** | .228 | .522 | .384 |

95 % intervals are .02 to .03 either way. The model alone had .120 / .332 / .248 on 400 others. Taking the surest of
four generations instead of the first gained nothing at ends of lines (.177 and .177 of 300, in other packages), nor a
head start for what is copied (450 other holes), nor more features of long matches (12,300 tokens of other packages).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from midfill.engine import COPIES_BELOW_PARAMETERS, Sampling
from midfill.engines.llama_context import LlamaContext, Logits
from midfill.engines.llama_copying import CopySource, Option, Place, Situation, mixture
from midfill.engines.llama_healing import Healing
from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_sampling import log_probability

N_LIKELIEST = 4
"""Tokens of the model's that are considered. With 12 no more was right (1,200 holes)."""


def copies(sampling: Sampling, model: LlamaModel) -> bool:
    """Whether the copy expert takes part in this request. Drawing by chance it never does."""
    if sampling.temperature > 0:
        return False
    if sampling.copy is None:
        return model.n_parameters < COPIES_BELOW_PARAMETERS
    return sampling.copy


def prepare(model: LlamaModel) -> None:
    """Make the model's table of texts, where requests will ask for it, before the first one waits for it."""
    if copies(Sampling(max_tokens=1), model):
        model.first_token(b"")


def copy_source(prompt: Sequence[int], sampling: Sampling, model: LlamaModel) -> CopySource:
    """What a generation after `prompt` may copy from: the prompt's own texts, and those of the request.

    A prompt is texts between control tokens. If it ends in text, that is what stands before the caret, and
    what comes after stands in front of it (SPM); else they are in the order of the file (PSM).
    """
    *others, first, after, last = (b"", b"", *_texts_of(prompt, model))
    if last:
        others.append(first)
    given = [text.encode("utf-8", "replace") for text in sampling.copy_from]
    return CopySource(last or first, after, [text for text in (*given, *others) if text])


class CopyingGreedy:
    """A `Sampler` that keeps the text it draws.

    While tokens before the caret are drawn again (`Healing`), what was copied from follows the caret as before, and
    is proposed behind the bytes that are still to be drawn.
    """

    def __init__(
        self, source: CopySource, model: LlamaModel, ends: Collection[int], healing: Healing
    ) -> None:
        self._healing = healing
        self._source = source
        self._model = model
        self._ends = tuple(ends)
        self._scratch: Logits = np.empty(0, np.float32)

    def draw(self, context: LlamaContext, row: int) -> tuple[int, float]:
        tokens, options, situation = self.considered(context.logits(row))
        found = mixture(options, situation)[:-1]
        log_probability_ = max(found)
        token = tokens[found.index(log_probability_)]
        self._source.append(self._model.piece(token)[len(self._healing.left) :])
        return token, log_probability_

    def considered(self, logits: Logits) -> Considered:
        """The model's most probable tokens, and those that places propose."""
        if self._scratch.size != logits.size:
            self._scratch = np.empty_like(logits)
        top = int(logits.argmax())
        log_top = log_probability(logits, top, self._scratch)
        places = self._source.places()
        proposed: dict[int, list[Place]] = {}
        begun: dict[tuple[bytes, bool], int | None] = {}
        for place in places:
            # Most places go on alike.
            key = (place.following, place.n_rejoined > 0)
            token = (
                begun[key] if key in begun else begun.setdefault(key, self._token_of(place, logits))
            )
            if token is not None:
                proposed.setdefault(token, []).append(place)
        tokens = [
            it for it in dict.fromkeys((*self._likeliest(), *proposed)) if math.isfinite(logits[it])
        ]
        options = [
            self._option(it, log_top + float(logits[it] - logits[top]), proposed.get(it, ()))
            for it in tokens
        ]
        return Considered(tokens, options, self._source.situation(places))

    def free(self) -> None:
        pass

    def _likeliest(self) -> list[int]:
        # A few passes take 3 us where numpy.argpartition takes 100: nearly all of the numbers are almost 0 (measured).
        found = []
        for _ in range(N_LIKELIEST):
            found.append(int(self._scratch.argmax()))
            self._scratch[found[-1]] = -1.0
        return found

    def _option(self, token: int, said: float, places: Sequence[Place]) -> Option:
        return Option(
            said,
            token in self._ends,
            self._model.piece(token).startswith(b"\n"),
            len(places),
            max((place.n_rejoined for place in places), default=0),
            any(place.in_word for place in places),
        )

    def _token_of(self, place: Place, logits: Logits) -> int | None:
        left = self._healing.left
        if left:
            following = b"" if place.n_rejoined else place.following
            return self._model.first_token(left + following)
        if place.n_rejoined and self._ends:
            return max(self._ends, key=lambda end: float(logits[end]))
        return self._model.first_token(place.following)


class Considered(NamedTuple):
    """Tokens that may come next, what speaks for each, and what holds for all."""

    tokens: list[int]
    options: list[Option]
    situation: Situation


def _texts_of(prompt: Sequence[int], model: LlamaModel) -> list[bytes]:
    pieces = list(map(model.piece, prompt))
    # A control token has no text of its own, which is how it is told from the others.
    cuts = [idx for idx, piece in enumerate(pieces) if not piece]
    starts = [0, *(cut + 1 for cut in cuts)]
    return [b"".join(pieces[a:b]) for a, b in zip(starts, [*cuts, len(pieces)], strict=True)]
