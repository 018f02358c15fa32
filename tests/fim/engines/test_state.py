"""The files by which hosts are found: what they name, what tells them apart, what is left of the dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from midfill.engines.state import (
    FOLDER_VARIABLE,
    HostFiles,
    HostState,
    host_key,
    state_folder,
    sweep,
)
from midfill.errors import EngineError
from midfill.settings import EngineSettings


def test_what_tells_hosts_apart(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    settings = EngineSettings()
    key = host_key(str(model), settings)
    same = replace(settings, host_linger_s=99, urls=("http://elsewhere",), model="x")
    assert host_key(str(model), same) == key
    others = [
        host_key(str(model), replace(settings, **{name: 7}))  # type: ignore[arg-type]
        for name in ("n_gpu_layers", "n_ctx", "kv_type", "n_slots", "n_threads", "tune")
    ]
    os.utime(model, ns=(0, 12345))
    others.append(host_key(str(model), settings))
    last = others[-1]
    others += [host_key(str(model), settings, name) for name in (str(model), "/missing.gguf")]
    others += [
        host_key(str(model), replace(settings, infill="off")),
        host_key(str(model), replace(settings, python_model=str(model))),
    ]
    assert len({key, *others}) == 12
    if os.name == "posix":
        link = tmp_path / "link.gguf"
        link.symlink_to(model)
        assert host_key(str(link), settings) == last


@pytest.mark.parametrize(
    "stale",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff", id="bytes"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"pid": 1}', id="incomplete"),
        pytest.param({"port": "80"}, id="a port of text"),
        pytest.param({"port": 1 << 20}, id="no port"),
        pytest.param({"token": "\u2603"}, id="no token"),
        pytest.param({"key": "another"}, id="another's"),
        pytest.param({"more": 1}, id="another version's"),
    ],
)
def test_a_file_that_names_no_host(tmp_path: Path, stale: bytes | dict[str, Any]) -> None:
    files = HostFiles(tmp_path, "key")
    sound = {"pid": 1, "port": 1, "token": "x", "version": "", "key": "key"}
    files.state_path.write_text(json.dumps(sound))
    assert files.read() == HostState(**sound)  # type: ignore[arg-type]
    content = json.dumps(sound | stale).encode() if isinstance(stale, dict) else stale
    files.state_path.write_bytes(content)
    assert files.read() is None


def test_what_dead_hosts_left_is_taken_away(tmp_path: Path) -> None:
    def left(
        key: str, age_s: float, *, pid: int | None = None, log_age_s: float = 1e9
    ) -> HostFiles:
        files = HostFiles(tmp_path, key)
        if pid is not None:
            files.write(HostState(pid, 1, "token", "", key))
        files.log_path.write_text("log")
        files.lock_path.touch()
        now = time.time()
        os.utime(files.log_path, (now - log_age_s,) * 2)
        os.utime(files.lock_path, (now - age_s,) * 2)
        return files

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left("old", 1000)
    left("crashed", 1000, pid=ended.pid)
    kept = [
        left("new", 10),
        left("speaks", 1000, log_age_s=10),
        left("runs", 1000, pid=os.getpid()),
        left("held", 1000),
    ]
    other = tmp_path / "other.lock"
    other.touch()
    os.utime(other, (0, 0))
    with FileLock(kept[-1].lock_path):
        os.utime(kept[-1].lock_path, (0, 0))
        sweep(tmp_path, older_than_s=100)
    names = {path.name for path in tmp_path.iterdir()}
    expected = {path.name for files in kept for path in (files.lock_path, files.log_path)}
    assert names == expected | {kept[2].state_path.name, "other.lock"}


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "named"))
    assert state_folder() == tmp_path / "named"
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert state_folder().name == "midfill"
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EngineError, match=FOLDER_VARIABLE):
        HostFiles(blocked / "below", "key").create_folder()
