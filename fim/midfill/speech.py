"""What a model answers to a prompt, its reasoning told apart and kept within a budget."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from midfill.chat_formats import Tags, reasoning_tags, thinks, turn_end_ids
from midfill.engine import Engine, ModelInfo, Sampling, Usage
from midfill.settings import InstructSettings
from midfill.thoughts import Part, Thoughts


class Heard(NamedTuple):
    """Some of an answer."""

    parts: list[Part]
    usage: Usage
    """The cost so far."""
    cut_short: bool = False
    """Whether the reasoning was ended for the model."""


async def speech(
    prompt: Sequence[int],
    max_tokens: int,
    engine: Engine,
    max_thought: int = InstructSettings.max_tokens_thought,
) -> AsyncGenerator[Heard, None]:
    """An answer of at most `max_tokens` after reasoning of at most `max_thought`, as it comes.

    Reasoning that goes on is ended as the model would end it, and the model goes on behind that: little is
    evaluated again. Where the engine does not tell the tokens the answer ends there. Closing the generator stops the
    model.

    Raises:
        EngineError, ModelError: as for `Engine.generate`.
    """
    model = await engine.info()
    thoughts = Thoughts(await _opened(prompt, model, engine), reasoning_tags(model))
    may_think = thinks(model) or thoughts.tags is not None
    ids, is_exact, usage = list(prompt), True, Usage()
    sampling = _sampling(max_tokens + max_thought * may_think, ids, model)
    async with aclosing(engine.generate(prompt, sampling)) as pieces:
        async for piece in pieces:
            usage = piece.usage
            ids += piece.token_ids
            is_exact = is_exact and bool(piece.token_ids or not piece.text)
            yield Heard(thoughts.feed(piece.text), usage)
            if thoughts.tags is not None and usage.tokens_generated >= max_thought:
                break
    tags = thoughts.tags
    ran_on = tags is not None and usage.stop_reason in ("", "budget")
    if tags is None or not ran_on or not is_exact:
        yield Heard(thoughts.end(), usage)
        return
    ids += await _closing(tags, model, engine)
    if len(ids) + max_tokens > model.n_ctx:
        yield Heard(thoughts.end(), replace(usage, stop_reason="context"))
        return
    yield Heard(thoughts.close(), usage, cut_short=True)
    async with aclosing(engine.generate(ids, _sampling(max_tokens, ids, model))) as pieces:
        async for piece in pieces:
            yield Heard(thoughts.feed(piece.text), _sum(usage, piece.usage))
            last = piece.usage
    yield Heard(thoughts.end(), _sum(usage, last))


def _sampling(max_tokens: int, prompt: Sequence[int], model: ModelInfo) -> Sampling:
    room = model.n_ctx - len(prompt)
    return Sampling(min(max_tokens, room), stop_ids=turn_end_ids(model), yields=True)


async def _opened(prompt: Sequence[int], model: ModelInfo, engine: Engine) -> Tags | None:
    """The tags of reasoning that the template has begun for the model."""
    if not thinks(model) or model.converses:
        return None
    tail = list(prompt[-_TAIL_TOKENS:])
    text = await engine.detokenize(tail)
    for tags in reasoning_tags(model):
        if tags.open not in model.chat_template:
            continue
        begin, end = (model.control_ids.get(tag) for tag in tags)
        if begin is None:
            if text.rstrip().endswith(tags.open):
                return tags
        elif begin in tail and end not in tail[tail.index(begin) :]:
            return tags
    return None


async def _closing(tags: Tags, model: ModelInfo, engine: Engine) -> list[int]:
    """What ends reasoning, as tokens."""
    end = model.control_ids.get(tags.close)
    before = await engine.tokenize("\n")
    closing = await engine.tokenize(tags.close) if end is None else [end]
    return [*before, *closing, *await engine.tokenize("\n\n")]


def _sum(first: Usage, then: Usage) -> Usage:
    """The cost of both, as that of one answer."""
    return replace(
        then,
        tokens_reused=first.tokens_reused,
        tokens_evaluated=first.tokens_evaluated + then.tokens_evaluated,
        tokens_generated=first.tokens_generated + then.tokens_generated,
        tokens_drafted=first.tokens_drafted + then.tokens_drafted,
        tokens_accepted=first.tokens_accepted + then.tokens_accepted,
        wait_ms=first.wait_ms + then.wait_ms,
        prefill_ms=first.prefill_ms,
        decode_ms=first.decode_ms + then.prefill_ms + then.decode_ms,
    )


_TAIL_TOKENS = 16
"""At the end of a prompt so many hold `<think>` and a line break, however a vocabulary cuts them."""
