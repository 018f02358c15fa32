"""How likely it is that a completion is right up to the end of its first line: the gate of what nobody asked for.

A logistic regression over what the model said of its own tokens and where the caret stands. Its weights are data,
`confidence.toml`, fitted by `bench.confidence_fit`; that file says on what.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from midfill.caret import CaretKind
from midfill.context import CompletionContext

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Logprobs = Sequence[tuple[int, float]]
"""Of each piece of a generation: where it begins in the text, and the sum of its tokens' log-probabilities."""

KINDS: tuple[CaretKind, ...] = ("comment", "string", "import", "member")
"""Compared with code."""

N_ASSUMED = 20
"""So many completions, taken as often as the fit has seen right ones, are counted before a person's own."""


@dataclass(frozen=True)
class Gate:
    """The fitted weights."""

    weights: Mapping[str, float]
    base: float
    """Share of right completions among those that the weights were fitted to."""


def chance(
    logprobs: Logprobs, generation: str, text: str, context: CompletionContext
) -> float | None:
    """The probability that `text`, which filters left of a generation, is right up to the end of its first line.

    If they left nothing, it is asked of the whole generation. None where the engine tells no probabilities.
    """
    found = features(logprobs, generation, text or generation, context)
    if found is None:
        return None
    known = gate()
    score = sum(known.weights.get(name, 0.0) * value for name, value in found.items())
    return 1 / (1 + math.exp(-(score + _habit(context, known.base))))


def features(
    logprobs: Logprobs, generation: str, text: str, context: CompletionContext
) -> dict[str, float] | None:
    """What speaks for a completion and against it, by name; None where the engine tells no probabilities."""
    start = len(generation) - len(generation.lstrip())
    first_line = text.strip().partition("\n")[0]
    of_line = [logprob for at, logprob in logprobs if at < start + len(first_line)]
    if not of_line:
        return None
    said = generation.strip().partition("\n")[0]
    return {
        "bias": 1.0,
        "sum": sum(of_line),
        "mean": sum(of_line) / len(of_line),
        "least": min(of_line),
        "length": math.log1p(len(first_line)),
        "cut": float(len(first_line.rstrip()) < len(said.rstrip())),
        "block": float(context.extent == "block"),
        "in_word": float(context.line_head[-1:].isalnum() or context.line_head[-1:] == "_"),
        **{kind: float(context.kind == kind) for kind in KINDS},
    }


@cache
def gate() -> Gate:
    """The weights of `confidence.toml`."""
    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return Gate(read["weights"], read["fit"]["base"])


def _habit(context: CompletionContext, base: float) -> float:
    """How a person's taking of what was shown moves the odds: by as much as their own share is other than the fit's.

    M. Saerens and others, Adjusting the outputs of a classifier to new a priori probabilities (2002).
    """
    share = (context.n_taken + N_ASSUMED * base) / (context.n_shown + N_ASSUMED)
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share)) - math.log(base / (1 - base))
