"""The bench of what indexing is felt like: the made folder, the timed turns, and a small run of it all."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from bench.indexing import N_PER_FOLDER, main, make_workspace
from bench.turns import Turns
from click.testing import CliRunner

BUSY_MS = 5.0


def test_a_made_workspace(tmp_path: Path) -> None:
    n_bytes = make_workspace(tmp_path, N_PER_FOLDER + 1)
    files = list(tmp_path.rglob("*.py"))
    assert len(files) == N_PER_FOLDER + 1
    assert sum(file.stat().st_size for file in files) == n_bytes
    assert len({file.read_bytes() for file in files}) == len(files)
    assert len({file.parent for file in files}) == 2


def be_busy() -> None:
    until_s = time.thread_time() + BUSY_MS / 1000
    while time.thread_time() < until_s:
        pass


async def work() -> None:
    await asyncio.sleep(0)
    be_busy()


def test_turns_are_timed_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(asyncio.Handle, "_run", asyncio.Handle._run)
    turns = Turns()
    turns.watch()

    async def all_of_it() -> None:
        asyncio.get_running_loop().call_soon(be_busy)
        await work()

    asyncio.run(all_of_it())
    turns.write(tmp_path / "turns.json")
    read = Turns.read(tmp_path / "turns.json")
    found = read.between(0, time.time() + 1)
    assert found == turns.between(0, time.time() + 1)
    assert found["cpu_ms"]["max"] >= BUSY_MS
    assert [name.rpartition(".")[2] for _, _, name in found["worst"][:2]] in (
        ["be_busy", "all_of_it"],
        ["all_of_it", "be_busy"],
    )
    assert read.between(0, turns.began_s)["n"] == 0


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--files", "4", "--limit", "15", "--out", str(out)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "afterwards" in result.output
    found = json.loads(out.read_text("utf-8"))
    assert found["n_indexed"] == found["n_files"] == 4
    assert found["indexing"]["turns"]["n"] > 0
    assert found["indexing"]["heartbeat_ms"]["max"] > 0
