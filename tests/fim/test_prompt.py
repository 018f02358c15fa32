"""Prompts: Code Llama's layouts by token id, budgets to the token, windows whose edges rest while typing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.context import CompletionContext
from midfill.engine import ModelInfo
from midfill.engines.fake import BOS, EOT, MID, PRE, SUF, FakeEngine
from midfill.errors import RoleError
from midfill.formats import Layout, control_pieces, format_of
from midfill.prompt import (
    STEP_CHARS,
    STEP_LINES,
    STEP_TOKENS,
    Budget,
    Prompt,
    budget_of,
    prefix_window,
    render,
    suffix_window,
)
from midfill.settings import CompletionSettings
from midfill.text import Document

ROOMY = Budget(prefix_tokens=100_000, suffix_tokens=100_000)


def context_of(marked: str) -> CompletionContext:
    text, offset = caret(marked)
    return CompletionContext(Document.of(text), offset, "line", None)


async def prompt_of(marked: str, layout: Layout, budget: Budget = ROOMY) -> Prompt:
    engine = FakeEngine()
    prompt_format = format_of(await engine.info())
    return await render(context_of(marked), prompt_format, engine.tokenize, budget, layout)


@pytest.mark.parametrize(
    ("layout", "ids"),
    [
        pytest.param("psm", (BOS, PRE, *b"ab", SUF, *b"cd", MID), id="psm"),
        pytest.param("spm", (BOS, PRE, SUF, *b"cd", MID, *b"ab"), id="spm"),
    ],
)
async def test_layouts_are_code_llamas(layout: Layout, ids: tuple[int, ...]) -> None:
    prompt = await prompt_of("ab║cd", layout)
    assert prompt.ids == ids
    assert prompt.end_ids == (EOT,)


async def test_line_endings_reach_the_model_as_newlines() -> None:
    prompt = await prompt_of("a\r\nb║\r\nc\rd", "spm")
    assert prompt.ids == (BOS, PRE, SUF, *b"\nc\nd", MID, *b"a\nb")


async def test_text_that_spells_control_tokens_stays_text() -> None:
    text = "x <PRE> <MID><EOT> <SUF> ▁<PRE>"
    prompt = await prompt_of(text + "║" + text, "psm")
    encoded = tuple(text.encode())
    assert prompt.ids == (BOS, PRE, *encoded, SUF, *encoded, MID)


def test_a_model_without_infill_tokens_is_refused() -> None:
    with pytest.raises(RoleError, match="chatty has no infill tokens"):
        format_of(ModelInfo("chatty", n_ctx=4096, bos_id=1))


@pytest.mark.parametrize("missing", control_pieces())
def test_every_control_token_is_needed(missing: str) -> None:
    ids = {piece: idx for idx, piece in enumerate(control_pieces()) if piece != missing}
    with pytest.raises(RoleError):
        format_of(ModelInfo("half", n_ctx=4096, control_ids=ids))


def test_a_model_without_bos_gets_none() -> None:
    ids = {piece: idx for idx, piece in enumerate(control_pieces())}
    prompt_format = format_of(ModelInfo("bare", n_ctx=4096, control_ids=ids))
    laid_out = prompt_format.lay_out("psm", {"PREFIX": [90], "SUFFIX": [91]})
    assert laid_out == [ids["▁<PRE>"], 90, ids["▁<SUF>"], 91, ids["▁<MID>"]]


@given(
    st.text(st.sampled_from("ab \n"), max_size=600),
    st.text(st.sampled_from("ab \n"), max_size=600),
    st.integers(STEP_TOKENS, 200),
    st.integers(0, 100),
)
async def test_budgets_hold_to_the_token(
    prefix: str, suffix: str, prefix_tokens: int, suffix_tokens: int
) -> None:
    budget = Budget(prefix_tokens, suffix_tokens)
    prompt = await prompt_of(f"{prefix}║{suffix}", "psm", budget)
    split = prompt.ids.index(SUF)
    assert split - 2 <= prefix_tokens
    assert len(prompt.ids) - split - 2 <= suffix_tokens


@pytest.mark.parametrize(
    ("n_ctx", "budget"),
    [
        pytest.param(4096, Budget(1536, 512), id="all-fits"),
        pytest.param(768, Budget(534, 178), id="shared-in-proportion"),
    ],
)
def test_budget_leaves_room_for_the_generation(n_ctx: int, budget: Budget) -> None:
    assert budget_of(ModelInfo("m", n_ctx), CompletionSettings(), 48) == budget


def test_a_window_too_small_for_a_prompt_is_refused() -> None:
    with pytest.raises(RoleError, match="context window of 100 tokens"):
        budget_of(ModelInfo("m", 100), CompletionSettings(), 48)


LINES = "".join(f"line {number}\n" for number in range(400))


def test_the_prefix_begins_at_a_multiple_of_the_step() -> None:
    window = prefix_window(LINES, 1000)
    assert len(window) <= 1000
    assert LINES.endswith(window)
    assert int(window.split(maxsplit=2)[1]) % STEP_LINES == 0


def test_typing_leaves_both_edges_where_they_are() -> None:
    typed = "value = compute(first, second)\n" * 5
    starts, ends = set(), set()
    for count in range(len(typed)):
        prefix = LINES + typed[:count]
        starts.add(len(prefix) - len(prefix_window(prefix, 1000)))
        ends.add(suffix_window(LINES, 300))
    assert len(starts) <= 1 + len(typed) // 200
    assert len(ends) == 1


def test_lines_too_long_for_the_window_are_cut_in_steps() -> None:
    start = len("x" * 10_000) - len(prefix_window("x" * 10_000, 3000))
    assert start % STEP_CHARS == 0
    assert 0 < 10_000 - start <= 3000


@pytest.mark.parametrize(
    ("suffix", "max_chars", "window"),
    [
        pytest.param("ab\ncd\n", 6, "ab\ncd\n", id="all"),
        pytest.param("ab\ncd\nef", 7, "ab\ncd\n", id="whole-lines"),
        pytest.param("abcdef\n", 3, "abc", id="no-line-fits"),
    ],
)
def test_the_suffix_ends_after_a_whole_line(suffix: str, max_chars: int, window: str) -> None:
    assert suffix_window(suffix, max_chars) == window


async def test_what_does_not_fit_is_told_nearest_last() -> None:
    prompt = await prompt_of(f"{LINES}║{LINES}", "psm", Budget(200, 100))
    after, before = prompt.left_out
    assert LINES.startswith(before)
    assert LINES.endswith(after)
    split = prompt.ids.index(SUF)
    read = len(before) + split - 2, len(after) + len(prompt.ids) - split - 2
    # No text is both in the prompt and told again; what was cut to hold the budget to the token is in neither.
    assert all(0 < n_chars <= len(LINES) for n_chars in read)


async def test_nothing_is_left_out_of_a_short_file() -> None:
    assert (await prompt_of("a║b", "psm")).left_out == ()
