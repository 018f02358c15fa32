"""Completion at the caret, from one end to the other: context, prompt, generation, stop, filters."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar

from midfill.context import CompletionContext
from midfill.engine import Engine, Piece, Sampling, StopReason, Usage
from midfill.filters import filtered, limit_scope
from midfill.formats import Layout, format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Completion:
    """What may be shown at the caret. An empty text is an ordinary answer."""

    text: str
    """Ready to insert: with the document's own line endings."""
    generation: str
    """What the model said, before the filters."""
    model: str
    layout: Layout
    usage: Usage
    confidence: float | None
    """The probability that the model gave to the first line of what the filters left, or of all that it said if
    they left nothing; None where the engine does not tell."""
    prompt_ms: float
    """Time to build the prompt, tokenising included."""
    filter_ms: float
    n_replaced: int = 0
    """How many characters right of the caret, on its line, the text takes the place of."""
    unread: tuple[int, ...] = ()
    """The prompt in the layout that typing only adds to, where another was read. Whoever reads it to the engine
    while nobody waits makes the next key cheap."""


async def complete(
    context: CompletionContext, engine: Engine, settings: CompletionSettings
) -> Completion:
    """Complete at the caret of `context`. Cancelling the task stops the model's work at once.

    The time limit counts from when the model is loaded.

    Raises:
        EngineError: the engine did not answer.
        ModelError: the model cannot be used, or not for this.
    """
    return (await candidates(context, engine, settings, 1))[0]


async def candidates(
    context: CompletionContext, engine: Engine, settings: CompletionSettings, n_candidates: int
) -> tuple[Completion, ...]:
    """What may be shown at the caret, the likeliest first and no text twice; at least one, perhaps empty.

    They begin with different tokens and are read and decoded together. Cancelling, limits and errors are as for
    `complete`.
    """
    model = await engine.info()
    started = time.perf_counter()
    max_tokens = settings.max_tokens_line if context.extent == "line" else settings.max_tokens_block
    budget = budget_of(model, settings, max_tokens)
    deadline = started + settings.time_limit_ms / 1000
    rendering = render(context, format_of(model), engine.tokenize, budget, settings.layout)
    try:
        prompt = await _before(deadline, rendering)
    except asyncio.TimeoutError:
        return (_nothing_in_time(model.name, _ms_since(started)),)
    prompt_ms = _ms_since(started)
    sampling = Sampling(
        max_tokens,
        stop_ids=prompt.end_ids,
        copy=_COPYING[settings.copying],
        copy_from=prompt.left_out,
        instead=prompt.instead,
        heal=settings.healing,
        n_candidates=n_candidates,
    )
    said = await _generate(context, engine, prompt.ids, sampling, deadline)
    found: dict[str, Completion] = {}
    for one in said:
        generated = time.perf_counter()
        text = filtered(one.text, context)
        confidence = one.confidence(text or one.text)
        is_sure = confidence is None or confidence >= settings.min_confidence
        shown = (text if is_sure else "").replace("\n", context.line_ending)
        if found and (not shown or shown in found):
            continue
        found[shown] = Completion(
            shown,
            one.text,
            model.name,
            prompt.instead_layout if one.usage.took_instead else prompt.layout,
            one.usage,
            confidence,
            prompt_ms,
            _ms_since(generated),
            unread=prompt.ids if one.usage.took_instead else (),
        )
    if len(found) > 1:
        found.pop("", None)
    return tuple(found.values())


async def warm(engine: Engine, prompt: Sequence[int]) -> None:
    """Let the engine read a prompt while it has nothing else to do.

    Raises:
        EngineError: the engine did not answer.
    """
    async with aclosing(engine.generate(prompt, Sampling(0, yields=True))) as pieces:
        async for _ in pieces:
            pass


_COPYING = {"auto": None, "on": True, "off": False}


def stop_reason(text: str, context: CompletionContext) -> StopReason:
    """Why nothing that follows `text` would be shown, or an empty string to go on."""
    if context.extent == "line":
        return "line" if "\n" in text else ""
    # The last line may still grow, so only lines that have ended are judged.
    ended = text[: text.rfind("\n") + 1]
    return "block" if limit_scope(ended, context) != ended else ""


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

    def confidence(self, text: str) -> float | None:
        """The probability of the first line of `text` that is not blank; `text` is a beginning of the whole."""
        blank = len(text) - len(text.lstrip())
        end = blank + len(text[blank:].partition("\n")[0])
        if not self.logprobs:
            return None
        return math.exp(sum(logprob for start, logprob in self.logprobs if start < end))

    def ended(self, reason: StopReason) -> None:
        self.usage = replace(self.usage, stop_reason=reason)


async def _generate(
    context: CompletionContext,
    engine: Engine,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    deadline: float,
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
        await asyncio.wait({task}, timeout=max(0.0, deadline - time.perf_counter()))
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _nothing_in_time(model: str, prompt_ms: float) -> Completion:
    usage = Usage(stop_reason="time")
    return Completion("", "", model, "spm", usage, None, prompt_ms, filter_ms=0.0)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
