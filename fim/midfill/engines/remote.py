"""An engine at an HTTP address: our own host, or a real `llama-server`.

Both speak one dialect (see `dialect`). What a `llama-server` does not tell is found out by asking: its control
tokens by tokenizing their names, its first token by tokenizing nothing. What it does not know is done on
this side: stopping at the tokens of `Sampling.stop_ids`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import httpx

from midfill.engine import ModelInfo, Piece, Role, Sampling, Usage
from midfill.engines import dialect
from midfill.engines.access import Access
from midfill.engines.connection import END_S, Connection, body_of, error_type, sentence
from midfill.engines.state import proof
from midfill.engines.vocabulary import TokenCache, find_control_ids, is_same_piece, markup_in
from midfill.errors import EngineGone, EngineRefused

_POLL_FIRST_S, _POLL_MOST_S = 0.02, 0.25
"""Rest between two looks at whether the model is loaded; it doubles from look to look."""


class RemoteEngine:
    """An `Engine` at `url`. Lives on one event loop; `close` it.

    Reading waits for as long as the engine computes: the caller sets limits by cancelling.
    """

    def __init__(
        self,
        url: str,
        access: Access = Access(),  # noqa: B008  # it is frozen
        *,
        role: Role = "completion",
    ) -> None:
        """`access.key` is the host's token, or a `llama-server`'s API key. `role` is which of our host's models."""
        self._http = Connection(url, access, speaks="llama-server", gone=self._forget)
        self.url = self._http.url
        if role != "completion":
            self._http.client.params = self._http.client.params.set("model", role)
        self._loading: float | None = None
        self._model: ModelInfo | None = None
        self._ours = False
        self._asking = asyncio.Lock()
        self._tokens = TokenCache()

    async def info(self) -> ModelInfo:
        """The model, waiting until it is loaded.

        Raises:
            ModelError: it cannot be loaded.
            EngineGone: nothing answers at the address.
            EngineRefused: something else than an engine answers, or the token is wrong.
        """
        async with self._asking:
            if self._model is None:
                await self._until_loaded()
                self._model = await self._ask_for_model()
            return self._model

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, from memory where the same was asked before.

        Raises:
            EngineGone, EngineRefused: as for `info`.
        """
        known = self._tokens.get(text)
        if known is None:
            known = await self._tokens_of(dialect.without_surrogates(text))
            self._tokens.put(text, known)
        return list(known)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            EngineGone, EngineRefused: as for `info`, and where one of them is no token.
        """
        answer = await self._http.ask("POST", "/detokenize", {"tokens": list(ids)})
        if not isinstance(text := answer.get("content"), str):
            raise EngineRefused(f"{self.url} does not detokenize as llama-server does.")
        return text

    def loading(self) -> float | None:
        """How much of the model the server had loaded when it was last asked; None when it has it."""
        return self._loading

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`. Closing the generator closes the connection, which stops the engine.

        Raises:
            ModelError, EngineRefused: as for `info`, and where the prompt does not fit.
            EngineGone: the connection ended in the middle.
        """
        await self.info()
        body = dialect.write_request(prompt, sampling, ours=self._ours)
        stops = frozenset(sampling.stop_ids)
        n_open = sampling.n_candidates if self._ours else 1
        usage = Usage()
        try:
            async with contextlib.aclosing(self._http.stream("/completion", body)) as events:
                async for event in events:
                    piece = _stopped(self._piece(event), stops)
                    usage = piece.usage
                    n_open -= bool(usage.stop_reason)
                    if event.get("stop") and not n_open:
                        # Read to its end, the connection serves the next request as well.
                        with contextlib.suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(_drained(events), END_S)
                    yield piece
                    if not n_open:
                        return
            raise self._http.gone()
        except EngineGone:
            if not self._http.is_closed:
                raise
        yield Piece("", (), (), replace(usage, stop_reason="cancelled"))

    async def close(self) -> None:
        """Close the connections. Running generations end as `cancelled`."""
        await self._http.close()

    async def _until_loaded(self) -> None:
        poll_s = _POLL_FIRST_S
        try:
            while True:
                response = await self._http.request("GET", "/health")
                if response.is_success:
                    return
                refusal = self._http.refusal(response)
                if error_type(response) != dialect.UNAVAILABLE:
                    raise refusal
                self._loading = _progress(response)
                await asyncio.sleep(poll_s)
                poll_s = min(2 * poll_s, _POLL_MOST_S)
        finally:
            self._loading = None

    async def _ask_for_model(self) -> ModelInfo:
        props = await self._http.ask("GET", "/props")
        try:
            if "midfill" in props:
                self._ours = True
                return dialect.read_model(props["midfill"])
            return await self._probed(props)
        except (KeyError, TypeError, ValueError) as error:
            raise self._http.stranger(error) from error

    async def _probed(self, props: Mapping[str, Any]) -> ModelInfo:
        """What can be learned of the model of a `llama-server`."""
        template = str(props.get("chat_template", ""))
        control_ids = await find_control_ids(self._control_id, markup_in(template))
        start = await self._http.ask("POST", "/tokenize", {"content": "", "add_special": True})
        end = await self._control_id(str(props.get("eos_token", "")))
        [listed] = (await self._http.ask("GET", "/v1/models"))["data"]
        return ModelInfo(
            name=PurePath(props.get("model_path") or props["model_alias"]).stem,
            n_ctx=int(props["default_generation_settings"]["n_ctx"]),
            n_vocab=int(listed["meta"]["n_vocab"]),
            bos_id=start["tokens"][0] if start["tokens"] else None,
            end_ids=() if end is None else (end,),
            control_ids=control_ids,
            chat_template=template,
        )

    async def _control_id(self, piece: str) -> int | None:
        """The id of a control token, if the model has it as one token."""
        body = {"content": piece, "parse_special": True, "with_pieces": True}
        tokens = (await self._http.ask("POST", "/tokenize", body))["tokens"] if piece else []
        is_one = len(tokens) == 1 and is_same_piece(tokens[0]["piece"], piece)
        return int(tokens[0]["id"]) if is_one else None

    async def _tokens_of(self, text: str) -> tuple[int, ...]:
        body = {"content": text, "add_special": False, "parse_special": False}
        answer = await self._http.ask("POST", "/tokenize", body)
        try:
            return tuple(int(token) for token in answer["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(f"{self.url} does not tokenize as llama-server does.") from error

    def _forget(self) -> None:
        """Whatever answers at the address next may have another model."""
        self._model = None
        self._tokens = TokenCache()

    def _piece(self, event: dialect.Json) -> Piece:
        if "error" in event:
            raise EngineRefused(sentence(event) or f"The engine at {self.url} failed.")
        try:
            return dialect.read_piece(event)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(f"{self.url} does not stream as llama-server does.") from error


async def shows_token(client: httpx.AsyncClient, token: str) -> bool:
    """Whether what answers knows the host's token. Else it has taken the port of one that died.

    Raises:
        httpx.HTTPError, ValueError, KeyError, TypeError: nothing answers, or not as a host does.
    """
    nonce = secrets.token_hex(16)
    told: Any = body_of(await client.get("/proof", params={"nonce": nonce}))
    shown = told["proof"]
    return hmac.compare_digest(shown, proof(token, nonce))


async def _drained(events: AsyncGenerator[dialect.Json, None]) -> None:
    async for _ in events:
        pass


def _stopped(piece: Piece, stops: frozenset[int]) -> Piece:
    """The piece, ended before the first token that ends the generation."""
    hit = next((idx for idx, token in enumerate(piece.token_ids) if token in stops), None)
    if hit is None or piece.usage.stop_reason:
        return piece
    return replace(
        piece,
        # A llama-server sends one token with each piece, and its host has stopped by itself.
        text=piece.text if hit else "",
        token_ids=piece.token_ids[:hit],
        logprobs=piece.logprobs[:hit],
        usage=replace(piece.usage, stop_reason="eot"),
    )


def _progress(response: httpx.Response) -> float:
    """What our host tells besides; a `llama-server` does not."""
    told = body_of(response)
    share = told.get("progress", 0.0) if isinstance(told, dict) else 0.0
    return min(max(float(share), 0.0), 1.0) if isinstance(share, (int, float)) else 0.0
