"""Start-up races: several servers at once, and how often exactly one host comes of it.

    python -m bench.races --rounds 100 --servers 10

Each round has an empty state folder. The servers are real processes that have everything imported and start at
one signal, so that they meet where it is tightest; each asks its engine for the model and tells which host
answered. Afterwards all let go, and no process may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil

from midfill.engines.state import HostFiles
from midfill.engines.supervisor import HostEngine
from midfill.settings import EngineSettings

_LEAVE_S = 60.0
_LOOK_S = 0.1
"""A look at all processes of the machine takes some 10 ms itself."""
_IMPORTED = ["midfill.engines.supervisor", "httpcore", "anyio._backends._asyncio"]
"""The latter are what a client imports when it is made."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds and print how they ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.races", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--model", default="fake:", help="a GGUF file, or a scripted engine")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    n_hosts: list[int] = []
    for _ in range(options.rounds):
        n_hosts.append(race(options.servers, options.model))
        print(f"round {len(n_hosts)}: {n_hosts[-1]}", file=sys.stderr, flush=True)
    found = {
        "rounds": len(n_hosts),
        "servers": options.servers,
        "rounds_with_one_host": n_hosts.count(1),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(found))


def race(n_servers: int, model: str) -> int:
    """One round: how many hosts there were, and one more for each process that was left behind."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(_IMPORTED)
    start = processes.Barrier(n_servers)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ends = []
        for _ in range(n_servers):
            ours, theirs = processes.Pipe()
            server = processes.Process(target=_serve, args=(theirs, start, folder, model))
            server.start()
            theirs.close()
            stack.callback(server.join)
            ends.append(ours)
        pids = [_told_by(end) for end in ends]
        n_running = len(hosts_in(Path(folder)))
        for end in ends:
            with contextlib.suppress(OSError):
                end.send(None)
        until = time.monotonic() + _LEAVE_S
        while hosts_in(Path(folder)) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        left = hosts_in(Path(folder))
        for process in left:
            process.kill()
        # A server that failed told no process id, which counts as a host that is not the others'.
        return max(len(set(pids)), n_running) + len(left)


def _told_by(end: Connection) -> int:
    try:
        pid: int = end.recv()
    except EOFError:
        return -1
    return pid


def hosts_in(folder: Path) -> list[psutil.Process]:
    """The host processes that were started in this folder, which is where a host works."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _serve(end: Connection, start: Barrier, folder: str, model: str) -> None:
    asyncio.run(_hold(end, start, Path(folder), model))


async def _hold(end: Connection, start: Barrier, folder: Path, model: str) -> None:
    settings = EngineSettings(model=model, host_linger_s=0.0)
    start.wait()
    engine = HostEngine(settings, folder=folder)
    try:
        await engine.info()
        state = HostFiles.of(model, settings, folder).read()
        end.send(state.pid if state else 0)
        await asyncio.to_thread(end.recv)
    finally:
        await engine.close()


if __name__ == "__main__":
    main()
