"""What nobody may ask of a host: a file, an adapter, a slot's contents; and what bytes do to it that are no request."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

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
