"""One server's HTTP: requests, streams of events, and what goes wrong, as errors with a sentence each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import anyio
import httpx

from midfill.engines import dialect
from midfill.engines.access import Access, open_client
from midfill.errors import EngineBusy, EngineError, EngineGone, EngineRefused, ModelError

Result = TypeVar("Result")

END_S = 0.1
"""For the end of a response to follow its last event; both come in one go."""

_NO_BACKEND = (httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT)
"""What a load balancer says of the server behind it."""


class Connection:
    """A client of the server at `url`, and what it says when the server fails. `close` it."""

    def __init__(
        self,
        url: str,
        access: Access,
        *,
        speaks: str,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        """`speaks` is whose dialect is expected; `gone` is called when the server has ended.

        Raises:
            EngineRefused, SettingsError: as `open_client`.
        """
        self.url = url.rstrip("/")
        self.client = open_client(self.url, access)
        self._access = access
        self._speaks = speaks
        self._on_gone = gone

    async def ask(self, method: str, path: str, body: dialect.Json | None = None) -> dialect.Json:
        """The JSON object that the server answers.

        Raises:
            EngineGone, EngineBusy, EngineRefused, ModelError: there is no such answer.
        """
        response = await self.request(method, path, body)
        if not response.is_success:
            raise self.refusal(response)
        answer = body_of(response)
        if not isinstance(answer, dict):
            raise self.stranger()
        return answer

    async def request(
        self, method: str, path: str, body: dialect.Json | None = None
    ) -> httpx.Response:
        """The response, whatever its status.

        Raises:
            EngineGone: there is none.
            EngineRefused: the server's certificate is not trusted.
        """
        timeout = httpx.Timeout(self._access.answer_s, connect=self._access.connect_s, pool=None)
        with self._translated():
            return await _apart(self.client.request(method, path, json=body, timeout=timeout))

    async def stream(self, path: str, body: dialect.Json) -> AsyncGenerator[dialect.Json, None]:
        """The objects of a stream of server-sent events; closing it closes the connection.

        Raises:
            EngineGone, EngineBusy, EngineRefused, ModelError: it does not begin, or breaks off.
        """
        events: asyncio.Queue[dialect.Json | None] = asyncio.Queue()

        async def read() -> None:
            async with self.client.stream("POST", path, json=body) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise self.refusal(response)
                async for event in _events(response):
                    events.put_nowait(event)

        reading = asyncio.ensure_future(_apart(read()))
        reading.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            with self._translated():
                await reading
        finally:
            reading.cancel()
            # Whoever closes the stream may count on the connection being closed.
            await asyncio.wait({reading})

    async def close(self) -> None:
        """Close the connections. What runs raises `EngineGone`."""
        await self.client.aclose()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self.client.is_closed

    def gone(self, how: str = "went away in the middle; ask again") -> EngineGone:
        """The error that says that the server has ended."""
        self._on_gone()
        return EngineGone(f"The engine at {self.url} {how}.")

    def stranger(self, why: object = "") -> EngineRefused:
        """The error that says that something else answers."""
        reason = f" ({why!r})" if why else ""
        return EngineRefused(
            f"{self.url} answers, but not as {self._speaks} does{reason}; check the address."
        )

    def refusal(self, response: httpx.Response) -> EngineError | ModelError:
        """The error that a response means."""
        said = sentence(body_of(response))
        if error_type(response) == dialect.MODEL_ERROR and said:
            return ModelError(said)
        status = response.status_code
        if status == httpx.codes.UNAUTHORIZED:
            return EngineRefused(f"{self.url} refuses the token; give the API key of that server.")
        said = said or f"HTTP status {status}"
        if status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return EngineBusy(f"The engine at {self.url} is busy: {said}", _retry_after_s(response))
        if status in _NO_BACKEND:
            return self.gone("is not there behind its load balancer; ask again later")
        return EngineRefused(f"The engine at {self.url} refuses: {said}")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._on_gone()
            if _is_about_certificate(error):
                raise EngineRefused(
                    f"The certificate of {self.url} is not trusted; "
                    "name the file of its authority's certificate in engine.caFile."
                ) from error
            raise EngineGone(
                f"Nothing answers at {self.url}; start the engine there or correct the address."
            ) from error
        except httpx.TimeoutException as error:
            raise self.gone("is silent; see whether it hangs or has too much to do") from error
        except httpx.TransportError as error:
            raise self.gone() from error
        except RuntimeError as error:
            if not self.client.is_closed:
                raise
            raise self.gone() from error


async def _apart(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work results in; cancelled in a way that closes its connection.

    httpcore loses one of seven connections whose request asyncio cancels (1.0.9, measured): it stays open, and is never
    used again. One that a scope of anyio cancels is closed.
    """
    scope = anyio.CancelScope()

    async def within() -> Result | None:
        with scope:
            return await work
        return None

    task = asyncio.ensure_future(within())
    try:
        return await asyncio.shield(task)  # type: ignore[arg-type]  # None only where the scope was cancelled.
    except asyncio.CancelledError:
        scope.cancel()
        # Nobody else asks how it ended.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait({task})
        raise


def sentence(body: object) -> str:
    """What a server says in the body of a refusal, in whichever of the usual places."""
    error: Any = body
    for name in ("error", "detail", "message"):
        error = error.get(name, error) if isinstance(error, dict) else error
    return error if isinstance(error, str) else ""


def error_type(response: httpx.Response) -> str:
    """The type that llama.cpp's servers name in a refusal; else an empty string."""
    try:
        return str(response.json()["error"]["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


async def _events(response: httpx.Response) -> AsyncGenerator[dialect.Json, None]:
    """The objects of a stream of server-sent events, each on one `data:` line.

    Not by `aiter_lines`, which would split also at the line separators that a generated text may hold.
    """
    rest = b""
    async for chunk in response.aiter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, data = line.partition(b":")
            if field == b"data" and data.strip() == b"[DONE]":
                return
            if field == b"data":
                yield _object(data)


def _object(data: bytes) -> dialect.Json:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {}


def body_of(response: httpx.Response) -> object:
    """The JSON of a response; None where it is none, or is nested without end."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds after which a busy server asks to be asked again. Its other form, a date, nobody sends here."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _is_about_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
