"""The gate: what speaks for a completion, and what a person's habit adds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carets import said
from midfill.confidence import Gate, chance, features, gate
from midfill.context import CompletionContext

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


def test_who_takes_more_is_shown_more() -> None:
    base = sure(CONTEXT)
    assert sure(replace(CONTEXT, n_shown=50, n_taken=0)) < base
    assert sure(replace(CONTEXT, n_shown=50, n_taken=50)) > base


def test_who_takes_as_many_as_the_fit_had_right_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("midfill.confidence.gate", lambda: Gate({"bias": 0.0}, 0.5))
    assert sure(CONTEXT) == 0.5
    assert sure(replace(CONTEXT, n_shown=20, n_taken=10)) == 0.5
    # Twenty more, all taken, beside the twenty that are assumed: the share is 0.75, and so are the odds.
    assert sure(replace(CONTEXT, n_shown=20, n_taken=20)) == pytest.approx(0.75)
