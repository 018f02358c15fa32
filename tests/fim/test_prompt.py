"""Prompts: Code Llama's layouts by token id, budgets to the token, and what a key leaves as it was."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.context import CompletionContext, gather
from midfill.engine import ModelInfo
from midfill.engines.fake import BOS, EOT, MID, PRE, SUF, FakeEngine
from midfill.errors import RoleError
from midfill.formats import Layout, format_of
from midfill.prompt import MIN_WINDOW_FOR_FILES, STEP_TOKENS, Budget, Prompt, budget_of, render
from midfill.settings import CompletionSettings
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document

ROOMY = Budget(prefix_tokens=100_000, suffix_tokens=100_000)


def context_of(marked: str) -> CompletionContext:
    text, offset = caret(marked)
    document = Document.of(text, "python")
    return CompletionContext(document, offset, "line", parse(document))


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


TEXTS = st.lists(
    st.sampled_from(["a", " ", "\n", "    b\n", "\n\ndef c():\n", "import d\n", '"', "é😋"]),
    max_size=200,
).map("".join)


@given(
    TEXTS,
    TEXTS,
    st.lists(TEXTS, max_size=5),
    st.integers(0, 200),
    st.integers(0, 100),
    st.integers(0, 150),
)
async def test_budgets_hold_to_the_token(
    prefix: str,
    suffix: str,
    files: list[str],
    prefix_tokens: int,
    suffix_tokens: int,
    files_tokens: int,
) -> None:
    engine = FakeEngine()
    document = Document.of(prefix + suffix, "python")
    snippets = tuple(Snippet("a.py", text) for text in files)
    context = gather(document, len(prefix), parse(document), "b.py", snippets)
    budget = Budget(prefix_tokens, suffix_tokens, files_tokens)
    prompt = await render(context, format_of(await engine.info()), engine.tokenize, budget, "psm")
    assert prompt.ids[:2] == (BOS, PRE)
    split = prompt.ids.index(SUF)
    assert split - 2 <= prefix_tokens + files_tokens
    assert len(prompt.ids) - split - 2 <= suffix_tokens
    alone = replace(context, snippets=())
    prompt = await render(alone, format_of(await engine.info()), engine.tokenize, budget, "psm")
    assert prompt.ids.index(SUF) - 2 <= prefix_tokens


@pytest.mark.parametrize(
    ("n_ctx", "budget"),
    [
        pytest.param(4096, Budget(1536, 512), id="all-fits"),
        pytest.param(768, Budget(534, 178), id="shared-in-proportion"),
    ],
)
def test_budget_leaves_room_for_the_generation(n_ctx: int, budget: Budget) -> None:
    assert budget_of(ModelInfo("m", n_ctx), CompletionSettings(), 48) == budget


def test_snippets_take_their_part_where_there_are_some() -> None:
    some = (Snippet("a.py", "a\n"),)
    settings = CompletionSettings()
    assert budget_of(ModelInfo("m", 4096), settings, 48, some) == Budget(1536, 512, 384)
    small = budget_of(ModelInfo("m", 1024), settings, 48, some)
    assert small == Budget(613, 203, 152)
    assert small.prefix_tokens + small.suffix_tokens + small.files_tokens == 968


def test_a_small_window_is_for_the_file_alone() -> None:
    model, settings = ModelInfo("m", MIN_WINDOW_FOR_FILES - 1), CompletionSettings()
    some = (Snippet("a.py", "a\n"),)
    assert budget_of(model, settings, 48, some) == budget_of(model, settings, 48)


def test_a_window_too_small_for_a_prompt_is_refused() -> None:
    with pytest.raises(RoleError, match="context window of 100 tokens"):
        budget_of(ModelInfo("m", 100), CompletionSettings(), 48)


LINES = "".join(f"line {number}\n" for number in range(400))


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


MODULE = "import os\nfrom pathlib import Path\n" + "".join(
    f"\n\nclass Class{number}:\n    def method(self, one):\n        two = one\n        return two\n"
    for number in range(60)
)
TYPED = '''\
    def parse(self, text: str = "it's") -> list[int]:
        """Read a list of numbers (as "1, 2")."""
        found = [int(part) for part in text.split(",")]
        for each in found:
            if each < 0: raise ValueError(f"{each} is negative")
        return {
            "numbers": found,
        }["numbers"]

    def __repr__(self) -> str:
        return f"Class({self.numbers!r}, [{', '.join(map(str, self.found))}])"
'''


class Counting(FakeEngine):
    """A word, a run of blanks or a sign is a token. Remembers what it was asked for, as a client of a host does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, list[int]] = {}
        self.words: dict[str, int] = {}

    async def tokenize(self, text: str) -> list[int]:
        if text not in self.asked:
            words = re.findall(r"\w+|\s+|[^\w\s]", text)
            self.asked[text] = [self.words.setdefault(w, 1000 + len(self.words)) for w in words]
        return self.asked[text]

    def text_of(self, ids: tuple[int, ...]) -> str:
        words = {token: word for word, token in self.words.items()}
        return "".join(words[token] for token in ids)


@pytest.mark.parametrize("with_tree", [True, False])
@pytest.mark.parametrize("snippets", [(), (Snippet("a.py", "A = 1\n"), Snippet("b.py", "B\n"))])
async def test_typing_only_appends(with_tree: bool, snippets: tuple[Snippet, ...]) -> None:
    """Three runs of keys: in each nothing but what was typed is new, but for an edge that moves now and then."""
    engine = Counting()
    form = format_of(await engine.info())
    budget = Budget(480, 160, 60)
    at = MODULE.index("\n\nclass Class40")
    n_keys = n_moves = n_extra = 0
    tails: set[tuple[int, ...]] = set()
    before: tuple[int, ...] = ()
    syntax = None
    for n_typed in range(3 * len(TYPED) + 1):
        text = (3 * TYPED)[:n_typed]
        document = Document.of(MODULE[:at] + "\n" + text + MODULE[at:], "python")
        syntax = parse(document, syntax) if with_tree else None
        context = gather(document, at + 1 + n_typed, syntax, "c.py", snippets)
        n_asked = len(engine.asked)
        prompt = await render(context, form, engine.tokenize, budget, "spm")
        mid = prompt.ids.index(MID)
        tails.add(prompt.ids[:mid])
        if n_typed:
            n_keys += 1
            # The word before the caret may have grown.
            moved = prompt.ids[: len(before) - 1] != before[:-1]
            n_moves += moved
            n_extra += max(0, len(engine.asked) - n_asked - 1)
            assert moved or text[-1] == "\n" or len(engine.asked) - n_asked <= 1
        before = prompt.ids
    assert n_keys > 1000
    assert len(tails) == 1  # The suffix stays to the token.
    # An edge stands in each 360 characters, and 1,400 are typed.
    assert 2 <= n_moves <= 4
    # At these keys what has become a whole piece is encoded, and the imports and headers above the new edge.
    assert n_extra <= 2 * n_moves


async def test_both_edges_rest_in_either_layout() -> None:
    engine = FakeEngine()
    form = format_of(await engine.info())
    at = MODULE.index("\n\nclass Class30")
    ids = set()
    for typed in ("", "x", "xy", "xyz = (", 'xyz = ("', "xyz = ()"):
        document = Document.of(MODULE[:at] + "\n" + typed + MODULE[at:], "python")
        context = gather(document, at + 1 + len(typed), parse(document))
        prompt = await render(context, form, engine.tokenize, Budget(900, 300), "psm")
        prefix = bytes(prompt.ids[2 : prompt.ids.index(SUF)]).decode()
        ids.add((prefix.removesuffix(typed), prompt.ids[prompt.ids.index(SUF) :]))
    assert len(ids) == 1


@pytest.mark.parametrize("suffix_tokens", range(120, 240, 8))
async def test_what_is_right_of_the_caret_on_its_line_does_not_move_the_far_end(
    suffix_tokens: int,
) -> None:
    engine = Counting()
    form = format_of(await engine.info())
    ends = set()
    for tail in ("", ")", "])", "first, second)", "a_rather_long_name_of_an_argument, second)"):
        context = context_of(f"{MODULE}call(║{tail}\n{MODULE}")
        budget = Budget(900, suffix_tokens)
        prompt = await render(context, form, engine.tokenize, budget, "psm")
        suffix = engine.text_of(prompt.ids[prompt.ids.index(SUF) + 1 : -1])
        assert suffix.startswith(tail + "\n")
        ends.add(suffix.removeprefix(tail))
    assert len(ends) == 1


async def test_imports_and_headers_stand_above_a_window_that_does_not_reach_them() -> None:
    engine = Counting()
    body = "".join(f"        value_{number} = {number}\n" for number in range(200))
    context = context_of(f"{MODULE}\n\nclass Last:\n    def method(self):\n{body}║")
    form = format_of(await engine.info())
    prompt = await render(context, form, engine.tokenize, Budget(600, 0), "psm")
    prefix = engine.text_of(prompt.ids[2:-2])
    assert prefix.startswith(
        "import os\nfrom pathlib import Path\nclass Last:\n    def method(self):\n\n        value_"
    )
    # They are not told again, so that an engine that copies does not count them twice.
    assert not [text for text in prompt.left_out if "pathlib" in text or "Last" in text]
    assert [text for text in prompt.left_out if "value_1 " in text]


async def test_a_line_longer_than_the_window_is_cut_in_steps() -> None:
    lengths = {
        len((await prompt_of(f"{'x' * length}║", "psm", Budget(200, 0))).ids)
        for length in range(5000, 5064)
    }
    assert max(lengths) <= 204
    assert min(lengths) >= 204 - STEP_TOKENS


def files_in(prompt: Prompt) -> str:
    text = bytes(prompt.ids[2 : prompt.ids.index(SUF)]).decode()
    return text.removesuffix("# c.py\nx")


@pytest.mark.parametrize(
    ("n_lines", "files_tokens", "shown"),
    [
        pytest.param([1, 1, 1], 100, [0, 1, 2], id="all fit"),
        pytest.param([1, 1, 1], 30, [1, 2], id="the last are the most useful"),
        pytest.param([1] * 6, 63, [4, 5], id="the first is a fourth one"),
        pytest.param([1, 30, 1], 60, [2], id="each whole or not at all"),
        pytest.param([1], 12, [], id="no room"),
    ],
)
async def test_the_snippets_that_fit(
    n_lines: list[int], files_tokens: int, shown: list[int]
) -> None:
    snippets = [Snippet(f"{idx}.py", f"a{idx}\n" * n) for idx, n in enumerate(n_lines)]
    prompt = await _with_files(snippets, files_tokens)
    expected = "".join(f"# {snippets[idx].path}\n{snippets[idx].text}\n" for idx in shown)
    assert files_in(prompt) == (expected if shown else "x")
    told = tuple(each.text for idx, each in enumerate(snippets) if idx not in shown)
    assert prompt.left_out == (*COPYABLE, *told)


async def test_a_snippet_larger_than_all_the_room_loses_its_last_lines() -> None:
    prompt = await _with_files([Snippet("0.py", "".join(f"line {n}\n" for n in range(90)))], 300)
    text = files_in(prompt)
    assert text.startswith("# 0.py\nline 0\n")
    assert text.endswith("\n\n")
    assert 150 < len(text) <= 300


COPYABLE = ("elsewhere = 1\n", "nearer = 2\n")


async def _with_files(snippets: list[Snippet], files_tokens: int) -> Prompt:
    engine = FakeEngine()
    document = Document.of("x", "python")
    context = CompletionContext(
        document, 1, "line", None, "c.py", tuple(snippets), copyable=COPYABLE
    )
    budget = Budget(200, 100, files_tokens)
    return await render(context, format_of(await engine.info()), engine.tokenize, budget, "psm")


@pytest.mark.parametrize(
    ("language", "comment"),
    [
        ("python", "# a.py\n"),
        ("go", "// a.py\n"),
        ("css", "/* a.py */\n"),
        ("lua", "-- a.py\n"),
        ("", "# a.py\n"),
    ],
)
async def test_a_path_is_a_comment_of_the_language(language: str, comment: str) -> None:
    engine = FakeEngine()
    snippets = (Snippet("a.py", "PATH\n"),)
    context = CompletionContext(Document.of("x", language), 1, "line", None, "TEXT", snippets)
    prompt = await render(
        context, format_of(await engine.info()), engine.tokenize, Budget(99, 0, 99), "psm"
    )
    assert files_in(prompt).startswith(f"{comment}PATH\n\n{comment.replace('a.py', 'TEXT')}")


async def test_the_next_snippet_leaves_those_before_as_they_were_read() -> None:
    snippets = [Snippet(f"{idx}.py", f"a{idx} = {idx}\n") for idx in range(12)]
    before: tuple[int, ...] = ()
    n_kept = 0
    for n_given in range(1, len(snippets) + 1):
        ids = (await _with_files(snippets[:n_given], 110)).ids
        n_same = next((n for n, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), 0)
        n_kept += n_same > 8
        before = ids
    assert n_kept >= 8
