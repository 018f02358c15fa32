"""How long to rest after a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill_server.pace import LONGEST_GAP_MS, MAX_REST_MS, Pace, rest_ms

TYPING = [60.0, 90.0, 140.0, 220.0, 450.0]
"""About the 10th, 25th, 50th, 75th and 90th percentile in public editing traces."""


@pytest.mark.parametrize(
    ("gaps_ms", "response_ms", "floor_ms", "expected_ms"),
    [
        pytest.param([], 900.0, 20.0, 20.0, id="nothing-is-known"),
        pytest.param(TYPING, 40.0, 0.0, 0.0, id="engine-faster-than-every-key"),
        pytest.param(TYPING, 40.0, 20.0, 20.0, id="floor"),
        pytest.param(TYPING, 100.0, 0.0, 56.0, id="overtaken-by-two-of-five"),
        pytest.param(TYPING, 300.0, 0.0, 112.0, id="overtaken-by-four-of-five"),
        pytest.param([400.0], 900.0, 0.0, MAX_REST_MS, id="slow-typist-and-engine"),
        pytest.param([400.0], 900.0, 300.0, 300.0, id="floor-above-all"),
    ],
)
def test_rest(
    gaps_ms: list[float], response_ms: float, floor_ms: float, expected_ms: float
) -> None:
    assert rest_ms(gaps_ms, response_ms, floor_ms) == pytest.approx(expected_ms)


MS = st.floats(0, 5000)


@given(st.lists(MS), MS, MS, MS)
def test_a_slower_engine_is_not_asked_sooner(
    gaps_ms: list[float], response_ms: float, more_ms: float, floor_ms: float
) -> None:
    faster, slower = (rest_ms(gaps_ms, ms, floor_ms) for ms in (response_ms, response_ms + more_ms))
    assert floor_ms <= faster <= slower <= max(floor_ms, MAX_REST_MS)


def test_pauses_are_not_typing() -> None:
    pace = Pace()
    pace.answered(1000.0)
    for now_s in (0.0, 0.1, 0.2, 0.2 + LONGEST_GAP_MS / 1000, 60.0):
        pace.key(now_s)
    assert pace.rest_ms(0.0, 60.0) == pytest.approx(100.0)


def test_the_rest_begins_with_the_key() -> None:
    pace = Pace()
    pace.key(1.0)
    assert pace.rest_ms(100.0, 1.0) == pytest.approx(100.0)
    assert pace.rest_ms(100.0, 1.083) == pytest.approx(17.0)
    assert pace.rest_ms(100.0, 1.2) == 0.0


def test_one_slow_answer_is_not_the_rule() -> None:
    pace = Pace()
    for now_s in (0.0, 0.1):
        pace.key(now_s)
    pace.answered(10.0)
    pace.answered(400.0)
    assert pace.rest_ms(0.0, 0.1) == 0.0
    for _ in range(3):
        pace.answered(400.0)
    assert pace.rest_ms(0.0, 0.1) == pytest.approx(100.0)
