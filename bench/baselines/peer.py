"""A policy at work: its text laid out as llama.cpp's server would, and read by the engine that everyone shares.

`/infill` lays a prompt out as PSM: chunks, then BOS and the prefix, the caret's line behind it, and the suffix
(`format_prompt_infill`, tools/server/server-common.cpp). Of a batch of 1024 tokens the prefix gets 3/4 and the
suffix the rest; chunks may fill the window but for that batch and the answer. In a window that is too small for both
(the embedded models') chunks get at most half, where the server would give them nothing. Chunks stand behind the
family's file token, or behind a line `--- snippet ---` where it has none, and even in front of BOS. A model whose file
says that it was trained suffix first (`midfill.layouts`, the embedded ones) is asked in that order, chunks in front
all the same: in PSM it would say nothing of use, and no figure would be worth reading.

Copying and healing are off: no server that these programs talk to has them.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bench.baselines.policy import Ask, Policy

from midfill.context import CompletionContext
from midfill.engine import Engine, ModelInfo, Sampling, StopReason, Usage
from midfill.formats import PromptFormat, Tokenize, format_of
from midfill.prompt import CONTROL_TOKENS

BATCH_TOKENS = 1024
"""What llama.cpp's presets for these plug-ins set (`--fim-qwen-7b-default` and the like)."""
SNIPPET_LINE = "\n\n--- snippet ---\n\n"


@dataclass(frozen=True)
class Generation:
    """What a model said, cut where the policy stopped it, and its cost."""

    text: str = ""
    usage: Usage = field(default_factory=Usage)


async def generate(
    policy: Policy, ask: Ask, context: CompletionContext, engine: Engine
) -> Generation:
    """Ask the engine as the policy's server would.

    Raises:
        EngineError: the engine did not answer.
        RoleError: the model knows no infill prompt.
    """
    model = await engine.info()
    prompt_format = format_of(model)
    ids = await lay_out(ask, prompt_format, model, engine.tokenize)
    sampling = Sampling(ask.max_tokens, stop_ids=prompt_format.end_ids, copy=False)
    text, usage = "", Usage()
    async with aclosing(engine.generate(ids, sampling)) as pieces:
        async for piece in pieces:
            text, usage = text + piece.text, piece.usage
            end = policy.end(text, context)
            if end is not None:
                reason: StopReason = usage.stop_reason or "line"
                return Generation(text[:end], replace(usage, stop_reason=reason))
    return Generation(text, usage)


async def lay_out(
    ask: Ask, prompt_format: PromptFormat, model: ModelInfo, tokenize: Tokenize
) -> list[int]:
    """The whole prompt; it fits the model's window."""
    layout = prompt_format.layout("psm")
    room = model.n_ctx - ask.max_tokens - CONTROL_TOKENS
    extra = await _extra(ask, prompt_format, tokenize)
    batch = min(BATCH_TOKENS, room - min(len(extra), room // 2))
    prefix = await prompt_format.encode("PREFIX", ask.prefix, tokenize)
    suffix = await prompt_format.encode("SUFFIX", ask.suffix, tokenize)
    parts = {"PREFIX": prefix[-(3 * batch // 4) :], "SUFFIX": suffix[: batch // 4 - 2]}
    ids = prompt_format.lay_out(layout, parts)
    if ask.clipped and layout == "psm":
        ids = [token for token in ids if token != prompt_format.ids["prefix"]]
    return [*extra[max(0, len(extra) - (room - batch)) :], *ids]


async def _extra(ask: Ask, prompt_format: PromptFormat, tokenize: Tokenize) -> list[int]:
    ids: list[int] = []
    file_sep = prompt_format.ids.get("file_sep")
    for chunk in ask.extra:
        if file_sep is None:
            ids += await tokenize(SNIPPET_LINE)
        else:
            ids += [file_sep, *await tokenize(f"{chunk.path}\n")]
        ids += await tokenize(chunk.text)
    return ids
