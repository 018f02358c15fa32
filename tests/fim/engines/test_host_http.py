"""How a host's events go out: what is there at once goes at once, and nothing after the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from midfill.engines.host_http import streamed
from midfill.errors import EngineError

Message = dict[str, Any]


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _sent(events: AsyncGenerator[Any, None], *, ends: bytes = b"") -> list[bytes]:
    """The parts of the body."""
    parts: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            parts.append(message["body"])

    await streamed(events, ends=ends)({}, _never, send)
    return parts


async def test_events_that_are_there_at_once_are_one_part() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        for event in range(3):
            yield event
        await asyncio.sleep(0.01)
        yield 3
        yield 4

    parts = await _sent(events(), ends=b"[DONE]")
    assert parts == [
        b"data: 0\n\ndata: 1\n\ndata: 2\n\n",
        b"data: 3\n\ndata: 4\n\ndata: [DONE]\n\n",
        b"",
    ]


async def test_no_events_are_an_empty_body() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        for _ in range(0):
            yield 0

    assert await _sent(events()) == [b""]


async def test_an_error_after_the_first_event_is_one_more() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        yield 0
        raise EngineError("It broke.")

    first, last = await _sent(events())
    assert first.startswith(b"data: 0\n\ndata: {")
    assert b"It broke." in first
    assert last == b""


async def test_a_reader_that_cannot_be_reached_ends_the_events() -> None:
    left = asyncio.Event()

    async def events() -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield 0
                await asyncio.sleep(0)
        finally:
            left.set()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await asyncio.wait_for(streamed(events())({}, _never, send), 10)
    assert left.is_set()


async def test_a_reader_that_leaves_ends_the_events_though_a_part_is_on_its_way() -> None:
    is_sending, left = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[Any, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            left.set()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            is_sending.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await is_sending.wait()
        return {"type": "http.disconnect"}

    await asyncio.wait_for(streamed(events())({}, receive, send), 10)
    assert left.is_set()
