"""`complete()` with a scripted engine: what is asked, when it stops, what is shown."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import replace
from typing import Any, Literal

import pytest

from marks import caret
from midfill.complete import Completion, Shown, complete, copied_from, shown
from midfill.context import gather
from midfill.engine import COPIES_BELOW_PARAMETERS, ModelInfo
from midfill.engines.fake import FakeEngine
from midfill.errors import EngineGone, RoleError
from midfill.formats import Layout
from midfill.prompt import Prompt
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
    ("marked", "said", "more", "reason"),
    [
        pytest.param("x = ║", "a\n", "bbbbbbbb", "line", id="line"),
        pytest.param("def f(a):║\n", "\n    return a\nx", " = 1\ny = 2\n", "block", id="dedent"),
        pytest.param("def f(a):║\n", " return a\n", "x = 1\n", "block", id="on-the-line"),
        pytest.param("if ║ not in known:\n", "a not in", " known:", "suffix", id="rest-of-line"),
        pytest.param(
            "def f(a):║\nprint(f(1))\n", "\n    print(f(1))\n", "    x", "suffix", id="below"
        ),
        pytest.param("x = ║", "a" + "._log" * 6, "._log" * 3, "repetition", id="loop"),
        pytest.param("x = ║", "a", "", "eot", id="eot"),
    ],
)
async def test_what_is_not_needed_is_not_generated(
    marked: str, said: str, more: str, reason: str
) -> None:
    """Nothing behind `said` is needed. The fake engine's tokens are bytes, and three are a piece."""
    engine = FakeEngine(said + more, piece_chars=3)
    found = await completed(marked, engine)
    assert found.usage.stop_reason == reason
    assert found.generation.startswith(said)
    assert found.usage.tokens_generated <= len(said) + 3


async def test_no_more_is_generated_than_was_asked_for() -> None:
    engine = FakeEngine("a" * 99)
    found = await completed("x = ║", engine, replace(SETTINGS, max_tokens_line=7))
    assert found.usage.stop_reason == "budget"
    assert found.usage.tokens_generated == 7


@pytest.mark.parametrize(
    ("marked", "script", "text", "n_replaced"),
    [
        pytest.param("x = f(║)\n", "a, b)\n", "a, b", 0, id="trimmed"),
        pytest.param("x = f(║)\n", "a).b\n", "a).b", 1, id="replaced"),
        pytest.param("if f(║):\n", "a) and b:\n", "a) and b:", 2, id="punctuation-too"),
        pytest.param('print("║")\n', 'é" + x\n', 'é" + x', 1, id="quote"),
    ],
)
async def test_what_stands_right_of_the_caret_is_replaced_not_doubled(
    marked: str, script: str, text: str, n_replaced: int
) -> None:
    found = await completed(marked, FakeEngine(script))
    assert (found.text, found.n_replaced) == (text, n_replaced)


@pytest.mark.parametrize(("copying", "copy"), [("auto", None), ("on", True)])
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
    ("copying", "n_parameters", "is_told"),
    [
        pytest.param("auto", 0, True, id="nobody-knows-its-size"),
        pytest.param("auto", COPIES_BELOW_PARAMETERS - 1, True, id="small"),
        pytest.param("auto", COPIES_BELOW_PARAMETERS, False, id="large"),
        pytest.param("on", COPIES_BELOW_PARAMETERS, True, id="large-and-wanted"),
        pytest.param("off", 0, False, id="not-wanted"),
    ],
)
def test_what_a_model_does_not_copy_it_is_not_told(
    copying: Literal["auto", "on", "off"], n_parameters: int, is_told: bool
) -> None:
    prompt = Prompt((1,), "spm", (), left_out=("rest",))
    model = ModelInfo("m", 4096, n_parameters=n_parameters)
    told = copied_from(prompt, model, replace(SETTINGS, copying=copying))
    assert told == (("rest",) if is_told else ())


@pytest.mark.parametrize(
    ("marked", "script", "probability", "eagerness", "text"),
    [
        pytest.param("x = ║", "abcd", 0.05, 0.8, "", id="unsure"),
        pytest.param("x = ║", "abcd", 0.05, 1.0, "abcd", id="all-is-wanted"),
        pytest.param("x = ║", "abcd", 0.99, 0.8, "abcd", id="sure"),
        pytest.param("x = ║", "abcd", 0.99, 0.0, "", id="nothing-is-sure-enough"),
        pytest.param("def f():║\n", "\n a\n b", 0.99, 0.8, "\n a\n b", id="block"),
    ],
)
async def test_what_the_model_is_unsure_of_is_not_shown(
    marked: str, script: str, probability: float, eagerness: float, text: str
) -> None:
    engine = FakeEngine(script, piece_chars=1, logprob=math.log(probability))
    settings = replace(SETTINGS, eagerness=eagerness)
    assert (await completed(marked, engine, settings)).text == text


async def test_where_a_text_would_be_in_the_way_the_model_is_not_asked() -> None:
    engine = FakeEngine("rn")
    found = await completed("retu║rn x\n", engine)
    assert (found.text, found.usage.stop_reason) == ("", "unwanted")
    assert engine.requests == []


async def test_by_hand_a_completion_is_tried_there_too() -> None:
    engine = FakeEngine("b + ")
    found = await completed("x = ║a\n", engine, replace(SETTINGS, eagerness=1.0))
    assert found.text == "b + "


@pytest.mark.parametrize(
    ("n_lines", "elsewhere"),
    [pytest.param(10, False, id="short"), pytest.param(60, True, id="long")],
)
async def test_a_document_that_takes_long_to_read_again_holds_nobody_up(
    n_lines: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(*given: Any) -> Shown:
        threads.append(threading.get_ident())
        return shown(*given)

    monkeypatch.setattr("midfill.complete.shown", noted)
    found = await completed("x = f(1)\n" * n_lines + "y = f(║)\n", FakeEngine("a"))
    assert found.text == "a"
    assert [thread != threading.get_ident() for thread in threads] == [elsewhere]


async def test_a_long_document_is_filtered_as_a_short_one() -> None:
    lines = "x = f(1)\n" * 2000
    found = await completed(f"{lines}y = f(║)\n{lines}", FakeEngine("a, b)) + ]\n"))
    assert found.text == "a, b"


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


class Plain(FakeEngine):
    """A model that goes on from the text before the caret."""

    async def info(self) -> ModelInfo:
        return replace(await super().info(), name="plain", control_ids={}, chat_template="")


@pytest.mark.parametrize(
    ("marked", "script", "text"),
    [
        pytest.param("x = ║\ny = 2\n", "1\nz", "1", id="end of a line"),
        pytest.param("x = f(║)\n", "1, 2)\nz", "1, 2", id="before a closing bracket"),
        pytest.param("x = ║ + 1\n", "1\nz", "", id="a line that goes on"),
        pytest.param("x = ║y\n", "1\nz", "", id="a word"),
    ],
)
async def test_a_model_without_infill_completes_lines(marked: str, script: str, text: str) -> None:
    engine = Plain(script)
    found = await completed(marked, engine, CompletionSettings(eagerness=1.0))
    assert (found.text, found.usage.stop_reason == "suffix") == (text, not text)
    asked = [(each.prefix, each.suffix) for each in engine.requests]
    assert asked == ([(marked.partition("║")[0], "")] if text else [])


async def test_a_model_that_talks_and_cannot_infill_is_refused() -> None:
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
