"""`complete()` with a scripted engine: what is asked, when it stops, what is shown."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Literal

import pytest

from marks import caret
from midfill.complete import Completion, complete
from midfill.context import gather
from midfill.engine import ModelInfo
from midfill.engines.fake import FakeEngine, Script
from midfill.errors import EngineGone, RoleError
from midfill.formats import Layout
from midfill.settings import CompletionSettings
from midfill.syntax import parse
from midfill.text import Document

SETTINGS = CompletionSettings()


async def completed(
    marked: str,
    engine: FakeEngine,
    settings: CompletionSettings = SETTINGS,
    language: str = "python",
) -> Completion:
    text, offset = caret(marked)
    document = Document.of(text, language)
    return await complete(gather(document, offset, parse(document)), engine, settings)


@pytest.mark.parametrize("layout", ["spm", "psm"])
@pytest.mark.parametrize(
    ("marked", "script", "text"),
    [
        pytest.param("x = f(║)\n", "a, b)\nmore", "a, b", id="line"),
        pytest.param("x = f(║)\n", "", "", id="nothing-said"),
        pytest.param("x = 1║\n", "\ny = 2", "", id="line-was-done"),
        pytest.param("def f(a):║\n", "\n    return a\nx = 1\n", "\n    return a", id="block"),
        pytest.param(
            "def f(a):║\r\n",
            "\n    b = a\n    return b",
            "\r\n    b = a\r\n    return b",
            id="crlf",
        ),
        pytest.param("say('║')\n", "héllo 😋')", "héllo 😋", id="utf-8"),
    ],
)
async def test_completion(marked: str, script: str, text: str, layout: Layout) -> None:
    engine = FakeEngine(script)
    found = await completed(marked, engine, replace(SETTINGS, layout=layout))
    assert found.text == text
    assert found.layout == layout
    before, after = marked.replace("\r\n", "\n").split("║")
    assert [(asked.prefix, asked.suffix) for asked in engine.requests] == [(before, after)]


@pytest.mark.parametrize(
    ("script", "settings", "reason", "max_generated"),
    [
        pytest.param("a\nbbbbbbbbbbbbbbbb", SETTINGS, "line", 6, id="line"),
        pytest.param("a", SETTINGS, "eot", 2, id="eot"),
        pytest.param("a" * 99, replace(SETTINGS, max_tokens_line=7), "budget", 7, id="budget"),
    ],
)
async def test_what_is_not_needed_is_not_generated(
    script: Script, settings: CompletionSettings, reason: str, max_generated: int
) -> None:
    engine = FakeEngine(script)
    found = await completed("x = ║", engine, settings)
    assert found.usage.stop_reason == reason
    assert found.usage.tokens_generated <= max_generated


@pytest.mark.parametrize(("copying", "copy"), [("auto", None), ("on", True), ("off", False)])
async def test_the_engine_is_told_what_to_copy_from(
    copying: Literal["auto", "on", "off"], copy: bool | None
) -> None:
    engine = FakeEngine("")
    lines = "".join(f"name_{number} = {number}\n" for number in range(900))
    await completed(f"{lines}║", engine, replace(SETTINGS, copying=copying))
    (asked,) = engine.requests
    assert asked.sampling.copy is copy
    (rest,) = asked.sampling.copy_from
    assert lines.startswith(rest)
    assert lines.endswith(asked.prefix)
    assert 0 < len(rest) + len(asked.prefix) <= len(lines)


@pytest.mark.parametrize(
    ("marked", "script", "min_confidence", "text"),
    [
        pytest.param("x = ║", "abcd", 0.1, "", id="unsure"),
        pytest.param("x = ║", "abcd", 0.0, "abcd", id="all-is-wanted"),
        pytest.param("x = ║", "abc", 0.1, "abc", id="sure-enough"),
        pytest.param(
            "x = f(║), b, c, d)", "abc), b, c, d)", 0.1, "abc", id="what-is-cut-does-not-count"
        ),
        pytest.param(
            "def f():║\n", "\n a\n bcdefghi", 0.05, "\n a\n bcdefghi", id="first-line-counts"
        ),
    ],
)
async def test_what_the_model_is_unsure_of_is_not_shown(
    marked: str, script: str, min_confidence: float, text: str
) -> None:
    # Half for each byte: 0.125 for three, 0.0625 for four.
    engine = FakeEngine(script, piece_chars=1, logprob=math.log(0.5))
    settings = replace(SETTINGS, min_confidence=min_confidence)
    assert (await completed(marked, engine, settings)).text == text


async def test_a_block_stops_at_its_end() -> None:
    engine = FakeEngine("\n    return a\nx = 1\ny = 2\nz = 3\n")
    found = await completed("def f(a):║\n", engine)
    assert found.usage.stop_reason == "block"
    assert "y = 2" not in found.generation


async def test_at_the_time_limit_what_is_there_is_shown() -> None:
    engine = FakeEngine("abc def", piece_delay_s=0.2)
    found = await completed("x = ║", engine, replace(SETTINGS, time_limit_ms=300))
    assert found.usage.stop_reason == "time"
    assert "abc def".startswith(found.text)
    assert len(found.text) < len("abc def")
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]


@pytest.mark.parametrize("n_turns", range(12))
async def test_a_cancel_in_any_turn_of_the_loop_ends_it(n_turns: int) -> None:
    engine = FakeEngine("answer", piece_delay_s=60)
    task = asyncio.ensure_future(completed("x = ║", engine, replace(SETTINGS, time_limit_ms=10**7)))
    for _ in range(n_turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_cancelling_reaches_the_engine() -> None:
    engine = FakeEngine("abc def", piece_delay_s=60)
    task = asyncio.ensure_future(completed("x = ║", engine))
    while not engine.requests:
        assert not task.done()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]


async def test_an_engine_that_dies_is_told_to_the_caller() -> None:
    def die(asked: object) -> str:
        raise EngineGone("gone")

    with pytest.raises(EngineGone):
        await completed("x = ║", FakeEngine(die))


async def test_a_model_without_infill_is_refused() -> None:
    class Chatty(FakeEngine):
        async def info(self) -> ModelInfo:
            return replace(await super().info(), name="chatty", control_ids={})

    with pytest.raises(RoleError, match="chatty"):
        await completed("x = ║", Chatty())


async def test_typing_evaluates_only_what_was_typed() -> None:
    engine = FakeEngine("")
    line = "total = first + second"
    for typed in range(1, len(line) + 1):
        found = await completed(f"import os\n{line[:typed]}║\nprint(total)\n", engine)
        if typed > 1:
            assert found.usage.tokens_evaluated <= 4
