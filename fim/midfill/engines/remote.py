"""An engine at an HTTP address: our own host, or a real `llama-server`.

Both speak one dialect (see `dialect`). What a `llama-server` does not tell is found out by asking: its control
tokens by tokenizing their names, its first token by tokenizing nothing. What it does not know is done on
this side: stopping at the tokens of `Sampling.stop_ids`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import httpx

from midfill.engine import ModelInfo, Piece, Role, Sampling, Usage
from midfill.engines import dialect
from midfill.engines.state import proof
from midfill.errors import EngineError, EngineGone, EngineRefused, ModelError
from midfill.formats import control_pieces

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_IDLE_S = 3.0
"""A connection idle for longer is not used again; `llama-server` closes its end after 5 s."""

_POLL_FIRST_S, _POLL_MOST_S = 0.02, 0.25
"""Rest between two looks at whether the model is loaded; it doubles from look to look."""

_END_S = 0.1
"""For the end of a response to follow its last event; both come in one go."""

_CACHED_CHARACTERS = 1 << 20
"""Text whose tokens are remembered. One file's lines, several times over."""


class RemoteEngine:
    """An `Engine` at `url`. Lives on one event loop; `close` it.

    Reading waits for as long as the engine computes: the caller sets limits by cancelling.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        role: Role = "completion",
        connect_s: float = 5.0,
    ) -> None:
        """`token` is the host's token, or a `llama-server`'s API key. `role` is which of our host's models."""
        self.url = url.rstrip("/")
        self._client = open_client(url, token, connect_s=connect_s)
        if role != "completion":
            self._client.params = self._client.params.set("model", role)
        self._loading: float | None = None
        self._model: ModelInfo | None = None
        self._ours = False
        self._asking = asyncio.Lock()
        self._tokens = _TokenCache()

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
        answer = await self._ask("POST", "/detokenize", {"tokens": list(ids)})
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
            with self._translated():
                async with (
                    self._client.stream("POST", "/completion", json=body) as response,
                    contextlib.aclosing(_events(response)) as events,
                ):
                    if response.status_code != httpx.codes.OK:
                        await response.aread()
                        raise self._refusal(response)
                    async for event in events:
                        piece = _stopped(self._piece(event), stops)
                        usage = piece.usage
                        n_open -= bool(usage.stop_reason)
                        if event.get("stop") and not n_open:
                            # Read to its end, the connection serves the next request as well.
                            with contextlib.suppress(asyncio.TimeoutError):
                                await asyncio.wait_for(_drained(events), _END_S)
                        yield piece
                        if not n_open:
                            return
                raise self._gone()
        except EngineGone:
            if not self._client.is_closed:
                raise
        yield Piece("", (), (), replace(usage, stop_reason="cancelled"))

    async def close(self) -> None:
        """Close the connections. Running generations end as `cancelled`."""
        await self._client.aclose()

    async def _until_loaded(self) -> None:
        poll_s = _POLL_FIRST_S
        try:
            while True:
                response = await self._request("GET", "/health")
                if response.is_success:
                    return
                refusal = self._refusal(response)
                if _error_type(response) != dialect.UNAVAILABLE:
                    raise refusal
                self._loading = _progress(response)
                await asyncio.sleep(poll_s)
                poll_s = min(2 * poll_s, _POLL_MOST_S)
        finally:
            self._loading = None

    async def _ask_for_model(self) -> ModelInfo:
        props = await self._ask("GET", "/props")
        try:
            if "midfill" in props:
                self._ours = True
                return dialect.read_model(props["midfill"])
            return await self._probed(props)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(
                f"{self.url} answers, but not as llama-server does ({error!r}); check the address."
            ) from error

    async def _probed(self, props: Mapping[str, Any]) -> ModelInfo:
        """What can be learned of the model of a `llama-server`."""
        control_ids: dict[str, int] = {}
        for piece in control_pieces():
            token = await self._control_id(piece)
            if token is not None:
                control_ids[piece] = token
        start = await self._ask("POST", "/tokenize", {"content": "", "add_special": True})
        end = await self._control_id(str(props.get("eos_token", "")))
        [listed] = (await self._ask("GET", "/v1/models"))["data"]
        return ModelInfo(
            name=PurePath(props.get("model_path") or props["model_alias"]).stem,
            n_ctx=int(props["default_generation_settings"]["n_ctx"]),
            n_vocab=int(listed["meta"]["n_vocab"]),
            bos_id=start["tokens"][0] if start["tokens"] else None,
            end_ids=() if end is None else (end,),
            control_ids=MappingProxyType(control_ids),
            chat_template=str(props.get("chat_template", "")),
        )

    async def _control_id(self, piece: str) -> int | None:
        """The id of a control token, if the model has it as one token."""
        # Where a vocabulary does not mark the token as a control token, it is made of text by the tokenizer,
        # which puts the leading mark before a word by itself.
        for spelling in dict.fromkeys((piece, piece.lstrip("▁"))):
            if not spelling:
                continue
            body = {"content": spelling, "parse_special": True, "with_pieces": True}
            tokens = (await self._ask("POST", "/tokenize", body))["tokens"]
            if len(tokens) == 1 and _same_piece(tokens[0]["piece"], piece):
                return int(tokens[0]["id"])
        return None

    async def _tokens_of(self, text: str) -> tuple[int, ...]:
        body = {"content": text, "add_special": False, "parse_special": False}
        answer = await self._ask("POST", "/tokenize", body)
        try:
            return tuple(int(token) for token in answer["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(f"{self.url} does not tokenize as llama-server does.") from error

    async def _ask(self, method: str, path: str, body: dialect.Json | None = None) -> dialect.Json:
        response = await self._request(method, path, body)
        if not response.is_success:
            raise self._refusal(response)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EngineRefused(
                f"{self.url} answers, but not as llama-server does; check the address."
            )
        return answer

    async def _request(
        self, method: str, path: str, body: dialect.Json | None = None
    ) -> httpx.Response:
        with self._translated():
            return await self._client.request(method, path, json=body)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._forget()
            raise EngineGone(
                f"Nothing answers at {self.url}; start the engine there or correct the address."
            ) from error
        except httpx.TransportError as error:
            raise self._gone() from error
        except RuntimeError as error:
            if not self._client.is_closed:
                raise
            raise self._gone() from error

    def _gone(self) -> EngineGone:
        self._forget()
        return EngineGone(f"The engine at {self.url} went away in the middle; ask again.")

    def _forget(self) -> None:
        """Whatever answers at the address next may have another model."""
        self._model = None
        self._tokens = _TokenCache()

    def _piece(self, event: dialect.Json) -> Piece:
        if "error" in event:
            raise EngineRefused(_sentence(event) or f"The engine at {self.url} failed.")
        try:
            return dialect.read_piece(event)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(f"{self.url} does not stream as llama-server does.") from error

    def _refusal(self, response: httpx.Response) -> EngineError | ModelError:
        try:
            body = response.json()
        except ValueError:
            body = None
        sentence = _sentence(body)
        if _error_type(response) == dialect.MODEL_ERROR and sentence:
            return ModelError(sentence)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return EngineRefused(f"{self.url} refuses the token; give the API key of that server.")
        said = sentence or f"HTTP status {response.status_code}"
        return EngineRefused(f"The engine at {self.url} refuses: {said}")


def open_client(url: str, token: str | None, *, connect_s: float) -> httpx.AsyncClient:
    """A client for the server at `url`. On this machine no proxy of the environment is used.

    Raises:
        EngineRefused: the address is none.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise EngineRefused(
            f"{url!r} is no address of an engine; write it like http://127.0.0.1:8080."
        )
    return httpx.AsyncClient(
        base_url=url,
        headers={"Accept-Encoding": "identity"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
        timeout=httpx.Timeout(None, connect=connect_s),
        limits=httpx.Limits(keepalive_expiry=_IDLE_S),
        trust_env=parsed.host not in _LOOPBACK,
        # Without TLS there is nothing to verify, and loading the certificates takes 20 ms.
        verify=parsed.scheme == "https",
    )


async def shows_token(client: httpx.AsyncClient, token: str) -> bool:
    """Whether what answers knows the host's token. Else it has taken the port of one that died.

    Raises:
        httpx.HTTPError, ValueError, KeyError, TypeError: nothing answers, or not as a host does.
    """
    nonce = secrets.token_hex(16)
    shown = (await client.get("/proof", params={"nonce": nonce})).json()["proof"]
    return hmac.compare_digest(shown, proof(token, nonce))


class _TokenCache:
    """The tokens of texts, up to a number of characters; what was used longest ago goes first."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._room = _CACHED_CHARACTERS

    def get(self, text: str) -> tuple[int, ...] | None:
        if text in self._tokens:
            self._tokens.move_to_end(text)
        return self._tokens.get(text)

    def put(self, text: str, tokens: tuple[int, ...]) -> None:
        if len(text) > _CACHED_CHARACTERS // 4 or text in self._tokens:
            return
        self._tokens[text] = tokens
        self._room -= len(text)
        while self._room < 0:
            oldest, _ = self._tokens.popitem(last=False)
            self._room += len(oldest)


async def _events(response: httpx.Response) -> AsyncGenerator[dialect.Json, None]:
    """The objects of a stream of server-sent events, each on one `data:` line.

    Not by `aiter_lines`, which would split also at the line separators that a generated text may hold.
    """
    rest = b""
    async for chunk in response.aiter_raw():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            field, _, data = line.partition(b":")
            if field == b"data":
                yield _object(data)


async def _drained(events: AsyncGenerator[dialect.Json, None]) -> None:
    async for _ in events:
        pass


def _object(data: bytes) -> dialect.Json:
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {}


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


def _same_piece(told: object, piece: str) -> bool:
    """Whether a server's spelling of a token, as text or as bytes, is that of the vocabulary."""
    if isinstance(told, list):
        told = bytes(told).decode("utf-8", "replace")
    return isinstance(told, str) and told.replace("▁", " ").strip() == piece.lstrip("▁")


def _sentence(body: object) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _progress(response: httpx.Response) -> float:
    """What our host tells besides; a `llama-server` does not."""
    share = response.json().get("progress", 0.0)
    return min(max(float(share), 0.0), 1.0) if isinstance(share, (int, float)) else 0.0


def _error_type(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["type"])
    except (ValueError, KeyError, TypeError):
        return ""
