"""From the request to the text: the cache, the run that is kept, the turn, the limits, and what is done ahead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from midfill.engine import ModelInfo
from midfill.engines.fake import Asked, FakeEngine, Script
from midfill.filters import filtered
from midfill.generation import Generation
from midfill.syntax import parse
from midfill_server.answering import (
    LIST_LIMIT_S,
    LOAD_LIMIT_S,
    LONG_LINES,
    MAX_FILTERED,
    SLACK_S,
    AskedBy,
    _variant,
)
from midfill_server.scheduler import ASK_GRACE_S, CANCEL_GRACE_S, IDLE_S
from typist import QUIET, URI, Typist, ahead, real
from virtual_time import virtual

AHEAD = replace(QUIET, ahead=True)


def rather_slow(script: Script) -> FakeEngine:
    """Says a character each 100 ms."""
    return FakeEngine(script, piece_chars=1, piece_delay_s=0.1)


def story(asked: Asked) -> str:
    """Goes on as the story does, from wherever it is."""
    whole = "total = first + second"
    return whole[len(asked.prefix) :] if whole.startswith(asked.prefix) else "?"


def now_s() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_what_was_shown_can_be_typed_with_nothing_evaluated() -> None:
    engine = FakeEngine("first + second")
    typist = Typist(engine, replace(QUIET, debounce_ms=100), "total = ║")
    assert await typist.ghost() == "first + second"
    began_s = now_s()
    for idx, char in enumerate("first + second", start=1):
        typist.type(char)
        (found,) = await typist.ask()
        assert (found.text, found.source) == ("first + second"[idx:], "cache")
    # Neither asked nor rested.
    assert len(engine.requests) == 1
    assert now_s() == pytest.approx(began_s, abs=0.001)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read again: texts that were filtered, and documents that were parsed."""
    done: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            done.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr("midfill.complete.filtered", counted("filtered", filtered))
    monkeypatch.setattr("midfill_server.trees.parse", counted("parsed", parse))
    return done


async def answered_by(typist: Typist, work: list[str]) -> tuple[str, list[str]]:
    """What is shown, and what had to be done for it."""
    work.clear()
    text = await typist.ghost()
    done = work.copy()
    # What is done ahead begins later.
    await asyncio.sleep(1)
    return text, done


@virtual
async def test_what_was_shown_is_typed_with_nothing_read_again(work: list[str]) -> None:
    typist = Typist(FakeEngine("first + second\n"), AHEAD, "total = ║", "python")
    assert await answered_by(typist, work) == ("first + second", ["parsed", "filtered"])
    for idx, char in enumerate("first + secon", start=1):
        typist.type(char)
        assert await answered_by(typist, work) == ("first + second"[idx:], [])


@virtual
async def test_what_was_computed_ahead_is_shown_with_nothing_read_again(work: list[str]) -> None:
    typist = Typist(FakeEngine({"a = ": "1\n", "a = 1\n": "b = 2\n"}), AHEAD, "a = ║", "python")
    assert (await answered_by(typist, work))[0] == "1"
    typist.type("1\n")
    assert await answered_by(typist, work) == ("b = 2", [])


def keep(typist: Typist, text: str) -> None:
    """Have it said at the caret, and not filtered yet."""
    snapshot = typist.session.snapshot(URI)
    assert snapshot is not None
    place = typist.session.place(snapshot, typist.caret)
    typist.session.cache.put(place, _variant(snapshot), Generation(text), now_s())


@virtual
async def test_what_was_filtered_at_a_place_is_not_again(work: list[str]) -> None:
    typist = Typist(FakeEngine(""), QUIET, "x = ║", "python")
    keep(typist, "one + two")
    assert await answered_by(typist, work) == ("one + two", ["parsed", "filtered"])
    typist.type("o")
    assert await answered_by(typist, work) == ("ne + two", [])


@virtual
async def test_so_much_is_filtered_for_a_request_at_most(work: list[str]) -> None:
    typist = Typist(FakeEngine("right"), QUIET, "x = ║", "python")
    for n in range(9):
        keep(typist, f"\x1b{n}")
    filtered = ["filtered"] * (MAX_FILTERED + 1)
    assert await answered_by(typist, work) == ("right", ["parsed", *filtered])


@virtual
async def test_going_back_finds_what_was_there() -> None:
    engine = FakeEngine({"x = ": "first", "x = q": ""})
    typist = Typist(engine, marked="x = ║")
    assert await typist.ghost() == "first"
    typist.type("q")
    assert await typist.ghost() == ""
    typist.type("", n_deleted=1)
    assert await typist.ghost() == "first"
    typist.type("q")
    assert await typist.ghost() == ""
    assert real(engine) == ["x = ", "x = q"]


@pytest.mark.parametrize("taken", ["first", "first + ", "first + second"])
@virtual
async def test_a_part_can_be_taken(taken: str) -> None:
    engine = FakeEngine("first + second\n")
    typist = Typist(engine, marked="x = ║")
    await typist.ghost()
    typist.type(taken)
    assert await typist.ghost() == "first + second"[len(taken) :].rstrip()
    assert real(engine) == ["x = "]


@virtual
async def test_an_edit_elsewhere_ends_it() -> None:
    engine = FakeEngine(lambda asked: f"{len(asked.prefix)}")
    typist = Typist(engine, marked="y\nx = ║")
    assert await typist.ghost() == "6"
    typist.caret = 0
    typist.type("z")
    typist.caret = len(typist.document.text)
    assert await typist.ghost() == "7"


@virtual
async def test_an_unsure_text_is_shown_once_its_beginning_is_typed() -> None:
    engine = FakeEngine("abcd", piece_chars=1, logprob=-0.6)  # 0.55 for each character
    typist = Typist(engine, replace(QUIET, eagerness=0.7), "x = ║")
    assert await typist.ghost() == ""
    typist.type("a")
    assert await typist.ghost() == "bcd"
    assert real(engine) == ["x = "]


@virtual
async def test_a_run_is_kept_while_its_text_is_typed() -> None:
    engine = rather_slow(story)
    typist = Typist(engine, marked="total = ║")
    older = typist.ask()
    await asyncio.sleep(0.35)
    typist.type("fir")
    newer = typist.ask()
    assert await older == ()
    (found,) = await newer
    assert (found.text, found.source) == ("st + second", "run")
    assert real(engine) == ["total = "]


@virtual
async def test_a_run_that_the_text_departs_from_is_cancelled_at_once() -> None:
    engine = rather_slow(story)
    typist = Typist(engine, replace(QUIET, debounce_ms=500), "total = ║")
    older = typist.ask()
    await asyncio.sleep(0.75)
    typist.type("x")
    # Before anybody asks, and before any rest.
    await asyncio.sleep(0.001)
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]
    newer = typist.ask()
    assert await older == ()
    assert (await newer)[0].text == "?"


@virtual
async def test_what_was_typed_before_it_was_said_is_no_sign() -> None:
    engine = rather_slow(story)
    typist = Typist(engine, marked="total = ║")
    older = typist.ask()
    await asyncio.sleep(0.15)
    typist.type("fi")
    assert await typist.ghost() == "rst + second"
    assert await older == ()
    assert real(engine) == ["total = ", "total = fi"]


@virtual
async def test_a_client_that_cancels_and_asks_again_gets_the_rest() -> None:
    """VS Code: the cancel comes with the key, before or after the edit, and the next request 50 ms later."""
    for cancels_first in (True, False):
        engine = rather_slow(story)
        typist = Typist(engine, marked="total = ║")
        older = typist.ask()
        await asyncio.sleep(0.35)
        if cancels_first:
            older.cancel()
            await asyncio.sleep(0.01)
        typist.type("f")
        older.cancel()
        await asyncio.sleep(0.05)
        assert older.cancelled()
        assert await typist.ghost() == "irst + second"
        assert real(engine) == ["total = "]


@pytest.mark.parametrize(
    ("types", "grace_s"),
    [pytest.param("", CANCEL_GRACE_S, id="escape"), pytest.param("f", ASK_GRACE_S, id="typed-on")],
)
@virtual
async def test_a_run_that_nobody_asks_for_again_ends_soon(types: str, grace_s: float) -> None:
    engine = rather_slow(story)
    typist = Typist(engine, marked="total = ║")
    older = typist.ask()
    await asyncio.sleep(0.35)
    if types:
        typist.type(types)
    older.cancel()
    await asyncio.sleep(grace_s - 0.01)
    assert not engine.usages
    await asyncio.sleep(0.02)
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled"]


@virtual
async def test_the_queue_holds_one() -> None:
    engine = FakeEngine("answer", piece_delay_s=10.0)
    typist = Typist(engine, replace(QUIET, debounce_ms=20, time_limit_ms=60_000), "║")
    requests = []
    for _ in range(100):
        typist.type("x")
        requests.append(typist.ask())
        await asyncio.sleep(0.005)
    *overtaken, latest = requests
    assert [await request for request in overtaken] == [()] * 99
    assert (await latest)[0].text == "answer"
    assert real(engine) == ["x" * 100]


@virtual
async def test_documents_do_not_disturb_each_other() -> None:
    engine = FakeEngine("answer", piece_delay_s=1.0)
    typist = Typist(engine, marked="x = ║")
    first = typist.ask()
    typist.open("y = ║", uri="file:///b.py")
    second = typist.ask()
    assert [(await task)[0].text for task in (first, second)] == ["answer", "answer"]
    assert now_s() < 4.0


@virtual
async def test_nothing_comes_for_a_document_that_has_changed() -> None:
    engine = rather_slow("answer")
    typist = Typist(engine, marked="x = ║")
    task = typist.ask()
    await asyncio.sleep(0.15)
    # What the model says; but a client that does not ask again would draw it at the wrong place.
    typist.type("a")
    assert await task == ()


@pytest.mark.parametrize("how", ["closed", "reopened", "turned-off", "stopped"])
@virtual
async def test_nothing_comes_once_it_is_not_wanted(how: str) -> None:
    engine = rather_slow("answer")
    typist = Typist(engine, marked="x = ║")
    task = typist.ask()
    await asyncio.sleep(0.15)
    if how == "turned-off":
        typist.configure(enabled=False)
    elif how == "stopped":
        typist.session.scheduler.stop()
    else:
        typist.session.close(typist.uri)
        if how == "reopened":
            typist.open("x = ║")
    assert await task == ()


class Loading(FakeEngine):
    """Loads for so long."""

    load_s = 30.0

    async def info(self) -> ModelInfo:
        await asyncio.sleep(max(0.0, self.load_s - now_s()))
        return await super().info()


@pytest.mark.parametrize("asked_by", ["typing", "list"])
@virtual
async def test_a_request_waits_so_long_for_the_model(asked_by: AskedBy) -> None:
    engine = Loading("answer")
    typist = Typist(engine, marked="x = ║")
    assert await typist.ask(asked_by) == ()
    assert now_s() == pytest.approx(LOAD_LIMIT_S[asked_by], abs=0.01)
    # It is still wanted: the text is there as soon as it can be.
    await asyncio.sleep(Loading.load_s)
    (found,) = await typist.ask(asked_by)
    assert (found.text, found.source) == ("answer", "cache")


@virtual
async def test_who_asks_by_hand_waits_for_the_model() -> None:
    typist = Typist(Loading("answer"), marked="x = ║")
    assert await typist.ghost("hand") == "answer"


@virtual
async def test_a_list_does_not_wait_for_the_engine() -> None:
    engine = FakeEngine("answer", piece_delay_s=0.3)
    typist = Typist(engine, marked="x = ║")
    assert await typist.ask("list") == ()
    assert now_s() == pytest.approx(LIST_LIMIT_S, abs=0.01)
    await asyncio.sleep(2.0)
    assert await typist.ghost("list") == "answer"
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("hangs", "after_s"),
    [
        pytest.param("tokenize", 2.0, id="inside-the-limit"),
        pytest.param("info", 2.0 + SLACK_S, id="where-no-limit-holds"),
    ],
)
@virtual
async def test_an_engine_that_hangs_is_given_up(hangs: str, after_s: float) -> None:
    class Hanging(FakeEngine):
        n_info = 0

        async def tokenize(self, text: str) -> list[int]:
            await asyncio.sleep(3600 * (hangs == "tokenize"))
            return []

        async def info(self) -> ModelInfo:
            self.n_info += 1
            await asyncio.sleep(3600 * (hangs == "info" and self.n_info > 1))
            return await super().info()

    typist = Typist(Hanging("answer"), replace(QUIET, time_limit_ms=2000), "x = ║")
    assert await typist.ghost() == ""
    assert now_s() == pytest.approx(after_s, abs=0.01)


@virtual
async def test_at_the_time_limit_the_best_finished_part_is_shown() -> None:
    engine = rather_slow("first + second")
    typist = Typist(engine, replace(QUIET, time_limit_ms=1150), "x = ║")
    assert await typist.ghost() == "first +"


@virtual
async def test_what_comes_after_a_completion_is_there_when_it_is_taken() -> None:
    engine = FakeEngine({"x = ": "1\n", "x = 1\n": "y = 2\n", "y = 2\n": ""})
    typist = Typist(engine, AHEAD, "x = ║")
    assert await typist.ghost() == "1"
    await asyncio.sleep(0.1)
    assert ahead(engine) == ["x = 1\n"]
    typist.type("1")
    assert await typist.ghost() == ""
    typist.type("\n")
    (found,) = await typist.ask()
    assert (found.text, found.source) == ("y = 2", "cache")
    assert real(engine) == ["x = "]


@virtual
async def test_a_real_request_cancels_what_is_ahead_first() -> None:
    order = []

    def script(asked: Asked) -> str:
        order.append((asked.prefix, [usage.stop_reason for usage in engine.usages]))
        return "12\n" if asked.prefix == "x = " else "345"

    engine = rather_slow(script)
    typist = Typist(engine, AHEAD, "x = ║")
    assert await typist.ghost() == "12"
    await asyncio.sleep(0.15)
    typist.type("a")
    assert await typist.ghost() == "345"
    assert order[:3] == [
        ("x = ", []),
        ("x = 12\n", ["cancelled"]),  # "x = " itself: what follows the line was not needed.
        ("x = a", ["cancelled", "cancelled"]),
    ]


@virtual
async def test_a_request_in_another_document_cancels_what_is_ahead() -> None:
    engine = rather_slow("12\n")
    typist = Typist(engine, AHEAD, "x = ║")
    assert await typist.ghost() == "12"
    await asyncio.sleep(0.15)
    assert ahead(engine) == ["x = 12\n"]
    typist.open("y = ║", uri="file:///b.py")
    task = typist.ask()
    await asyncio.sleep(0.01)
    assert [usage.stop_reason for usage in engine.usages] == ["cancelled", "cancelled"]
    await task
    # Nor is it tried again for the same text.
    typist.configure(ahead=True)
    typist.uri, typist.caret = URI, len("x = ")
    assert await typist.ghost() == "12"
    await asyncio.sleep(0.1)
    assert ahead(engine).count("x = 12\n") == 1


@virtual
async def test_who_arrives_while_it_is_computed_waits_for_that() -> None:
    engine = rather_slow({"x = ": "1\n", "x = 1\n": "y = 2\n"})
    typist = Typist(engine, AHEAD, "x = ║")
    assert await typist.ghost() == "1"
    await asyncio.sleep(0.15)
    typist.type("1\n")
    (found,) = await typist.ask()
    assert (found.text, found.source) == ("y = 2", "run")
    assert real(engine) == ["x = "]


@virtual
async def test_one_request_ahead_for_each_text_that_is_shown() -> None:
    engine = FakeEngine({"x = ": "123\n", "x = 123\n": ""})
    typist = Typist(engine, AHEAD, "x = ║")
    for char in ("", "1", "2"):
        typist.type(char)
        await typist.ghost()
        await asyncio.sleep(0.1)
    assert ahead(engine) == ["x = 123\n"]


@pytest.mark.parametrize(("goes_ahead", "n_ahead"), [(True, 2), (False, 0)])
@virtual
async def test_it_can_be_turned_off(goes_ahead: bool, n_ahead: int) -> None:
    engine = FakeEngine("1\n")
    typist = Typist(engine, replace(QUIET, ahead=goes_ahead), "x = ║")
    await asyncio.sleep(2 * IDLE_S)
    await typist.ghost()
    await asyncio.sleep(2 * IDLE_S)
    assert len(ahead(engine)) == n_ahead


@virtual
async def test_a_file_that_was_opened_is_read_once() -> None:
    engine = FakeEngine("1\n")
    typist = Typist(engine, AHEAD, "first = 1\n║second = 2\n")
    await asyncio.sleep(IDLE_S - 0.01)
    assert not engine.requests
    await asyncio.sleep(60.0)
    (asked,) = engine.requests
    assert (asked.sampling.max_tokens, asked.sampling.yields) == (0, True)
    # The whole file is before the caret, so every caret's prompt begins like this one's, where the prefix is first.
    assert asked.prefix == typist.document.text
    typist.configure(layout="psm", eagerness=1.0)
    await typist.ghost()
    assert engine.usages[-1].tokens_reused >= len("first = 1\n")


@virtual
async def test_what_was_typed_is_read_while_the_user_rests() -> None:
    engine = FakeEngine("first + second")
    typist = Typist(engine, AHEAD, "total = ║")
    await typist.ghost()
    for char in "first":
        typist.type(char)
        await typist.ghost()
        await asyncio.sleep(0.1)
    before = len(engine.requests)
    await asyncio.sleep(60.0)
    (asked,) = engine.requests[before:]
    assert (asked.prefix, asked.sampling.max_tokens) == ("total = first", 0)
    typist.type("x")
    await typist.ghost()
    assert engine.usages[-1].tokens_evaluated <= 2


@virtual
async def test_code_from_elsewhere_is_chosen_once_for_a_request() -> None:
    typist = Typist(FakeEngine("1\n"), AHEAD, "x = ║")
    choose = mock.Mock(wraps=typist.session.gathering.choose)
    typist.session.gathering.choose = choose  # type: ignore[method-assign]
    assert await typist.ghost() == "1"
    await asyncio.sleep(0.1)
    assert ahead(typist.session.engine) == ["x = 1\n"]  # type: ignore[arg-type]
    assert choose.call_count == 1


async def test_what_comes_ahead_of_a_long_document_is_parsed_in_a_thread() -> None:
    filler = "a = 1\n" * LONG_LINES
    threads, is_asked = [], asyncio.Event()

    def script(asked: Asked) -> str:
        if asked.prefix.endswith("x = 1\n"):
            is_asked.set()
        return "1\n"

    engine = FakeEngine(script)
    typist = Typist(engine, AHEAD, f"{filler}x = ║", "python")

    def parsed(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return parse(*arguments)

    with mock.patch("midfill.ahead.parse", parsed):
        assert await typist.ghost() == "1"
        await asyncio.wait_for(is_asked.wait(), 30)
    assert ahead(engine) == [f"{filler}x = 1\n"]
    (thread,) = threads
    assert thread is not threading.main_thread()


@pytest.mark.parametrize("how", ["typed", "closed", "stopped"])
async def test_nothing_is_begun_ahead_of_what_is_gone(how: str) -> None:
    filler = "a = 1\n" * LONG_LINES
    engine = FakeEngine("1\n")
    typist = Typist(engine, AHEAD, f"{filler}x = ║", "python")
    begun, may_end = threading.Event(), threading.Event()

    def parsed(*arguments: Any) -> Any:
        begun.set()
        may_end.wait(10)
        return parse(*arguments)

    with mock.patch("midfill.ahead.parse", parsed):
        assert await typist.ghost() == "1"
        await asyncio.to_thread(begun.wait, 10)
        if how == "typed":
            typist.type("2")
        elif how == "closed":
            typist.session.close(URI)
        else:
            typist.session.scheduler.stop()
        may_end.set()
        await asyncio.sleep(0.1)
    assert ahead(engine) == []
    await typist.session.end()
