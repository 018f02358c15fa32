"""Who fills the holes: one class each, in a dictionary, so that another takes one class and one line.

A system is given the caret's context, as an editor's server would have it, and nothing else. It decides itself
how much to say and when to stop.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from bench.copying import cut_as_an_editor, longest_repetition

from midfill.complete import Completion, complete
from midfill.context import CompletionContext
from midfill.engine import Engine, ModelInfo, Piece, Sampling, Usage
from midfill.filters import FILTERS, Filter, filtered
from midfill.overlap import n_replaced
from midfill.settings import CompletionSettings

MIN_COPIED_CHARS = 16
"""Of 6 to 32, where the two together were right most often on 600 holes (seed 1, a model of 3.5M parameters);
the figures differ by less than their intervals."""


@dataclass(frozen=True)
class Answer:
    """What a system shows at a caret. An empty text shows nothing."""

    text: str
    ms: float
    generation: str = ""
    """What a model said, before anything was taken away."""
    usage: Usage = field(default_factory=Usage)
    n_replaced: int = 0
    """How many characters right of the caret the text takes the place of."""
    confidence: Mapping[str, float] = field(default_factory=dict)
    """Numbers that may tell right answers from wrong ones, the higher the surer, each under its name."""


class System(Protocol):
    """One way to complete at the caret."""

    async def answer(self, context: CompletionContext) -> Answer:
        """What is shown there."""


class RecordingEngine:
    """An `Engine` that keeps the pieces of the last generation, for what `Completion` does not tell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.pieces: list[Piece] = []

    async def info(self) -> ModelInfo:
        """As the engine says."""
        return await self._engine.info()

    async def tokenize(self, text: str) -> list[int]:
        """As the engine does."""
        return await self._engine.tokenize(text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """As the engine does."""
        return await self._engine.detokenize(ids)

    def loading(self) -> float | None:
        """As the engine says."""
        return self._engine.loading()

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """As the engine does, and remembered."""
        self.pieces = []
        async with contextlib.aclosing(self._engine.generate(prompt, sampling)) as pieces:
            async for piece in pieces:
                self.pieces.append(piece)
                yield piece

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


class Completer:
    """The product's own path, asked once for each caret however many systems look at the result."""

    def __init__(self, engine: Engine, settings: CompletionSettings) -> None:
        self._engine = RecordingEngine(engine)
        self._settings = settings
        self._context: CompletionContext | None = None
        self._last: tuple[Completion, float, dict[str, float]] | None = None

    async def completion(
        self, context: CompletionContext
    ) -> tuple[Completion, float, dict[str, float]]:
        """The completion, the milliseconds it took, and how sure the model was of it."""
        if self._last is None or self._context is not context:
            started = time.perf_counter()
            found = await complete(context, self._engine, self._settings)
            ms = (time.perf_counter() - started) * 1000
            self._context = context
            self._last = (found, ms, confidence_of(self._engine.pieces, found.text))
        return self._last


class Midfill:
    """The product: the model through `complete()`, with its filters."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    async def answer(self, context: CompletionContext) -> Answer:
        """What an editor would show."""
        found, ms, confidence = await self._completer.completion(context)
        return Answer(found.text, ms, found.generation, found.usage, found.n_replaced, confidence)


class Unasked(Midfill):
    """The product where nobody asked: only what the model is sure enough of."""

    async def answer(self, context: CompletionContext) -> Answer:
        """What an editor shows while a person types."""
        found, *_ = await self._completer.completion(context)
        least = 1 - CompletionSettings().eagerness
        is_sure = context.is_wanted and (found.confidence is None or found.confidence >= least)
        answer = await super().answer(context)
        return answer if is_sure else replace(answer, text="", n_replaced=0)


class ModelRaw:
    """The same generation with the same stop rule, and no filter."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    async def answer(self, context: CompletionContext) -> Answer:
        """All that the model said until it was stopped."""
        found, ms, confidence = await self._completer.completion(context)
        text = found.generation
        return Answer(text, ms - found.filter_ms, text, found.usage, confidence=confidence)


class Without(Midfill):
    """The product but for one of its filters: what that one is worth."""

    def __init__(self, completer: Completer, left_out: Filter) -> None:
        super().__init__(completer)
        self._steps = tuple(step for step in FILTERS if step is not left_out)

    async def answer(self, context: CompletionContext) -> Answer:
        """What an editor would show."""
        found = await super().answer(context)
        text = filtered(found.generation, context, self._steps)
        return replace(found, text=text, n_replaced=n_replaced(text, context))


class Nothing:
    """No model: what any figure has to be compared with."""

    def __init__(self, completer: Completer) -> None:
        pass

    async def answer(self, context: CompletionContext) -> Answer:
        """Nothing."""
        return Answer("", 0.0)


class Copy:
    """What followed the longest repetition of the text before the caret; see `bench.copying`."""

    def __init__(self, completer: Completer) -> None:
        pass

    async def answer(self, context: CompletionContext) -> Answer:
        """The copy, surer the more characters were the same."""
        started = time.perf_counter()
        found = longest_repetition(context.prefix, context.suffix)
        text = cut_as_an_editor(found.following, context)
        ms = (time.perf_counter() - started) * 1000
        return Answer(text, ms, confidence={"n_matched": float(found.n_matched)})


class CopyOrMidfill:
    """The copy where enough repeats, else the product: the least that mixing the two must reach."""

    def __init__(self, completer: Completer) -> None:
        self._copy, self._midfill = Copy(completer), Midfill(completer)

    async def answer(self, context: CompletionContext) -> Answer:
        """One of the two answers, told apart by how much repeats."""
        copy = await self._copy.answer(context)
        if copy.text and copy.confidence["n_matched"] >= MIN_COPIED_CHARS:
            return copy
        found = await self._midfill.answer(context)
        return replace(found, ms=copy.ms + found.ms)


SYSTEMS: Mapping[str, Callable[[Completer], System]] = {
    "midfill": Midfill,
    "midfill-unasked": Unasked,
    "model-raw": ModelRaw,
    "copy": Copy,
    "copy-or-midfill": CopyOrMidfill,
    "none": Nothing,
}


WITHOUT: Mapping[str, Callable[[Completer], System]] = {
    f"without-{step.__name__}": functools.partial(Without, left_out=step) for step in FILTERS
}
"""One for each filter; a run has them only if it asks for them."""


def confidence_of(pieces: Sequence[Piece], shown: str) -> dict[str, float]:
    """The mean, least and summed log-probability of the tokens that are shown, or of all where the text was changed.

    Empty where the engine tells no probabilities. The end token's own is not told by any engine.
    """
    said = "".join(piece.text for piece in pieces)
    n_wanted = len(shown) if shown and said.startswith(shown) else len(said)
    logprobs: list[float] = []
    n_said = 0
    for piece in pieces:
        if n_said >= n_wanted:
            break
        logprobs += piece.logprobs
        n_said += len(piece.text)
    if not logprobs:
        return {}
    return {
        "mean_logprob": sum(logprobs) / len(logprobs),
        "min_logprob": min(logprobs),
        "sum_logprob": sum(logprobs),
    }
