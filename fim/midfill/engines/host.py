"""`midfill host`: one engine, shared by every editor window of one user over loopback HTTP.

llama.cpp can end its process and can need gigabytes, so it lives here and never in an editor's server. The
host speaks the dialect of llama.cpp's own `llama-server` (see `dialect`), so that one client drives both.
It loads the model in the background, stops a generation as soon as its reader has gone, and leaves when the
last of its clients has: each holds a lease, a response that stays open for as long as the client lives, and
the operating system closes that also for a client that was killed. No process is orphaned.

Whoever may not see the user's code must not reach the engine: the host listens on 127.0.0.1 only, every
request, also `/health`, must show the run's token, and what a browser would send is refused: a `Host` that
is not this address (DNS rebinding), and any `Origin`. Nor may another program pass for the host, by taking
the port of one that died: at `/proof` the host shows that it knows the token before a client shows it. No
request is logged, nor any text of one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import logging
import math
import os
import re
import secrets
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill.engine import Engine, ModelInfo, Piece, Usage
from midfill.engines import dialect
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.engines.state import MAX_LINGER_S, HostFiles, HostState, proof
from midfill.errors import EngineError, EngineRefused, MidfillError
from midfill.settings import EngineSettings
from midfill.version import __version__

if TYPE_CHECKING:
    from midfill.engines.llama import LlamaEngine

MAX_BODY_BYTES = 2 << 20
"""A prompt of 128k tokens takes half of it; tokenizing as much text takes some seconds."""

_SHUTDOWN_S = 2
"""Patience with open connections when the process is told to end."""

_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)

_log = logging.getLogger("midfill.host")


class Host:
    """An engine and who uses it, as an ASGI application (`app`). Lives on one event loop.

    Entering it as a context begins to load the engine, leaving it closes the engine.
    """

    def __init__(
        self,
        open_engine: Callable[[], Awaitable[Engine]],
        token: str,
        *,
        key: str = "",
        model: str = "",
        n_slots: int = 1,
        grace_s: float = 60.0,
    ) -> None:
        """`grace_s` is for how long the host waits for its first lease."""
        self.leases = Leases(grace_s)
        self.app: ASGIApp = _Guard(self._routes(), token)
        self._open_engine = open_engine
        self._token = token
        self._key = key
        self._model = model
        self._n_slots = n_slots
        self._engine: Engine | None = None
        self._loading: asyncio.Task[tuple[Engine, ModelInfo]] | None = None

    async def __aenter__(self) -> Host:
        self._loading = asyncio.create_task(self._load())
        self.leases.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leases.end()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait((self._loading,))
        if self._engine is not None:
            await self._engine.close()

    async def _load(self) -> tuple[Engine, ModelInfo]:
        try:
            self._engine = await self._open_engine()
            return self._engine, await self._engine.info()
        except BaseException:
            # Nobody can use this host: the next one, on a mended file, must not find it.
            self.leases.linger = False
            raise

    def _routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/props", self._props),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/completion", self._completion, methods=["POST"]),
                Route("/lease", self._lease),
                Route("/proof", self._proof),
            ],
            exception_handlers={HTTPException: _http_error, MidfillError: _midfill_error},
        )

    def _loaded(self) -> tuple[Engine, ModelInfo]:
        """The engine and its model.

        Raises:
            HTTPException: it is still being loaded, or cannot be.
        """
        if self._loading is None or not self._loading.done():
            raise HTTPException(503, "Loading model")
        try:
            return self._loading.result()
        except MidfillError as error:
            raise _Unloadable(503, str(error)) from error
        except Exception as error:
            _log.error("Loading failed: %s", _place(error))
            raise _Unloadable(
                503, f"The engine failed to start ({type(error).__name__})."
            ) from None

    async def _health(self, request: Request) -> Response:
        self._loaded()
        return JSONResponse({"status": "ok"})

    async def _props(self, request: Request) -> Response:
        _, model = self._loaded()
        ours = {**dialect.write_model(model), "version": __version__, "key": self._key}
        return JSONResponse(
            {
                "default_generation_settings": {"n_ctx": model.n_ctx},
                "total_slots": self._n_slots,
                "model_path": self._model,
                "build_info": f"midfill {__version__}",
                "midfill": ours,
            }
        )

    async def _tokenize(self, request: Request) -> Response:
        engine, _ = self._loaded()
        wanted = dialect.read_tokenize(await _json(request))
        return JSONResponse({"tokens": await engine.tokenize(wanted)})

    async def _completion(self, request: Request) -> Response:
        engine, model = self._loaded()
        wanted = dialect.read_request(await _json(request), model)
        return _Watched(_streamed(engine, wanted) if wanted.stream else _whole(engine, wanted))

    async def _proof(self, request: Request) -> Response:
        nonce = request.query_params.get("nonce", "")
        if not _NONCE.fullmatch(nonce):
            raise EngineRefused('"nonce" must be 32 hexadecimal digits.')
        return JSONResponse({"proof": proof(self._token, nonce)})

    async def _lease(self, request: Request) -> Response:
        linger_s = _linger_s(request.query_params.get("linger_s", "10"))
        if self.leases.over.is_set():
            raise HTTPException(503, "The host is about to leave.")
        told = {"key": self._key, "pid": os.getpid(), "version": __version__}

        async def hold(scope: Scope, receive: Receive, send: Send) -> None:
            with self.leases.held(linger_s):
                await _start(send, "application/x-ndjson")
                await _part(send, json.dumps(told).encode() + b"\n")
                await self.leases.over.wait()
                await _end(send)

        return _Watched(hold)


class Leases:
    """Counts the clients that hold the host, and says when it may leave. Lives on one event loop."""

    def __init__(self, grace_s: float) -> None:
        self.over = asyncio.Event()
        """Set when nobody has held a lease for long enough."""
        self.linger = True
        """Whether the host stays for the time that its last clients asked for."""
        self._stay_s = grace_s
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin to wait for the first lease."""
        self._timer = asyncio.get_running_loop().call_later(self._stay_s, self.over.set)

    def end(self) -> None:
        """Wait no longer, and let all leases go."""
        self.over.set()
        if self._timer is not None:
            self._timer.cancel()

    @contextlib.contextmanager
    def held(self, linger_s: float) -> Iterator[None]:
        """Hold the host for as long as the context lasts, and `linger_s` beyond."""
        if self._timer is not None:
            self._timer.cancel()
        if self._count == 0:
            self._stay_s = 0.0
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._stay_s = max(self._stay_s, linger_s)
            if self._count == 0 and not self.over.is_set():
                wait_s = self._stay_s if self.linger else 0.0
                self._timer = asyncio.get_running_loop().call_later(wait_s, self.over.set)


async def run_host(
    model: str,
    settings: EngineSettings,
    *,
    token: str = "",
    files: HostFiles | None = None,
    port: int = 0,
    grace_s: float = 60.0,
    listening: Callable[[HostState], None] = lambda state: None,
    open_engine: Callable[[], Awaitable[Engine]] | None = None,
) -> None:
    """Host the model on 127.0.0.1 until nobody holds a lease any more, or until cancelled.

    Args:
        model: path of a GGUF file, or a `fake:` engine.
        token: what clients must show; drawn at random when empty.
        files: where the host names itself for others to join; None keeps it to itself.
        port: 0 takes one that is free.
        grace_s: for how long it waits for the first lease.
        listening: called once, when requests are accepted; the model may still be loading.
        open_engine: in place of the engine that `model` names.

    Raises:
        OSError: the port is taken.
    """
    key = files.key if files else ""
    token = token or secrets.token_urlsafe(32)

    async def open_named() -> Engine:
        return await open_here(model, settings)

    listener = _listener(port)
    state = HostState(os.getpid(), listener.getsockname()[1], token, __version__, key)
    async with Host(
        open_engine or open_named,
        token,
        key=key,
        model=model,
        n_slots=settings.n_slots,
        grace_s=grace_s,
    ) as host:
        server = _Server(_uvicorn_config(host.app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        idle = asyncio.create_task(host.leases.over.wait())
        try:
            if files is not None:
                files.create_folder()
                files.write(state)
            listening(state)
            await asyncio.wait((serving, idle), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if files is not None:
                files.remove(token)
            idle.cancel()
            host.leases.end()
            server.should_exit = True
            await serving


def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run on a fresh event loop; an interrupt or a request to terminate ends it in good order."""

    async def watched() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watched())


async def open_here(model: str, settings: EngineSettings) -> Engine:
    """The engine for a model, in this process; it may still be loading.

    Raises:
        EngineError: llama.cpp is not installed.
    """
    if model.startswith(FAKE_SCHEME):
        return FakeEngine.at(model)
    try:
        # In a thread, because importing llama.cpp takes a third of a second.
        engine = await asyncio.to_thread(_llama_engine)
    except ImportError as error:
        raise EngineError(
            f"llama.cpp is not installed ({error}); install it with: pip install 'midfill[llama]'."
        ) from error
    return engine(model, settings)


def main(arguments: Sequence[str] | None = None) -> None:
    """What the supervisor starts: `python -m midfill.engines.host --model PATH`.

    Standard input brings one line of JSON with `key`, `folder`, `token`, `grace_s` and `settings`: a token
    would be seen by other users on the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m midfill.engines.host", description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args(arguments).model
    terms = json.loads(sys.stdin.readline())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    run_until_signal(
        run_host(
            model,
            EngineSettings(**terms["settings"]),
            token=terms["token"],
            files=HostFiles(Path(terms["folder"]), terms["key"]),
            grace_s=terms["grace_s"],
        )
    )


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would end the process before the state file is taken away."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Unloadable(HTTPException):
    """The model cannot be loaded."""


class _Guard:
    """Lets through only who shows the token, and nothing that a browser would send for a web page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._refusal(scope) or self._app
        try:
            await app(scope, receive, send)
        except Exception as error:
            # Without its message, which could quote the user's text.
            _log.error("A request failed: %s", _place(error))

    def _refusal(self, scope: Scope) -> Response | None:
        def values(name: bytes) -> list[bytes]:
            return [value for key, value in scope["headers"] if key == name]

        port = scope["server"][1]
        here = (f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode())
        hosts = values(b"host")
        if len(hosts) != 1 or hosts[0].lower() not in here:
            return _error(403, "The Host header does not name this host.")
        if values(b"origin"):
            return _error(403, "Web pages may not use this host.")
        if scope["path"] == "/proof":
            return None
        shown = values(b"authorization")
        if len(shown) != 1 or not hmac.compare_digest(shown[0], self._expected):
            return _error(401, "The token is missing or wrong.")
        return None


class _Watched(Response):
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


def _listener(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named, which `create_server` does not:
    # a piece of 40 ms of waiting per request otherwise (measured).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _streamed(engine: Engine, wanted: dialect.Request) -> ASGIApp:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        async with contextlib.aclosing(engine.generate(wanted.prompt, wanted.sampling)) as pieces:
            try:
                async for piece in pieces:
                    if not started:
                        await _start(send, "text/event-stream")
                        started = True
                    await _event(send, dialect.write_piece(piece, wanted))
            except MidfillError as error:
                if not started:
                    await _refusal(error)(scope, receive, send)
                    return
                await _event(send, dialect.write_error(_status(error), str(error)))
        await _end(send)

    return stream


def _whole(engine: Engine, wanted: dialect.Request) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        whole = Piece("", (), (), Usage())
        async with contextlib.aclosing(engine.generate(wanted.prompt, wanted.sampling)) as pieces:
            try:
                async for piece in pieces:
                    whole = Piece(
                        whole.text + piece.text,
                        whole.token_ids + piece.token_ids,
                        whole.logprobs + piece.logprobs,
                        piece.usage,
                    )
                response: Response = JSONResponse(dialect.write_piece(whole, wanted))
            except MidfillError as error:
                response = _refusal(error)
        await response(scope, receive, send)

    return answer


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, media_type: str) -> None:
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _event(send: Send, event: dialect.Json) -> None:
    await _part(send, b"data: " + json.dumps(event).encode() + b"\n\n")


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _json(request: Request) -> object:
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


def _linger_s(text: str) -> float:
    try:
        linger_s = float(text)
    except ValueError:
        linger_s = math.nan
    if not 0 <= linger_s <= MAX_LINGER_S:
        raise EngineRefused(f'"linger_s" must lie between 0 and {MAX_LINGER_S:g}.')
    return linger_s


def _error(status: int, message: str, kind: str | None = None) -> Response:
    return JSONResponse(dialect.write_error(status, message, kind), status)


def _refusal(error: MidfillError) -> Response:
    return _error(_status(error), str(error))


def _status(error: MidfillError) -> int:
    return 400 if isinstance(error, EngineRefused) else 500


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = dialect.MODEL_ERROR if isinstance(error, _Unloadable) else None
    return _error(error.status_code, error.detail, kind)


async def _midfill_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MidfillError)
    return _refusal(error)


def _place(error: BaseException) -> str:
    """Where an unforeseen error was raised, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:])
    )


def _llama_engine() -> type[LlamaEngine]:
    from midfill.engines.llama import LlamaEngine  # noqa: PLC0415  Loads llama.cpp.

    return LlamaEngine


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


if __name__ == "__main__":
    main()
