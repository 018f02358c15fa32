"""Who fills the holes: one class each, in a dictionary, so that another takes one class and one line.

A system is given the caret's context, as an editor's server would have it, and nothing else. It decides itself
how much to say and when to stop.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from bench.baselines.llama_vim import LlamaVim
from bench.baselines.naive import Naive
from bench.baselines.peer import generate
from bench.baselines.policy import OpenFile, Policy
from bench.baselines.tabby import Tabby
from bench.copying import Repetition, cut_as_an_editor, longest_repetition

from midfill import filters
from midfill.complete import Completion, complete
from midfill.context import CompletionContext
from midfill.engine import Engine, ModelInfo, Piece, Sampling, Usage
from midfill.settings import CompletionSettings

SHOW_ALL = CompletionSettings(eagerness=1.0)
"""The defaults, but for the gate: everything is wanted here, and what the gate lets through is a system of its own."""

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
    """How many characters right of the caret, on its line, the text takes the place of."""
    confidence: Mapping[str, float] = field(default_factory=dict)
    """Numbers that may tell right answers from wrong ones, the higher the surer, each under its name."""


class System(Protocol):
    """One way to complete at the caret."""

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """What is shown there. What of the other open files the product may use stands in the context."""


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
        self.engine = engine
        self.settings = settings
        self._context: CompletionContext | None = None
        self._last: tuple[Completion, float, dict[str, float]] | None = None

    @property
    def pieces(self) -> list[Piece]:
        """What the model said last."""
        return self._engine.pieces

    async def completion(
        self, context: CompletionContext
    ) -> tuple[Completion, float, dict[str, float]]:
        """The completion, the milliseconds it took, and how sure the model was of it."""
        if self._last is None or self._context is not context:
            started = time.perf_counter()
            found = await complete(context, self._engine, self.settings)
            ms = (time.perf_counter() - started) * 1000
            self._context = context
            self._last = (found, ms, confidence_of(self._engine.pieces, found.text))
        return self._last


class Midfill:
    """The product: the model through `complete()`, with its filters."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """What an editor would show."""
        found, ms, confidence = await self._completer.completion(context)
        said = found.generation
        return Answer(found.text, ms, said, found.usage, found.n_replaced, confidence)


class Unasked(Midfill):
    """The product where nobody asked: only what the model is sure enough of."""

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
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

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """All that the model said until it was stopped."""
        found, ms, confidence = await self._completer.completion(context)
        text = found.generation
        ms -= found.filter_ms
        return Answer(text, ms, generation=text, usage=found.usage, confidence=confidence)


class Again(RecordingEngine):
    """An `Engine` that says once more what was recorded, at no cost."""

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the last generation."""
        for piece in self.pieces:
            yield piece


class WithoutFilter:
    """The same generation through all filters but one: what that one contributes."""

    def __init__(self, completer: Completer, name: str) -> None:
        self._completer, self._name = completer, name

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """What the other filters leave."""
        said, ms, confidence = await self._completer.completion(context)
        again = Again(self._completer.engine)
        again.pieces = self._completer.pieces
        with without_filter(self._name):
            found = await complete(context, again, self._completer.settings)
        return Answer(found.text, ms, said.generation, said.usage, found.n_replaced, confidence)


class WithoutHealing(Midfill):
    """The product with the caret's last token left as it is."""

    def __init__(self, completer: Completer) -> None:
        super().__init__(Completer(completer.engine, replace(completer.settings, healing=False)))


class Peer:
    """Another program's policy with the same weights; see `bench.baselines`."""

    def __init__(self, completer: Completer, policy: Policy) -> None:
        self._engine, self._policy = completer.engine, policy

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """What that program would show."""
        started = time.perf_counter()
        ask = self._policy.ask(context, others)
        said = await generate(self._policy, ask, context, self._engine)
        shown = self._policy.shown(said.text, context)
        ms = (time.perf_counter() - started) * 1000
        return Answer(shown.text, ms, said.text, said.usage, shown.n_replaced)


class Nothing:
    """No model: what any figure has to be compared with."""

    def __init__(self, completer: Completer) -> None:
        pass

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """Nothing."""
        return Answer("", 0.0)


class Copy:
    """What followed the longest repetition of the text before the caret; see `bench.copying`."""

    def __init__(self, completer: Completer) -> None:
        pass

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
        """The copy, surer the more characters were the same."""
        started = time.perf_counter()
        found = self._longest(context)
        text = cut_as_an_editor(found.following, context)
        ms = (time.perf_counter() - started) * 1000
        return Answer(text, ms, confidence={"n_matched": float(found.n_matched)})

    def _longest(self, context: CompletionContext) -> Repetition:
        return longest_repetition(context.prefix, context.suffix)


class CopyElsewhere(Copy):
    """The same, in all that the product looks at: the file, and the pieces of others that it found."""

    def _longest(self, context: CompletionContext) -> Repetition:
        snippets = (snippet.text for snippet in context.snippets)
        return longest_repetition(context.prefix, context.suffix, (*context.copyable, *snippets))


class CopyOrMidfill:
    """The copy where enough repeats, else the product: the least that mixing the two must reach."""

    def __init__(self, completer: Completer) -> None:
        self._copy, self._midfill = Copy(completer), Midfill(completer)

    async def answer(self, context: CompletionContext, others: Sequence[OpenFile] = ()) -> Answer:
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
    "copy-elsewhere": CopyElsewhere,
    "copy-or-midfill": CopyOrMidfill,
    "none": Nothing,
    "naive": partial(Peer, policy=Naive()),
    "llama.vim": partial(Peer, policy=LlamaVim()),
    "tabby": partial(Peer, policy=Tabby()),
}

PARTS = ("healing", *(step.__name__ for step in filters.FILTERS))
"""What can be left out of the product, one at a time."""


def left_out(part: str) -> Callable[[Completer], System]:
    """The product without one of `PARTS`."""
    if part == "healing":
        return WithoutHealing
    return partial(WithoutFilter, name=part)


@contextlib.contextmanager
def without_filter(name: str) -> Iterator[None]:
    """The chain of filters with one missing. Nothing else may filter meanwhile."""
    chain = filters.FILTERS
    filters.FILTERS = tuple(step for step in chain if step.__name__ != name)
    try:
        yield
    finally:
        filters.FILTERS = chain


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
