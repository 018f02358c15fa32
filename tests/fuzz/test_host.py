"""The host under requests of any kind: each has one answer in JSON, no defect shows; the next good one works."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz.values import JSON, changed, is_sentence
from midfill.engine import Engine, ModelInfo, Sampling
from midfill.engines import dialect
from midfill.engines.dialect_infill import read_infill
from midfill.engines.dialect_openai import read_chat_request, read_text_request
from midfill.engines.fake import FakeEngine
from midfill.engines.host_api import Host
from midfill.engines.resident import Resident
from midfill.errors import EngineRefused

TOKEN = "test-token"
PORT = 4711
_GOOD = [
    (b"host", f"127.0.0.1:{PORT}".encode()),
    (b"authorization", f"Bearer {TOKEN}".encode()),
]
_SAMPLING: dict[str, Any] = {
    "n_predict": 4,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "seed": 1,
    "stream": True,
}
_OPENAI: dict[str, Any] = {
    "max_tokens": 4,
    "temperature": 0.5,
    "n": 2,
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "grammar": "root ::= x",
    "logit_bias": {"1": 5},
}
BODIES: dict[str, Any] = {
    "/tokenize": {"content": "a😋", "add_special": False},
    "/detokenize": {"tokens": [65, 66]},
    "/completion": {
        "prompt": [256, 65],
        **_SAMPLING,
        "n_probs": 1,
        "stop_ids": [260],
        "copy": None,
        "copy_from": ["a"],
        "instead": [66],
        "heal": True,
        "draft": False,
        "n_candidates": 2,
        "yields": True,
        "cache_prompt": True,
    },
    "/infill": {
        "input_prefix": "a",
        "input_suffix": "b",
        "input_extra": [{"filename": "/etc/passwd", "text": "c"}],
        "prompt": "d",
        **_SAMPLING,
        "n_indent": 2,
        "t_max_predict_ms": 100,
        "t_max_prompt_ms": 100,
        "stop": ["x"],
        "samplers": ["top_k"],
        "response_fields": ["content", "timings/prompt_n"],
        "model": "completion",
    },
    "/v1/completions": {"prompt": "ab", "suffix": "c", **_OPENAI},
    "/v1/chat/completions": {
        "messages": [
            {"role": "system", "content": "be"},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
        ],
        **_OPENAI,
        "tools": [],
        "response_format": {"type": "json_object"},
        "lora": [{"id": 0, "scale": 1.0}],
    },
}
_OTHERS = ("/health", "/props", "/slots", "/metrics", "/lease", "/proof", "/v1/models", "/models")
_FOREIGN = (
    "/slots/0?action=save",
    "/lora-adapters",
    "/../../etc/passwd",
    "//",
    "/v1",
    "/PROOF",
    "/%00",
)


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: list[bytes]


@st.composite
def _asked(draw: st.DrawFn) -> Asked:
    path = draw(st.sampled_from([*BODIES, *BODIES, *_OTHERS, *_FOREIGN]))
    method = "POST" if path in BODIES else "GET"
    method = draw(st.sampled_from([method] * 6 + ["GET", "POST", "PUT", "OPTIONS", "HEAD", "X"]))
    value = draw(changed(BODIES[path]) if path in BODIES else JSON)
    body = json.dumps(value).encode() if draw(st.integers(0, 5)) else draw(st.binary(max_size=30))
    cut = draw(st.integers(0, len(body)))
    query = draw(
        st.sampled_from(
            [
                b"",
                b"",
                b"",
                b"model=instruct",
                b"linger_s=nan",
                b"linger_s=1",
                b"nonce=" + b"0" * 32,
            ]
        )
        | st.binary(max_size=20)
    )
    headers = [*_GOOD] if draw(st.integers(0, 4)) else []
    extra = st.tuples(
        st.sampled_from(
            [
                b"host",
                b"authorization",
                b"x-api-key",
                b"origin",
                b"content-type",
                b"content-length",
                b"transfer-encoding",
                b"x-forwarded-for",
                b"accept-encoding",
            ]
        ),
        st.sampled_from([b"", b"null", b"a" * 9000, b"\xff", b"Bearer", b"evil.example", b"gzip"])
        | st.binary(max_size=8),
    )
    headers += draw(st.lists(extra, max_size=1 if headers else 3))
    return Asked(method, path, query, headers, [body[:cut], body[cut:]])


async def _answer(host: Host, asked: Asked) -> tuple[int, dict[bytes, bytes], bytes]:
    """As uvicorn would ask, from one who goes away when a lease is granted."""
    chunks = list(asked.body)
    sent: list[Any] = []
    path, _, query = asked.path.partition("?")
    done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if chunks:
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if path == "/lease" and message["type"] == "http.response.body":
            done.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": asked.query or query.encode(),
        "root_path": "",
        "headers": asked.headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", PORT),
    }
    await asyncio.wait_for(host.app(scope, receive, send), 60)
    assert [message["type"] for message in sent].count("http.response.start") == 1
    head = sent[0]
    assert path == "/lease" or not sent[-1].get("more_body"), "the answer has no end"
    return head["status"], dict(head["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.found.append(record.getMessage())


async def _all_asked(requests: Sequence[Asked]) -> None:
    async def opened() -> Engine:
        return FakeEngine("answer\n  more", n_ctx=64)

    errors = _Errors()
    log = logging.getLogger("midfill.host")
    log.addHandler(errors)
    resident = Resident(opened, "model.gguf")
    try:
        async with Host({"completion": resident}, TOKEN, key="key", grace_s=3600.0) as host:
            for _ in range(10):
                await asyncio.sleep(0)  # For the loading to end.
            for asked in requests:
                status, headers, body = await _answer(host, asked)
                assert status in (200, 400, 401, 403, 404, 405, 413, 503), (status, asked)
                if asked.method == "HEAD" or (status == 200 and asked.path == "/lease"):
                    continue
                kind = headers[b"content-type"]
                if status == 200 and kind.startswith((b"text/event-stream", b"text/plain")):
                    continue
                told = json.loads(body)
                if status != 200:
                    assert told["error"]["code"] == status
                    assert isinstance(told["error"]["message"], str)
                    assert len(told["error"]["message"]) < 2000
                if not asked.headers:
                    assert status == 403
            good = Asked("POST", "/completion", b"", _GOOD, [b'{"prompt": [256, 65]}'])
            assert (await _answer(host, good))[0] == 200
    finally:
        log.removeHandler(errors)
    assert not errors.found, (errors.found, requests)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_asked(), min_size=1, max_size=4))
@example([Asked("POST", path, b"", _GOOD, [b"[" * 5000]) for path in BODIES])
@example(
    [
        Asked("POST", path, b"", _GOOD, [b'{"n_predict": 1e400, "stop": "\\ud800"}'])
        for path in BODIES
    ]
)
def test_any_request(requests: list[Asked]) -> None:
    asyncio.run(_all_asked(requests))


MODEL = ModelInfo(
    name="m", n_ctx=64, bos_id=256, end_ids=(260,), control_ids={"<s>": 256}, n_vocab=261
)
_READERS: dict[str, Any] = {
    "/tokenize": dialect.read_tokenize,
    "/detokenize": lambda body: dialect.read_detokenize(body, MODEL),
    "/completion": lambda body: dialect.read_request(body, MODEL),
    "/infill": lambda body: read_infill(body, MODEL),
    "/v1/completions": lambda body: read_text_request(body, MODEL),
    "/v1/chat/completions": read_chat_request,
}


def _in_range(sampling: Sampling) -> None:
    assert -1 <= sampling.max_tokens <= 1_000_000
    assert 0 <= sampling.temperature <= 5
    assert 0 <= sampling.top_k <= 1000
    assert 0 <= sampling.top_p <= 1
    assert 1 <= sampling.n_candidates <= 8
    assert len(sampling.stop_ids) <= 64
    assert all(0 <= token < 261 for token in (*sampling.stop_ids, *sampling.instead))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(BODIES)).flatmap(
        lambda at: st.tuples(st.just(at), changed(BODIES[at]) | JSON)
    )
)
def test_a_reader_takes_it_or_refuses(asked: tuple[str, Any]) -> None:
    path, body = asked
    try:
        found = _READERS[path](body)
    except EngineRefused as error:
        is_sentence(error)
        return
    if path == "/completion":
        _in_range(found.sampling)
        assert len(found.prompt) <= 64
    elif path.startswith("/v1"):
        _in_range(found.asked.sampling)
        assert len(found.asked.stops.words) <= 16
    elif path == "/infill":
        assert 0 <= found.max_tokens <= 32
        assert len(found.stops.words) <= 16
        assert found.stops.n_indent >= 0
