"""What each baseline reads, where it stops and what it shows: `║` is the caret, `├┤` what a model said there."""

from __future__ import annotations

import pytest
from bench.baselines.llama_vim import LlamaVim
from bench.baselines.naive import PREFIX_CHARS, Naive
from bench.baselines.peer import generate, lay_out
from bench.baselines.policy import Ask, OpenFile, Policy, Shown
from bench.baselines.tabby import MAX_PROMPT_BYTES, Tabby
from bench.baselines.tabby_filters import distance
from hypothesis import given
from hypothesis import strategies as st

from marks import caret, inserted
from midfill.context import CompletionContext, gather
from midfill.engines.fake import BOS, CONTROL_IDS, MID, PRE, SUF, FakeEngine
from midfill.formats import format_of
from midfill.snippets import Snippet
from midfill.text import Document

LINES = [f"line_{idx} = {idx}" for idx in range(1000)]


def at(marked: str) -> CompletionContext:
    text, offset = caret(marked)
    return gather(Document.of(text, "python"), offset, None, "pkg/here.py")


def in_many_lines() -> CompletionContext:
    text = "\n".join([*LINES[:500], "value = ║", *LINES[500:], ""])
    return at(text)


def test_naive_cuts_by_characters() -> None:
    ask = Naive().ask(in_many_lines(), ())
    assert (len(ask.prefix), len(ask.suffix)) == (PREFIX_CHARS, 1024)
    assert Naive().shown("a\nb", in_many_lines()) == Shown("a\nb")


def test_llama_vim_reads_256_lines_before_and_64_after() -> None:
    ask = LlamaVim().ask(in_many_lines(), ())
    assert ask.prefix == "\n".join([*LINES[244:500], "value = "])
    assert ask.suffix == "\n".join(["", *LINES[500:564], ""])


def test_llama_vim_counts_a_blank_line_from_its_start() -> None:
    ask = LlamaVim().ask(at("a = 1\n    ║\nb = 2\n"), ())
    assert (ask.prefix, ask.suffix) == ("a = 1\n", "\nb = 2\n")


def test_llama_vim_has_chunks_of_other_files_and_of_far_parts_of_its_own() -> None:
    words = [f"alpha{idx} beta{idx} gamma{idx}" for idx in range(300)]
    other = OpenFile("pkg/other.py", "\n".join(words), 150)
    ask = LlamaVim().ask(in_many_lines(), [other])
    assert {chunk.path for chunk in ask.extra} == {"pkg/other.py", "pkg/here.py"}
    assert all(chunk.text.count("\n") <= 33 for chunk in ask.extra)
    assert "alpha150 " in ask.extra[0].text, "the line of the caret is in every chunk"


def test_llama_vim_drops_chunks_that_are_like_the_text_around_the_caret() -> None:
    same = "\n".join(f"alpha beta gamma {idx}" for idx in range(90))
    first = OpenFile("pkg/first.py", "\n".join(f"first{idx}" for idx in range(90)), 40)
    others = [first, OpenFile("pkg/like.py", same, 40)]
    asked = {
        name: {chunk.path for chunk in LlamaVim().ask(at(text), others).extra}
        for name, text in (("like", f"{same}\n║\n{same}"), ("other", "delta\n║\n" * 1))
    }
    assert asked == {"like": {"pkg/first.py"}, "other": {"pkg/first.py", "pkg/like.py"}}


@pytest.mark.parametrize(
    ("policy", "marked", "said", "kept"),
    [
        pytest.param(LlamaVim(), "    x = ║\n", "1\n    y\nz", "1\n    y\n", id="vim-less-deep"),
        pytest.param(LlamaVim(), "x = ║\n", "1\ny\nz", None, id="vim-at-the-margin"),
        pytest.param(Tabby(), "x = ║\n", "1\n\ny", "1", id="tabby-blank-line"),
        pytest.param(Tabby(), "x = ║\n", "1\ny\ndef f", "1\ny", id="tabby-top-level"),
        pytest.param(Tabby(), "x = ║\n", "1\ny", None, id="tabby-goes-on"),
        pytest.param(Naive(), "x = ║\n", "1\n\n\ny", None, id="naive-goes-on"),
    ],
)
def test_stop_rules(policy: Policy, marked: str, said: str, kept: str | None) -> None:
    end = policy.end(said, at(marked))
    assert (said[:end] if end is not None else None) == kept


@pytest.mark.parametrize(
    ("marked", "shown"),
    [
        pytest.param("x = ├f(1)\n\n┤\n", "f(1)", id="ends-without-blank-lines"),
        pytest.param("x = f(├a)┤)\n", "a)", id="a-doubled-closer-stays"),
        pytest.param("x = f(├)┤)\n", "", id="the-suffix-alone"),
        pytest.param("├y = 2┤\n\ny = 2\n", "", id="the-next-line"),
        pytest.param(
            "├y = 2\nz┤\ny = 2\nz = 3\n", "", id="the-next-line-and-the-next-ones-beginning"
        ),
        pytest.param("├\ny = 2┤\ny = 2\n", "", id="blank-and-the-next-line"),
        pytest.param("    ├    y = 2┤\nz = 3\n", "y = 2", id="indentation-that-is-there"),
    ],
)
def test_llama_vim_shows(marked: str, shown: str) -> None:
    before, said, after = inserted(marked)
    assert LlamaVim().shown(said, at(f"{before}║{after}")) == Shown(shown)


def test_tabby_reads_20_lines_on_both_sides() -> None:
    ask = Tabby().ask(in_many_lines(), ())
    assert ask.prefix == "\n".join([*LINES[481:500], "value = "])
    assert ask.suffix == "\n".join(["", *LINES[500:519], ""])
    assert not ask.clipped


def test_tabby_puts_declarations_before_what_was_viewed_as_comments() -> None:
    store = OpenFile(
        "pkg/store.py",
        "import os\n\n\nclass Store:\n    def get(self):\n        return 1\n\nx = 1\n",
        7,
    )
    ask = Tabby().ask(at("s = Store()\ns.║\n"), [store])
    assert ask.prefix.startswith(
        "# Path: pkg/store.py\n# class Store:\n#     def get(self):\n#         return 1\n#\n"
    )
    assert ask.prefix.endswith("\ns = Store()\ns.")
    # It was on the screen too, with what is around it.
    assert "import os" not in ask.prefix
    assert "# import os\n" in Tabby().ask(at("s.║\n"), [store]).prefix


def test_tabby_clips_the_whole_prompt_from_its_front() -> None:
    long = "\n".join(
        f"a_long_line_number_{idx} = 'with some more characters in it'" for idx in range(60)
    )
    ask = Tabby().ask(at(f"{long}\nx = ║\n{long}"), ())
    assert ask.clipped
    # In Code Llama's words, of which the first is lost.
    assert len(f"{ask.prefix} <SUF>{ask.suffix} <MID>".encode()) == MAX_PROMPT_BYTES


@pytest.mark.parametrize(
    ("marked", "shown"),
    [
        pytest.param("x = f(├abcd)┤)\n", Shown("abcd)", 1), id="replaces-punctuation"),
        pytest.param(
            "x = ├abcd + rest\nmore┤ + rest\n", Shown("abcd"), id="one-line-inside-a-line"
        ),
        pytest.param("x = ├abcd\nmore┤ + rest\n", Shown(""), id="no-lines-inside-a-line"),
        pytest.param("x = ├abc┤\n", Shown(""), id="too-short"),
        pytest.param("├value = 12┤\nvalue = 13\n", Shown(""), id="nearly-the-next-line"),
        pytest.param("x = ├abcabcabcabcabcabc┤\n", Shown(""), id="a-line-that-repeats-itself"),
        pytest.param("├defg\nabcabcabcabcabcabc┤\n", Shown("defg"), id="a-later-one-that-does"),
        pytest.param(
            "if x:\n    ├abcd()\nefgh()\n┤", Shown("abcd()\nefgh()"), id="with-a-closing-line"
        ),
        pytest.param(
            "if x:\n    ├abcd()\nefgh()\nijkl()┤\n    mnop()\n", Shown("abcd()"), id="scope"
        ),
        pytest.param(
            "├one_a\none_a\none_a\none_a\none_a\none_a\none_a┤", Shown("one_a"), id="lines-again"
        ),
        pytest.param("    ├  abcd()\n     efgh()┤\n", Shown("  abcd()\n    efgh()"), id="even"),
    ],
)
def test_tabby_shows(marked: str, shown: Shown) -> None:
    before, said, after = inserted(marked)
    assert Tabby().shown(said, at(f"{before}║{after}")) == shown


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_distance_is_a_distance(a: str, b: str) -> None:
    assert distance(a, b) == distance(b, a)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))
    assert (distance(a, b) == 0) == (a == b)


def test_distance() -> None:
    assert distance("kitten", "sitting") == 3


async def test_chunks_stand_before_the_prompt_and_bos() -> None:
    engine = FakeEngine("")
    model = await engine.info()
    ask = Ask("ab", "cd", 10, (Snippet("x.py", "chunk\n"),))
    ids = await lay_out(ask, format_of(model), model, engine.tokenize)
    text = list(b"\n\n--- snippet ---\n\nchunk\n")
    assert ids == [*text, BOS, PRE, *b"ab", SUF, *b"cd", MID]


async def test_a_clipped_prompt_has_lost_its_first_control_token() -> None:
    engine = FakeEngine("")
    model = await engine.info()
    ids = await lay_out(Ask("ab", "cd", 10, clipped=True), format_of(model), model, engine.tokenize)
    assert PRE not in ids
    assert CONTROL_IDS["▁<SUF>"] in ids


async def test_a_window_is_never_exceeded() -> None:
    engine = FakeEngine("x", n_ctx=600)
    model = await engine.info()
    ask = Ask("p" * 5000, "s" * 5000, 100, (Snippet("x.py", "c" * 5000),))
    ids = await lay_out(ask, format_of(model), model, engine.tokenize)
    assert len(ids) + 100 <= 600


async def test_a_policy_stops_the_generation() -> None:
    engine = FakeEngine("1\n\nmore and more and more")
    context = at("x = ║\n")
    policy = Tabby()
    said = await generate(policy, policy.ask(context, ()), context, engine)
    assert said.text == "1"
    assert engine.usages[0].tokens_generated < 10
    assert not engine.requests[0].sampling.heal
    assert engine.requests[0].sampling.copy is False
