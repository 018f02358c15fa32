"""The indexing process: a real child, that is told, killed, started again, and left alone by its server."""

# ruff: noqa: ASYNC240  # A test may wait for a disk.
from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from midfill.index_store import Progress, index_path
from midfill.indexer import N_FILES_PER_BATCH
from midfill.settings import IndexSettings
from midfill.workspace import Workspace
from midfill_server.indexing import Indexing, memory_folder
from midfill_server.indexing_process import Order

SECONDS = 60.0
"""After so long a test gives up; nothing is measured by it."""


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "state"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    root.mkdir()
    for n in range(5):
        define(root, f"m{n}.py", f"name_{n}")
    return root


def define(root: Path, file: str, name: str) -> Path:
    path = root / file
    path.write_text(f"def {name}():\n    return 'of {name}'\n", "utf-8")
    return path


def found(indexing: Indexing, name: str) -> list[str]:
    return [each.path for each in indexing.index.definitions_for(f"{name}()", "python", "q.py")]


@asynccontextmanager
async def indexing_of(
    root: Path,
    settings: IndexSettings | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> AsyncIterator[Indexing]:
    indexing = Indexing(Workspace.of([root]), settings or IndexSettings(), on_progress)
    indexing.start()
    try:
        yield indexing
    finally:
        await asyncio.wait_for(indexing.stop(), SECONDS)


async def fresh(indexing: Indexing) -> None:
    await asyncio.wait_for(indexing.fresh(), SECONDS)


async def test_a_child_process_builds_the_index_and_says_how_far_it_is(root: Path) -> None:
    told: list[Progress] = []
    async with indexing_of(root, on_progress=told.append) as indexing:
        assert found(indexing, "name_3") == []
        await fresh(indexing)
        assert found(indexing, "name_3") == ["m3.py"]
        assert told == [Progress(0, 5), Progress(5, 5)]
        assert indexing.trouble == ""
        child = psutil.Process(indexing.pid)
        assert child.ppid() == os.getpid()
        assert child.nice() > psutil.Process().nice()
    assert not child.is_running()


async def test_it_is_kept_fresh(root: Path) -> None:
    async with indexing_of(root) as indexing:
        await fresh(indexing)
        indexing.changed([define(root, "m3.py", "new_name"), define(root, "more.py", "more_name")])
        (root / "m4.py").unlink()
        indexing.changed([root / "m4.py"])
        await fresh(indexing)
        assert found(indexing, "new_name") == ["m3.py"]
        assert found(indexing, "more_name") == ["more.py"]
        assert found(indexing, "name_3") == []
        assert found(indexing, "name_4") == []


async def test_what_changes_while_it_walks_is_not_lost(root: Path) -> None:
    async with indexing_of(root) as indexing:
        indexing.changed([define(root, "m3.py", "new_name")])
        await fresh(indexing)
        assert found(indexing, "new_name") == ["m3.py"]


async def test_killed_it_is_started_again_and_misses_nothing(root: Path) -> None:
    async with indexing_of(root) as indexing:
        await fresh(indexing)
        first = indexing.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        # Told while there is no process, or while it is dying.
        indexing.changed([define(root, "m3.py", "new_name")])
        await fresh(indexing)
        assert found(indexing, "new_name") == ["m3.py"]
        assert indexing.pid not in (None, first)


async def test_a_process_that_never_stays_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false" if os.name == "posix" else sys.executable)
    async with indexing_of(root) as indexing:
        await fresh(indexing)
        assert indexing.trouble == "The indexing process does not stay alive."
        assert found(indexing, "name_3") == []


async def test_what_was_built_is_there_at_the_next_start(root: Path) -> None:
    async with indexing_of(root) as indexing:
        await fresh(indexing)
    define(root, "m3.py", "new_name")
    (root / "m4.py").unlink()
    told: list[Progress] = []
    async with indexing_of(root, on_progress=told.append) as indexing:
        assert found(indexing, "name_2") == ["m2.py"]
        await fresh(indexing)
        assert told == [Progress(0, 1), Progress(1, 1)]
        assert (found(indexing, "new_name"), found(indexing, "name_4")) == (["m3.py"], [])


async def test_two_servers_of_one_root_share_an_index(root: Path) -> None:
    told: list[Progress] = []
    async with (
        indexing_of(root, on_progress=told.append) as one,
        indexing_of(root, on_progress=told.append) as two,
    ):
        await fresh(one)
        await fresh(two)
        assert sum(progress.total for progress in told if not progress.done) == 5
        one.changed([define(root, "m3.py", "by_one")])
        two.changed([define(root, "m4.py", "by_two")])
        await fresh(one)
        await fresh(two)
        for each in (one, two):
            assert (found(each, "by_one"), found(each, "by_two")) == (["m3.py"], ["m4.py"])


SERVER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "midfill_server.indexing_process"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.argv[1].encode())
child.stdin.flush()
for line in child.stdout:
    if b"fresh" in line:
        print(child.pid, flush=True)
        time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL there")
def test_it_ends_with_a_server_that_was_killed(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in memory"
    folder.mkdir()
    order = Order((str(root),), str(folder / "index.sqlite"), 100, 100, remove_folder=True)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, order.line().decode()], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    assert (folder / "index.sqlite").exists()
    server.kill()
    server.wait()
    server.stdout.close()
    give_up = time.monotonic() + SECONDS
    while not _is_gone(pid):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert not folder.exists()


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_ends_in_the_middle_of_a_walk_when_its_input_does(tmp_path: Path) -> None:
    for n in range(3000):
        define(tmp_path, f"m{n}.py", f"name_{n}")
    path = tmp_path / "state" / "index.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-m", "midfill_server.indexing_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(Order((str(tmp_path),), str(path), 10_000, 100).line())
    child.stdin.flush()
    lines = iter(child.stdout.readline, b"")
    told = next(json.loads(line) for line in lines if json.loads(line)["done"])
    child.stdin.close()
    assert child.wait(SECONDS) == 0
    child.stdout.close()
    db = sqlite3.connect(path)
    n_files = db.execute("SELECT count(*) FROM files").fetchone()[0]
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    assert told["done"] <= n_files < 3000


@pytest.mark.skipif(memory_folder() is None, reason="NO FOLDER IN MEMORY IS HERE (Linux has one)")
async def test_in_memory_nothing_is_left_behind(root: Path, state_dir: Path) -> None:
    base = memory_folder()
    assert base is not None
    before = set(base.iterdir())
    async with indexing_of(root, IndexSettings(storage="memory")) as indexing:
        await fresh(indexing)
        assert found(indexing, "name_3") == ["m3.py"]
        (folder,) = set(base.iterdir()) - before
        assert folder.stat().st_mode & 0o777 == 0o700
    assert set(base.iterdir()) == before
    assert not state_dir.exists()


@pytest.mark.skipif(memory_folder() is None, reason="NO FOLDER IN MEMORY IS HERE (Linux has one)")
def test_what_killed_servers_left_in_memory_is_swept() -> None:
    base = memory_folder()
    assert base is not None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, own = (base / f"midfill-index-{pid}-test" for pid in (ended.pid, os.getpid()))
    for folder in (left, own):
        folder.mkdir()
    memory_folder()
    assert (left.exists(), own.exists()) == (False, True)
    own.rmdir()


async def test_switched_off_nothing_is_read_or_written(root: Path, state_dir: Path) -> None:
    async with indexing_of(root, IndexSettings(enabled=False)) as indexing:
        indexing.changed([root / "m3.py"])
        await fresh(indexing)
        assert indexing.pid is None
        assert found(indexing, "name_3") == []
        assert not state_dir.exists()


async def test_without_a_folder_there_is_nothing_to_do(state_dir: Path) -> None:
    indexing = Indexing(Workspace(()), IndexSettings())
    indexing.start()
    await fresh(indexing)
    await indexing.stop()
    assert (indexing.trouble, state_dir.exists()) == ("", False)


async def test_a_folder_that_cannot_be_made_is_said(root: Path, state_dir: Path) -> None:
    state_dir.write_text("a file stands here", "utf-8")
    indexing = Indexing(Workspace.of([root]), IndexSettings())
    assert indexing.trouble.startswith("The index's folder cannot be used (")
    indexing.start()
    await fresh(indexing)
    await indexing.stop()


async def test_what_is_in_the_way_of_writing_is_said(root: Path, state_dir: Path) -> None:
    path = index_path([root.resolve()])
    path.mkdir(parents=True)
    async with indexing_of(root) as indexing:
        await fresh(indexing)
        assert indexing.trouble.startswith("The workspace cannot be indexed (")


async def test_the_server_itself_parses_nothing_and_hears_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed_here(*_: object) -> None:
        raise AssertionError("parsed in the server")

    root = tmp_path / "many"
    root.mkdir()
    for n in range(2000):
        define(root, f"m{n}.py", f"name_{n}")
    monkeypatch.setattr("midfill.index_store.parse", parsed_here)
    monkeypatch.setattr("midfill.index_store.masked", parsed_here)
    told: list[Progress] = []
    async with indexing_of(root, on_progress=told.append) as indexing:
        await fresh(indexing)
    assert told[-1] == Progress(2000, 2000)
    assert len(told) == 2 + 2000 // N_FILES_PER_BATCH


async def test_where_it_cannot_be_written_it_is_tried_again(
    root: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midfill_server.indexing.RETRY_S", 0.2)
    path = index_path([root.resolve()], state_dir / "index")
    path.parent.mkdir(parents=True, mode=0o700)
    path.mkdir()  # What takes an index's name is no damage that could be mended.
    async with indexing_of(root) as indexing:
        await fresh(indexing)
        assert found(indexing, "name_3") == []
        path.rmdir()
        until_s = time.monotonic() + SECONDS
        while found(indexing, "name_3") != ["m3.py"]:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)
        assert indexing.trouble == ""


def test_it_is_loaded_in_a_thread_which_nobody_waits_for() -> None:
    code = """
import asyncio, sys, threading
from midfill.engines.fake import FakeEngine
from midfill_server.server import create_server
from midfill_server.session import Session

class Watch:
    def find_spec(self, name, *arguments):
        if name == "midfill_server.indexing":
            print(threading.current_thread() is threading.main_thread())

async def main():
    server = create_server(Session(lambda settings, role: FakeEngine()))
    sys.meta_path.insert(0, Watch())
    server.protocol.set_writer(sys.stderr.buffer)
    for body in (
        b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}',
        b'{"jsonrpc": "2.0", "method": "initialized", "params": {}}',
    ):
        server.protocol.receive(body)
        await asyncio.sleep(0)
    while not server.session.started:
        await asyncio.sleep(0.01)
    await server.session.end()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr
