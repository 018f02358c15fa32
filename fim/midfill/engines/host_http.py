"""Requests and answers of the host: bodies within bounds, streams that end with their reader, errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill.engines import dialect
from midfill.engines.dialect import Json
from midfill.errors import EngineRefused, MidfillError, ModelError, RoleError

MAX_BODY_BYTES = 2 << 20
"""A prompt of 128k tokens takes half of it; tokenizing as much text takes some seconds."""


class Loading(HTTPException):
    """The model is still being loaded."""

    def __init__(self, share: float) -> None:
        """`share`, 0 to 1, is how much of it is there."""
        super().__init__(503, "Loading model")
        self.share = share


class Unloadable(HTTPException):
    """The model cannot be loaded."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class Watched(Response):
    """A response that stops being made as soon as nobody waits for it, also before its first byte.

    Starlette's own streaming notices a closed connection only once it sends.
    """

    def __init__(self, make: ASGIApp) -> None:
        super().__init__()
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        making = asyncio.ensure_future(self._make(scope, receive, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((making, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            making.cancel()
            gone.cancel()
            await asyncio.wait((making, gone))
        if not making.cancelled():
            making.result()


def streamed(events: AsyncGenerator[Json, None], *, ends: bytes = b"") -> Response:
    """Server-sent events, each as soon as it is there, and `ends` after them.

    Those that are there at the same time are sent at once, so that they wake the reader once. An error before the
    first of them becomes the response's status, one after it an event.
    """

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        async with contextlib.aclosing(_Parts(send)) as parts:
            try:
                async with contextlib.aclosing(events):
                    async for event in events:
                        if not started:
                            await start(send, "text/event-stream")
                            started = True
                        parts.write(_data(json.dumps(event).encode()))
            except MidfillError as error:
                if not started:
                    raise
                refusal = dialect.write_error(_status(error), str(error))
                parts.write(_data(json.dumps(refusal).encode()))
            if not started:
                await start(send, "text/event-stream")
            if ends:
                parts.write(_data(ends))
            await parts.flush()
        await end(send)

    return Watched(stream)


class _Parts:
    """Parts of a response: what is written in one turn of the event loop is one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting = bytearray()
        self._sending: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """Send it, in the loop's next turn. Raises what sending the one before raised."""
        self._waiting += data
        if self._sending is None or self._sending.done():
            if self._sending is not None:
                self._sending.result()
            self._sending = asyncio.create_task(self._send_all())

    async def flush(self) -> None:
        """Wait until all is sent."""
        if self._sending is not None:
            await self._sending

    async def aclose(self) -> None:
        """Send nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send_all(self) -> None:
        while self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            await part(self._send, data)


def whole(make: Callable[[], Awaitable[Json]]) -> Response:
    """One JSON object, once it is made."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(await make())(scope, receive, send)

    return Watched(answer)


async def read_json(request: Request) -> object:
    """The request's body.

    Raises:
        HTTPException: it is too large.
        EngineRefused: it is no JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body may have {MAX_BODY_BYTES} bytes at most.")
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise EngineRefused("The body is not JSON.") from None
    return parsed


async def start(send: Send, media_type: str) -> None:
    """Begin a response that goes out in parts."""
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def part(send: Send, data: bytes) -> None:
    """Send a part of it."""
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def end(send: Send) -> None:
    """End it."""
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_response(status: int, message: str, kind: str | None = None) -> Response:
    """A refusal as llama-server writes it."""
    return JSONResponse(dialect.write_error(status, message, kind), status)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What Starlette makes of an `HTTPException`."""
    assert isinstance(error, HTTPException)
    kind = dialect.MODEL_ERROR if isinstance(error, Unloadable) else None
    body = dialect.write_error(error.status_code, error.detail, kind)
    if isinstance(error, Loading):
        body["progress"] = round(error.share, 4)
    return JSONResponse(body, error.status_code)


async def on_midfill_error(request: Request, error: Exception) -> Response:
    """What Starlette makes of what a person must mend."""
    assert isinstance(error, MidfillError)
    if isinstance(error, ModelError) and not isinstance(error, RoleError):
        return await on_http_error(request, Unloadable(str(error)))
    return error_response(_status(error), str(error))


def place(error: BaseException) -> str:
    """Where an unforeseen error was raised, without what it says, which could quote the user's text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:])
    )


def _status(error: MidfillError) -> int:
    return 400 if isinstance(error, (EngineRefused, RoleError)) else 500


def _data(text: bytes) -> bytes:
    return b"data: " + text + b"\n\n"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
