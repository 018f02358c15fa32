"""Several servers are one engine: prompts go where they are known, and a dead server costs one answer at most."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from http_servers import FakeOpenAI, free_port, llama_server_command, running, serving
from midfill.engine import Belief, Engine, Piece, Sampling
from midfill.engines import pool, pool_member
from midfill.engines.access import Access
from midfill.engines.pool import PoolEngine
from midfill.engines.pool_member import Member, choose, n_shared
from midfill.engines.select import open_engine
from midfill.errors import EngineBusy, EngineGone, EngineRefused
from midfill.formats import format_of
from midfill.settings import EngineSettings

PATIENCE_S = 60.0
BELIEFS: tuple[Belief, ...] = ("auto", "on", "off")

TEXT_A, TEXT_B = tuple(range(2000, 2200)), tuple(range(3000, 3200))
"""Prompts of two files."""


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_member, "RESTS_S", (0.2,))
    monkeypatch.setattr(pool_member, "BUSY_RESTS_S", (0.01,))


@asynccontextmanager
async def pooled(*servers: FakeOpenAI) -> AsyncIterator[tuple[PoolEngine, list[str]]]:
    """A pool of servers that run here, and what it tells the user."""
    told: list[str] = []
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(server.app())) for server in servers]
        engine = PoolEngine(urls, Access(answer_s=10, silence_s=60), told.append)
        stack.push_async_callback(engine.close)
        await engine.info()
        await until(lambda: len(engine._up()) + len(told) >= len(urls))
        yield engine, told


async def text_of(engine: Engine, prompt: Sequence[int], **sampling: Any) -> str:
    sampling = {"max_tokens": 20} | sampling
    async with aclosing(engine.generate(prompt, Sampling(**sampling))) as pieces:
        return "".join([piece.text async for piece in pieces])


async def last(pieces: AsyncIterator[Piece]) -> Piece:
    return [piece async for piece in pieces][-1]


async def until(condition: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


# The choice.


def member(
    name: str,
    recent: Sequence[tuple[int, ...]] = (),
    running: Sequence[tuple[int, ...]] = (),
    asked_s: float = 0.0,
) -> Member:
    made = Member(f"http://{name}", Access())
    made.recent, made.running, made.asked_s = list(recent), list(running), asked_s
    return made


@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        pytest.param([member("a"), member("b")], "a", id="the first of equals"),
        pytest.param([member("a", asked_s=2), member("b", asked_s=1)], "b", id="in turn"),
        pytest.param([member("a"), member("b", [TEXT_A])], "b", id="who knows it"),
        pytest.param(
            [member("a", [TEXT_A[:100]]), member("b", [TEXT_A[:150]])], "b", id="who knows more"
        ),
        pytest.param(
            [member("a", [TEXT_A[:63]], asked_s=1), member("b")], "b", id="a like head is nothing"
        ),
        pytest.param([member("a", [TEXT_A], [TEXT_B]), member("b")], "b", id="the idle one"),
        pytest.param(
            [member("a", [TEXT_A], [TEXT_A[:190]]), member("b")], "a", id="its own work is no work"
        ),
        pytest.param(
            [member("a", [TEXT_A], [TEXT_B]), member("b", [], [TEXT_B])],
            "a",
            id="all have other work",
        ),
        pytest.param(
            [member("a", [], [TEXT_B, TEXT_B]), member("b", [], [TEXT_B])], "b", id="least work"
        ),
    ],
)
def test_choice(members: list[Member], chosen: str) -> None:
    assert choose(members, TEXT_A).url == f"http://{chosen}"


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [((), (), 0), ((1,), (2,), 0), ((1, 2, 3), (1, 2), 2), ((1, 2, 3), (1, 2, 4), 2)],
)
def test_shared(one: tuple[int, ...], other: tuple[int, ...], shared: int) -> None:
    assert n_shared(one, other) == shared


def test_a_prompt_takes_the_place_of_its_earlier_state() -> None:
    made = member("a")
    for length in range(100, 150):
        with made.running_with(TEXT_A[:length]):
            assert made.running == [TEXT_A[:length]]
    for number in range(20):
        with made.running_with((number, *TEXT_B)):
            pass
    assert made.running == []
    assert len(made.recent) == 8
    assert len(set(made.recent)) == 8


async def test_a_file_stays_where_it_was_read() -> None:
    servers = FakeOpenAI("x"), FakeOpenAI("x")
    async with pooled(*servers) as (engine, told):
        for length in range(100, 110):
            for text in (TEXT_A, TEXT_B):
                await text_of(engine, text[:length])
    asked = [{tuple(body["prompt"][:1]) for body in server.bodies} for server in servers]
    assert asked == [{TEXT_A[:1]}, {TEXT_B[:1]}]
    assert [len(server.bodies) for server in servers] == [10, 10]
    assert told == []


# What goes wrong.


async def test_another_takes_over_what_has_not_begun() -> None:
    failing, sound = FakeOpenAI(refusals=[(502, {})]), FakeOpenAI("answer")
    async with pooled(failing, sound) as (engine, told):
        assert await text_of(engine, TEXT_A) == "answer"
        assert [len(server.bodies) for server in (failing, sound)] == [1, 1]
        assert len(told) == 1
        assert "The other servers go on" in told[0]
        await until(lambda: len(told) == 2)
        assert "answers again" in told[1]


async def test_what_has_begun_is_not_begun_again() -> None:
    breaking, sound = FakeOpenAI("answer", breaks_after=2), FakeOpenAI("answer")
    async with pooled(breaking, sound) as (engine, _):
        pieces = engine.generate(TEXT_A, Sampling(20))
        seen = [(await anext(pieces)).text, (await anext(pieces)).text]
        with pytest.raises(EngineGone):
            await anext(pieces)
        assert "".join(seen) == "an"
        assert sound.bodies == []
        assert await text_of(engine, TEXT_A) == "answer"


async def test_only_once_to_another() -> None:
    servers = [FakeOpenAI(refusals=[(502, {})] * 9) for _ in range(3)]
    async with pooled(*servers) as (engine, _):
        with pytest.raises(EngineGone):
            await text_of(engine, TEXT_A)
    assert sum(len(server.bodies) for server in servers) == 2


async def test_a_refusal_is_an_answer() -> None:
    refusing, other = FakeOpenAI(refusals=[(400, {})]), FakeOpenAI()
    async with pooled(refusing, other) as (engine, told):
        with pytest.raises(EngineRefused):
            await text_of(engine, TEXT_A)
        assert (other.bodies, told) == ([], [])


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(status: int) -> None:
    server = FakeOpenAI("answer", refusals=[(status, {}), (status, {"Retry-After": "0.3"})])
    async with pooled(server) as (engine, told):
        began_s = time.monotonic()
        assert await soon(text_of(engine, TEXT_A)) == "answer"
        assert time.monotonic() - began_s >= 0.3
    assert len(server.bodies) == 3
    assert told == []


async def test_a_busy_server_is_passed_over() -> None:
    busy, idle = FakeOpenAI(refusals=[(503, {"Retry-After": "999"})]), FakeOpenAI("answer")
    async with pooled(busy, idle) as (engine, _):
        for _ in range(3):
            assert await soon(text_of(engine, TEXT_A)) == "answer"
    assert [len(server.bodies) for server in (busy, idle)] == [1, 3]


async def test_busy_for_longer_than_the_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeOpenAI(refusals=[(503, {"Retry-After": "999"})])
    async with pooled(server) as (engine, _):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(text_of(engine, TEXT_A), 0.2)
    monkeypatch.setattr(pool, "_BUSY_S", 0.0)
    server = FakeOpenAI(refusals=[(503, {})] * 9)
    async with pooled(server) as (engine, _):
        with pytest.raises(EngineBusy):
            await text_of(engine, TEXT_A)


async def test_a_dead_server_comes_back() -> None:
    told: list[str] = []
    port = free_port()
    server = FakeOpenAI("answer")
    engine = PoolEngine([f"http://127.0.0.1:{port}"], Access(), told.append)
    for _ in range(2):
        with pytest.raises(EngineGone, match="Nothing answers"):
            await engine.info()
    assert told == []
    async with serving(server.app(), port):
        await until(lambda: told)
        assert await text_of(engine, TEXT_A) == "answer"
    for _ in range(3):
        with pytest.raises(EngineGone):
            await text_of(engine, TEXT_A)
    async with serving(server.app(), port):
        await until(lambda: len(told) == 3)
        assert await text_of(engine, TEXT_A) == "answer"
    await engine.close()
    assert "answers again" in told[0]
    assert "nothing is completed" in told[1]
    assert "answers again" in told[2]
    with pytest.raises(EngineGone, match="closed"):
        await engine.info()


async def test_a_server_that_goes_is_noticed_before_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_LOOK_S", 0.1)
    told: list[str] = []
    async with serving(FakeOpenAI("answer").app()) as other_url:
        async with serving(FakeOpenAI("answer").app()) as url:
            engine = PoolEngine([url, other_url], Access(), told.append)
            assert await text_of(engine, TEXT_A) == "answer"
        await until(lambda: told)
        assert url in told[0]
        assert await text_of(engine, TEXT_A) == "answer"
        await engine.close()


async def test_while_a_server_rests_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_member, "RESTS_S", (999.0,))
    n_asked = 0

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        n_asked += 1
        writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    engine = PoolEngine([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"], Access())
    for _ in range(5):
        with pytest.raises(EngineGone):
            await engine.info()
        await asyncio.sleep(0.15)  # Long enough for it to be looked at.
    await engine.close()
    server.close()
    await server.wait_closed()
    assert n_asked == 1


async def test_another_model_is_left_out() -> None:
    ours, other = FakeOpenAI("ours", model="m"), FakeOpenAI("other", model="n")
    async with pooled(ours, other) as (engine, told):
        assert (await engine.info()).name == "m"
        for _ in range(4):
            assert await text_of(engine, TEXT_A) == "ours"
            await asyncio.sleep(0.15)  # Long enough for it to be looked at again, and told again.
    assert other.bodies == []
    assert len(told) == 1
    assert "has the model n, not m" in told[0]


async def test_a_server_that_says_nothing_holds_nobody_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with serving(FakeOpenAI("answer").app()) as url:
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", url]
        engine = PoolEngine(urls, Access(answer_s=999))
        assert await soon(text_of(engine, TEXT_A)) == "answer"
        await engine.close()
    server.close()
    await server.wait_closed()


async def test_cancelling_stops_the_server() -> None:
    server = FakeOpenAI("long" * 100, piece_delay_s=0.02)
    async with pooled(server) as (engine, _):
        pieces = engine.generate(TEXT_A, Sampling(400))
        await anext(pieces)
        await pieces.aclose()
        await until(lambda: server.n_cancelled)
        assert engine._members[0].running == []
        task = asyncio.create_task(text_of(engine, TEXT_A, max_tokens=400))
        await until(lambda: len(server.bodies) == 2)
        task.cancel()
        await asyncio.wait((task,))
        await until(lambda: server.n_cancelled == 2)


async def test_close_ends_what_runs() -> None:
    async with pooled(FakeOpenAI("long" * 100, piece_delay_s=0.02)) as (engine, told):
        pieces = engine.generate(TEXT_A, Sampling(400))
        await anext(pieces)
        await engine.close()
        assert (await last(pieces)).usage.stop_reason == "cancelled"
        assert told == []


async def test_the_settings_ask_for_it() -> None:
    async with serving(FakeOpenAI("answer").app()) as url:
        engine = open_engine(EngineSettings(urls=(f"{url}/v1/", url)))
        assert isinstance(engine, PoolEngine)
        assert await text_of(engine, TEXT_A) == "answer"
        await engine.close()


# Two real servers.


async def real_prompt(engine: Engine) -> tuple[list[int], tuple[int, ...]]:
    form = format_of(await engine.info())
    parts = {
        "PREFIX": await form.encode("PREFIX", "x = 1\n" * 30 + "def add(a, b):\n", engine.tokenize),
        "SUFFIX": await form.encode("SUFFIX", "\nprint(add(1, 2))\n", engine.tokenize),
    }
    return form.lay_out("spm", parts), form.end_ids


@pytest.mark.model
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_of_two_dies(how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_member, "SILENT_S", 0.2)
    monkeypatch.setattr(pool, "_LOOK_S", 999.0)
    ports = free_port(), free_port()
    commands = [llama_server_command(port, "-np", "1", "-c", "2048") for port in ports]
    told: list[str] = []
    with running(*commands[0]) as first, running(*commands[1]) as second:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        engine = PoolEngine(urls, Access(answer_s=10), told.append)
        while len(engine._up()) < 2:
            with suppress(EngineGone):
                await engine.info()
            await asyncio.sleep(0.05)
        del told[:]
        prompt, stop_ids = await real_prompt(engine)
        whole = await soon(text_of(engine, prompt, stop_ids=stop_ids))
        served = engine._members.index(choose(engine._members, tuple(prompt)))
        victim = (first, second)[served]

        # In the middle of an answer: that answer is lost, and only that.
        pieces = engine.generate(prompt, Sampling(1500))
        await anext(pieces)
        victim.send_signal(how)
        with pytest.raises(EngineGone):
            await last(pieces)
        assert await soon(text_of(engine, prompt, stop_ids=stop_ids)) == whole
        assert len(told) == 1
        assert urls[served] in told[0]

        if how == signal.SIGSTOP:
            victim.send_signal(signal.SIGCONT)
            await until(lambda: len(told) == 2)
            assert await soon(text_of(engine, prompt, stop_ids=stop_ids)) == whole
            # Between two answers: the other takes over, and nothing is lost.
            victim.send_signal(how)
            other = choose(engine._members, tuple(prompt))
            if other is not engine._members[served]:
                other.running.append((1,))
            assert await soon(text_of(engine, prompt, stop_ids=stop_ids)) == whole
        await engine.close()


async def test_what_a_person_says_of_infilling_goes_before_a_models_name() -> None:
    async with serving(FakeOpenAI("x").app()) as url:
        for infill in BELIEFS:
            engine = PoolEngine([url], Access(answer_s=10), infill=infill)
            assert (await engine.info()).infill == infill
            await engine.close()
