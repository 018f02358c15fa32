"""How likely it is that a completion is right up to the end of its first line: the gate of what nobody asked for.

A logistic regression over what the model said of its own tokens and where the caret stands. How the latest ones fared
moves the bar that a chance must reach, not the chance. The weights are data, `confidence.toml`, fitted by
`bench.confidence_fit`; that file says on what.
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
from midfill.habit import Habit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Logprobs = Sequence[tuple[int, float]]
"""Of each piece of a generation: where it begins in the text, and the sum of its tokens' log-probabilities."""

KINDS: tuple[CaretKind, ...] = ("comment", "string", "import", "member")
"""Compared with code."""


@dataclass(frozen=True)
class Gate:
    """The fitted weights."""

    weights: Mapping[str, float]
    habit_variance: float
    """Of the logarithm of the odds, from one person or project to the next."""
    habit_n_remembered: float
    """So many of the latest completions count, as many again half as much, and so on."""
    habit_most: float
    """By how much the logarithm of the odds is moved at most, up or down."""


def chance(
    logprobs: Logprobs, generation: str, text: str, context: CompletionContext
) -> float | None:
    """The probability that `text`, which filters left of a generation, is right up to the end of its first line.

    If they left nothing, it is asked of the whole generation. None where the engine tells no probabilities.
    """
    found = features(logprobs, generation, text or generation, context)
    if found is None:
        return None
    weights = gate().weights
    return _logistic(sum(weights.get(name, 0.0) * value for name, value in found.items()))


def bar(eagerness: float, habit: Habit) -> float:
    """The least chance at which a completion is shown unasked, 0 to 1.

    It is 1 − `eagerness` for somebody of whom nothing is known; 0 and 1 stay what they are.
    """
    least = 1 - eagerness
    if not 0 < least < 1:
        return least
    return _logistic(math.log(least / (1 - least)) - shift(habit))


def shift(habit: Habit) -> float:
    """By how much a person's or a project's odds are better than the model knows, as a logarithm.

    The first step of Newton's method towards the likeliest value, where values are spread normally around 0 from one
    person to the next (`habit_variance`): a random intercept beside the fitted weights. So a few completions move
    little, and what was shown being sure already counts for nothing. Bounded by `habit_most`.
    """
    known = gate()
    found = (habit.n_right - habit.n_expected) / (habit.spread + 1 / known.habit_variance)
    return min(max(found, -known.habit_most), known.habit_most)


def after(habit: Habit, chance: float, *, is_right: bool) -> Habit:
    """The habit with one more completion, which had this chance."""
    return habit.after(chance, is_right=is_right, n_remembered=gate().habit_n_remembered)


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
    habit = read["habit"]
    return Gate(read["weights"], habit["variance"], habit["n_remembered"], habit["most"])


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-max(score, -700.0)))  # Below, the exponential is no number any more.
