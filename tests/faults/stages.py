"""The stages of a host's work, made to last by a scripted engine."""

from __future__ import annotations

from faults.window import LONG, Window

STAGES = {
    "load": "load_s=2",
    "prefill": "batch_delay_s=0.4",
    "decode": "piece_delay_s=0.15&piece_chars=1",
    "idle": "",
}
"""What makes a stage of the scripted engine last."""


def at(window: Window, stage: str) -> int:
    """Bring the host to a stage of its work; the request that it is at."""
    window.begin(STAGES[stage])
    if stage == "idle":
        window.recovers()
        return window.asks()
    request = window.asks(LONG if stage == "prefill" else "")
    if stage == "load":
        window.is_held()
    else:
        window.works_on_it()
    return request
