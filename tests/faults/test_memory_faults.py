"""The host has no memory left, at each stage of its work: that is one sentence, and nothing else is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from faults.limits import limited
from faults.record import LONG_RUN
from faults.stages import STAGES, at
from faults.window import LONG, SOURCE, Window

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets limits of running processes")

SHARES = (0.6, 0.7, 0.8, 0.9)
"""Of the address space that a host takes which has loaded the embedded model."""
FEW = (0.7,)


@pytest.mark.parametrize("stage", STAGES)
def test_a_host_without_memory_costs_answers_and_no_more(state_dir: Path, stage: str) -> None:
    with Window(state_dir) as window:
        request = at(window, stage)
        host = window.host()
        with limited(host, psutil.RLIMIT_AS, host.memory_info().vms):
            window.shown(request)
            window.completes(LONG)
        window.recovers()
        assert len(window.said()) <= 1
        window.leaves_well()


@pytest.mark.model
@pytest.mark.parametrize(
    "share", [pytest.param(share, marks=[] if share in FEW else LONG_RUN) for share in SHARES]
)
def test_a_model_without_memory_to_load_it_is_told(state_dir: Path, share: float) -> None:
    pytest.importorskip("llama_cpp", exc_type=ImportError)
    with Window(state_dir) as window:
        window.begin(engine={"model": "", "tune": False})
        window.recovers()
        n_bytes = window.host().memory_info().vms
        window.leaves_well()
    with Window(state_dir) as window:
        server = psutil.Process(window.process.pid)
        with limited(server, psutil.RLIMIT_AS, int(share * n_bytes)):
            window.begin(engine={"model": "", "tune": False})
            shown = [window.completes() for _ in range(3)]
            said = window.said()
            # It may be loaded with less than it takes where there is enough. Without, it ends at one step or another.
            assert len(said) in ((0,) if all(shown) else (1, 2)), "\n".join(said)
            assert all("memory" in sentence for sentence in said)
        window.recovers()
        assert window.said() == []
        window.leaves_well()


@pytest.mark.model
@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_llama_without_memory_to_compute_costs_answers_and_no_more(
    state_dir: Path, stage: str
) -> None:
    pytest.importorskip("llama_cpp", exc_type=ImportError)
    with Window(state_dir) as window:
        window.begin(engine={"model": "", "tune": False})
        window.recovers()
        host = window.host()
        with limited(host, psutil.RLIMIT_AS, host.memory_info().vms):
            for n in range(3):
                window.completes(f"{LONG if stage == 'prefill' else SOURCE}{n} + ")
        window.recovers()
        assert len(window.said()) <= 1
        window.leaves_well()
