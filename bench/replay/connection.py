"""How an editor speaks to a server: over a process' pipes, or to one that lives on the same event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from midfill_server.server import MidfillServer

Message = dict[str, Any]

SERVE = ("-m", "midfill_server", "serve")


class Connection:
    """JSON-RPC as a client. Counts the answers to each request, of which there must be one."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.n_answers: Counter[int] = Counter()
        self.heard: Callable[[Message], None] = lambda message: None
        """Called with what the server tells of its own accord."""
        self._send = send
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._next_id = 0

    def notify(self, method: str, params: Any) -> None:
        """Tell the server something."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: Any) -> tuple[int, asyncio.Future[Message]]:
        """A request's id, and its answer to come."""
        self._next_id += 1
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = future
        self._send({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return self._next_id, future

    async def request(self, method: str, params: Any) -> Message:
        """Ask, and wait for the whole answer."""
        return await self.ask(method, params)[1]

    def cancel(self, request_id: int) -> None:
        """Say that an answer is wanted no more. One comes all the same."""
        self.notify("$/cancelRequest", {"id": request_id})

    def take(self, message: Message) -> None:
        """What the server said."""
        if "method" in message:
            if "id" in message:
                # Requests of the server: progress to be made, settings to be told. None are kept here.
                asked = message.get("params") or {}
                result = [None] * len(asked["items"]) if "items" in asked else None
                self._send({"jsonrpc": "2.0", "id": message["id"], "result": result})
            else:
                self.heard(message)
            return
        self.n_answers[message["id"]] += 1
        future = self._waiting.get(message["id"])
        if future and not future.done():
            future.set_result(message)

    @property
    def n_asked(self) -> int:
        """Requests sent so far."""
        return self._next_id


def to_server(server: MidfillServer) -> Connection:
    """A connection to a server in this process, through its own dispatch and its own serialisation."""
    loop = asyncio.get_running_loop()
    protocol = server.protocol

    def send(message: Message) -> None:
        body = json.dumps(message)
        loop.call_soon(
            lambda: protocol.handle_message(
                json.loads(body, object_hook=protocol.structure_message)
            )
        )

    connection = Connection(send)
    protocol.set_writer(_Writer(loop, connection))
    return connection


@contextlib.asynccontextmanager
async def to_process(
    arguments: Sequence[str],
    state_dir: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = SERVE,
) -> AsyncIterator[tuple[Connection, asyncio.subprocess.Process]]:
    """A connection to `midfill serve`, or what stands for it, in a process of its own, which is ended with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "MIDFILL_STATE_DIR": str(state_dir), **(env or {})},
    )
    assert process.stdin is not None
    stdin = process.stdin

    def send(message: Message) -> None:
        body = json.dumps(message).encode()
        stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    connection = Connection(send)
    reading = asyncio.ensure_future(_read(process, connection))
    try:
        yield connection, process
    finally:
        with contextlib.suppress(asyncio.TimeoutError, ConnectionError):
            await asyncio.wait_for(connection.request("shutdown", None), 10)
            connection.notify("exit", None)
            await asyncio.wait_for(process.wait(), 10)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        reading.cancel()


async def _read(process: asyncio.subprocess.Process, connection: Connection) -> None:
    stream = process.stdout
    assert stream is not None
    while header := await stream.readline():
        length = 0
        while header.strip():
            name, _, value = header.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
            header = await stream.readline()
        connection.take(json.loads(await stream.readexactly(length)))


class _Writer:
    """Takes a server's messages as bytes, as a pipe would."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        self._loop, self._connection = loop, connection

    def write(self, data: bytes) -> None:
        message = json.loads(data.partition(b"\r\n\r\n")[2])
        self._loop.call_soon(self._connection.take, message)

    def close(self) -> None:
        """Nothing is open."""
