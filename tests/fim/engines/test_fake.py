"""The fake keeps an engine's promise, and is honest in what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from midfill.engine import Engine, Piece, Sampling, StopReason
from midfill.engines.fake import BOS, EOT, MID, PRE, SUF, Asked, FakeEngine, Script, continue_alike
from midfill.errors import EngineGone, EngineRefused, MidfillError, ModelError, SettingsError
from midfill.formats import Layout, format_of


async def pieces_of(
    engine: Engine, prompt: Sequence[int], max_tokens: int = 100, stop_ids: tuple[int, ...] = ()
) -> list[Piece]:
    sampling = Sampling(max_tokens, stop_ids=stop_ids)
    async with aclosing(engine.generate(prompt, sampling)) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def test_keeps_the_protocol() -> None:
    assert isinstance(FakeEngine(), Engine)


@pytest.mark.parametrize("layout", ["psm", "spm"])
@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        pytest.param("def f(x):\n    return ", "\n\nf(1)\n", id="ordinary"),
        pytest.param("", "tail", id="empty prefix"),
        pytest.param("head", "", id="empty suffix"),
        pytest.param("a <PRE> b ▁<MID>", " <SUF> é𝄞", id="text that spells control tokens"),
    ],
)
async def test_reads_the_prompt_back(layout: Layout, prefix: str, suffix: str) -> None:
    engine = FakeEngine("x")
    form = format_of(await engine.info())
    parts = {
        "PREFIX": await form.encode("PREFIX", prefix, engine.tokenize),
        "SUFFIX": await form.encode("SUFFIX", suffix, engine.tokenize),
    }
    await pieces_of(engine, form.lay_out(layout, parts))
    assert (engine.requests[0].prefix, engine.requests[0].suffix) == (prefix, suffix)


@pytest.mark.parametrize(
    ("answer", "max_tokens", "stop_ids", "n_ctx", "text", "reason", "generated"),
    [
        pytest.param("abcdef", 100, (), 64, "abcdef", "eot", 7, id="all said"),
        pytest.param("abcdef", 4, (), 64, "abcd", "budget", 4, id="budget"),
        pytest.param("abcdef", 6, (), 64, "abcdef", "budget", 6, id="budget just before the end"),
        pytest.param("abcdef", 0, (), 64, "", "budget", 0, id="only read the prompt"),
        pytest.param("abcdef", 100, (), 5, "abc", "context", 3, id="context"),
        pytest.param("abcdef", 100, (), 2, "", "context", 0, id="no room at all"),
        pytest.param("ab\ncd", 100, (10,), 64, "ab", "eot", 3, id="stop token"),
        pytest.param("é𝄞", 4, (), 64, "é", "budget", 4, id="cut inside a character"),
        pytest.param("", 9, (), 64, "", "eot", 1, id="nothing"),
    ],
)
async def test_stops(
    answer: str,
    max_tokens: int,
    stop_ids: tuple[int, ...],
    n_ctx: int,
    text: str,
    reason: StopReason,
    generated: int,
) -> None:
    engine = FakeEngine(answer, n_ctx=n_ctx)
    pieces = await pieces_of(engine, [BOS, 65], max_tokens, stop_ids)
    assert text_of(pieces) == text
    assert [piece.usage.stop_reason for piece in pieces[:-1]] == [""] * (len(pieces) - 1)
    assert pieces[-1].usage.stop_reason == reason
    assert pieces[-1].usage.tokens_generated == generated


async def test_streams_whole_characters_with_all_their_tokens() -> None:
    answer = "aé☺𝄞b"
    pieces = await pieces_of(FakeEngine(answer, piece_chars=1), [65])
    assert [piece.text for piece in pieces] == [*answer, ""]
    tokens = [token for piece in pieces for token in piece.token_ids]
    assert bytes(tokens).decode() == answer
    assert all(len(piece.logprobs) == len(piece.token_ids) for piece in pieces)


async def test_reuses_the_common_beginning() -> None:
    engine = FakeEngine("answer")
    first = await pieces_of(engine, list(b"one two"))
    typed = await pieces_of(engine, list(b"one two!"))
    again = await pieces_of(engine, list(b"one two!"))
    other = await pieces_of(engine, list(b"one three"))
    counts = [
        (pieces[-1].usage.tokens_reused, pieces[-1].usage.tokens_evaluated)
        for pieces in (first, typed, again, other)
    ]
    # The last token of a prompt is evaluated in any case.
    assert counts == [(0, 7), (7, 1), (7, 1), (5, 4)]


async def test_reuses_what_it_said_itself() -> None:
    engine = FakeEngine("abc")
    await pieces_of(engine, list(b"12"))
    accepted = await pieces_of(engine, list(b"12abc;"))
    assert accepted[-1].usage.tokens_reused == 5


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        pytest.param("same", "same", id="text"),
        pytest.param({"f(": "x)", "print(f(": "y)"}, "y)", id="longest end"),
        pytest.param({"other": "x"}, "", id="no end"),
        pytest.param(lambda asked: asked.prefix.upper(), "PRINT(F(", id="function"),
    ],
)
async def test_scripts(script: Script, answer: str) -> None:
    assert text_of(await pieces_of(FakeEngine(script), list(b"print(f("))) == answer


async def test_a_script_may_raise() -> None:
    def script(asked: Asked) -> str:
        raise EngineGone("The script says so.")

    with pytest.raises(EngineGone, match="says so"):
        await pieces_of(FakeEngine(script), [65])


async def test_cancelled_in_prefill_keeps_what_was_evaluated() -> None:
    engine = FakeEngine("answer", batch_delay_s=0.02)
    prompt = list(b"x" * 1000)
    task = asyncio.create_task(pieces_of(engine, prompt))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [usage] = engine.usages
    assert usage.stop_reason == "cancelled"
    assert usage.tokens_evaluated < len(prompt)
    again = await pieces_of(engine, prompt)
    assert again[-1].usage.tokens_reused == usage.tokens_evaluated


async def test_closed_by_the_reader_stops() -> None:
    engine = FakeEngine("a long answer", piece_chars=1)
    pieces = engine.generate([65], Sampling(100))
    await anext(pieces)
    await pieces.aclose()
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]
    assert engine.usages[0].tokens_generated == 1


@pytest.mark.parametrize(("piece_delay_s", "batch_delay_s"), [(60, 0), (0, 60)])
async def test_close_ends_what_runs(piece_delay_s: float, batch_delay_s: float) -> None:
    engine = FakeEngine("answer", piece_delay_s=piece_delay_s, batch_delay_s=batch_delay_s)
    task = asyncio.create_task(pieces_of(engine, [65]))
    await asyncio.sleep(0.01)
    await engine.close()
    pieces = await task
    assert pieces[-1].usage.stop_reason == "cancelled"
    with pytest.raises(EngineGone):
        await pieces_of(engine, [65])


@pytest.mark.parametrize(
    "prompt", [[], [EOT + 1], [-1], [65] * 17], ids=["empty", "+", "-", "long"]
)
async def test_refuses(prompt: list[int]) -> None:
    engine = FakeEngine(n_ctx=16)
    with pytest.raises(EngineRefused):
        await pieces_of(engine, prompt)
    assert engine.requests == []


async def test_at_a_path() -> None:
    engine = FakeEngine.at("fake:text=a%20b%26c&n_ctx=77&piece_chars=2")
    assert (await engine.info()).n_ctx == 77
    assert [piece.text for piece in await pieces_of(engine, [65])] == ["a ", "b&", "c"]
    with pytest.raises(ModelError):
        await FakeEngine.at("fake:load=refuse").info()


@pytest.mark.parametrize("path", ["fake:speed=9", "fake:n_ctx=many", "fake:load=perhaps"])
async def test_a_path_that_says_nothing(path: str) -> None:
    with pytest.raises(SettingsError) as caught:
        FakeEngine.at(path)
    assert isinstance(caught.value, MidfillError)


@pytest.mark.parametrize(
    ("prefix", "answer"),
    [
        pytest.param("total = add(1, 2)\ntot", "al = add(1, 2)", id="an earlier line"),
        pytest.param("x = foo.bar(1)\ny = foo.b", "ar(1)", id="the end of the line"),
        pytest.param("nothing alike\nxyz", "midfill", id="nothing alike"),
        pytest.param("", "midfill", id="empty"),
    ],
)
def test_continue_alike(prefix: str, answer: str) -> None:
    assert continue_alike(Asked(prefix, "", (), Sampling(1))) == answer


def test_the_control_tokens_are_no_bytes() -> None:
    assert len({BOS, PRE, SUF, MID, EOT} - set(range(256))) == 5
