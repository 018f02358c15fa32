"""Token healing: the caret may stand inside what the model knows as one token.

Text that ends in `import nu` is read as tokens that no training text ends in, since there `numpy` was one token; a
model that goes on from them has to say something it never learned. So the last tokens are drawn again, bound to
the bytes that are there: of the tokens that begin with those bytes, or that they begin with, the model takes
the likeliest. Bytes, not characters: a character may be spread over tokens.

The idea is that of guidance's "token healing" (Lundberg 2023); Code Llama's authors advise it for prompts whose
suffix comes first, because there prefix and middle were one text in training (appendix of the paper, quoted in
llama.cpp's issue 2818). Where the prompt ends in a control token the model was trained with broken words, and
nothing is healed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midfill.engines.llama_context import Logits
from midfill.engines.llama_model import LlamaModel

N_BACK = 1
"""Tokens that are drawn again."""
_N_BACK_MOST = 8
"""More than any character has bytes."""


def n_to_redraw(prompt: Sequence[int], model: LlamaModel) -> int:
    """How many of the prompt's last tokens to draw again; none where it does not end in text."""
    n_back = 0
    while n_back < min(_N_BACK_MOST, len(prompt) - 1):
        piece = model.piece(prompt[-1 - n_back])
        if not piece or (n_back >= N_BACK and not _is_inside_character(prompt, n_back, model)):
            break
        n_back += 1
    return n_back


class Healing:
    """What of the text before the caret is still to be drawn again. Owned by one candidate."""

    def __init__(self, redrawn: Sequence[int], model: LlamaModel) -> None:
        """`redrawn` are the prompt's last tokens, which the generation begins with again."""
        self.left = b"".join(map(model.piece, redrawn))
        """Bytes that the next tokens are bound to."""
        self._model = model

    def bind(self, logits: Logits) -> None:
        """Make every token impossible that contradicts the text."""
        if self.left:
            allowed = self._model.consistent_tokens(self.left)
            if not len(allowed):  # The text was an unknown token, which no token spells.
                self.left = b""
                return
            kept = logits[allowed]
            logits.fill(-np.inf)
            logits[allowed] = kept

    def take(self, piece: bytes) -> bytes:
        """The token was drawn; what of it comes after the caret."""
        n_left = len(self.left)
        self.left = self.left[len(piece) :]
        return piece[n_left:]


def _is_inside_character(prompt: Sequence[int], n_back: int, model: LlamaModel) -> bool:
    """Whether what is redrawn so far begins within a character."""
    first = model.piece(prompt[-n_back])[:1]
    return b"\x80" <= first < b"\xc0"
