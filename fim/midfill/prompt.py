"""From a context to the token ids that the model reads.

The prompt is laid out so that typing only appends. The window's edges therefore move in coarse steps: an
edge that slid by one token with every key would make the whole prompt new each time (5,966 ms against
60 ms at Code Llama 7B's shape on a CPU, measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from midfill.context import CompletionContext
from midfill.engine import ModelInfo
from midfill.errors import RoleError
from midfill.formats import Layout, PromptFormat, Tokenize
from midfill.settings import CompletionSettings

CHARS_PER_TOKEN = 3
"""Characters of code that a token takes at least on average: 3.1 to 3.3 measured with Llama-like vocabularies."""

STEP_LINES = 32
STEP_CHARS = 1024
STEP_TOKENS = 64
"""The window's first line, character or token is a multiple of its step, so it moves once in a while and far."""

LEFT_OUT_PREFIX_CHARS = 20_000
LEFT_OUT_SUFFIX_CHARS = 12_000
"""How much of the rest of the file is told to an engine that copies: with it .390 instead of .305 of the holes
inside a line were right (200 holes, 3.5M parameters); more costs time with every token."""

CONTROL_TOKENS = 8
"""Room kept for the control tokens of a prompt; no family uses more."""


@dataclass(frozen=True)
class Budget:
    """How many tokens of the text before and after the caret a prompt may hold."""

    prefix_tokens: int
    suffix_tokens: int


@dataclass(frozen=True)
class Prompt:
    """What the model reads."""

    ids: tuple[int, ...]
    layout: Layout
    end_ids: tuple[int, ...]
    """Tokens that end the generation."""
    left_out: tuple[str, ...]
    """What of the file the prompt had no room for, the nearest to the caret last."""
    instead: tuple[int, ...] = ()
    """The same in the other layout, if the choice is left to the engine."""
    instead_layout: Layout = "psm"


def budget_of(model: ModelInfo, settings: CompletionSettings, max_tokens: int) -> Budget:
    """The budgets that leave room for `max_tokens` in the model's context window.

    Raises:
        RoleError: the window is too small for any useful prompt.
    """
    room = model.n_ctx - max_tokens - CONTROL_TOKENS
    if room < STEP_TOKENS:
        raise RoleError(
            f"{model.name} has a context window of {model.n_ctx} tokens, "
            f"too small to generate {max_tokens}; lower max_tokens or raise n_ctx."
        )
    wanted = settings.max_prefix_tokens + settings.max_suffix_tokens
    if wanted <= room:
        return Budget(settings.max_prefix_tokens, settings.max_suffix_tokens)
    suffix_tokens = room * settings.max_suffix_tokens // wanted
    return Budget(room - suffix_tokens, suffix_tokens)


async def render(
    context: CompletionContext,
    prompt_format: PromptFormat,
    tokenize: Tokenize,
    budget: Budget,
    layout: Layout | Literal["auto"],
) -> Prompt:
    """The prompt for a context, within the budget to the token. `auto`: the suffix first, or the other instead."""
    prefix = prefix_window(context.prefix, budget.prefix_tokens * CHARS_PER_TOKEN)
    suffix = suffix_window(context.suffix, budget.suffix_tokens * CHARS_PER_TOKEN)
    prefix_ids = await prompt_format.encode("PREFIX", prefix, tokenize)
    suffix_ids = await prompt_format.encode("SUFFIX", suffix, tokenize)
    over = max(0, len(prefix_ids) - budget.prefix_tokens)
    parts = {
        "PREFIX": prefix_ids[-(-over // STEP_TOKENS) * STEP_TOKENS :],
        "SUFFIX": suffix_ids[: budget.suffix_tokens],
    }
    chosen = prompt_format.layout("spm" if layout == "auto" else layout)
    ids = tuple(prompt_format.lay_out(chosen, parts))
    other = prompt_format.layout("psm")
    instead: tuple[int, ...] = ()
    if layout == "auto" and other != chosen:
        instead = tuple(prompt_format.lay_out(other, parts))
    before = context.prefix[: len(context.prefix) - len(prefix)][-LEFT_OUT_PREFIX_CHARS:]
    after = context.suffix[len(suffix) :][:LEFT_OUT_SUFFIX_CHARS]
    left_out = tuple(text for text in (after, before) if text)
    return Prompt(ids, chosen, prompt_format.end_ids, left_out, instead, other)


def prefix_window(prefix: str, max_chars: int) -> str:
    """The end of `prefix` from a line whose number is a multiple of the step; at most `max_chars`.

    Where lines are so long that no such line fits, it begins at a multiple of `STEP_CHARS` characters.
    """
    over = len(prefix) - max_chars
    if over <= 0:
        return prefix
    line_start = line_idx = 0
    while (line_end := prefix.find("\n", line_start)) >= 0:
        line_start, line_idx = line_end + 1, line_idx + 1
        if line_start >= over and line_idx % STEP_LINES == 0:
            return prefix[line_start:]
    return prefix[-(-over // STEP_CHARS) * STEP_CHARS :]


def suffix_window(suffix: str, max_chars: int) -> str:
    """The beginning of `suffix`, at most `max_chars`, ending after a whole line if one fits."""
    if len(suffix) <= max_chars:
        return suffix
    whole_lines = suffix.rfind("\n", 0, max_chars) + 1
    return suffix[: whole_lines or max_chars]
