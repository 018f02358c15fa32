"""What `/v1/completions` and `/v1/chat/completions` are asked and answer, as OpenAI's clients write and read it.

Fields that we do not know are passed over, as a `llama-server` does; what would change the meaning of a
conversation, such as tools or pictures, is refused. Without `temperature` the most probable text is taken.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from midfill.chat import Message, Speaker
from midfill.engine import ModelInfo, Piece, Sampling, Usage
from midfill.engines.dialect import (
    Json,
    flag_of,
    ids_of,
    number_of,
    object_of,
    without_surrogates,
    write_timings,
)
from midfill.engines.dialect_infill import read_words
from midfill.engines.stops import Stops
from midfill.errors import EngineRefused
from midfill.version import __version__

Kind = Literal["text_completion", "chat.completion"]

_MAX_MESSAGES = 1000
_ROLES: Mapping[str, Speaker] = {
    "system": "system",
    "developer": "system",  # OpenAI's newer name for it
    "user": "user",
    "assistant": "assistant",
}


@dataclass(frozen=True)
class Asked:
    """What both kinds of request share."""

    sampling: Sampling
    """Without what depends on the prompt; `max_tokens` is -1 where none was set."""
    stops: Stops
    stream: bool
    include_usage: bool
    """Whether a stream ends with what it has cost."""


@dataclass(frozen=True)
class TextRequest:
    """What a client asks `/v1/completions` for."""

    prompt: str | tuple[int, ...]
    suffix: str | None
    """The text after the hole; None asks to continue the prompt."""
    asked: Asked


@dataclass(frozen=True)
class ChatRequest:
    """What a client asks `/v1/chat/completions` for."""

    messages: tuple[Message, ...]
    asked: Asked


def read_text_request(body: object, model: ModelInfo) -> TextRequest:
    """Check a request.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    body = _given(body)
    prompt, suffix = body.get("prompt", ""), body.get("suffix")
    if not isinstance(prompt, str):
        if not isinstance(prompt, list) or not all(type(token) is int for token in prompt):
            raise EngineRefused('"prompt" must be a string or a list of token ids; only one.')
        prompt = ids_of(body, "prompt", model)
    if suffix is not None and not (isinstance(suffix, str) and isinstance(prompt, str)):
        raise EngineRefused('"suffix" must be a string, and with it the prompt.')
    return TextRequest(
        without_surrogates(prompt) if isinstance(prompt, str) else prompt,
        None if suffix is None else without_surrogates(suffix),
        _asked(body, yields=False),
    )


def read_chat_request(body: object) -> ChatRequest:
    """Check a request. It yields to completions: nobody waits for a conversation from key to key.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    body = _given(body)
    for name in ("tools", "functions"):
        if body.get(name):
            raise EngineRefused(f'This host calls no tools; leave "{name}" out.')
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= _MAX_MESSAGES:
        raise EngineRefused(f'"messages" must be a list of 1 to {_MAX_MESSAGES} messages.')
    return ChatRequest(tuple(map(_message, messages)), _asked(body, yields=True))


@dataclass(frozen=True)
class Writer:
    """Writes the answer to one request."""

    kind: Kind
    model: ModelInfo
    n_prompt: int
    id: str = field(default_factory=lambda: f"midfill-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self) -> Json:
        """The event before the first text of a conversation's turn."""
        return self._body([self._delta(0, {"role": "assistant", "content": ""}, None)])

    def event(self, piece: Piece) -> Json:
        """One event of a stream."""
        reason = _finish_reason(piece.usage)
        if self.kind == "text_completion":
            return self._body([self._text(piece.candidate_idx, piece.text, reason)])
        delta = {"content": piece.text} if piece.text else {}
        return self._body([self._delta(piece.candidate_idx, delta, reason)])

    def usage(self, usages: Iterable[Usage]) -> Json:
        """The last event of a stream, where it is asked for."""
        return {**self._body([]), **self._cost(usages)}

    def answer(self, pieces: Iterable[Piece]) -> Json:
        """The whole answer, from the candidates with their whole texts."""
        pieces = list(pieces)
        choices = []
        for piece in pieces:
            reason = _finish_reason(piece.usage)
            if self.kind == "text_completion":
                choices.append(self._text(piece.candidate_idx, piece.text, reason))
            else:
                message = {"role": "assistant", "content": piece.text}
                choices.append(
                    {"index": piece.candidate_idx, "message": message, "finish_reason": reason}
                )
        cost = self._cost([piece.usage for piece in pieces])
        return {**self._body(choices, whole=True), **cost}

    def _body(self, choices: list[Json], *, whole: bool = False) -> Json:
        chunk = "" if whole or self.kind == "text_completion" else ".chunk"
        return {
            "id": self.id,
            "object": self.kind + chunk,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": f"midfill-{__version__}",
            "choices": choices,
        }

    def _cost(self, usages: Iterable[Usage]) -> Json:
        usages = list(usages)
        n_generated = sum(usage.tokens_generated for usage in usages)
        last = usages[-1] if usages else Usage()
        return {
            "usage": {
                "prompt_tokens": self.n_prompt,
                "completion_tokens": n_generated,
                "total_tokens": self.n_prompt + n_generated,
                "prompt_tokens_details": {"cached_tokens": last.tokens_reused},
            },
            "timings": write_timings(last),
        }

    @staticmethod
    def _text(idx: int, text: str, reason: str | None) -> Json:
        return {"index": idx, "text": text, "logprobs": None, "finish_reason": reason}

    @staticmethod
    def _delta(idx: int, delta: Json, reason: str | None) -> Json:
        return {"index": idx, "delta": delta, "finish_reason": reason}


def _finish_reason(usage: Usage) -> str | None:
    if not usage.stop_reason:
        return None
    return "stop" if usage.stop_reason in ("eot", "word") else "length"


def _given(body: object) -> Json:
    # Clients write null for what they leave out.
    return {name: value for name, value in object_of(body).items() if value is not None}


def _asked(body: Json, *, yields: bool) -> Asked:
    for name in ("max_completion_tokens", "max_tokens"):
        if name in body:
            body = {**body, "n_predict": body[name]}
            break
    if "n" in body:
        body = {**body, "n_candidates": body["n"]}
    options = body.get("stream_options", {})
    return Asked(
        Sampling(
            max_tokens=int(number_of(body, "n_predict")),
            temperature=number_of(body, "temperature"),
            top_k=int(number_of(body, "top_k")),
            top_p=number_of(body, "top_p"),
            seed=int(number_of(body, "seed")) if "seed" in body else secrets.randbits(32),
            n_candidates=int(number_of(body, "n_candidates")),
            yields=yields,
        ),
        Stops(read_words(body)),
        flag_of(body, "stream"),
        isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def _message(message: Any) -> Message:
    if not isinstance(message, dict):
        raise EngineRefused('A message must be an object with "role" and "content".')
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise EngineRefused('"role" must be "system", "user" or "assistant".')
    return Message(role, without_surrogates(_content(message.get("content"))))


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [
        text
        for part in parts
        if isinstance(part, dict) and part.get("type") == "text"
        if isinstance(text := part.get("text"), str)
    ]
    if len(texts) != len(parts):
        raise EngineRefused('"content" must be a string or a list of parts of type "text".')
    return "".join(texts)
