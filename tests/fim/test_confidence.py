"""The gate: what speaks for a completion, and what a person's habit adds."""

from __future__ import annotations

import math
from dataclasses import astuple, replace

import pytest

from carets import said
from midfill.confidence import Gate, after, bar, chance, features, gate, shift
from midfill.context import CompletionContext
from midfill.habit import Habit

CONTEXT = said("x = ├┤\n").context
LOGPROBS = [(0, -0.1), (2, -0.3), (4, -2.0)]


@pytest.mark.parametrize(
    ("generation", "text", "expected"),
    [
        pytest.param("abcdef", "abcdef", {"sum": -2.4, "least": -2.0, "cut": 0.0}, id="all"),
        pytest.param("abcdef", "abc", {"sum": -0.4, "least": -0.3, "cut": 1.0}, id="cut"),
        pytest.param(
            "ab\ndef", "ab\ndef", {"sum": -0.1, "mean": -0.1, "cut": 0.0}, id="first-line"
        ),
        pytest.param("\n  cdef", "\n\tcdef", {"sum": -2.4, "cut": 0.0}, id="indented-otherwise"),
        pytest.param("abcdef", "abcdef)", {"sum": -2.4, "cut": 0.0}, id="closed"),
    ],
)
def test_features(generation: str, text: str, expected: dict[str, float]) -> None:
    found = features(LOGPROBS, generation, text, CONTEXT)
    assert found is not None
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_an_engine_that_tells_nothing_is_not_judged() -> None:
    assert chance([], "ab", "ab", CONTEXT) is None


def test_the_weights_have_the_features_names() -> None:
    found = features(LOGPROBS, "ab", "ab", CONTEXT)
    assert found is not None
    assert found.keys() == gate().weights.keys()


def sure(context: CompletionContext, logprob: float = -0.2) -> float:
    found = chance([(0, logprob)], "ab", "ab", context)
    assert found is not None
    return found


def test_what_the_model_gives_more_to_is_surer() -> None:
    assert sure(CONTEXT, -0.01) > sure(CONTEXT, -1.0) > sure(CONTEXT, -5.0)


def test_the_least_probable_is_no_error() -> None:
    assert 0 <= sure(CONTEXT, -5000.0) < 1e-6


HALF = Habit(n_right=10, n_expected=10, spread=5)


@pytest.mark.parametrize(
    ("habit", "expected"),
    [
        pytest.param(Habit(), 0.0, id="nothing-is-known"),
        pytest.param(HALF, 0.0, id="as-expected"),
        pytest.param(replace(HALF, n_right=15), 5 / (5 + 4), id="better"),
        pytest.param(replace(HALF, n_right=5), -5 / (5 + 4), id="worse"),
        pytest.param(Habit(0, 0.5, 0.25), -0.5 / 4.25, id="one-says-little"),
        pytest.param(Habit(19, 19, 0.95), 0.0, id="what-is-sure-is-expected"),
        pytest.param(Habit(50, 25, 12.5), 0.9, id="at-most"),
        pytest.param(Habit(0, 25, 12.5), -0.9, id="at-least"),
    ],
)
def test_what_a_habit_moves(habit: Habit, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Gate({"bias": 0.0}, habit_variance=0.25, habit_n_remembered=50, habit_most=0.9)
    monkeypatch.setattr("midfill.confidence.gate", lambda: known)
    assert shift(habit) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("eagerness", "moved", "expected"),
    [
        pytest.param(0.5, 0.0, 0.5, id="new"),
        pytest.param(0.8, 0.0, 0.2, id="new-and-eager"),
        pytest.param(0.5, math.log(3), 0.25, id="takes-more"),
        pytest.param(0.5, -math.log(3), 0.75, id="takes-less"),
        pytest.param(1.0, -0.9, 0.0, id="all"),
        pytest.param(0.0, 0.9, 1.0, id="none"),
    ],
)
def test_the_bar(
    eagerness: float, moved: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midfill.confidence.shift", lambda habit: moved)
    assert bar(eagerness, Habit()) == pytest.approx(expected)


def test_later_ones_count_more() -> None:
    late = after(after(Habit(), 0.5, is_right=False), 0.5, is_right=True)
    early = after(after(Habit(), 0.5, is_right=True), 0.5, is_right=False)
    assert late.n_expected == early.n_expected
    assert late.n_right > early.n_right


def test_no_more_than_so_many_are_remembered() -> None:
    habit = Habit()
    for _ in range(1000):
        habit = after(habit, 0.4, is_right=True)
    most = gate().habit_n_remembered
    assert astuple(habit) == pytest.approx((most, 0.4 * most, 0.24 * most))
    assert shift(habit) == gate().habit_most
