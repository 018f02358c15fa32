"""The least that a plug-in does: the whole file cut by characters, and whatever comes is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.baselines.policy import Ask, OpenFile, Shown

from midfill.context import CompletionContext

PREFIX_CHARS, SUFFIX_CHARS = 3072, 1024
"""Three parts to one, as `/infill` of llama.cpp's server shares its batch, in 4096 characters, which at three
characters a token fit the window of the smallest model here."""
MAX_TOKENS = 128


@dataclass(frozen=True)
class Naive:
    """No lines, no other files, no stop rule but the end token, no filter."""

    def ask(self, context: CompletionContext, others: Sequence[OpenFile]) -> Ask:
        """The characters around the caret."""
        return Ask(context.prefix[-PREFIX_CHARS:], context.suffix[:SUFFIX_CHARS], MAX_TOKENS)

    def end(self, said: str, context: CompletionContext) -> int | None:
        """Never."""
        return None

    def shown(self, said: str, context: CompletionContext) -> Shown:
        """All of it."""
        return Shown(said)
