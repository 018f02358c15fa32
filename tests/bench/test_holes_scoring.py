"""Scoring: a hole marked `├…┤`, what was shown in it, and what that counts as."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.holes_items import Hole
from bench.holes_scoring import (
    Score,
    by,
    confident,
    lead,
    n_shared,
    score,
    shares,
    similarity,
    spread,
)
from bench.holes_systems import Answer
from bench.workplace import context_of
from hypothesis import given
from hypothesis import strategies as st

from marks import inserted
from midfill.engine import StopReason, Usage


def scored(marked: str, text: str, stop_reason: StopReason = "eot") -> Score:
    hole = Hole("line", "here/a.py", *inserted(marked))
    return score(hole, context_of(hole), Answer(text, 1.0, usage=Usage(stop_reason=stop_reason)))


@pytest.mark.parametrize(
    ("marked", "text", "exact", "line_exact"),
    [
        pytest.param("x = ├f(1)┤\n", "f(1)", True, True, id="the-same"),
        pytest.param("x = ├f(1)┤\n", "f(1) \n ", True, True, id="white-space-at-the-end"),
        pytest.param("x = ├f(1)┤\n", " f(1)", False, False, id="white-space-at-the-beginning"),
        pytest.param("x = ├f(1)┤\n", "f(1", False, False, id="too-short"),
        pytest.param("x = ├f(1)┤\n", "f(1)\ny = 2", False, True, id="more-lines"),
        pytest.param("x = ├f(1)┤\n", "", False, False, id="nothing"),
        pytest.param("f(├a, b┤)\n", "a, b", True, True, id="in-line"),
        pytest.param("f(├a, b┤)\n", "a, b ", False, False, id="in-line-white-space"),
        pytest.param("f(├a, b┤)\n", "a, b)", False, False, id="in-line-doubled-bracket"),
        pytest.param("f(├a, b┤)\n", "a", False, False, id="in-line-too-short"),
        pytest.param("if x:├\n    a\n    b┤\n", "\n    a\n    b", True, True, id="block"),
        pytest.param("if x:├\n    a\n    b┤\n", "\n    a", False, True, id="block-first-line"),
        pytest.param("if x:├\n    a\n    b┤\n", "\n", False, False, id="block-blank"),
        pytest.param("if x:\n    ├a\n    b┤\n", "a\n    c", False, True, id="block-other-end"),
    ],
)
def test_right(marked: str, text: str, exact: bool, line_exact: bool) -> None:
    found = scored(marked, text)
    assert (found.exact, found.line_exact) == (exact, line_exact)


@pytest.mark.parametrize(
    ("marked", "text", "saved", "right"),
    [
        pytest.param("x = ├f(1)┤\n", "f(1)", 4, 4, id="all"),
        pytest.param("x = ├f(1)┤\n", "f(", 2, 2, id="a-beginning"),
        pytest.param("x = ├f(1)┤\n", "f(2)", 0, 2, id="wrong-end"),
        pytest.param("x = ├f(1)┤\n", "f(1) + 2", 0, 4, id="too-much"),
        pytest.param("x = ├f(1)┤\n", "", 0, 0, id="nothing"),
    ],
)
def test_keystrokes(marked: str, text: str, saved: int, right: int) -> None:
    found = scored(marked, text)
    assert (found.saved, found.right) == (saved, right)


@pytest.mark.parametrize(
    ("marked", "text", "kept"),
    [
        pytest.param("x = ├f(1)┤\n", "f(", 2, id="a-beginning"),
        pytest.param("x = ├f(1)┤\n", "f(2)", 0, id="a-wrong-line"),
        pytest.param("if x:├\n    a\n    b┤\n", "\n    a\n    c", 7, id="whole-lines"),
        pytest.param("x = f(├1┤)\n", "1)", 0, id="a-doubled-closer"),
    ],
)
def test_kept_characters(marked: str, text: str, kept: int) -> None:
    assert scored(marked, text).kept == kept


def test_what_is_replaced_counts_as_removed() -> None:
    hole = Hole("inline", "here/a.py", *inserted("x = f(├1┤)\n"))
    found = score(hole, context_of(hole), Answer("1)", 1.0, n_replaced=1))
    assert (found.exact, found.repeats, found.saved, found.n_middle) == (True, False, 1, 1)
    found = score(hole, context_of(hole), Answer("1", 1.0, n_replaced=1))
    assert (found.exact, found.valid) == (False, False)


@pytest.mark.parametrize(
    ("marked", "text", "repeats"),
    [
        pytest.param("f(├a┤)\n", "b)", True, id="doubled-closer"),
        pytest.param("f(├a┤)\n", "g(b)", False, id="a-closer-of-its-own"),
        pytest.param("f(├g(1)┤)\n", "g(1)", False, id="as-it-was"),
        pytest.param("f('├a┤')\n", "b')", True, id="doubled-quote"),
        pytest.param("x = ├1┤ + rest\n", "2 + rest", True, id="rest-of-the-line"),
        pytest.param("├x = 1┤\ny = 2\n", "z = 3\ny = 2", True, id="next-line"),
        pytest.param("├x = 1\ny = 2┤\ny = 2\n", "z = 3\ny = 2", False, id="was-there-twice"),
        pytest.param("├x = [\n1┤\n]\n", "y = [\n2\n]", False, id="a-common-line"),
    ],
)
def test_repeats_what_is_right_of_the_caret(marked: str, text: str, repeats: bool) -> None:
    assert scored(marked, text).repeats == repeats


@pytest.mark.parametrize(
    ("marked", "text", "valid", "parses"),
    [
        pytest.param("x = ├f(1)┤\n", "2", True, True, id="sound"),
        pytest.param("x = 1├ + 2┤\n", "(", False, False, id="opens-a-bracket"),
        pytest.param("x = (├1 + 2)┤\n", "1 + 2", True, False, id="as-broken-as-before"),
        pytest.param("x = ├1┤\n", "", False, False, id="nothing"),
    ],
)
def test_syntax(marked: str, text: str, valid: bool, parses: bool) -> None:
    found = scored(marked, text)
    assert (found.valid, found.parses) == (valid, parses)


@pytest.mark.parametrize(
    ("stop_reason", "generated", "stopped"),
    [
        pytest.param("eot", True, True, id="eot"),
        pytest.param("line", True, True, id="newline"),
        pytest.param("block", True, True, id="end-of-block"),
        pytest.param("budget", True, False, id="budget"),
        pytest.param("time", True, False, id="time"),
        pytest.param("", False, False, id="no-model"),
    ],
)
def test_stopped(stop_reason: StopReason, generated: bool, stopped: bool) -> None:
    found = scored("x = ├1┤\n", "1", stop_reason)
    assert (found.generated, found.stopped) == (generated, stopped)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("abc", "abc", 1.0, id="same"),
        pytest.param("abc", "xyz", 0.0, id="nothing-in-common"),
        pytest.param("", "", 1.0, id="both-empty"),
        pytest.param("abc", "", 0.0, id="one-empty"),
        pytest.param("kitten", "sitting", 8 / 13, id="subsequence-ittn"),
    ],
)
def test_similarity(a: str, b: str, expected: float) -> None:
    assert similarity(a, b) == expected


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_similarity_is_that_of_the_longest_common_subsequence(a: str, b: str) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, ours in enumerate(a):
        for j, theirs in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if ours == theirs else max(table[i][j + 1], table[i + 1][j])
            )
    whole = len(a) + len(b)
    assert similarity(a, b) == (2 * table[-1][-1] / whole if whole else 1.0)


def test_n_shared() -> None:
    assert [n_shared("abc", other) for other in ("abd", "ab", "abcd", "", "x")] == [2, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("marked", "in_word"),
    [
        pytest.param("val├ue┤\n", True, id="inside"),
        pytest.param("a_├1┤\n", True, id="digit-and-underscore"),
        pytest.param("x = ├value┤\n", False, id="before"),
        pytest.param("value├ = 1┤\n", False, id="behind"),
        pytest.param("├value┤\n", False, id="start-of-file"),
    ],
)
def test_in_word(marked: str, in_word: bool) -> None:
    assert scored(marked, "").in_word == in_word


def test_exact_by_a_group() -> None:
    scores = [RIGHT, WRONG, replace(WRONG, place="comment")]
    assert by(scores, lambda found: found.place) == {
        "code": {"n": 2, "exact": 0.5},
        "comment": {"n": 1, "exact": 0.0},
    }


RIGHT, WRONG = scored("x = ├f(1)┤\n", "f(1)"), scored("x = ├f(1)┤\n", "f(2)")
SILENT = scored("x = ├f(1)┤\n", "", "budget")


def test_shares_are_of_what_they_are_among() -> None:
    found = shares([RIGHT, WRONG, WRONG, SILENT], seed=1)
    values = {name: share["value"] for name, share in found.items()}
    assert values == {
        "exact": 0.25,
        "line_exact": 0.25,
        "similarity": 0.625,
        "shown": 0.75,
        "precision": 0.3333,
        "exact_precision": 0.3333,
        "valid": 1.0,
        "parses": 1.0,
        "stopped": 0.75,
        "saved": 0.25,
        "right": 0.5,
        "kept": 0.25,
        "adds_error": 0.0,
        "repeats": 0.0,
    }
    # One source, so every resample is the same.
    assert found["exact"] == {"value": 0.25, "low": 0.25, "high": 0.25}


def test_a_share_of_nothing_is_none() -> None:
    assert shares([SILENT], seed=1)["precision"] == {"value": None, "low": None, "high": None}


def test_intervals_draw_whole_sources() -> None:
    scores = [replace(RIGHT, source="a")] * 30 + [replace(WRONG, source="b")] * 30
    # Two sources, one all right and one all wrong: anything may come of drawing two.
    assert shares(scores, seed=1)["exact"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    many = [replace(found, source=str(idx)) for idx, found in enumerate(scores)]
    interval = shares(many, seed=1)["exact"]
    assert interval["low"] is not None
    assert interval["high"] is not None
    assert 0.3 < interval["low"] < 0.45
    assert 0.55 < interval["high"] < 0.7


def test_lead_is_by_hole() -> None:
    ours, theirs = [RIGHT, RIGHT, WRONG, WRONG], [RIGHT, WRONG, WRONG, WRONG]
    assert lead(ours, theirs, seed=1) == {"value": 0.25, "low": 0.25, "high": 0.25}


def test_the_surest_of_what_is_shown() -> None:
    sure, unsure = {"mean_logprob": -0.1}, {"mean_logprob": -2.0}
    scores = [
        replace(WRONG, confidence=unsure),
        replace(RIGHT, confidence=sure),
        replace(SILENT, confidence=sure),
        replace(WRONG, confidence=unsure),
        replace(WRONG, confidence=unsure),
    ]
    assert confident(scores) == {"mean_logprob": {"0.2": 1.0, "0.35": 1.0, "0.5": 0.5, "1.0": 0.25}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], {"p50": 0.0, "p95": 0.0}, id="none"),
        pytest.param([3.0], {"p50": 3.0, "p95": 3.0}, id="one"),
        pytest.param(list(range(101)), {"p50": 50.0, "p95": 95.0}, id="many"),
    ],
)
def test_spread(values: list[float], expected: dict[str, float]) -> None:
    assert spread(values) == expected
