"""A trace on virtual time: the server with its session and scheduler, and a model that knows what will be typed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bench.replay.clock import run_virtually
from bench.replay.connection import to_server
from bench.replay.editor import Editor, Policy
from bench.replay.model import RATES, Answer, Rates, TraceModel
from bench.replay.record import Record, total
from bench.replay.traces import Trace, ahead

from midfill.engine import Engine, Role
from midfill.settings import Settings
from midfill_server.server import create_server
from midfill_server.session import Session

KEY_CHARS = 48
"""Of the text before the caret, by which the model knows where it is."""


def simulate(
    trace: Trace,
    policy: Policy,
    rates: Rates = RATES["rtx3060"],
    *,
    wrong_share: float = 0.35,
    options: Mapping[str, Any] | None = None,
    seed: int = 1,
) -> Record:
    """Play a trace in no time; the same every time."""
    return run_virtually(_played(trace, policy, rates, wrong_share, options or {}, seed))


async def _played(
    trace: Trace,
    policy: Policy,
    rates: Rates,
    wrong_share: float,
    options: Mapping[str, Any],
    seed: int,
) -> Record:
    model = TraceModel(answers_of(trace), rates, wrong_share=wrong_share, seed=seed)

    def open_model(settings: Settings, role: Role = "completion") -> Engine:
        return model

    session = Session(open_model, Settings())
    editor = Editor(to_server(create_server(session)), policy, trace, lambda: model.usages)
    await editor.initialize(dict(options))
    record = await editor.play()
    record.tokens = total(model.usages)
    await session.end()
    return record


def answers_of(trace: Trace) -> Answer:
    """What is typed next at any place of the trace, by the text around it."""
    known: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for text, key, run in zip(trace.texts(), trace.keys, ahead(trace), strict=True):
        before, after = text[: key.caret], text[key.caret :]
        known[before[-KEY_CHARS:]].append((after, run))

    def answer(prefix: str, suffix: str) -> str:
        places = known.get(prefix[-KEY_CHARS:], [])
        return max(places, key=lambda place: _n_same(place[0], suffix))[1] if places else ""

    return answer


def _n_same(a: str, b: str) -> int:
    pairs = enumerate(zip(a[:200], b[:200], strict=False))
    return next((idx for idx, (ours, theirs) in pairs if ours != theirs), min(len(a), len(b), 200))
