"""What the host answers, in the dialect of llama.cpp's own `llama-server` (see `dialect`).

So one client drives both. No request is logged, nor any text of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill.engine import Engine, ModelInfo, Piece, Usage
from midfill.engines import dialect
from midfill.engines.dialect import Json
from midfill.engines.host_guard import Guard
from midfill.engines.host_http import (
    Loading,
    Unloadable,
    Watched,
    end,
    on_http_error,
    on_midfill_error,
    part,
    place,
    read_json,
    start,
    streamed,
    whole,
)
from midfill.engines.host_leases import Leases
from midfill.engines.state import MAX_LINGER_S, proof
from midfill.errors import EngineRefused, MidfillError
from midfill.version import __version__

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
        self.app: ASGIApp = Guard(self._routes(), token)
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
            exception_handlers={HTTPException: on_http_error, MidfillError: on_midfill_error},
        )

    def _loaded(self) -> tuple[Engine, ModelInfo]:
        """The engine and its model.

        Raises:
            HTTPException: it is still being loaded, or cannot be.
        """
        if self._loading is None or not self._loading.done():
            raise Loading(0.0)
        try:
            return self._loading.result()
        except MidfillError as error:
            raise Unloadable(str(error)) from error
        except Exception as error:
            _log.error("Loading failed: %s", place(error))
            raise Unloadable(f"The engine failed to start ({type(error).__name__}).") from None

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
        wanted = dialect.read_tokenize(await read_json(request))
        return JSONResponse({"tokens": await engine.tokenize(wanted)})

    async def _completion(self, request: Request) -> Response:
        engine, model = self._loaded()
        wanted = dialect.read_request(await read_json(request), model)
        if wanted.stream:
            return streamed(_events(engine, wanted))
        return whole(lambda: _at_once(engine, wanted))

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
                await start(send, "application/x-ndjson")
                await part(send, json.dumps(told).encode() + b"\n")
                await self.leases.over.wait()
                await end(send)

        return Watched(hold)


def _linger_s(text: str) -> float:
    try:
        linger_s = float(text)
    except ValueError:
        linger_s = math.nan
    if not 0 <= linger_s <= MAX_LINGER_S:
        raise EngineRefused(f'"linger_s" must lie between 0 and {MAX_LINGER_S:g}.')
    return linger_s


async def _events(engine: Engine, wanted: dialect.Request) -> AsyncGenerator[Json, None]:
    async with contextlib.aclosing(engine.generate(wanted.prompt, wanted.sampling)) as pieces:
        async for piece in pieces:
            yield dialect.write_piece(piece, wanted)


async def _at_once(engine: Engine, wanted: dialect.Request) -> Json:
    whole_piece = Piece("", (), (), Usage())
    async with contextlib.aclosing(engine.generate(wanted.prompt, wanted.sampling)) as pieces:
        async for piece in pieces:
            whole_piece = Piece(
                whole_piece.text + piece.text,
                whole_piece.token_ids + piece.token_ids,
                whole_piece.logprobs + piece.logprobs,
                piece.usage,
            )
    return dialect.write_piece(whole_piece, wanted)
