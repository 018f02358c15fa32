"""What the host answers, in the dialect of llama.cpp's own `llama-server` (see `dialect`).

So one client drives both, and editors' other plugins find what they know. No request is logged, nor any text
of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict
from pathlib import PurePath
from types import TracebackType
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill.engine import Piece, Role
from midfill.engines import dialect
from midfill.engines.dialect import Json
from midfill.engines.dialect_infill import read_infill, write_infill
from midfill.engines.host_guard import Guard
from midfill.engines.host_http import (
    Watched,
    end,
    on_http_error,
    on_midfill_error,
    part,
    read_json,
    start,
    streamed,
    whole,
)
from midfill.engines.host_infill import infill_prompt
from midfill.engines.host_leases import Leases
from midfill.engines.host_metrics import MEDIA_TYPE, write_metrics
from midfill.engines.host_models import Models
from midfill.engines.host_openai import OpenAi, gathered
from midfill.engines.resident import Resident
from midfill.engines.state import MAX_LINGER_S, proof
from midfill.errors import EngineRefused, MidfillError
from midfill.version import __version__

HEARTBEAT_S = 5.0
"""How often a lease says that the host is still there: an empty line."""

_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Host:
    """Engines and who uses them, as an ASGI application (`app`). Lives on one event loop.

    Entering it as a context begins to load the model that completes, leaving it closes the engines.
    """

    def __init__(
        self,
        residents: Mapping[Role, Resident],
        token: str,
        *,
        key: str = "",
        n_slots: int = 1,
        grace_s: float = 60.0,
    ) -> None:
        """`residents` has at least "completion"; `grace_s` is for how long the host waits for its first lease."""
        self.leases = Leases(grace_s)
        self._models = Models(residents)
        self._token = token
        self._key = key
        self._n_slots = n_slots
        self.app: ASGIApp = Guard(self._routes(), token)

    async def __aenter__(self) -> Host:
        self._models.begin(self._useless)
        self.leases.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leases.end()
        await self._models.close()

    def _useless(self) -> None:
        # Nobody can use this host: the next one, on a mended file, must not find it.
        self.leases.linger = False

    def _routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/props", self._props),
                Route("/slots", self._slots),
                Route("/metrics", self._metrics),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/detokenize", self._detokenize, methods=["POST"]),
                Route("/completion", self._completion, methods=["POST"]),
                Route("/infill", self._infill, methods=["POST"]),
                Route("/lease", self._lease),
                Route("/proof", self._proof),
                *OpenAi(self._models).routes(),
            ],
            exception_handlers={HTTPException: on_http_error, MidfillError: on_midfill_error},
        )

    def _picked(self, request: Request, body: object = None) -> Resident:
        name = request.query_params.get("model")
        return self._models.pick(name or (body.get("model") if isinstance(body, dict) else None))

    async def _health(self, request: Request) -> Response:
        self._models.check_loaded()
        return JSONResponse({"status": "ok"})

    async def _props(self, request: Request) -> Response:
        resident = self._picked(request)
        model = await self._models.ready(resident)
        ours = {
            **dialect.write_model(model),
            "version": __version__,
            "key": self._key,
            "loaded": resident.loaded,
            "self_test": asdict(resident.tested) if resident.tested else None,
        }
        return JSONResponse(
            {
                "default_generation_settings": {"n_ctx": model.n_ctx},
                "total_slots": self._n_slots,
                "model_path": resident.path,
                "chat_template": model.chat_template,
                "build_info": f"midfill {__version__}",
                "midfill": ours,
            }
        )

    async def _slots(self, request: Request) -> Response:
        resident = self._picked(request)
        model = resident.known()
        n_ctx = model.n_ctx if model else 0
        return JSONResponse(self._models.meter.slots(resident.path, self._n_slots, n_ctx))

    async def _metrics(self, request: Request) -> Response:
        residents = self._models.residents
        text = write_metrics(
            self._models.meter,
            n_slots=self._n_slots,
            n_leases=self.leases.count,
            models={
                role: (known.name if (known := it.known()) else "", it.loaded)
                for role, it in residents.items()
            },
            files={role: PurePath(it.path).name for role, it in residents.items()},
        )
        return PlainTextResponse(text, media_type=MEDIA_TYPE)

    async def _tokenize(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._picked(request, body)
        await self._models.ready(resident)
        return JSONResponse({"tokens": await resident.tokenize(dialect.read_tokenize(body))})

    async def _detokenize(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._picked(request, body)
        ids = dialect.read_detokenize(body, await self._models.ready(resident))
        return JSONResponse({"content": await resident.detokenize(ids)})

    async def _completion(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._picked(request, body)
        wanted = dialect.read_request(body, await self._models.ready(resident))
        pieces = self._models.generate(resident, wanted.prompt, wanted.sampling)
        return _answer(pieces, wanted.stream, lambda piece: dialect.write_piece(piece, wanted))

    async def _infill(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._picked(request, body)
        model = await self._models.ready(resident)
        wanted = read_infill(body, model)
        prompt, sampling = await infill_prompt(resident, wanted)
        pieces = self._models.generate(resident, prompt, sampling, wanted.stops)
        return _answer(
            pieces, wanted.stream, lambda piece: write_infill(piece, wanted, len(prompt), model)
        )

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
                while not await self._over_within(HEARTBEAT_S):
                    await part(send, b"\n")
                await end(send)

        return Watched(hold)

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.leases.over.wait(), seconds)
        return self.leases.over.is_set()


def _answer(
    pieces: AsyncGenerator[Piece, None], stream: bool, write: Callable[[Piece], Json]
) -> Response:
    """The pieces as they come, or as one object; several candidates are a list, as llama-server's are."""

    async def events() -> AsyncGenerator[Json, None]:
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                yield write(piece)

    async def answer() -> Any:
        written = [write(piece) for piece in await gathered(pieces)]
        return written[0] if len(written) == 1 else written

    return streamed(events()) if stream else whole(answer)


def _linger_s(text: str) -> float:
    try:
        linger_s = float(text)
    except ValueError:
        linger_s = math.nan
    if not 0 <= linger_s <= MAX_LINGER_S:
        raise EngineRefused(f'"linger_s" must lie between 0 and {MAX_LINGER_S:g}.')
    return linger_s
