"""What nobody may ask of a host: a file, an adapter, a slot's contents; and what bytes do to it that are no request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from midfill.engines import host_connections
from midfill.engines.host import run_host
from midfill.engines.state import HostState
from midfill.settings import EngineSettings

TOKEN = "test-token"
PATIENCE_S = 60.0


@asynccontextmanager
async def host() -> AsyncIterator[HostState]:
    ready: asyncio.Future[HostState] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run_host(
            "fake:text=hello",
            EngineSettings(),
            token=TOKEN,
            grace_s=3600,
            listening=ready.set_result,
        )
    )
    try:
        yield await asyncio.wait_for(ready, PATIENCE_S)
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def told(state: HostState, data: bytes, *, ends: bool = True) -> bytes:
    """All that is answered to these bytes; if it `ends`, the host sees that nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", state.port)
    try:
        writer.write(data)
        if ends:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def asked(state: HostState, path: str, body: Any = None) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{state.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    answer = await told(state, head.encode() + data, ends=False)
    start, _, rest = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), rest


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="tls"),
        pytest.param(b"\x00" * 3000, id="zeros"),
        pytest.param(b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n", id="long-path"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000 + b"\r\n", id="many-headers"),
        pytest.param(b"POST /completion HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="negative"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", id="digits"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz\r\n",
            id="two-lengths",
        ),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two-hosts"),
    ],
)
async def test_bytes_that_are_no_request(data: bytes) -> None:
    async with host() as state:
        answer = await told(state, data)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
        assert (await asked(state, "/health"))[0] == 200


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /health HT", id="half-a-line"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\n", id="half-a-head"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nx", id="half-a-body"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /", id="half-a-second-request"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            id="half-a-chunk",
        ),
    ],
)
async def test_whoever_brings_no_request_is_shown_out(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_connections, "REQUEST_S", 0.2)
    async with host() as state:
        reader, writer = await asyncio.open_connection("127.0.0.1", state.port)
        writer.write(begun)
        dripping = asyncio.create_task(_drip(writer))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), PATIENCE_S)
        dripping.cancel()
        writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that nobody could say that nothing comes."""
    while True:
        await asyncio.sleep(0.02)
        writer.write(b"a")


async def test_a_connection_between_two_requests_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_connections, "REQUEST_S", 0.1)
    async with host() as state:
        reader, writer = await asyncio.open_connection("127.0.0.1", state.port)
        head = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        for _ in range(2):
            writer.write(head.encode())
            answer = await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE_S)
            assert answer.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.3)
        writer.close()


def _head(state: HostState, *lines: str, start: str = "POST /tokenize HTTP/1.1") -> bytes:
    return "\r\n".join((start, *lines, "", "")).format(port=state.port, token=TOKEN).encode()


OURS = ("Host: 127.0.0.1:{port}", "Authorization: Bearer {token}")
CLOSE = "Connection: close"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param((*OURS, CLOSE), 200, id="as-we-ask"),
        pytest.param(("host: LOCALHOST:{port}", OURS[1], CLOSE), 200, id="capitals"),
        pytest.param(("Host: 127.0.0.1:{port}.evil.example", OURS[1]), 403, id="rebound"),
        pytest.param(("Host: evil.example:{port}", OURS[1]), 403, id="another-name"),
        pytest.param(("Host: 127.0.0.1", OURS[1]), 403, id="no-port"),
        pytest.param(("Host:", OURS[1]), 403, id="empty"),
        pytest.param((*OURS, "Origin: http://127.0.0.1:{port}"), 403, id="origin-here"),
        pytest.param((*OURS, "Origin: null", "Origin: null"), 403, id="two-origins"),
        pytest.param((*OURS, "Origin:"), 403, id="empty-origin"),
        pytest.param((*OURS, OURS[1]), 401, id="two-tokens"),
        pytest.param((OURS[0], "Authorization: bearer {token}"), 401, id="another-scheme"),
        pytest.param((OURS[0], "Authorization: Bearer {token}x"), 401, id="longer-token"),
        pytest.param((OURS[0], "Cookie: token={token}"), 401, id="cookie"),
        pytest.param((*OURS, "X-Forwarded-Host: evil.example", CLOSE), 200, id="forwarded"),
    ],
)
async def test_who_is_let_in(lines: tuple[str, ...], status: int) -> None:
    async with host() as state:
        head = _head(state, *lines, start="GET /health HTTP/1.1")
        assert (await told(state, head)).startswith(f"HTTP/1.1 {status}".encode())


@pytest.mark.parametrize(
    ("start", "lines", "body", "statuses"),
    [
        pytest.param("GET /health HTTP/1.0", (*OURS,), b"", [200], id="http-1.0"),
        pytest.param("GET http://evil.example/health HTTP/1.1", (*OURS, CLOSE), b"", [404], id="uri"),
        pytest.param(
            "POST /tokenize HTTP/1.1",
            (*OURS, CLOSE, "Transfer-Encoding: chunked"),
            b'd\r\n{"content":"a\r\n2\r\n"}\r\n0\r\n\r\n',
            [200],
            id="chunks",
        ),
        pytest.param(
            "POST /tokenize HTTP/1.1",
            (*OURS, CLOSE, "Transfer-Encoding: chunked"),
            (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 33,
            [413],
            id="chunks-beyond-the-limit",
        ),
        pytest.param(
            "POST /tokenize HTTP/1.1",
            (*OURS, CLOSE, "Content-Length: 15"),
            b'{"content":"\xff"}',
            [400],
            id="no-utf-8",
        ),
        pytest.param(
            "POST /tokenize HTTP/1.1",
            (*OURS, CLOSE, "Content-Length: 100000"),
            b"[" * 100_000,
            [400],
            id="nested",
        ),
        pytest.param(
            "GET /health HTTP/1.1",
            OURS,
            b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            [200, 403],
            id="pipelined",
        ),
        pytest.param(
            "GET /health HTTP/1.1", (*OURS, "Upgrade: websocket", "Connection: upgrade, close"), b"", [200],
            id="upgrade",
        ),
    ],
)  # fmt: skip
async def test_requests_of_every_shape(
    start: str, lines: tuple[str, ...], body: bytes, statuses: list[int]
) -> None:
    async with host() as state:
        answer = await told(state, _head(state, *lines, start=start) + body, ends=False)
        found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert found == statuses
        assert (await asked(state, "/health"))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "statuses"),
    [
        pytest.param("/slots/0?action=save", {"filename": "x"}, (404, 405), id="save-a-slot"),
        pytest.param(
            "/slots/0?action=restore", {"filename": "/etc/passwd"}, (404, 405), id="restore"
        ),
        pytest.param("/lora-adapters", [{"id": 0, "scale": 1}], (404,), id="adapters"),
        pytest.param("/models/load", {"model": "/etc/passwd"}, (404,), id="load-a-model"),
        pytest.param("/v1/embeddings", {"input": "x"}, (404,), id="embeddings"),
        pytest.param("/../../../../etc/passwd", None, (404,), id="a-path-upwards"),
        pytest.param("/%2e%2e/%2e%2e/etc/passwd", None, (404,), id="a-coded-path-upwards"),
        *(
            pytest.param("/completion", {"prompt": [65], name: value}, (400,), id=name)
            for name, value in (
                ("grammar", 'root ::= "x"'),
                ("json_schema", {"$ref": "file:///etc/passwd"}),
                ("lora", [{"id": 0, "scale": 1.0}]),
                ("slot_save_path", "/tmp"),
                ("id_slot", 99),
                ("model_path", "/etc/passwd"),
                ("image_data", [{"data": "x"}]),
                ("n_predict", 10**9),
                ("n_candidates", 1000),
                ("temperature", 1e9),
                ("stop_ids", [1] * 1000),
            )
        ),
        pytest.param("/completion", {"prompt": [65], "model": "/etc/passwd"}, (200,), id="model"),
        pytest.param(
            "/infill",
            {"input_prefix": "a", "input_suffix": "b", "n_predict": 10**9},
            (400,),
            id="infill-n-predict",
        ),
        pytest.param(
            "/v1/completions",
            {"prompt": "a", "max_tokens": 2, "grammar": "root ::= x", "lora": [{"id": 0}]},
            (200,),
            id="passed-over",
        ),
    ],
)
async def test_nothing_reaches_a_file(path: str, body: Any, statuses: tuple[int, ...]) -> None:
    """What names a file is refused where our own client asks, and passed over where others' clients do."""
    async with host() as state:
        status, answer = await asked(state, path, body)
        assert status in statuses, answer
        assert b"root:" not in answer
        assert status == 200 or json.loads(answer)["error"]["code"] == status


async def test_a_request_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with host() as state:
        for path in ("/completion", "/infill", "/v1/completions", "/tokenize", "/slots/0"):
            await asked(state, path, {"filename": "x", "prompt": [65], "cache_prompt": True})
    assert os.listdir() == []  # noqa: PTH208  Path's is not for async functions.
