"""The connection between a server and its host is cut, stalled, slowed and garbled, at each stage of its use."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.proxy import Mode, Proxy
from faults.record import LONG_RUN
from faults.window import ANSWER, SOURCE, Window

STAGES = {
    "join": b"GET /proof",
    "lease": b"GET /lease",
    "load": b"GET /health",
    "model": b"GET /props",
    "tokenize": b"POST /tokenize",
    "stream": b"POST /completion",
}
MODES: tuple[Mode, ...] = ("cut", "garble", "stall", "drip")
FEW = {
    ("join", "garble"),
    ("lease", "cut"),
    ("model", "garble"),
    ("stream", "cut"),
    ("stream", "stall"),
}
"""Those that every run of the tests looks at; `make reliability` looks at all."""


@pytest.mark.parametrize(
    ("stage", "mode"),
    [
        pytest.param(
            stage,
            mode,
            id=f"{mode}-{stage}",
            marks=[] if (stage, mode) in FEW else LONG_RUN,
        )
        for stage in STAGES
        for mode in MODES
    ],
)
def test_a_bad_connection_costs_answers_and_no_more(
    state_dir: Path, stage: str, mode: Mode
) -> None:
    with Window(state_dir) as first:
        first.begin()
        first.recovers()
        with Proxy(first.files()) as proxy, Window(state_dir) as window:
            proxy.when = lambda request: request.startswith(STAGES[stage])
            proxy.mode = mode
            window.begin()
            shown = window.completes()
            assert shown in ("", ANSWER)
            assert window.request("workspace/unheardOf", {})["error"]
            assert proxy.n_hit
            proxy.mode = "pass"
            window.recovers()
            said = window.said()
            assert len(said) <= 1, said
            # Whoever has the host still has it, whatever befell the other's connection.
            assert first.completes(SOURCE) == ANSWER
            first.close()
            window.leaves_well()
