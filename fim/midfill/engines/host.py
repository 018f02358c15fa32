"""`midfill host`: one engine, shared by every editor window of one user over loopback HTTP.

llama.cpp can end its process and can need gigabytes, so it lives here and never in an editor's server. The
host speaks the dialect of llama.cpp's own `llama-server` (see `dialect`), so that one client drives both.
It loads the model in the background, stops a generation as soon as its reader has gone, and leaves when the
last of its clients has: each holds a lease, a response that stays open for as long as the client lives, and
the operating system closes that also for a client that was killed. No process is orphaned.

It listens on 127.0.0.1 only, and asks each request for its token (see `host_guard`). Nor may another program
pass for the host, by taking the port of one that died: at `/proof` the host shows that it knows the token
before a client shows it. What it answers stands in `host_api`, who holds it in `host_leases`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from midfill.engine import Engine, Role
from midfill.engines.crashes import watch, watch_loop
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.engines.host_api import Host
from midfill.engines.host_connections import Connection
from midfill.engines.precedence import Precedence
from midfill.engines.resident import OpenEngine, Resident
from midfill.engines.state import HostFiles, HostState
from midfill.errors import EngineError
from midfill.settings import EngineSettings
from midfill.version import __version__

if TYPE_CHECKING:
    from midfill.engines.llama import LlamaEngine
    from midfill.selftest import SelfTest

_SHUTDOWN_S = 2
"""Patience with open connections when the process is told to end."""


async def run_host(
    model: str,
    settings: EngineSettings,
    *,
    instruct: str = "",
    token: str = "",
    files: HostFiles | None = None,
    port: int = 0,
    grace_s: float = 60.0,
    listening: Callable[[HostState], None] = lambda state: None,
    open_engine: OpenEngine | None = None,
) -> None:
    """Host the model on 127.0.0.1 until nobody holds a lease any more, or until cancelled.

    Args:
        model: path of a GGUF file, or a `fake:` engine.
        instruct: the same of the model that explains and edits, which may be the same; empty: none.
        token: what clients must show; drawn at random when empty.
        files: where the host names itself for others to join; None keeps it to itself.
        port: 0 takes one that is free.
        grace_s: for how long it waits for the first lease.
        listening: called once, when requests are accepted; the model may still be loading.
        open_engine: in place of the engine that `model` names.

    Raises:
        OSError: the port is taken.
    """
    key = files.key if files else ""
    token = token or secrets.token_urlsafe(32)

    listener = _listener(port)
    state = HostState(os.getpid(), listener.getsockname()[1], token, __version__, key)
    residents = _residents(model, instruct, settings, open_engine)
    async with Host(residents, token, key=key, n_slots=settings.n_slots, grace_s=grace_s) as host:
        server = _Server(_uvicorn_config(host.app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        idle = asyncio.create_task(host.leases.over.wait())
        try:
            if files is not None:
                files.create_folder()
                files.write(state)
            listening(state)
            await asyncio.wait((serving, idle), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if files is not None:
                files.remove(token)
            idle.cancel()
            host.leases.end()
            server.should_exit = True
            await serving


def _residents(
    model: str, instruct: str, settings: EngineSettings, open_engine: OpenEngine | None
) -> dict[Role, Resident]:
    idle_s = 60 * max(0.0, settings.idle_unload_min)
    precedence = Precedence()
    only_completes = instruct != model
    opens = open_engine or partial(
        open_here, model, settings, precedence, only_completes=only_completes
    )
    test = None if open_engine or model.startswith(FAKE_SCHEME) else _self_test
    residents: dict[Role, Resident] = {
        "completion": Resident(opens, model, idle_s=idle_s, test=test)
    }
    others: tuple[tuple[Role, str], ...] = (
        ("instruct", instruct),
        ("python", settings.python_model),
    )
    for role, path in others:
        alike = next((it for it in residents.values() if it.path == path), None)
        if alike is not None:
            residents[role] = alike  # Loaded once.
        elif path:
            only_completes = role == "python"
            opens = partial(open_here, path, settings, precedence, only_completes=only_completes)
            test = None if path.startswith(FAKE_SCHEME) else _self_test
            residents[role] = Resident(opens, path, idle_s=idle_s, test=test)
    return residents


async def _self_test(engine: Engine) -> SelfTest:
    from midfill.selftest import self_test  # noqa: PLC0415  When there is nothing else to do.

    return await self_test(engine)


def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run on a fresh event loop; an interrupt or a request to terminate ends it in good order."""

    async def watched() -> None:
        watch_loop()
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watched())


async def open_here(
    model: str,
    settings: EngineSettings,
    precedence: Precedence | None = None,
    *,
    only_completes: bool = False,
) -> Engine:
    """The engine for a model, in this process; it may still be loading.

    Raises:
        EngineError: llama.cpp is not installed.
    """
    if model.startswith(FAKE_SCHEME):
        return FakeEngine.at(model)
    try:
        # In a thread, because importing llama.cpp takes a third of a second.
        engine = await asyncio.to_thread(_llama_engine)
    except ImportError as error:
        raise EngineError(
            f"llama.cpp is not installed ({error}); install it with: pip install 'midfill[llama]'."
        ) from error
    return engine(model, settings, precedence, only_completes=only_completes)


def main(arguments: Sequence[str] | None = None) -> None:
    """What the supervisor starts: `python -m midfill.engines.host --model PATH`.

    Standard input brings one line of JSON with `key`, `folder`, `token`, `grace_s`, `instruct` and `settings`: a token
    would be seen by other users on the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m midfill.engines.host", description=__doc__)
    parser.add_argument("--model", required=True)
    model = parser.parse_args(arguments).model
    terms = json.loads(sys.stdin.readline())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    watch("host")
    faulthandler.enable()  # Where in our code a signal hit it, for the log.
    run_until_signal(
        run_host(
            model,
            EngineSettings(**terms["settings"]),
            instruct=terms["instruct"],
            token=terms["token"],
            files=HostFiles(Path(terms["folder"]), terms["key"]),
            grace_s=terms["grace_s"],
        )
    )


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would end the process before the state file is taken away."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named, which `create_server` does not:
    # a piece of 40 ms of waiting per request otherwise (measured).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _llama_engine() -> type[LlamaEngine]:
    from midfill.engines.llama import LlamaEngine  # noqa: PLC0415  Loads llama.cpp.

    return LlamaEngine


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


if __name__ == "__main__":
    main()
