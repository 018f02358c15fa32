"""What Midfill has written is damaged, before it starts and while it runs; the processes that write are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from pathlib import Path

import psutil
import pytest

from faults.damages import DAMAGES
from faults.window import MODEL, Window, eventually, running
from midfill.engines.crashes import report_end
from midfill.engines.state import HostFiles, HostState
from midfill.index_store import index_path
from midfill.settings import EngineSettings
from midfill.version import __version__


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for n in range(4):
        (root / f"m{n}.py").write_text(f"def name_{n}():\n    return 'of name_{n}'\n")
    return root


def indexed(root: Path, state_dir: Path) -> list[str]:
    """The files in the index; nothing while there is no sound one."""
    path = index_path([root.resolve()], state_dir / "index")
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as db:
            found = [row[0] for row in db.execute("SELECT path FROM files ORDER BY path")]
        db.close()
    except sqlite3.Error:
        return []
    return found


def begin(window: Window, root: Path) -> None:
    window.begin(index={"enabled": True}, folders=(root.as_uri(),))
    eventually(lambda: len(indexed(root, window.state_dir)) >= 4)
    # Its log is emptied at the end of a walk.
    log = index_path([root.resolve()], window.state_dir / "index").with_suffix(".sqlite-wal")
    eventually(lambda: not log.exists() or not log.stat().st_size)


def indexer(state_dir: Path) -> psutil.Process:
    return eventually(lambda: next(iter(running(state_dir / "index")), None))


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_damaged_are_made_anew(state_dir: Path, root: Path, damage: str) -> None:
    with Window(state_dir) as window:
        begin(window, root)
        window.recovers()
        window.leaves_well()
    report_end("status 1", "", state_dir)
    files = HostFiles.of(MODEL, EngineSettings(model=MODEL), state_dir)
    files.write(HostState(1, 9, "token", __version__, files.key))
    for path in (*state_dir.glob("*.json"), *(state_dir / "index").glob("*.sqlite")):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with Window(state_dir) as window:
        begin(window, root)
        window.recovers()
        assert window.said() == []
        assert window.close() == 0
    assert json.loads((state_dir / "statistics.json").read_text())["counts"]["asked"]


@pytest.mark.parametrize("damage", ["empty", "half", "garbage"])
def test_an_index_that_is_damaged_while_it_is_used_is_made_anew(
    state_dir: Path, root: Path, damage: str
) -> None:
    with Window(state_dir) as window:
        begin(window, root)
        path = index_path([root.resolve()], state_dir / "index")
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
        (root / "more.py").write_text("def more():\n    return 'of more'\n")
        change = {"uri": (root / "more.py").as_uri(), "type": 1}
        window.notify("workspace/didChangeWatchedFiles", {"changes": [change]})
        window.recovers()
        eventually(lambda: len(indexed(root, state_dir)) == 5)
        assert window.said() == []
        window.leaves_well()


@pytest.mark.skipif(os.name != "posix", reason="stops a process")
def test_an_indexer_that_stands_still_is_in_nobodys_way(state_dir: Path, root: Path) -> None:
    with Window(state_dir) as window:
        begin(window, root)
        indexer(state_dir).send_signal(signal.SIGSTOP)
        window.recovers()
        assert window.said() == []
        window.leaves_well()


def test_a_stranger_on_the_port_of_a_host_that_died_is_left_alone(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        files = HostFiles.of(MODEL, EngineSettings(model=MODEL), state_dir)
        files.create_folder()
        port = stranger.getsockname()[1]
        files.write(HostState(os.getpid(), port, "the_token", __version__, files.key))
        with Window(state_dir) as window:
            window.begin()
            heard, _ = stranger.accept()
            with heard:
                request = heard.recv(1 << 16)
                heard.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert b"the_token" not in request
            stranger.close()
            window.recovers()
            assert window.said() == []
            window.leaves_well()
