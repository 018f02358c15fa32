"""A trace on the clock on the wall: `midfill serve` in a process of its own, with its host and a real model."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from bench.replay.connection import Connection, to_process
from bench.replay.editor import Editor, Policy
from bench.replay.record import Record
from bench.replay.traces import Trace

from midfill.engines.host_meter import TOKENS
from midfill.engines.host_stats import running_hosts

LAG_EVERY_S = 0.25
LAG_REQUEST = "midfill/unknown"
"""Nobody answers to it but the dispatch itself, at once."""
READY_S = 300.0
"""How long the model may take to load."""


async def play(trace: Trace, policy: Policy, model: str, threads: int) -> Record:
    """Play a trace in its own time, to a server that has loaded its model."""
    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder)
        started = time.perf_counter()
        arguments = ("--model", model) if model else ()
        async with to_process(arguments, state_dir) as (connection, process):
            editor = Editor(connection, policy, trace)
            await editor.initialize(
                {"engine": {"nThreads": threads, "tune": False, "hostLingerS": 0}}
            )
            initialize_ms = (time.perf_counter() - started) * 1000
            await asyncio.wait_for(editor.ask_by_hand(), READY_S)
            before = await _tokens(state_dir)
            watching = asyncio.ensure_future(
                _watch(editor.record, connection, psutil.Process(process.pid))
            )
            try:
                record = await editor.play()
            finally:
                watching.cancel()
            after = await _tokens(state_dir)
        record.tokens = {name: after[name] - before[name] for name in after}
        record.initialize_ms = round(initialize_ms, 1)
        return record


async def _watch(record: Record, connection: Connection, process: psutil.Process) -> None:
    while True:
        started = time.perf_counter()
        await connection.request(LAG_REQUEST, {})
        record.lag_ms.append((time.perf_counter() - started) * 1000)
        with contextlib.suppress(psutil.Error):
            record.rss_mb.append(round(process.memory_info().rss / 1e6, 1))
        await asyncio.sleep(LAG_EVERY_S)


async def _tokens(state_dir: Path) -> dict[str, int]:
    """What the hosts of this run have counted; nothing for an engine without one."""
    hosts = await running_hosts(state_dir)
    counted: dict[str, Any] = {}
    for name in TOKENS if hosts else ():
        counted[name] = int(sum(host.value("midfill_tokens_total", kind=name) for host in hosts))
    return counted
