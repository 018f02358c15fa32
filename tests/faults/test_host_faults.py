"""The host is killed, stopped or told to end, at each stage of its work."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from faults.stages import STAGES, at
from faults.window import Window, nothing_runs


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_host_costs_one_answer(state_dir: Path, stage: str) -> None:
    with Window(state_dir) as window:
        request = at(window, stage)
        host = window.host()
        host.kill()
        window.shown(request)
        window.recovers()
        assert window.host().pid != host.pid
        said = window.said()
        assert len(said) <= (stage == "load"), said
        window.leaves_well()


@pytest.mark.parametrize("stage", STAGES)
def test_a_host_that_is_told_to_end_does_so_in_good_order(state_dir: Path, stage: str) -> None:
    with Window(state_dir) as window:
        request = at(window, stage)
        host = window.host()
        host.terminate()
        window.shown(request)
        window.recovers()
        assert not host.is_running() or host.status() == psutil.STATUS_ZOMBIE
        assert len(window.said()) <= (stage == "load")
        window.leaves_well()


@pytest.mark.parametrize("stage", STAGES)
def test_a_host_that_stands_still_for_a_while_goes_on(state_dir: Path, stage: str) -> None:
    with Window(state_dir) as window:
        request = at(window, stage)
        host = window.host()
        host.send_signal(signal.SIGSTOP)
        if stage != "load":
            assert window.shown(request) == "" or stage == "idle"
        assert window.request("workspace/unheardOf", {})["error"]
        host.send_signal(signal.SIGCONT)
        window.recovers()
        assert window.host().pid == host.pid
        assert window.said() == []
        window.leaves_well()


@pytest.mark.parametrize("stage", STAGES)
def test_a_server_that_is_killed_takes_its_host_with_it(state_dir: Path, stage: str) -> None:
    with Window(state_dir) as window:
        at(window, stage)
        window.process.kill()
        nothing_runs(state_dir)
