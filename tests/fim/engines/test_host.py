"""The host: what it answers, whom it refuses, and when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from midfill.engine import Engine, ModelInfo, Sampling
from midfill.engines.fake import BOS, FakeEngine
from midfill.engines.host import run_host
from midfill.engines.host_api import Host
from midfill.engines.host_http import MAX_BODY_BYTES
from midfill.engines.resident import Resident
from midfill.engines.state import HostFiles, HostState, proof
from midfill.errors import EngineGone, ModelError
from midfill.settings import EngineSettings

TOKEN = "test-token"
HOUR_S = 3600.0
PATIENCE_S = 30.0
"""More than anything here takes on a busy machine; nothing is expected to last so long."""


@asynccontextmanager
async def in_process(
    engine: Engine, *, loaded: bool = True, token: str | None = TOKEN
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a host that listens nowhere."""

    async def opened() -> Engine:
        return engine

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        Host(
            {"completion": Resident(opened, "model.gguf")}, TOKEN, key="key", grace_s=HOUR_S
        ) as host,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(host.app),
            base_url="http://127.0.0.1:4711",
            headers=headers,
        ) as client,
    ):
        for _ in range(10 * loaded):
            await asyncio.sleep(0)  # Turns of the event loop, for the loading to end.
        yield client


@asynccontextmanager
async def listening(
    engine: Engine, *, grace_s: float = HOUR_S, files: HostFiles | None = None
) -> AsyncIterator[tuple[HostState, asyncio.Task[None]]]:
    """A host that listens, run by this very process, so that the engine behind it can be looked at."""
    ready: asyncio.Future[HostState] = asyncio.get_running_loop().create_future()

    async def opened() -> Engine:
        return engine

    task = asyncio.create_task(
        run_host(
            "fake:",
            EngineSettings(),
            token=TOKEN,
            files=files,
            grace_s=grace_s,
            listening=ready.set_result,
            open_engine=opened,
        )
    )
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        yield ready.result(), task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def connect(
    state: HostState, method: str, path: str, body: Any = None, *, headers: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request by hand, over a connection that the test can break."""
    reader, writer = await asyncio.open_connection("127.0.0.1", state.port)
    data = json.dumps(body).encode() if body is not None else b""
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode()
        + data
    )
    await writer.drain()
    return reader, writer


async def until(condition: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data:")]


# What it answers.


async def test_props_tell_the_model() -> None:
    async with in_process(FakeEngine(n_ctx=512)) as client:
        props = (await client.get("/props")).json()
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["model_path"] == "model.gguf"
    assert props["midfill"]["control_ids"]["▁<EOT>"] == 260
    assert props["midfill"]["bos_id"] == BOS
    assert props["midfill"]["key"] == "key"


async def test_tokenize() -> None:
    async with in_process(FakeEngine()) as client:
        answer = await client.post("/tokenize", json={"content": "aé"})
        lone = await client.post("/tokenize", content=b'{"content": "a\\ud800b"}')
    assert answer.json() == {"tokens": [97, 195, 169]}
    assert lone.json() == {"tokens": [97, 63, 98]}


@pytest.mark.parametrize("n_probs", [0, 1])
async def test_completion_at_once(n_probs: int) -> None:
    async with in_process(FakeEngine("answer", logprob=-0.5)) as client:
        body = {"prompt": [BOS, 65], "n_predict": 4, "n_probs": n_probs}
        answer = (await client.post("/completion", json=body)).json()
    assert answer["content"] == "answ"
    assert answer["tokens"] == list(b"answ")
    assert answer["stop"] is True
    assert answer["stop_type"] == "limit"
    assert answer["timings"]["prompt_n"] == 2
    assert answer["midfill"]["usage"]["stop_reason"] == "budget"
    logprobs = [entry["logprob"] for entry in answer.get("completion_probabilities", ())]
    assert logprobs == [-0.5] * 4 * n_probs


async def test_completion_streamed() -> None:
    engine = FakeEngine("an answer")
    async with in_process(engine) as client:
        body = {"prompt": [BOS, 65], "stream": True, "stop_ids": [ord("w")]}
        answer = await client.post("/completion", json=body)
    assert answer.headers["content-type"] == "text/event-stream"
    told = events(answer.text)
    assert "".join(event["content"] for event in told) == "an ans"
    assert [event["stop"] for event in told] == [False] * (len(told) - 1) + [True]
    assert told[-1]["stop_type"] == "eos"
    assert engine.requests[0].sampling.stop_ids == (ord("w"),)


async def test_left_out_fields_have_defaults() -> None:
    engine = FakeEngine("x", n_ctx=100)
    async with in_process(engine) as client:
        await client.post("/completion", json={"prompt": [65] * 10, "n_predict": -1})
    assert engine.requests[0].sampling.max_tokens == 90
    assert engine.requests[0].sampling.temperature == 0


# Whom it refuses.


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        pytest.param({"authorization": ""}, 401, "token", id="no token"),
        pytest.param({"authorization": "Bearer other"}, 401, "token", id="wrong token"),
        pytest.param({"authorization": TOKEN}, 401, "token", id="no scheme"),
        pytest.param({"authorization": f"Bearer {TOKEN}x"}, 401, "token", id="longer token"),
        pytest.param({"authorization": "Bearer é"}, 401, "token", id="token that is not ASCII"),
        pytest.param({"host": "evil.example:4711"}, 403, "Host", id="rebound name"),
        pytest.param({"host": "127.0.0.1"}, 403, "Host", id="no port"),
        pytest.param({"host": "127.0.0.1:1"}, 403, "Host", id="other port"),
        pytest.param({"host": "127.0.0.1:4711.evil.example"}, 403, "Host", id="longer name"),
        pytest.param({"origin": "http://127.0.0.1:4711"}, 403, "Web", id="own origin"),
        pytest.param({"origin": "null"}, 403, "Web", id="origin of a file"),
        pytest.param({"host": "LOCALHOST:4711"}, 200, "", id="by name"),
        pytest.param({}, 200, "", id="as it should be"),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/props", "/lease?linger_s=x", "/nothing"])
async def test_guard(change: dict[str, str], status: int, word: str, path: str) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "127.0.0.1:4711"} | change
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with in_process(FakeEngine(), token=None) as client:
        answer = await client.get(path, headers=pairs)
    if status == 200:
        assert answer.status_code == {"/nothing": 404, "/lease?linger_s=x": 400}.get(path, 200)
    else:
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == status
        assert word in answer.json()["error"]["message"]


async def test_proof_before_the_token() -> None:
    nonce = "0123456789abcdef" * 2
    async with in_process(FakeEngine(), token=None) as client:
        shown = (await client.get(f"/proof?nonce={nonce}")).json()["proof"]
        other = (await client.get(f"/proof?nonce={nonce[::-1]}")).json()["proof"]
        for wrong in ("", "short", nonce * 2, nonce.upper(), "x" * 32):
            assert (await client.get(f"/proof?nonce={wrong}")).status_code == 400
        headers = {"origin": "http://127.0.0.1:4711"}
        assert (await client.get(f"/proof?nonce={nonce}", headers=headers)).status_code == 403
        assert (await client.get("/proof/health")).status_code == 401
    assert shown == proof(TOKEN, nonce) != other
    assert proof("another", nonce) != shown


@pytest.mark.parametrize("name", ["host", "authorization"])
async def test_guard_refuses_a_header_said_twice(name: str) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "127.0.0.1:4711"}
    async with in_process(FakeEngine(), token=None) as client:
        answer = await client.get("/health", headers=[*headers.items(), (name, headers[name])])
    assert answer.status_code in (401, 403)


PROMPT = {"prompt": [65]}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        pytest.param(b"", "JSON", id="empty"),
        pytest.param(b"{", "JSON", id="cut"),
        pytest.param(b'{"prompt": [65]} x', "JSON", id="more"),
        pytest.param(b"\xff\xfe\x00", "JSON", id="bytes"),
        pytest.param(b"[" * 100_000, "JSON", id="deep"),
        pytest.param(b'{"prompt": [' + b"9" * 9999 + b"]}", "JSON", id="number too long"),
        pytest.param([65], "object", id="list"),
        pytest.param("prompt", "object", id="string"),
        pytest.param({}, "prompt", id="no prompt"),
        pytest.param({"prompt": []}, "prompt", id="empty prompt"),
        pytest.param({"prompt": "text"}, "prompt", id="prompt of text"),
        pytest.param({"prompt": [65, "text"]}, "prompt", id="prompt with text"),
        pytest.param({"prompt": [65.0]}, "prompt", id="prompt of floats"),
        pytest.param({"prompt": [True]}, "prompt", id="prompt of booleans"),
        pytest.param({"prompt": [-1]}, "prompt", id="negative token"),
        pytest.param({"prompt": [261]}, "prompt", id="token beyond the vocabulary"),
        pytest.param({"prompt": [65] * 65}, "context", id="prompt beyond the context"),
        pytest.param(PROMPT | {"n_predict": -2}, "n_predict", id="negative n_predict"),
        pytest.param(PROMPT | {"n_predict": 1.5}, "n_predict", id="half n_predict"),
        pytest.param(PROMPT | {"n_predict": "9"}, "n_predict", id="n_predict of text"),
        pytest.param(PROMPT | {"n_predict": None}, "n_predict", id="no n_predict"),
        pytest.param(PROMPT | {"temperature": -0.1}, "temperature", id="negative temperature"),
        pytest.param(b'{"prompt": [65], "temperature": NaN}', "temperature", id="NaN"),
        pytest.param(b'{"prompt": [65], "temperature": Infinity}', "temperature", id="infinite"),
        pytest.param(PROMPT | {"temperature": True}, "temperature", id="temperature true"),
        pytest.param(PROMPT | {"top_k": 10**30}, "top_k", id="huge top_k"),
        pytest.param(PROMPT | {"top_p": 1.1}, "top_p", id="top_p"),
        pytest.param(PROMPT | {"seed": 2**32}, "seed", id="seed"),
        pytest.param(PROMPT | {"n_probs": 101}, "n_probs", id="n_probs"),
        pytest.param(PROMPT | {"stream": 1}, "stream", id="stream 1"),
        pytest.param(PROMPT | {"cache_prompt": "no"}, "cache_prompt", id="cache_prompt of text"),
        pytest.param(PROMPT | {"stop_ids": [1] * 65}, "stop_ids", id="too many stop_ids"),
        pytest.param(PROMPT | {"stop_ids": 3}, "stop_ids", id="stop_ids no list"),
        pytest.param(PROMPT | {"copy": 1}, "copy", id="copy is no flag"),
        pytest.param(PROMPT | {"copy_from": "text"}, "copy_from", id="copy_from no list"),
        pytest.param(PROMPT | {"copy_from": [1]}, "copy_from", id="copy_from no strings"),
        pytest.param(PROMPT | {"copy_from": ["a" * 64_001]}, "copy_from", id="copy_from too long"),
        pytest.param(PROMPT | {"grammar": "root ::= x"}, "grammar", id="unknown field"),
    ],
)
async def test_malformed_requests(body: Any, word: str) -> None:
    engine = FakeEngine("x", n_ctx=64)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with in_process(engine) as client:
        answer = await client.post("/completion", content=content)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (400, "invalid_request_error")
    assert word in error["message"]
    assert engine.requests == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": 5},
        [],
        {"content": "x", "parse_special": True},
        {"content": "x", "add_special": 1},
    ],
)
async def test_malformed_tokenize(body: Any) -> None:
    async with in_process(FakeEngine()) as client:
        assert (await client.post("/tokenize", json=body)).status_code == 400


@pytest.mark.parametrize("linger", ["-1", "nan", "inf", "9999999", "soon", ""])
async def test_malformed_lease(linger: str) -> None:
    async with in_process(FakeEngine()) as client:
        assert (await client.get(f"/lease?linger_s={linger}")).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/completion", 405),
        ("POST", "/health", 405),
        ("GET", "/docs", 404),
    ],
)
async def test_no_such_thing(method: str, path: str, status: int) -> None:
    async with in_process(FakeEngine()) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


@pytest.mark.parametrize("path", ["/completion", "/tokenize"])
async def test_body_too_large(path: str) -> None:
    async with in_process(FakeEngine()) as client:
        answer = await client.post(path, content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


async def test_loading() -> None:
    loaded = asyncio.Event()

    class Slow(FakeEngine):
        async def info(self) -> ModelInfo:
            await loaded.wait()
            return await super().info()

    async with in_process(Slow("x"), loaded=False) as client:
        for path in ("/health", "/props"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.json() == {
                "error": {"code": 503, "message": "Loading model", "type": "unavailable_error"},
                "progress": 0.0,
            }
        loaded.set()
        await asyncio.sleep(0.01)
        assert (await client.get("/health")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        pytest.param(ModelError("The file is damaged."), "The file is damaged.", id="foreseen"),
        pytest.param(ValueError("SECRET"), "The engine failed to start (ValueError).", id="not"),
        pytest.param(
            RuntimeError("can't start new thread"),
            "There is too little memory to run model.gguf; close what is not needed, or take a smaller model.",
            id="memory",
        ),
    ],
)
async def test_a_model_that_cannot_be_loaded(error: Exception, sentence: str) -> None:
    class Broken(FakeEngine):
        async def info(self) -> ModelInfo:
            raise error

    async with in_process(Broken(), loaded=False) as client:
        await asyncio.sleep(0.01)
        answers = [await client.get("/health"), await client.post("/completion", json=PROMPT)]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["error"] == {"code": 503, "message": sentence, "type": "model_error"}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_fails_tells_nothing_of_the_text(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def script(asked: object) -> str:
        raise ValueError("SECRET")

    async with in_process(FakeEngine(script)) as client:
        answer = await client.post("/completion", json=PROMPT | {"stream": stream})
    assert answer.status_code == 500
    assert "SECRET" not in answer.text + caplog.text
    assert "ValueError" in caplog.text


async def test_a_foreseen_failure_is_told() -> None:
    def script(asked: object) -> str:
        raise EngineGone("It went away.")

    async with in_process(FakeEngine(script)) as client:
        answer = await client.post("/completion", json=PROMPT | {"stream": True})
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "It went away.")


# When it stops.


@pytest.mark.parametrize("stream", [True, False])
async def test_a_closed_connection_stops_a_prefill(stream: bool) -> None:
    engine = FakeEngine("answer", batch_delay_s=0.05)
    prompt = [65] * 8000
    async with listening(engine) as (state, _):
        _, writer = await connect(
            state, "POST", "/completion", {"prompt": prompt, "stream": stream}
        )
        await until(lambda: engine.requests)
        assert engine.usages == []
        writer.close()
        await until(lambda: engine.usages)
    [usage] = engine.usages
    assert usage.stop_reason == "cancelled"
    assert usage.tokens_evaluated < len(prompt)
    assert usage.tokens_generated == 0


async def test_a_reset_connection_stops_the_decoding() -> None:
    engine = FakeEngine("answer" * 1000, piece_delay_s=0.02)
    async with listening(engine) as (state, _):
        reader, writer = await connect(
            state, "POST", "/completion", {"prompt": [65], "stream": True}
        )
        await reader.readuntil(b"data:")
        writer.transport.abort()
        await until(lambda: engine.usages)
    assert engine.usages[0].stop_reason == "cancelled"
    assert engine.usages[0].tokens_generated < 3000


async def test_one_connection_serves_many_requests() -> None:
    async with listening(FakeEngine("x")) as (state, _):
        reader, writer = await connect(state, "POST", "/tokenize", {"content": "a"})
        for _ in range(3):
            answer = await asyncio.wait_for(reader.readuntil(b"]}"), PATIENCE_S)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b'{"tokens":[97]}')
            writer.write(
                f"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\nAuthorization: "
                f'Bearer {TOKEN}\r\nContent-Length: 15\r\n\r\n{{"content":"a"}}'.encode()
            )
        writer.close()


async def test_listens_on_loopback_only() -> None:
    async with listening(FakeEngine()) as (state, _):
        assert state.url == f"http://127.0.0.1:{state.port}"
        # 127.0.0.2 is this machine as well, and not the address that was bound.
        with pytest.raises((ConnectionError, TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.2", state.port), 1)


async def test_leaves_when_nobody_comes() -> None:
    async with listening(FakeEngine(), grace_s=0.05) as (_, task):
        await asyncio.wait_for(task, PATIENCE_S)


async def test_leaves_after_the_last_lease() -> None:
    async with listening(FakeEngine(), grace_s=HOUR_S) as (state, task):
        first = await connect(state, "GET", "/lease?linger_s=0.2")
        second = await connect(state, "GET", "/lease?linger_s=0")
        for reader, _ in (first, second):
            await reader.readuntil(b"}\n")
        first[1].close()
        await asyncio.sleep(0.4)
        assert not task.done()
        second[1].transport.abort()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_a_new_lease_keeps_it() -> None:
    async with listening(FakeEngine(), grace_s=HOUR_S) as (state, task):
        reader, writer = await connect(state, "GET", "/lease?linger_s=1.5")
        await reader.readuntil(b"}\n")
        writer.close()
        await asyncio.sleep(0.05)
        reader, writer = await connect(state, "GET", "/lease?linger_s=0")
        told = json.loads((await reader.readuntil(b"}\n")).splitlines()[-1])
        assert told["pid"] == os.getpid()
        await asyncio.sleep(1.7)
        assert not task.done()
        writer.close()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_grants_no_lease_while_it_leaves() -> None:
    async def opened() -> Engine:
        return FakeEngine()

    async with Host({"completion": Resident(opened)}, TOKEN, grace_s=HOUR_S) as host:
        transport = httpx.ASGITransport(host.app)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = "http://127.0.0.1:4711"
        async with httpx.AsyncClient(transport=transport, base_url=url, headers=headers) as client:
            host.leases.over.set()
            assert (await client.get("/lease")).status_code == 503


async def test_a_useless_host_does_not_linger() -> None:
    async with listening(FakeEngine.at("fake:load=refuse")) as (state, task):
        reader, writer = await connect(state, "GET", f"/lease?linger_s={HOUR_S}")
        await reader.readuntil(b"}\n")
        writer.close()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_names_itself_and_takes_the_name_away(tmp_path: Path) -> None:
    files = HostFiles(tmp_path / "state", "key")
    async with listening(FakeEngine(), files=files) as (state, task):
        assert files.read() == state
        if os.name == "posix":
            assert stat.S_IMODE(files.state_path.stat().st_mode) == 0o600
            assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert files.read() is None
    assert list(files.folder.iterdir()) == []


async def test_leaves_the_name_of_its_successor(tmp_path: Path) -> None:
    files = HostFiles(tmp_path, "key")
    successor = HostState(pid=1, port=2, token="other", version="", key="key")
    async with listening(FakeEngine(), files=files):
        files.write(successor)
    assert files.read() == successor


async def test_closes_the_engine() -> None:
    engine = FakeEngine()
    async with listening(engine):
        pass
    with pytest.raises(EngineGone):
        await anext(engine.generate([65], Sampling(1)))
