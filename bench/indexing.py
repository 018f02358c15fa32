"""`python -m bench.indexing`: whether anybody who types feels that a large workspace is being indexed.

Makes so many files in a folder of its own, opens it with the real server over stdio, and types in one of them while
the index is made, and for as long again afterwards. Two things are told for each of the two times:

* heartbeat: how long the server took to refuse a request that it does not know, each 20 ms. It holds what a key
  would wait: pipes, threads and the machine's other work too.
* turns: how long each callback held the server's event loop (`bench.turns`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from bench.holes import cpu_model
from bench.replay.connection import Connection, to_process
from bench.replay.editor import POLICIES, Editor
from bench.replay.real import LAG_REQUEST, READY_S
from bench.replay.traces import Trace, type_file
from bench.turns import Turns
from bench.watching import Watched, circumstances, quantiles
from rich.console import Console
from rich.table import Table

from midfill.version import __version__

ROOT = Path(__file__).resolve().parents[1]
N_PER_FOLDER = 50
HEARTBEAT_S = 0.02
POLL_S = 0.5
TYPED_FILE = "fim/midfill/validity.py"
"""In which somebody types, as it stands in the made folder too."""


def make_workspace(folder: Path, n_files: int) -> int:
    """So many files of this repository's own, over and over in folders of 50; how many bytes they are."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "fim").rglob("*.py"))]
    n_bytes = 0
    for idx in range(n_files):
        place = folder / f"package_{idx // N_PER_FOLDER}"
        if idx % N_PER_FOLDER == 0:
            place.mkdir(parents=True)
        # No two are the same, and none defines what another does.
        text = (
            texts[idx % len(texts)]
            .replace("def ", f"def f{idx}_")
            .replace("class ", f"class C{idx}")
        )
        n_bytes += (place / f"module_{idx}.py").write_bytes(text.encode())
    return n_bytes


async def measure(
    folder: Path, n_files: int, trace: Trace, policy: str, model: str, limit_s: float
) -> dict[str, Any]:
    """Type while the folder is indexed, and as long again."""
    state_dir = folder.with_name("state")
    turns_file = folder.with_name("turns.json")
    beats: list[tuple[float, float]] = []
    program = ("-m", "bench.turns", str(turns_file), "serve")
    serving = to_process(("--model", model), state_dir, program=program)
    async with serving as (connection, process):
        watched = Watched(lambda: {"server": process.pid})
        editor = Editor(connection, POLICIES[policy], trace, root=folder.as_uri())
        began_s = time.time()
        await editor.initialize({"engine": {"nThreads": 1, "tune": False, "hostLingerS": 0}})
        background = [
            asyncio.ensure_future(each) for each in (watched.run(), _beat(connection, beats))
        ]
        try:
            await asyncio.wait_for(editor.ask_by_hand(), READY_S)
            typing = asyncio.ensure_future(editor.play())
            indexed_s = await _indexed(state_dir, n_files, time.monotonic() + limit_s)
            n_indexed = _n_indexed(state_dir)
            await asyncio.sleep(min(indexed_s - began_s, limit_s))
            n_keys, n_asked = len(editor.record.key_ms), len(editor.record.asked)
            typing.cancel()
        finally:
            for each in background:
                each.cancel()
    turns = Turns.read(turns_file)
    ended_s = time.time()
    return {
        "n_files": n_files,
        "n_indexed": n_indexed,
        "indexing_s": round(indexed_s - began_s, 1),
        "n_keys": n_keys,
        "n_asked": n_asked,
        "machine": circumstances(watched.load),
        "rss_mb": watched.report()["server"]["rss_mb"],
        **{
            name: {
                "heartbeat_ms": quantiles(ms for at_s, ms in beats if start_s <= at_s < end_s),
                "turns": turns.between(start_s, end_s),
            }
            for name, start_s, end_s in (
                ("indexing", began_s, indexed_s),
                ("afterwards", indexed_s, ended_s),
            )
        },
    }


async def _beat(connection: Connection, beats: list[tuple[float, float]]) -> None:
    while True:
        at_s, started = time.time(), time.perf_counter()
        await connection.request(LAG_REQUEST, {})
        beats.append((at_s, (time.perf_counter() - started) * 1000))
        await asyncio.sleep(HEARTBEAT_S)


async def _indexed(state_dir: Path, n_files: int, deadline_s: float) -> float:
    """When the index held all files, or patience ended."""
    while _n_indexed(state_dir) < n_files and time.monotonic() < deadline_s:  # noqa: ASYNC110 - another process counts
        await asyncio.sleep(POLL_S)
    return time.time()


def _n_indexed(state_dir: Path) -> int:
    for path in state_dir.rglob("index-*.sqlite"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
            return int(db.execute("SELECT count(*) FROM files").fetchone()[0])
    return 0


def table_of(found: dict[str, Any]) -> Table:
    """The figures for a terminal, in milliseconds."""
    table = Table("", "heartbeat p50/p99/max", "turn p99/max", "turn, processor p99/max", "turns")
    for name in ("indexing", "afterwards"):
        heartbeat, turns = found[name]["heartbeat_ms"], found[name]["turns"]
        cells = (
            _slashed(heartbeat, ("p50", "p99", "max")),
            _slashed(turns["wall_ms"], ("p99", "max")),
            _slashed(turns["cpu_ms"], ("p99", "max")),
            str(turns["n"]),
        )
        table.add_row(name, *cells)
    return table


def _slashed(values: dict[str, float], names: Sequence[str]) -> str:
    return " / ".join(f"{values[name]:.1f}" for name in names if name in values)


@click.command(help="Type while a large workspace is indexed, and say what of it is felt.")
@click.option("--files", "n_files", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--model", default="fake:", show_default=True, help="A GGUF file, or `fake:…`.")
@click.option("--policy", type=click.Choice(list(POLICIES)), default="vscode", show_default=True)
@click.option("--limit", "limit_s", type=float, default=900.0, help="Seconds to index in at most.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the figures here, as JSON.")
def main(
    n_files: int, model: str, policy: str, limit_s: float, seed: int, out: Path | None
) -> None:
    """Make the files, type, print and keep the figures."""
    text = (ROOT / TYPED_FILE).read_text("utf-8")
    # More keys than anybody types in the time.
    trace = type_file("typed.py", "python", text, len(text), seed)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        n_bytes = make_workspace(workspace, n_files - 1)
        (workspace / trace.name).write_text(trace.start, "utf-8")
        found = asyncio.run(measure(workspace, n_files, trace, policy, model, limit_s))
    facts: dict[str, Any] = {"midfill": __version__, "cpu": cpu_model(), "cores": os.cpu_count()}
    found = facts | {"seed": seed, "policy": policy, "mb": round(n_bytes / 1e6, 1)} | found
    Console().print(table_of(found))
    for wall_ms, cpu_ms, name in found["indexing"]["turns"]["worst"][:5]:
        click.echo(f"{wall_ms} ms, {cpu_ms} of the processor: {name}")
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
