"""From a context to the token ids that the model reads, within a budget to the token.

The prompt is laid out so that typing only appends. The window's edges therefore move in coarse steps (`window`):
an edge that slid by one token with every key would make the whole prompt new each time (5,966 ms against 60 ms at
Code Llama 7B's shape on a CPU, measured). Every piece between two edges is encoded by itself, so that what is
encoded anew for a key is no more than what stands between the last edge and the caret.

Files from elsewhere stand where the model's family was taught to expect them. Where it has tokens for files, they
come first of all. Where it has none they are the beginning of the text before the caret, each under a comment with
its path, and so stand behind the suffix in SPM: a new file then costs the tokens of the prefix, and a jump of the caret
costs all, which it does anyhow, since other files matter there. They keep their order and are added to at their end,
so that typing, and the next file, leave those before as they were read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from midfill.context import CompletionContext, unix
from midfill.engine import ModelInfo
from midfill.errors import RoleError
from midfill.formats import Layout, Order, PromptFormat, Tokenize
from midfill.languages import language
from midfill.settings import CompletionSettings
from midfill.snippets import Snippet
from midfill.window import Segment, after, before, frame

CHARS_PER_TOKEN = 3
"""Characters of code that a token takes at least on average: 3.1 to 3.3 measured with Llama-like vocabularies."""

MOST_CHARS_PER_TOKEN = 16
"""Text of more characters for each token of room is not even encoded; it would not fit."""

STEP_SHARE, STEP_CHARS = 4, 256
"""A window's edge moves by a quarter of its budget, and by so many characters at least. So an eighth of the budget is
unused on average, and the whole prompt is read anew once in a quarter of its length."""

CUT_CHARS, STEP_TOKENS = 1024, 64
"""Where a single piece of text is larger than the whole budget, it is cut at a multiple of these."""

LINE_SHARE, LINE_TOKENS = 8, 64
"""Room kept for the caret's own line, so that what is typed in it moves no edge: an eighth of the budget, but no more
than 64 tokens."""

FRAME_SHARE = 6
"""The part of the prefix's budget that imports and headers above the window may take."""

FILES_STEP = 4
"""Where there are more files than room, the first one is a multiple of this in their list, so it changes rarely."""

LEFT_OUT_PREFIX_CHARS = 20_000
LEFT_OUT_SUFFIX_CHARS = 12_000
"""How much of the rest of the file is told to an engine that copies: with it .390 instead of .305 of the holes
inside a line were right (200 holes, 3.5M parameters); more costs time with every token."""

MIN_WINDOW_FOR_FILES = 1024
"""A smaller window is for the file itself. Of 200 holes at ends of lines, a model with 768 tokens filled 40 with all of
them for the file and code from elsewhere to copy from, 36 with a sixth of them for that code, and 34 without it."""

CONTROL_TOKENS = 8
"""Room kept for the control tokens of a prompt besides those of files; no family uses more."""


@dataclass(frozen=True)
class Budget:
    """How many tokens a prompt may hold of the text before and after the caret, and of files from elsewhere."""

    prefix_tokens: int
    suffix_tokens: int
    files_tokens: int = 0


@dataclass(frozen=True)
class Prompt:
    """What the model reads."""

    ids: tuple[int, ...]
    layout: Order
    end_ids: tuple[int, ...]
    """Tokens that end the generation."""
    left_out: tuple[str, ...]
    """What it had no room for: code from elsewhere, then the rest of the file, the nearest to the caret last."""
    instead: tuple[int, ...] = ()
    """The same in the other layout, if the choice is left to the engine."""
    instead_layout: Order = "psm"


def budget_of(
    model: ModelInfo,
    settings: CompletionSettings,
    max_tokens: int,
    snippets: Sequence[Snippet] = (),
) -> Budget:
    """The budgets that leave room for `max_tokens` in the model's context window, in proportion to the settings.

    Raises:
        RoleError: the window is too small for any useful prompt.
    """
    room = model.n_ctx - max_tokens - CONTROL_TOKENS
    if room < STEP_TOKENS:
        raise RoleError(
            f"{model.name} has a context window of {model.n_ctx} tokens, "
            f"too small to generate {max_tokens}; lower max_tokens or raise n_ctx."
        )
    has_files = snippets and model.n_ctx >= MIN_WINDOW_FOR_FILES
    files_tokens = settings.max_snippet_tokens if has_files else 0
    wanted = settings.max_prefix_tokens + settings.max_suffix_tokens + files_tokens
    if wanted <= room:
        return Budget(settings.max_prefix_tokens, settings.max_suffix_tokens, files_tokens)
    suffix_tokens = room * settings.max_suffix_tokens // wanted
    files_tokens = room * files_tokens // wanted
    return Budget(room - suffix_tokens - files_tokens, suffix_tokens, files_tokens)


async def render(
    context: CompletionContext,
    prompt_format: PromptFormat,
    tokenize: Tokenize,
    budget: Budget,
    layout: Layout | Literal["auto"],
) -> Prompt:
    """The prompt for a context, within the budget to the token. `auto`: the suffix first, or the other instead.

    While a line is typed, `tokenize` is asked for one text that it was not asked for at the key before.
    """
    files, n_held = await _files(context, prompt_format, tokenize, budget.files_tokens)
    goes_on = bool(files) and prompt_format.prefix_follows_text
    n_prefix, n_suffix = budget.prefix_tokens, budget.suffix_tokens
    if not prompt_format.infills:
        n_prefix, n_suffix = n_prefix + n_suffix, 0
    prefix = await _prefix(context, prompt_format, tokenize, n_prefix, goes_on=goes_on)
    suffix = await _suffix(context, prompt_format, tokenize, n_suffix)
    parts = {"PREFIX": prefix.ids, "SUFFIX": suffix.ids, **files}
    chosen = prompt_format.layout("spm" if layout == "auto" else layout)
    ids = tuple(prompt_format.lay_out(chosen, parts))
    other = prompt_format.layout("psm")
    instead: tuple[int, ...] = ()
    if layout == "auto" and other != chosen:
        instead = tuple(prompt_format.lay_out(other, parts))
    elsewhere = (each.text for each in context.snippets[: len(context.snippets) - n_held])
    left_out = (*context.copyable, *elsewhere, *_left_out(context, prefix, suffix))
    return Prompt(ids, chosen, prompt_format.end_ids, left_out, instead, other)


class _Part(NamedTuple):
    """What a prompt holds of the text on one side of the caret."""

    ids: list[int]
    edge: int
    """The offset at which the window begins, or ends."""
    frame: tuple[Segment, ...] = ()
    """The lines above the window that it holds besides."""


async def _prefix(
    context: CompletionContext,
    prompt_format: PromptFormat,
    tokenize: Tokenize,
    room: int,
    *,
    goes_on: bool,
) -> _Part:
    """The end of the text before the caret, under the imports and headers that it cannot reach."""

    async def encode(text: str, start: int) -> list[int]:
        # What begins in the middle of a file has no leading space, wherever its text begins.
        return await prompt_format.encode("PREFIX", text, tokenize, goes_on=goes_on or start > 0)

    segments = before(context, _step_chars(room))
    near = next(segments)
    over = len(near.text) - room * MOST_CHARS_PER_TOKEN
    text = near.text[-(-over // CUT_CHARS) * CUT_CHARS :] if over > 0 else near.text
    near_ids = await encode(text, near.start)
    whole: list[tuple[Segment, list[int]]] = []
    n_taken = max(len(near_ids), _reserved(len(text) - len(context.line_head), room))
    for segment in segments:
        if len(segment.text) > room * MOST_CHARS_PER_TOKEN:
            break
        ids = await encode(segment.text, segment.start)
        if n_taken + len(ids) > room:
            break
        whole.append((segment, ids))
        n_taken += len(ids)
    shown: tuple[Segment, ...] = ()
    shown_ids: list[int] = []
    while start := (whole[-1][0] if whole else near).start:
        shown = frame(context, start, room // FRAME_SHARE * CHARS_PER_TOKEN)
        shown_ids = await encode("".join(each.text for each in shown), 0) if shown else []
        if n_taken + len(shown_ids) <= room:
            break
        shown, shown_ids = (), []
        if not whole:
            break
        n_taken -= len(whole.pop()[1])
    ids = shown_ids + [token for _, each in reversed(whole) for token in each] + near_ids
    over = max(0, len(ids) - room)
    return _Part(ids[-(-over // STEP_TOKENS) * STEP_TOKENS :], start, shown)


async def _suffix(
    context: CompletionContext, prompt_format: PromptFormat, tokenize: Tokenize, room: int
) -> _Part:
    """The beginning of the text after the caret. Its end depends on the lines below the caret's only."""
    if room == 0:
        return _Part([], context.offset)
    segments = after(context, _step_chars(room))
    near = next(segments)
    text = near.text[: room * MOST_CHARS_PER_TOKEN]
    near_ids = await prompt_format.encode("SUFFIX", text, tokenize)
    taken = [near_ids]
    n_taken = max(len(near_ids), _reserved(len(text) - len(context.line_tail), room))
    end = near.end
    for segment in segments:
        if len(segment.text) > room * MOST_CHARS_PER_TOKEN:
            break
        ids = await prompt_format.encode("SUFFIX", segment.text, tokenize, goes_on=True)
        if n_taken + len(ids) > room:
            break
        taken.append(ids)
        n_taken += len(ids)
        end = segment.end
    return _Part([token for ids in taken for token in ids][:room], end)


async def _files(
    context: CompletionContext, prompt_format: PromptFormat, tokenize: Tokenize, room: int
) -> tuple[dict[str, list[int]], int]:
    """The parts `FILES` and `HERE`, and of how many snippets: the last that fit, each whole; neither where none fits.

    A last snippet that is larger than all the room loses its last lines.
    """

    async def encode(items: Sequence[str], path: str, text: str = "") -> list[int]:
        found: list[int] = []
        for item in items:
            if (token := prompt_format.control(item)) is not None:
                found.append(token)
            else:
                filled = _filled(item, path, text, context.document.language)
                found += await prompt_format.encode("PREFIX", filled, tokenize, goes_on=True)
        return found

    if not context.snippets or not room:
        return {}, 0
    opening = await encode(prompt_format.files, "")
    here = await encode([prompt_format.here], context.path) if context.path else []
    room -= len(opening) + len(here)
    kept: list[list[int]] = []
    for snippet in reversed(context.snippets):
        ids = await encode(prompt_format.file, snippet.path, snippet.text)
        if len(ids) > room and not kept:
            shorter = snippet.text[: len(snippet.text) * max(0, room - LINE_TOKENS) // len(ids)]
            if lines := shorter[: shorter.rfind("\n") + 1]:
                ids = await encode(prompt_format.file, snippet.path, lines)
        if len(ids) > room:
            break
        kept.append(ids)
        room -= len(ids)
    n_too_many = -(len(context.snippets) - len(kept)) % FILES_STEP
    if n_too_many < len(kept):
        del kept[len(kept) - n_too_many :]
    if not kept:
        return {}, 0
    held = [*opening, *(token for ids in reversed(kept) for token in ids)]
    return {"FILES": held, "HERE": here}, len(kept)


def _filled(template: str, path: str, text: str, language_id: str) -> str:
    known = language(language_id)
    opening, closing = known.block_comment or ("#", "")
    if known.line_comment:
        opening, closing = known.line_comment, ""
    values = {"PATH": path, "COMMENT": f"{opening} {path} {closing}".rstrip(), "TEXT": text}
    return re.sub("|".join(values), lambda match: values[match[0]], template)


def _left_out(context: CompletionContext, prefix: _Part, suffix: _Part) -> tuple[str, ...]:
    """The rest of the file, without what stands in the prompt from there."""
    text = context.document.text
    first = max(0, prefix.edge - LEFT_OUT_PREFIX_CHARS)
    cuts = [first, *(at for each in prefix.frame for at in (each.start, each.end)), prefix.edge]
    above = [text[max(first, a) : b] for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
    below = text[suffix.edge : suffix.edge + LEFT_OUT_SUFFIX_CHARS]
    return tuple(unix(each) for each in (below, *above) if each)


def _step_chars(room: int) -> int:
    return max(STEP_CHARS, room * CHARS_PER_TOKEN // STEP_SHARE)


def _reserved(n_chars: int, room: int) -> int:
    """Tokens kept for the caret's line and these characters beside it: what is typed in the line changes it not."""
    return n_chars // CHARS_PER_TOKEN + min(LINE_TOKENS, room // LINE_SHARE)
