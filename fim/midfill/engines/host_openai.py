"""The part of the host that OpenAI's clients talk to: `/v1/models`, completions, conversations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from midfill.chat import chat_prompt
from midfill.chat_formats import turn_end_ids
from midfill.engine import ModelInfo, Piece, Sampling, Usage
from midfill.engines.dialect import Json
from midfill.engines.dialect_infill import DEFAULT_TOKENS, InfillRequest
from midfill.engines.dialect_openai import (
    Asked,
    TextRequest,
    Writer,
    read_chat_request,
    read_text_request,
)
from midfill.engines.host_http import read_json, streamed, whole
from midfill.engines.host_infill import infill_prompt
from midfill.engines.host_models import Models
from midfill.engines.resident import Resident
from midfill.errors import EngineRefused


class OpenAi:
    """Answers in OpenAI's dialect with a host's models."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._since = int(time.time())

    def routes(self) -> list[Route]:
        """Where it answers. llama-server has them without `/v1` as well."""
        return [
            Route("/v1/models", self._list),
            Route("/models", self._list),
            Route("/v1/completions", self._text, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/chat/completions", self._chat, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        data = [self._listed(role, it) for role, it in self._models.residents.items()]
        return JSONResponse({"object": "list", "data": data})

    def _listed(self, role: str, resident: Resident) -> Json:
        model = resident.known()
        return {
            "id": role,
            "object": "model",
            "created": self._since,
            "owned_by": "midfill",
            "meta": model
            and {
                "n_vocab": model.n_vocab,
                "n_ctx_train": model.n_ctx,
                "n_params": model.n_parameters,
            },
        }

    async def _text(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._models.pick(_name(request, body))
        model = await self._models.ready(resident)
        wanted = read_text_request(body, model)
        prompt, sampling = await _text_prompt(resident, model, wanted)
        writer = Writer("text_completion", model, len(prompt))
        return self._answer(resident, prompt, sampling, wanted.asked, writer)

    async def _chat(self, request: Request) -> Response:
        body = await read_json(request)
        resident = self._models.pick(_name(request, body), "instruct")
        model = await self._models.ready(resident)
        wanted = read_chat_request(body)
        prompt = await chat_prompt(model, wanted.messages, resident.tokenize)
        sampling = replace(wanted.asked.sampling, stop_ids=turn_end_ids(model))
        sampling = _within(sampling, model, prompt)
        writer = Writer("chat.completion", model, len(prompt))
        return self._answer(resident, prompt, sampling, wanted.asked, writer)

    def _answer(
        self,
        resident: Resident,
        prompt: tuple[int, ...],
        sampling: Sampling,
        asked: Asked,
        writer: Writer,
    ) -> Response:
        pieces = self._models.generate(resident, prompt, sampling, asked.stops)
        if asked.stream:
            return streamed(_events(pieces, asked, writer), ends=b"[DONE]")

        async def answer() -> Json:
            return writer.answer(await gathered(pieces))

        return whole(answer)


async def gathered(pieces: AsyncGenerator[Piece, None]) -> list[Piece]:
    """Each candidate as one piece."""
    whole_pieces: dict[int, Piece] = {}
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            before = whole_pieces.get(piece.candidate_idx, Piece("", (), (), Usage()))
            whole_pieces[piece.candidate_idx] = replace(
                piece,
                text=before.text + piece.text,
                token_ids=before.token_ids + piece.token_ids,
                logprobs=before.logprobs + piece.logprobs,
            )
    return [whole_pieces[idx] for idx in sorted(whole_pieces)]


async def _events(
    pieces: AsyncGenerator[Piece, None], asked: Asked, writer: Writer
) -> AsyncGenerator[Json, None]:
    usages: dict[int, Usage] = {}
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if not usages and writer.kind == "chat.completion":
                yield writer.first()
            usages[piece.candidate_idx] = piece.usage
            yield writer.event(piece)
    if asked.include_usage:
        yield writer.usage(usages.values())


async def _text_prompt(
    resident: Resident, model: ModelInfo, wanted: TextRequest
) -> tuple[tuple[int, ...], Sampling]:
    sampling = wanted.asked.sampling
    if wanted.suffix is not None and isinstance(wanted.prompt, str):
        n_most = sampling.max_tokens if sampling.max_tokens >= 0 else DEFAULT_TOKENS
        ids, infilling = await infill_prompt(
            resident,
            InfillRequest(
                prefix=wanted.prompt,
                suffix=wanted.suffix,
                extra=(),
                max_tokens=min(n_most, model.n_ctx // 2),
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                seed=sampling.seed,
                stops=wanted.asked.stops,
                stream=wanted.asked.stream,
                response_fields=(),
            ),
        )
        return ids, replace(infilling, n_candidates=sampling.n_candidates)
    prompt = wanted.prompt
    if isinstance(prompt, str):
        begin = () if model.bos_id is None else (model.bos_id,)
        prompt = (*begin, *await resident.tokenize(prompt))
    if not prompt:
        raise EngineRefused('"prompt" must hold at least one token.')
    return prompt, _within(sampling, model, prompt)


def _within(sampling: Sampling, model: ModelInfo, prompt: tuple[int, ...]) -> Sampling:
    """At most as many tokens as there is room for.

    Raises:
        EngineRefused: there is none.
    """
    room = model.n_ctx - len(prompt)
    if room <= 0:
        raise EngineRefused(
            f"The prompt has {len(prompt)} tokens and the context holds {model.n_ctx}; shorten it."
        )
    return replace(sampling, max_tokens=room) if sampling.max_tokens < 0 else sampling


def _name(request: Request, body: object) -> object:
    return request.query_params.get("model") or (
        body.get("model") if isinstance(body, Mapping) else None
    )
