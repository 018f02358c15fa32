"""The most probable token where the text itself has a say beside the model.

The model says how probable each token is; the text says which one followed in other places. The proposed
token gets the probability that such proposals have been right with (`llama_copying.trust`), and the others
share what is left in the model's proportions. So it stays a distribution, and the log-probabilities that are
reported are those of the mixture.

Filled exactly, of 200 ends of lines, 200 holes inside lines and 200 expressions that nothing was fitted or
chosen on (`bench.holes`, seed 77; the embedded model of 4.2M parameters; cut and filtered as an editor shows it):

| | end of line | in line | expression |
|---|---|---|---|
| the model alone | .090 | .295 | .195 |
| the nearest longest repetition, in the whole file | .130 | .280 | .175 |
| **the mixture, with 32 KB of the rest of the file** | .150 | .445 | .315 |

95 % intervals are .04 to .08 either way; at ends of lines it is not shown to be better than plain copying. With
another model of that size a mixture was also better (.125 / .305 / .280) than copying where 12 characters repeat
(.135 / .190 / .185) and than taking whichever the model finds likelier (.125 / .145 / .170). A head start for
what is copied gained nothing (450 other holes).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from midfill.engine import Sampling
from midfill.engines.llama_context import LlamaContext, Logits
from midfill.engines.llama_copying import CopySource, Evidence, Opinion, Place, trust
from midfill.engines.llama_healing import Healing
from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_sampling import log_probability

COPIES_BELOW_PARAMETERS = 1_000_000_000
"""Models smaller than this copy unless the request says no. Measured with 3.5M parameters only; a large model
sees the repetitions itself, so until it is measured there it is off."""


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
        top, considered = self.considered(context.logits(row))
        chosen = top
        if considered is not None:
            token, rival, evidence, opinion = considered
            trusted = trust(evidence, opinion)
            left = math.log1p(-trusted) - math.log1p(-min(math.exp(opinion.log_probability), _SURE))
            others = Choice(rival, min(0.0, opinion.log_rival + left))
            chosen = max(
                Choice(token, math.log(trusted)), others, key=lambda it: it.log_probability
            )
        self._source.append(self._model.piece(chosen.token)[len(self._healing.left) :])
        return chosen

    def considered(self, logits: Logits) -> tuple[Choice, Considered | None]:
        """The model's most probable token, and what there is to consider if the text proposes one."""
        if self._scratch.size != logits.size:
            self._scratch = np.empty_like(logits)
        top_token = int(logits.argmax())
        top = Choice(top_token, log_probability(logits, top_token, self._scratch))
        proposed = self._proposed(logits)
        if proposed is None:
            return top, None
        token, evidence = proposed
        rival = top.token
        if token == rival:
            self._scratch[token] = 0  # It holds the probabilities, up to a factor.
            rival = int(self._scratch.argmax())
        said, of_rival = (
            top.log_probability + float(logits[it] - logits[top.token]) for it in (token, rival)
        )
        ends, is_first = rival in self._ends, self._source.is_untouched
        opinion = Opinion(said, of_rival, ends, is_first)
        return top, Considered(token, rival, evidence, opinion)

    def free(self) -> None:
        pass

    def _proposed(self, logits: Logits) -> tuple[int, Evidence] | None:
        """The token that most places propose; of several the one whose place is nearest."""
        places = self._source.places()
        tokens = [self._token_of(place, logits) for place in places]
        votes = Counter(token for token in tokens if token is not None)
        if not votes:
            return None
        token, n_same = votes.most_common(1)[0]
        asked = [place for place, of in zip(places, tokens, strict=True) if of == token]
        strongest = max(asked, key=lambda place: place.n_rejoined)
        return token, Evidence(strongest, n_same, len(places))

    def _token_of(self, place: Place, logits: Logits) -> int | None:
        left = self._healing.left
        if left:
            following = b"" if place.n_rejoined else place.following
            return self._model.first_token(left + following)
        if place.n_rejoined and self._ends:
            return max(self._ends, key=lambda end: float(logits[end]))
        return self._model.first_token(place.following)


_SURE = 1 - 1e-6  # No probability is taken to be 1.


class Considered(NamedTuple):
    """A token that the text proposes, against the model's most probable other one."""

    token: int
    rival: int
    evidence: Evidence
    opinion: Opinion


class Choice(NamedTuple):
    """A token and the natural logarithm of its probability."""

    token: int
    log_probability: float


def _texts_of(prompt: Sequence[int], model: LlamaModel) -> list[bytes]:
    pieces = list(map(model.piece, prompt))
    # A control token has no text of its own, which is how it is told from the others.
    cuts = [idx for idx, piece in enumerate(pieces) if not piece]
    starts = [0, *(cut + 1 for cut in cuts)]
    return [b"".join(pieces[a:b]) for a, b in zip(starts, [*cuts, len(pieces)], strict=True)]
