"""The JSON that llama.cpp's `llama-server` speaks, as our host writes it and our client reads it.

Only the part that Midfill uses, with fields of our own under the name `midfill` and `stop_ids`: a
`llama-server` leaves those out and passes over them. Field names and shapes are those of
tools/server/server-task.cpp in ggml-org/llama.cpp at 0c1e570.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from midfill.engine import ModelInfo, Piece, Sampling, StopReason, Usage
from midfill.errors import EngineRefused

Json = dict[str, Any]

MODEL_ERROR = "model_error"
"""Type of the error that says that the model cannot be loaded. Ours."""
UNAVAILABLE = "unavailable_error"
"""Type of the error that says that the model is still being loaded."""

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    503: UNAVAILABLE,
}
"""llama-server's `format_error_response`."""

_STOP_TYPES: Mapping[StopReason, str] = MappingProxyType(
    {
        "eot": "eos",
        "word": "word",
        "budget": "limit",
        "context": "limit",
        "time": "limit",
        "block": "limit",
        "": "",
    }
)
_MAX_STOP_IDS = 64
_MAX_COPY_CHARS = 64_000
"""Of all texts to copy from together: twice what a completion sends."""


@dataclass(frozen=True)
class _Number:
    """The range of a field, both ends included, and what stands for it when it is left out."""

    kind: type[int] | type[float]
    low: float
    high: float
    default: float


_NUMBERS = {
    "n_predict": _Number(int, -1, 1_000_000, -1),
    "temperature": _Number(float, 0, 5, 0),
    "top_k": _Number(int, 0, 1000, 40),
    "top_p": _Number(float, 0, 1, 0.95),
    "seed": _Number(int, -1, 2**32 - 1, 0),
    "n_probs": _Number(int, 0, 100, 0),
    "n_candidates": _Number(int, 1, 8, 1),
}
_FLAGS = {
    "stream": False,
    "cache_prompt": True,
    "return_tokens": False,
    "timings_per_token": False,
    "heal": False,
    "draft": True,
    "yields": False,
}


@dataclass(frozen=True)
class Request:
    """What a client asks `/completion` for."""

    prompt: tuple[int, ...]
    sampling: Sampling
    stream: bool
    n_probs: int
    """Whether log-probabilities are told; those of the chosen tokens only, however many."""


def write_request(prompt: Sequence[int], sampling: Sampling, *, ours: bool) -> Json:
    """The body of a request for a streamed completion, to our host or to a `llama-server`."""
    body: Json = {
        "prompt": list(prompt),
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stream": True,
        "cache_prompt": True,
        "return_tokens": True,
        "timings_per_token": True,
        "n_probs": 1,
    }
    if not ours:
        return body
    return body | {
        "stop_ids": list(sampling.stop_ids),
        "copy": sampling.copy,
        "copy_from": [without_surrogates(text) for text in sampling.copy_from],
        "instead": list(sampling.instead),
        "heal": sampling.heal,
        "draft": sampling.draft,
        "n_candidates": sampling.n_candidates,
        "yields": sampling.yields,
    }


def read_request(body: object, model: ModelInfo) -> Request:
    """Check a request. What is not in the list of fields, or out of its range, is refused.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    body = object_of(body)
    known = {"model", "prompt", "instead", "stop_ids", "copy", "copy_from", *_NUMBERS, *_FLAGS}
    if unknown := body.keys() - known:
        raise EngineRefused(f"There is no field {min(unknown)[:40]!r}.")
    prompt = ids_of(body, "prompt", model)
    if not prompt:
        raise EngineRefused('"prompt" must hold at least one token.')
    instead = ids_of(body, "instead", model)
    if (n_longest := max(len(prompt), len(instead))) > model.n_ctx:
        raise EngineRefused(
            f"The prompt has {n_longest} tokens and the context holds {model.n_ctx}."
        )
    stop_ids = ids_of(body, "stop_ids", model)
    if len(stop_ids) > _MAX_STOP_IDS:
        raise EngineRefused(f'"stop_ids" may hold at most {_MAX_STOP_IDS} tokens.')
    numbers = {name: number_of(body, name) for name in _NUMBERS}
    flags = {name: flag_of(body, name) for name in _FLAGS}
    n_predict = int(numbers["n_predict"])
    sampling = Sampling(
        max_tokens=n_predict if n_predict >= 0 else model.n_ctx - len(prompt),
        temperature=numbers["temperature"],
        top_k=int(numbers["top_k"]),
        top_p=numbers["top_p"],
        seed=int(numbers["seed"]),
        stop_ids=stop_ids,
        copy=_copy(body),
        copy_from=_copy_from(body),
        instead=instead,
        heal=flags["heal"],
        draft=flags["draft"],
        n_candidates=int(numbers["n_candidates"]),
        yields=flags["yields"],
    )
    return Request(prompt, sampling, flags["stream"], int(numbers["n_probs"]))


def read_tokenize(body: object) -> str:
    """The text that `/tokenize` is asked about. It is never parsed for control tokens.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    if not isinstance(body, dict) or not isinstance(body.get("content"), str):
        raise EngineRefused('The body must be a JSON object with a string "content".')
    for name in ("add_special", "parse_special", "with_pieces"):
        if body.get(name, False) is not False:
            raise EngineRefused(f'"{name}" must be false.')
    return without_surrogates(body["content"])


def read_detokenize(body: object, model: ModelInfo) -> tuple[int, ...]:
    """The tokens that `/detokenize` is asked about.

    Raises:
        EngineRefused: with the sentence for whoever wrote the request.
    """
    return ids_of(object_of(body), "tokens", model)


def write_piece(piece: Piece, request: Request) -> Json:
    """One event of a streamed completion."""
    usage = piece.usage
    event: Json = {
        "index": piece.candidate_idx,
        "content": piece.text,
        "tokens": list(piece.token_ids),
        "stop": bool(usage.stop_reason),
        "tokens_predicted": usage.tokens_generated,
        "tokens_evaluated": len(request.prompt),
        "timings": write_timings(usage),
        "midfill": {"usage": vars(usage)},
    }
    if request.n_probs and piece.logprobs:
        pairs = zip(piece.token_ids, piece.logprobs, strict=True)
        event["completion_probabilities"] = [
            {"id": token, "logprob": logprob, "top_logprobs": []} for token, logprob in pairs
        ]
    if usage.stop_reason:
        event["stop_type"] = write_stop_type(usage.stop_reason)
        event["truncated"] = usage.stop_reason == "context"
    return event


def write_timings(usage: Usage) -> Json:
    """What a generation has cost, in llama-server's words."""
    timings: Json = {"cache_n": usage.tokens_reused}
    for name, n_tokens, ms in (
        ("prompt", usage.tokens_evaluated, usage.prefill_ms),
        ("predicted", usage.tokens_generated, usage.decode_ms),
    ):
        timings |= {
            f"{name}_n": n_tokens,
            f"{name}_ms": ms,
            f"{name}_per_token_ms": ms / n_tokens if n_tokens else 0.0,
            f"{name}_per_second": 1000 * n_tokens / ms if ms else 0.0,
        }
    return timings | {
        "draft_n": usage.tokens_drafted,
        "draft_n_accepted": usage.tokens_accepted,
    }


def write_stop_type(reason: StopReason) -> str:
    """Why a generation ended, in llama-server's words."""
    return _STOP_TYPES.get(reason, "none")


def read_piece(event: Json) -> Piece:
    """The piece that an event brings.

    Raises:
        KeyError, TypeError, ValueError: it is no such event.
    """
    tokens = tuple(int(token) for token in event.get("tokens", ()))
    probabilities = event.get("completion_probabilities") or ()
    logprobs = tuple(float(entry["logprob"]) for entry in probabilities)
    return Piece(
        text=str(event["content"]),
        token_ids=tokens,
        logprobs=logprobs if len(logprobs) == len(tokens) else (),
        usage=_usage(event),
        candidate_idx=int(event.get("index", 0)),
    )


def write_model(model: ModelInfo) -> Json:
    """Our own part of `/props`."""
    return {
        **vars(model),
        "control_ids": dict(model.control_ids),
        "fim_ids": dict(model.fim_ids),
    }


def read_model(written: Mapping[str, Any]) -> ModelInfo:
    """The model from our own part of `/props`; what it does not know is passed over.

    Raises:
        KeyError, TypeError: it is no such part.
    """
    names = {item.name for item in fields(ModelInfo)}
    known = {name: value for name, value in dict(written).items() if name in names}
    known["end_ids"] = tuple(known["end_ids"])
    known["layouts"] = tuple(known.get("layouts", ()))
    known["names"] = tuple(known.get("names", ()))
    known["control_ids"] = MappingProxyType(dict(known["control_ids"]))
    known["fim_ids"] = MappingProxyType(dict(known.get("fim_ids", {})))
    return ModelInfo(**known)


def write_error(status: int, message: str, kind: str | None = None) -> Json:
    """The body of a refusal."""
    return {
        "error": {
            "code": status,
            "message": message,
            "type": kind or _ERROR_TYPES.get(status, "server_error"),
        }
    }


def without_surrogates(text: str) -> str:
    """The text with a question mark for each half of a character, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _usage(event: Json) -> Usage:
    ours = event.get("midfill")
    if ours:
        return Usage(**ours["usage"])
    timings = event.get("timings") or {}
    return Usage(
        tokens_reused=int(timings.get("cache_n", 0)),
        tokens_evaluated=int(timings.get("prompt_n", 0)),
        tokens_generated=int(event.get("tokens_predicted", timings.get("predicted_n", 0))),
        prefill_ms=float(timings.get("prompt_ms", 0)),
        decode_ms=float(timings.get("predicted_ms", 0)),
        stop_reason=_stop_reason(event),
    )


def _stop_reason(event: Json) -> StopReason:
    if not event.get("stop"):
        return ""
    if event.get("stop_type") in ("eos", "word"):
        return "eot"
    if event.get("stop_type") == "limit":
        return "context" if event.get("truncated") else "budget"
    return "cancelled"


def object_of(body: object) -> Json:
    """A request's body.

    Raises:
        EngineRefused: it is no object.
    """
    if not isinstance(body, dict):
        raise EngineRefused("The body must be a JSON object.")
    return body


def ids_of(body: Json, name: str, model: ModelInfo) -> tuple[int, ...]:
    """The field's token ids, none if it is left out.

    Raises:
        EngineRefused: they are no tokens of this model.
    """
    ids = body.get(name, [])
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise EngineRefused(f'"{name}" must be a list of token ids.')
    most = (model.n_vocab or 2**31) - 1
    if not all(0 <= token <= most for token in ids):
        raise EngineRefused(f'"{name}" may hold ids from 0 to {most} only.')
    return tuple(ids)


def _copy(body: Json) -> bool | None:
    value = body.get("copy")
    if value is not None and not isinstance(value, bool):
        raise EngineRefused('"copy" must be true, false or null.')
    return value


def _copy_from(body: Json) -> tuple[str, ...]:
    texts = body.get("copy_from", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise EngineRefused('"copy_from" must be a list of strings.')
    if sum(map(len, texts)) > _MAX_COPY_CHARS:
        raise EngineRefused(f'"copy_from" may hold at most {_MAX_COPY_CHARS} characters.')
    return tuple(map(without_surrogates, texts))


def number_of(body: Json, name: str) -> float:
    """The field's number, or what stands for it when it is left out.

    Raises:
        EngineRefused: it is none, or out of its range.
    """
    rule = _NUMBERS[name]
    value: Any = body.get(name, rule.default)
    if type(value) not in (int, rule.kind):  # True is an int to isinstance.
        noun = "an integer" if rule.kind is int else "a number"
        raise EngineRefused(f'"{name}" must be {noun}.')
    if not rule.low <= value <= rule.high:
        raise EngineRefused(f'"{name}" must lie between {rule.low:g} and {rule.high:g}.')
    return rule.kind(value)


def flag_of(body: Json, name: str) -> bool:
    """The field's flag, or what stands for it when it is left out.

    Raises:
        EngineRefused: it is none.
    """
    value = body.get(name, _FLAGS[name])
    if type(value) is not bool:
        raise EngineRefused(f'"{name}" must be true or false.')
    return value
