"""Completion at the caret, from one end to the other: context, prompt, generation, stop, filters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from midfill.context import CompletionContext
from midfill.engine import Engine, Piece, Sampling, StopReason, Usage
from midfill.filters import filtered, limit_scope
from midfill.formats import Layout, format_of
from midfill.prompt import budget_of, render
from midfill.settings import CompletionSettings


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
    prompt_ms: float
    """Time to build the prompt, tokenising included."""
    filter_ms: float


async def complete(
    context: CompletionContext, engine: Engine, settings: CompletionSettings
) -> Completion:
    """Complete at the caret of `context`. Cancelling the task stops the model's work at once.

    The time limit counts from when the model is loaded.

    Raises:
        EngineError: the engine did not answer.
        ModelError: the model cannot be used, or not for this.
    """
    model = await engine.info()
    started = time.perf_counter()
    max_tokens = settings.max_tokens_line if context.extent == "line" else settings.max_tokens_block
    budget = budget_of(model, settings, max_tokens)
    prompt = await render(context, format_of(model), engine.tokenize, budget, settings.layout)
    prompt_ms = _ms_since(started)
    sampling = Sampling(max_tokens, stop_ids=prompt.end_ids)
    deadline = started + settings.time_limit_ms / 1000
    generation, usage = await _generate(context, engine, prompt.ids, sampling, deadline)
    generated = time.perf_counter()
    text = filtered(generation, context).replace("\n", context.line_ending)
    return Completion(
        text, generation, model.name, prompt.layout, usage, prompt_ms, _ms_since(generated)
    )


def stop_reason(text: str, context: CompletionContext) -> StopReason:
    """Why nothing that follows `text` would be shown, or an empty string to go on."""
    if context.extent == "line":
        return "line" if "\n" in text else ""
    # The last line may still grow, so only lines that have ended are judged.
    ended = text[: text.rfind("\n") + 1]
    return "block" if limit_scope(ended, context) != ended else ""


async def _generate(
    context: CompletionContext,
    engine: Engine,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    deadline: float,
) -> tuple[str, Usage]:
    """The generation up to where it stops being useful, and its cost."""
    text, usage = "", Usage()
    pieces = engine.generate(prompt_ids, sampling)
    try:
        while True:
            piece = await _next(pieces.__anext__(), deadline)
            text, usage = text + piece.text, piece.usage
            reason = usage.stop_reason or stop_reason(text, context)
            if reason:
                return text, replace(usage, stop_reason=reason)
    except asyncio.TimeoutError:
        return text, replace(usage, stop_reason="time")
    except StopAsyncIteration:
        return text, replace(usage, stop_reason="cancelled")
    finally:
        await pieces.aclose()


async def _next(coming: Awaitable[Piece], deadline: float) -> Piece:
    return await asyncio.wait_for(coming, max(0.0, deadline - time.perf_counter()))


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
