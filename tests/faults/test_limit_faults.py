"""The disk is full, descriptors and memory are used up, and the clock is moved."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from faults.disk import full_disk
from faults.limits import limited
from faults.window import Window, files_are_sound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets limits of running processes")

DAYS_S = 40 * 86400


def test_a_full_disk_is_one_message_and_recovers_with_room(state_dir: Path) -> None:
    with full_disk(state_dir) as disk, Window(state_dir) as window:
        window.begin(index={"enabled": True}, folders=(state_dir.parent.as_uri(),))
        assert window.completes() == ""
        assert window.completes() == ""
        said = window.said()
        assert len(said) == 1, said
        assert "is full" in said[0]
        assert window.status() == "error"
        disk.empty()
        window.recovers()
        assert window.status() == "ready"
        assert window.said() == []
        window.leaves_well()


def test_files_that_may_not_grow_are_one_message(state_dir: Path) -> None:
    with Window(state_dir) as window:
        server = psutil.Process(window.process.pid)
        with limited(server, psutil.RLIMIT_FSIZE, 0):
            window.begin()
            assert window.completes() == ""
            assert window.completes() == ""
            assert len(window.said()) == 1
        window.recovers()
        files_are_sound(state_dir)
        window.leaves_well()


def test_without_descriptors_nothing_comes_and_with_them_it_does(state_dir: Path) -> None:
    with Window(state_dir) as window:
        window.begin()
        window.recovers()
        server = psutil.Process(window.process.pid)
        with limited(server, psutil.RLIMIT_NOFILE, server.num_fds() - 2):
            window.host().kill()
            assert window.completes() == ""
            assert window.completes() == ""
        window.recovers()
        assert len(window.said()) <= 1
        window.leaves_well()


def test_without_memory_a_request_is_answered_and_the_session_goes_on(state_dir: Path) -> None:
    with Window(state_dir) as window:
        window.begin()
        window.recovers()
        server = psutil.Process(window.process.pid)
        with limited(server, psutil.RLIMIT_AS, server.memory_info().vms + (48 << 20)):
            assert window.completes("x = 1\n" * 4_000_000) == ""
        window.recovers()
        window.leaves_well()


@pytest.mark.parametrize("moved_s", [DAYS_S, -DAYS_S], ids=["forwards", "backwards"])
def test_a_clock_that_is_moved_changes_nothing(
    state_dir: Path, tmp_path: Path, moved_s: int
) -> None:
    root, clock = tmp_path / "project", tmp_path / "clock"
    root.mkdir()
    (root / "m.py").write_text("def name():\n    return 'of name'\n")
    path = os.pathsep.join(
        (str(Path(__file__).with_name("clock")), os.environ.get("PYTHONPATH", ""))
    )
    env = {"PYTHONPATH": path, "MIDFILL_TEST_CLOCK": str(clock)}
    with Window(state_dir, env) as window:
        window.begin(index={"enabled": True}, folders=(root.as_uri(),))
        window.recovers()
        host = window.host().pid
        clock.write_text(str(moved_s))
        window.recovers()
        with Window(state_dir, env) as other:
            other.begin()
            other.recovers()
            assert other.host().pid == host
            other.close()
        window.recovers()
        assert window.host().pid == host
        assert window.said() == []
        window.leaves_well()
