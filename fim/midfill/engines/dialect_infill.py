"""What `/infill` is asked and answers, as llama.vim and llama.vscode write and read it.

Fields that a `llama-server` knows and we do not, such as `samplers`, are passed over: they say how to draw, and
we draw as is best for a completion. Names and shapes are those of `post_infill` in
tools/server/server-context.cpp of ggml-org/llama.cpp at 0c1e570.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from midfill.engine import ModelInfo, Piece
from midfill.engines.dialect import (
    Json,
    flag_of,
    number_of,
    object_of,
    without_surrogates,
    write_stop_type,
    write_timings,
)
from midfill.engines.stops import Stops
from midfill.errors import EngineRefused

DEFAULT_TOKENS = 128
"""Tokens generated at most where the request sets no bound: llama.vim's own default."""
_MAX_STOPS = 16


@dataclass(frozen=True)
class InfillRequest:
    """A text with a hole, and how it is to be filled."""

    prefix: str
    suffix: str
    extra: tuple[str, ...]
    """Other texts of the project, the one that matters most last."""
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stops: Stops
    stream: bool
    response_fields: tuple[str, ...]
    """Paths such as `timings/prompt_n`: all that is answered; empty: everything."""


def read_infill(body: object, model: ModelInfo) -> InfillRequest:
    """Check a request.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    body = {name: value for name, value in object_of(body).items() if value is not None}
    prefix, suffix = (_text(body, name, needed=True) for name in ("input_prefix", "input_suffix"))
    n_predict = int(number_of(body, "n_predict"))
    return InfillRequest(
        prefix=prefix + _text(body, "prompt"),
        suffix=suffix,
        extra=tuple(_text(chunk, "text", needed=True) for chunk in _chunks(body)),
        # Half of the window is the prompt's, whatever is asked for.
        max_tokens=min(n_predict if n_predict >= 0 else DEFAULT_TOKENS, model.n_ctx // 2),
        temperature=number_of(body, "temperature"),
        top_k=int(number_of(body, "top_k")),
        top_p=number_of(body, "top_p"),
        seed=int(number_of(body, "seed")),
        stops=Stops(
            read_words(body), _whole(body, "n_indent"), float(_whole(body, "t_max_predict_ms"))
        ),
        stream=flag_of(body, "stream"),
        response_fields=_strings(body, "response_fields"),
    )


def read_words(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of `stop` that end a generation: one, several or none.

    Raises:
        EngineRefused: they are no texts, or too many.
    """
    if isinstance(body.get("stop"), str):
        body = {"stop": [body["stop"]]}
    words = tuple(word for word in _strings(body, "stop") if word)
    if len(words) > _MAX_STOPS:
        raise EngineRefused(f'"stop" may hold at most {_MAX_STOPS} texts.')
    return words


def write_infill(piece: Piece, request: InfillRequest, n_prompt: int, model: ModelInfo) -> Json:
    """The answer, or one event of it."""
    usage = piece.usage
    answer: Json = {
        "index": piece.candidate_idx,
        "content": piece.text,
        "tokens": [],
        "id_slot": usage.slot_idx,
        "stop": bool(usage.stop_reason),
        "model": model.name,
        "tokens_predicted": usage.tokens_generated,
        "tokens_evaluated": n_prompt,
        "timings": write_timings(usage),
    }
    if usage.stop_reason:
        answer |= {
            "generation_settings": {
                "n_predict": request.max_tokens,
                "temperature": request.temperature,
                "top_k": request.top_k,
                "top_p": request.top_p,
                "seed": request.seed,
                "stop": list(request.stops.words),
            },
            "has_new_line": "\n" in piece.text,
            "stop_type": write_stop_type(usage.stop_reason),
            "truncated": usage.stop_reason == "context",
            "tokens_cached": n_prompt + usage.tokens_generated,
            "midfill": {"usage": vars(usage)},
        }
    if not request.response_fields:
        return answer
    found = {path: _at(answer, path) for path in request.response_fields}
    return {path: value for path, value in found.items() if value is not None}


def _at(answer: Json, path: str) -> Any:
    value: Any = answer
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(body: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    text = body.get(name, None if needed else "")
    if not isinstance(text, str):
        raise EngineRefused(f'"{name}" must be a string.')
    return without_surrogates(text)


def _chunks(body: Mapping[str, Any]) -> list[Json]:
    chunks = body.get("input_extra", [])
    if not isinstance(chunks, list) or not all(isinstance(chunk, dict) for chunk in chunks):
        raise EngineRefused('"input_extra" must be a list of {"filename": string, "text": string}.')
    return chunks


def _strings(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = body.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise EngineRefused(f'"{name}" must be a list of strings.')
    return tuple(texts)


def _whole(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if type(value) is not int or not -1 <= value < 2**31:
        raise EngineRefused(f'"{name}" must be an integer.')
    return max(0, value)
