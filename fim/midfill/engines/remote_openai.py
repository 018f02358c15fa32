"""An engine at an HTTP address that speaks OpenAI's completions: vLLM, `python -m llama_cpp.server`, and others.

How a prompt gets there is found out by asking, the most exact way first:

`ids`     The server tokenizes (vLLM's `/tokenize`), so it takes token ids, as a `llama-server` does.
`spelled` It takes text, in which control tokens are spelled as the vocabulary spells them. That they are read as
          such is seen at `/extras/tokenize` (llama-cpp-python), or believed of a model whose name is a family's.
`suffix`  It is given the text before and after the caret, and puts its model's control tokens in by itself.

Conversations go to `/v1/chat/completions` as they are said, since such a server does not show its template. Where it
tells reasoning apart (`reasoning_content`), that comes between tags, as a model says it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Literal

import httpx

from midfill.engine import ModelInfo, Piece, Sampling, StopReason, Usage
from midfill.engines import dialect
from midfill.engines.access import Access
from midfill.engines.connection import END_S, Connection, body_of, sentence
from midfill.engines.remote_conversation import Reasoning, is_conversation, turns_of
from midfill.engines.vocabulary import (
    TokenCache,
    find_control_ids,
    is_same_piece,
    made_up_ids,
    made_up_text,
    spelled,
    spelled_control,
)
from midfill.errors import EngineBusy, EngineGone, EngineRefused
from midfill.formats import control_pieces, encode_apart, format_of, pieces_by_name

Way = Literal["ids", "spelled", "suffix"]

_N_CTX = 2048
"""Tokens of context where a server does not tell: what `python -m llama_cpp.server` has by default."""

_REASONS: Mapping[object, StopReason] = {None: "", "stop": "eot", "length": "budget"}
"""OpenAI's `finish_reason`."""

_CONTROL_LIKE = re.compile(r"<\S+>|\[\S+\]")
"""A token with such a text may be a control token. A tokenizer of Hugging Face parses those in every text."""

_NEUTRAL = {"repeat_penalty": 1.0, "min_p": 0.0}
"""What llama-cpp-python's server does to the distribution unless it is told not to."""


class OpenAIEngine:
    """An `Engine` at `url`. Lives on one event loop; `close` it.

    What an OpenAI-compatible server cannot do is passed over: other candidates, healing, copying, drafts.
    """

    def __init__(self, url: str, access: Access = Access()) -> None:  # noqa: B008  # it is frozen
        self._http = Connection(
            url, access, speaks="an OpenAI-compatible server", gone=self._forget
        )
        self.url = self._http.url
        self.way: Way | None = None
        """How prompts get there; None until it was asked."""
        self._model: ModelInfo | None = None
        self._served = ""
        self._spellings: Mapping[int, str] = {}
        self._tells_logprobs = True
        self._asking = asyncio.Lock()
        self._tokens = TokenCache()

    async def info(self) -> ModelInfo:
        """The model that the server lists first.

        Raises:
            EngineGone: nothing answers at the address.
            EngineBusy: the model is still being loaded.
            EngineRefused: something else answers, or the key is wrong.
        """
        async with self._asking:
            if self._model is None:
                self._model = await self._ask_for_model()
            return self._model

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, as the server's model has them, or made up where it takes text only.

        Raises:
            EngineGone, EngineBusy, EngineRefused: as for `info`.
        """
        await self.info()
        text = dialect.without_surrogates(text)
        if self.way != "ids":
            return made_up_ids(text)
        known = self._tokens.get(text)
        if known is None:
            known = tuple(await self._ids_of(text))
            self._tokens.put(text, known)
        return list(known)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            EngineGone, EngineBusy, EngineRefused: as for `info`.
        """
        await self.info()
        if self.way != "ids":
            return "".join(text for _, text in spelled(ids, None))
        body = {"model": self._served, "tokens": list(ids)}
        return str((await self._http.ask("POST", "/detokenize", body)).get("prompt", ""))

    def loading(self) -> float | None:
        """Such a server tells nothing before it is there."""
        return None

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`. Closing the generator closes the connection, which stops the engine.

        Raises:
            EngineGone, EngineBusy, EngineRefused: as for `info`, and where the prompt does not fit.
        """
        await self.info()
        progress = _Progress(frozenset(sampling.stop_ids))
        try:
            async with contextlib.aclosing(self._events(prompt, sampling)) as events:
                async for event in events:
                    piece = self._piece(event, progress)
                    if piece is not None and piece.usage.stop_reason:
                        with contextlib.suppress(asyncio.TimeoutError):
                            piece = await asyncio.wait_for(progress.counted(piece, events), END_S)
                    if piece is not None:
                        yield piece
                        if piece.usage.stop_reason:
                            return
            # The connection held: llama-cpp-python's server ends one stream to serve the next.
            raise EngineBusy(f"The engine at {self.url} broke its answer off for another request.")
        except EngineGone:
            if not self._http.is_closed:
                raise
        yield Piece("", (), (), replace(progress.usage, stop_reason="cancelled"))

    async def close(self) -> None:
        """Close the connections. Running generations end as `cancelled`."""
        await self._http.close()

    async def _events(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[dialect.Json, None]:
        """The stream of a completion, asked for without log-probabilities where the server has none."""
        if is_conversation(prompt):
            body = await self._conversation(prompt, sampling)
            reasoning = Reasoning()
            path = "/v1/chat/completions"
            async with contextlib.aclosing(self._http.stream(path, body)) as events:
                async for event in events:
                    yield reasoning.as_text(event)
            return
        while True:
            with_logprobs = self._tells_logprobs
            body = self._request(prompt, sampling)
            try:
                async with contextlib.aclosing(
                    self._http.stream("/v1/completions", body)
                ) as events:
                    async for event in events:
                        yield event
                return
            except EngineRefused as refused:
                if not with_logprobs or "logprob" not in str(refused):
                    raise
                self._tells_logprobs = False

    def _request(self, prompt: Sequence[int], sampling: Sampling) -> dialect.Json:
        body: dialect.Json = {
            "model": self._served,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stream": True,
        }
        if self._tells_logprobs:
            body["logprobs"] = 1
        if self.way == "ids":
            return body | {
                "prompt": list(prompt),
                "top_k": sampling.top_k,
                "stop_token_ids": list(sampling.stop_ids),
                "return_tokens_as_token_ids": True,
                "stream_options": {"include_usage": True},
            }
        form = format_of(self._known())
        parts = list(spelled(prompt, form.ids.get("suffix")))
        if self.way == "suffix":
            return body | _before_and_after(parts, form.ids)
        text = "".join(self._spellings.get(control or 0, "") + text for control, text in parts)
        stop = [self._spellings[token].strip("▁ ") for token in sampling.stop_ids]
        return body | {"prompt": text, "stop": stop, "top_k": sampling.top_k} | _NEUTRAL

    async def _conversation(self, prompt: Sequence[int], sampling: Sampling) -> dialect.Json:
        """What is asked of a server that writes its model's conversations."""
        messages = []
        for role, ids in turns_of(prompt):
            text = await self.detokenize(ids) if self.way == "ids" else made_up_text(ids)
            messages.append({"role": role, "content": text})
        return {
            "model": self._served,
            "messages": messages,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _known(self) -> ModelInfo:
        if self._model is None:
            raise self._http.gone()
        return self._model

    async def _ask_for_model(self) -> ModelInfo:
        listed = (await self._http.ask("GET", "/v1/models")).get("data")
        try:
            first = listed[0] if listed else {}
            self._served = str(first["id"])
            n_ctx = int(first.get("max_model_len") or 0)
            name = PurePath(self._served).name
            known = ModelInfo(name.removesuffix(".gguf"), n_ctx or _N_CTX, converses=True)
            return await self._probed(known)
        except (KeyError, TypeError, ValueError) as error:
            raise self._http.stranger(error) from error

    async def _probed(self, model: ModelInfo) -> ModelInfo:
        """The model with its control tokens, by the most exact way that the server has."""
        start = await self._tokenized("", add_special_tokens=True)
        if start is not None:
            self.way = "ids"
            first = start["tokens"]
            control = await find_control_ids(self._control_id)
            n_ctx = int(start.get("max_model_len") or model.n_ctx)
            bos_id = first[0] if first else None
            return replace(model, n_ctx=n_ctx, bos_id=bos_id, control_ids=control)
        spelling = await self._spelled_control() or {
            piece: piece for piece in pieces_by_name(self._served)
        }
        self.way = "spelled" if spelling else "suffix"
        # Where the server knows its model's control tokens better, those of any family mark the parts for it.
        made_up = spelled_control(tuple(spelling) or control_pieces())
        self._spellings = {made_up[piece]: written for piece, written in spelling.items()}
        return replace(model, control_ids=made_up)

    async def _spelled_control(self) -> Mapping[str, str]:
        """How to write each control piece in a text, as a server tells that tokenizes but takes no ids."""
        start = await self._extras_tokens("")
        if start is None:
            return {}
        n_start = len(start)
        spelling: dict[int, str] = {}

        async def ask(text: str) -> int | None:
            tokens = await self._extras_tokens(text)
            if tokens is None or len(tokens) != n_start + 1:
                return None
            spelling[tokens[-1]] = text
            return tokens[-1]

        return {piece: spelling[token] for piece, token in (await find_control_ids(ask)).items()}

    async def _extras_tokens(self, text: str) -> list[int] | None:
        body = {"model": self._served, "input": text}
        response = await self._http.request("POST", "/extras/tokenize", body)
        told = body_of(response) if response.is_success else None
        return list(told["tokens"]) if isinstance(told, dict) and "tokens" in told else None

    async def _tokenized(self, text: str, *, add_special_tokens: bool) -> dialect.Json | None:
        """vLLM's answer for a text, or None from a server that has none."""
        body = {
            "model": self._served,
            "prompt": text,
            "add_special_tokens": add_special_tokens,
            "return_token_strs": True,
        }
        response = await self._http.request("POST", "/tokenize", body)
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
            return None
        if not response.is_success:
            raise self._http.refusal(response)
        answer = body_of(response)
        if not isinstance(answer, dict):
            raise self._http.stranger()
        return answer

    async def _control_id(self, piece: str) -> int | None:
        told = await self._tokenized(piece, add_special_tokens=False) or {"tokens": []}
        is_one = len(told["tokens"]) == 1 and is_same_piece(told["token_strs"][0], piece)
        return int(told["tokens"][0]) if is_one else None

    async def _ids_of(self, text: str) -> list[int]:
        try:
            tokens, pieces = await self._ids_and_pieces(text)
            control = sorted({piece for piece in pieces if _CONTROL_LIKE.fullmatch(piece)})
            if not control:
                return tokens
            # What may be a control token is encoded in two halves, whatever it is.
            guard = re.compile("|".join(map(re.escape, control)))

            async def ids(half: str) -> list[int]:
                return (await self._ids_and_pieces(half))[0]

            return await encode_apart(text, guard, ids)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(f"{self.url} does not tokenize as vLLM does.") from error

    async def _ids_and_pieces(self, text: str) -> tuple[list[int], list[str]]:
        told = await self._tokenized(text, add_special_tokens=False) or {}
        pieces = [piece.strip("▁ ") for piece in told.get("token_strs") or ()]
        return [int(token) for token in told["tokens"]], pieces

    def _piece(self, event: dialect.Json, progress: _Progress) -> Piece | None:
        if "error" in event:
            raise EngineRefused(sentence(event) or f"The engine at {self.url} failed.")
        try:
            return progress.piece(event)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineRefused(
                f"{self.url} does not stream as an OpenAI-compatible server does."
            ) from error

    def _forget(self) -> None:
        """Whatever answers at the address next may have another model."""
        self._model = None
        self._tells_logprobs = True
        self._tokens = TokenCache()


class _Progress:
    """A generation as its events tell it. Times are measured here: the servers do not tell theirs."""

    def __init__(self, stops: frozenset[int]) -> None:
        self.usage = Usage()
        self._stops = stops
        self._began_s = time.perf_counter()

    def piece(self, event: dialect.Json) -> Piece | None:
        """The piece that an event brings, if any.

        Raises:
            KeyError, TypeError, ValueError: it is no such event.
        """
        choices = event["choices"]
        if not choices:
            return None
        [choice] = choices
        told = choice.get("logprobs") or {}
        logprobs = tuple(float(number or 0) for number in told.get("token_logprobs") or ())
        ids = _ids_told(choice.get("token_ids"), told.get("tokens") or ())
        hit = next((idx for idx, token in enumerate(ids) if token in self._stops), len(ids))
        reason = choice.get("finish_reason")
        text = str(choice.get("text") or "")
        self._count(max(len(logprobs), len(ids), bool(text)), _REASONS.get(reason, "cancelled"))
        if ids:
            ids, logprobs = ids[:hit], logprobs[:hit]
        return Piece(text, ids, logprobs, self.usage)

    async def counted(self, last: Piece, events: AsyncGenerator[dialect.Json, None]) -> Piece:
        """The last piece, with what the server says of the cost afterwards. Reads to the end of the stream."""
        async for event in events:
            told = event.get("usage") or {}
            n_prompt = int(told.get("prompt_tokens") or 0)
            n_reused = int((told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            n_generated = int(told.get("completion_tokens") or last.usage.tokens_generated)
            usage = replace(
                last.usage,
                tokens_reused=n_reused,
                tokens_evaluated=n_prompt - n_reused,
                tokens_generated=n_generated,
            )
            last = replace(last, usage=usage)
        return last

    def _count(self, n_tokens: int, reason: StopReason) -> None:
        elapsed_ms = (time.perf_counter() - self._began_s) * 1000
        prefill_ms = self.usage.prefill_ms or elapsed_ms
        self.usage = replace(
            self.usage,
            tokens_generated=self.usage.tokens_generated + n_tokens,
            prefill_ms=prefill_ms,
            decode_ms=elapsed_ms - prefill_ms,
            stop_reason=reason,
        )


def _before_and_after(
    parts: Sequence[tuple[int | None, str]], ids: Mapping[str, int]
) -> dialect.Json:
    """OpenAI's own request to infill."""
    after = "".join(text for control, text in parts if control == ids.get("suffix"))
    before = "".join(text for control, text in parts if control != ids.get("suffix"))
    return {"prompt": before, "suffix": after} if after else {"prompt": before}


def _ids_told(ids: Any, tokens: Sequence[Any]) -> tuple[int, ...]:
    """The ids of a piece's tokens, where a server tells them: as such, or as `token_id:7` (vLLM)."""
    if ids is not None:
        return tuple(int(token) for token in ids)
    named = [str(token).partition("token_id:") for token in tokens]
    if any(rest[0] or not rest[1] for rest in named):
        return ()
    return tuple(int(number) for _, _, number in named)
