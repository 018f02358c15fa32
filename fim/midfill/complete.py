"""Completion at the caret, from one end to the other: context, prompt, generation, stop, filters."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from midfill.confidence import bar, chance
from midfill.context import CompletionContext
from midfill.engine import (
    COPIES_BELOW_PARAMETERS,
    Engine,
    ModelInfo,
    Piece,
    Sampling,
    StopReason,
    Usage,
)
from midfill.filters import filtered
from midfill.formats import Order, format_of
from midfill.generation import Generation
from midfill.overlap import n_replaced
from midfill.prompt import Prompt, budget_of, render
from midfill.settings import CompletionSettings
from midfill.stopping import stop_reason

T = TypeVar("T")

Watch = Callable[[str], None]
"""Told what the model has said so far."""


@dataclass(frozen=True)
class Completion:
    """What may be shown at the caret. An empty text is an ordinary answer."""

    text: str
    """Ready to insert: with the document's own line endings."""
    generation: str
    """What the model said, before the filters."""
    said: Generation
    """The same with its probabilities."""
    model: str
    layout: Order
    usage: Usage
    confidence: float | None
    """The probability that the first line of what the filters left is right, or of all that the model said if they
    left nothing; None where the engine tells no probabilities."""
    prompt_ms: float
    """Time to build the prompt, tokenising included."""
    filter_ms: float
    n_replaced: int = 0
    """How many characters right of the caret, on its line, the text takes the place of."""
    unread: tuple[int, ...] = ()
    """The prompt in the layout that typing only adds to, where another was read. Whoever reads it to the engine
    while nobody waits makes the next key cheap."""
    fitting: str | None = None
    """What the filters left, with `\n`, be it too unsure to be shown; None where nothing was said."""


async def complete(
    context: CompletionContext,
    engine: Engine,
    settings: CompletionSettings,
    *,
    watch: Watch | None = None,
    yields: bool = False,
) -> Completion:
    """Complete at the caret of `context`. Cancelling the task stops the model's work at once.

    The time limit counts from when the model is loaded. `watch` is told the text so far each time that it grows.
    What `yields` lets every other request go first.

    Raises:
        EngineError: the engine did not answer.
        ModelError: the model cannot be used, or not for this.
    """
    return (await candidates(context, engine, settings, 1, watch=watch, yields=yields))[0]


async def candidates(
    context: CompletionContext,
    engine: Engine,
    settings: CompletionSettings,
    n_candidates: int,
    *,
    watch: Watch | None = None,
    yields: bool = False,
) -> tuple[Completion, ...]:
    """What may be shown at the caret, the likeliest first and no text twice; at least one, perhaps empty.

    They begin with different tokens and are read and decoded together; the first is watched. The rest is as for
    `complete`.
    """
    model = await engine.info()
    if not context.is_wanted and settings.eagerness < 1:
        return (_nothing(model.name, "unwanted"),)
    if not format_of(model).infills and re.search(r"\w", context.line_tail):
        # What such a model would say does not know the rest of the line, and so does not lead to it.
        return (_nothing(model.name, "suffix"),)
    # By the loop's clock, which is that of its time-outs.
    deadline = asyncio.get_running_loop().time() + settings.time_limit_ms / 1000
    started = time.perf_counter()
    max_tokens = _max_tokens(context, settings)
    try:
        prompt = await _before(deadline, prompt_for(context, engine, settings))
    except asyncio.TimeoutError:
        return (_nothing(model.name, "time", _ms_since(started)),)
    if not prompt.ids:
        # An empty file, and no token for its beginning.
        return (_nothing(model.name, "context"),)
    prompt_ms = _ms_since(started)
    sampling = Sampling(
        max_tokens,
        stop_ids=prompt.end_ids,
        copy=_COPYING[settings.copying],
        copy_from=copied_from(prompt, model, settings),
        instead=prompt.instead,
        heal=settings.healing,
        n_candidates=n_candidates,
        yields=yields,
    )
    said = await _generate(context, engine, prompt.ids, sampling, deadline, watch)
    found: dict[str, Completion] = {}
    for one in said:
        generated = time.perf_counter()
        seen = await judged(one.generation, context, settings)
        if found and (not seen.text or seen.text in found):
            continue
        found[seen.text] = Completion(
            seen.text,
            one.text,
            one.generation,
            model.name,
            prompt.instead_layout if one.usage.took_instead else prompt.layout,
            one.usage,
            seen.confidence,
            prompt_ms,
            _ms_since(generated),
            seen.n_replaced,
            prompt.ids if one.usage.took_instead else (),
            seen.fitting,
        )
    if len(found) > 1:
        found.pop("", None)
    return tuple(found.values())


class Shown(NamedTuple):
    """What of a generation may be shown at a caret."""

    text: str
    """Perhaps nothing; with the document's own line endings."""
    confidence: float | None
    n_replaced: int = 0
    """As in `Completion`."""
    fitting: str | None = None
    """As in `Completion`."""


def shown(
    said: Generation,
    context: CompletionContext,
    settings: CompletionSettings,
    fitting: str | None = None,
) -> Shown:
    """What of a generation may be shown at this caret, wherever it was made. `fitting` is what the filters leave of it
    here, where that is known."""
    text = filtered(finished(said, context), context) if fitting is None else fitting
    confidence = chance(said.logprobs, said.text, text, context)
    if confidence is not None and confidence < bar(settings.eagerness, context.habit):
        return Shown("", confidence, fitting=text)
    here = text.replace("\n", context.line_ending)
    return Shown(here, confidence, n_replaced(text, context), text)


async def judged(
    said: Generation, context: CompletionContext, settings: CompletionSettings
) -> Shown:
    """As `shown`, in a thread, so that others are answered: a document is read again for up to 0.1 s.

    While a document is typed it is mostly broken, and then up to 32 beginnings are tried: 40 ms in one of 250 lines
    (measured).
    """
    if context.syntax is None or len(context.document.lines) < _LONG_LINES:
        return shown(said, context, settings)
    return await asyncio.to_thread(shown, said, context, settings)


_LONG_LINES = 50
"""To parse as many takes less than 1 ms; a thread takes 0.1 ms itself."""


def finished(said: Generation, context: CompletionContext) -> str:
    """What of a generation is whole: the time limit may have come in the middle of a word or, in a block, of a line."""
    if said.stop_reason != "time":
        return said.text
    if context.extent == "block" and "\n" in said.text.lstrip():
        return said.text[: said.text.rfind("\n")]
    return _UNFINISHED_WORD.sub("", said.text)


async def prompt_for(
    context: CompletionContext, engine: Engine, settings: CompletionSettings
) -> Prompt:
    """The prompt that `complete` gives the engine. Errors are as for `complete`."""
    model = await engine.info()
    budget = budget_of(model, settings, _max_tokens(context, settings), context.snippets)
    return await render(context, format_of(model), engine.tokenize, budget, settings.layout)


def copied_from(prompt: Prompt, model: ModelInfo, settings: CompletionSettings) -> tuple[str, ...]:
    """What an engine is told to copy from besides the prompt: nothing where the model is known not to copy."""
    is_large = settings.copying == "auto" and model.n_parameters >= COPIES_BELOW_PARAMETERS
    return () if is_large or settings.copying == "off" else prompt.left_out


async def warm(engine: Engine, prompt: Sequence[int]) -> None:
    """Let the engine read a prompt while it has nothing else to do.

    Raises:
        EngineError: the engine did not answer.
    """
    async with aclosing(engine.generate(prompt, Sampling(0, yields=True))) as pieces:
        async for _ in pieces:
            pass


def _max_tokens(context: CompletionContext, settings: CompletionSettings) -> int:
    return settings.max_tokens_line if context.extent == "line" else settings.max_tokens_block


_UNFINISHED_WORD = re.compile(r"\w+\Z")
_COPYING = {"auto": None, "on": True, "off": False}


@dataclass
class _Said:
    """A generation as it grows."""

    text: str = ""
    usage: Usage = field(default_factory=Usage)
    logprobs: list[tuple[int, float]] = field(default_factory=list)
    """Of each piece: where it begins in the text, and the sum over its tokens."""

    def take(self, piece: Piece) -> None:
        if piece.logprobs:
            self.logprobs.append((len(self.text), sum(piece.logprobs)))
        self.text += piece.text
        self.usage = piece.usage

    @property
    def generation(self) -> Generation:
        return Generation(self.text, tuple(self.logprobs), self.usage.stop_reason)

    def ended(self, reason: StopReason) -> None:
        self.usage = replace(self.usage, stop_reason=reason)


async def _generate(
    context: CompletionContext,
    engine: Engine,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    deadline: float,
    watch: Watch | None,
) -> list[_Said]:
    """The generations up to where they stop being useful, and their cost."""
    said = [_Said() for _ in range(sampling.n_candidates)]
    running = set(range(sampling.n_candidates))
    pieces = engine.generate(prompt_ids, sampling)
    try:
        while running:
            piece = await _before(deadline, pieces.__anext__())
            if piece.candidate_idx not in running:
                continue  # It goes on past what is needed while the others run.
            one = said[piece.candidate_idx]
            one.take(piece)
            if watch and piece.candidate_idx == 0:
                watch(one.text)
            reason = one.usage.stop_reason or stop_reason(one.text, context)
            if reason:
                one.ended(reason)
                running.remove(piece.candidate_idx)
    except asyncio.TimeoutError:
        _end(said, running, "time")
    except StopAsyncIteration:
        _end(said, running, "cancelled")
    finally:
        await pieces.aclose()
    return said


def _end(said: Sequence[_Said], running: Iterable[int], reason: StopReason) -> None:
    for idx in running:
        said[idx].ended(reason)


async def _before(deadline: float, coming: Awaitable[T]) -> T:
    """As `asyncio.wait_for`, which before Python 3.12 loses a cancel that comes in the same turn of the loop as the
    result: a request that was superseded then went on, and was never answered."""
    task = asyncio.ensure_future(coming)
    try:
        await asyncio.wait({task}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _nothing(model: str, reason: StopReason, prompt_ms: float = 0.0) -> Completion:
    said = Generation(stop_reason=reason)
    usage = Usage(stop_reason=reason)
    return Completion("", "", said, model, "spm", usage, None, prompt_ms, filter_ms=0.0)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
