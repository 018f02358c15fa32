"""What happened while a trace was played: what the scores are made of. Times are milliseconds since it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.replay.traces import Trace

from midfill.engine import Usage

Kind = Literal["nothing", "model", "again", "typed", "ahead", "held"]
"""Where an answer came from: `nothing` is empty; `model`: a model was asked for it. The others were there already:
`again` for the same text and caret, `typed` because what was answered before goes on like that, `ahead` for a place
that nobody had asked about, and `held` where it cannot be told whether a model was asked."""


@dataclass
class Asked:
    """One request, and what came of it."""

    key_idx: int
    """The key after which it was asked."""
    text: str
    """The whole file then."""
    offset: int
    at_ms: float
    answered_ms: float | None = None
    cancelled: bool = False
    """By the editor, before an answer came."""
    answer: str = ""
    """What could be shown at the caret; empty for nothing."""
    usages: tuple[Usage, ...] | None = None
    """What the model did from the key before it to its answer; None where that is not known."""


@dataclass(frozen=True)
class Display:
    """Something new on the screen."""

    key_idx: int
    """The last key before it."""
    at_ms: float
    text: str
    """What stands at the caret as if it were the file's."""
    flickers: bool = False
    """It took the place of something that still fitted, and says something else."""
    stale: bool = False
    """It does not fit the text that it stands in."""


@dataclass
class Record:
    """One trace played under one policy."""

    trace: Trace
    policy: str
    key_ms: list[float] = field(default_factory=list)
    """When each key was pressed."""
    standing: list[str] = field(default_factory=list)
    """What was on the screen just before each key."""
    asked: list[Asked] = field(default_factory=list)
    displays: list[Display] = field(default_factory=list)
    n_answered_twice: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    """What the model did in all, by the names of `Usage` without `tokens_`."""
    initialize_ms: float | None = None
    """From the server's start to its answer to `initialize`."""
    lag_ms: list[float] = field(default_factory=list)
    """How long the server took to refuse a request that it does not know: how long its loop was busy."""
    rss_mb: list[float] = field(default_factory=list)
    """The server's memory, now and then."""


def kinds_of(record: Record) -> list[Kind]:
    """The kind of each answered request."""
    seen: set[tuple[str, int]] = set()
    answers: list[tuple[str, str, str]] = []
    kinds: list[Kind] = []
    for asked in record.asked:
        if asked.answered_ms is None:
            continue
        before, after = asked.text[: asked.offset], asked.text[asked.offset :]
        if not asked.answer:
            kinds.append("nothing")
        elif any(usage.stop_reason != "cancelled" for usage in asked.usages or ()):
            kinds.append("model")
        elif (asked.text, asked.offset) in seen:
            kinds.append("again")
        elif any(_goes_on(before, after, asked.answer, one) for one in answers[-_LOOK_BACK:]):
            kinds.append("typed")
        else:
            kinds.append("held" if asked.usages is None else "ahead")
        seen.add((asked.text, asked.offset))
        if asked.answer:
            answers.append((before, after, asked.answer))
    return kinds


def total(usages: Sequence[Usage]) -> dict[str, int]:
    """The tokens of some requests by name."""
    names = ("reused", "evaluated", "generated", "drafted", "accepted")
    return {name: sum(getattr(usage, f"tokens_{name}") for usage in usages) for name in names}


_LOOK_BACK = 50


def _goes_on(before: str, after: str, answer: str, earlier: tuple[str, str, str]) -> bool:
    was_before, was_after, said = earlier
    if len(before) <= len(was_before) or not before.startswith(was_before) or after != was_after:
        return False
    typed = before[len(was_before) :]
    return said.startswith(typed) and said[len(typed) :].startswith(answer)
