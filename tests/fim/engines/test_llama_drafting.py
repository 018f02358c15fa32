"""What is guessed, and how much of it: tables over invented tokens and costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.engines.llama_drafting import SIZES, BatchCosts, Drafter

FREE = {1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0, 16: 10.0}
DEAR = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 160.0}
STEPS = {1: 27.0, 2: 42.0, 4: 40.0, 8: 97.0, 16: 97.0 * 2}
"""As measured for Q4_0 on one CPU, where four cost less than two."""


def _costs(ms: dict[int, float]) -> BatchCosts:
    costs = BatchCosts()
    for n_tokens, time_ms in ms.items():
        costs.note(n_tokens, time_ms)
    return costs


LONG = list(range(100, 140))


@pytest.mark.parametrize(
    ("prompt", "ms", "n_most", "expected"),
    [
        pytest.param(
            [*LONG, *LONG[:8]], FREE, 99, LONG[8:23], id="eight tokens match: all that fits"
        ),
        pytest.param([*LONG, *LONG[:8]], DEAR, 99, [], id="a guess costs as much as it gains"),
        pytest.param([*LONG, *LONG[:8]], STEPS, 99, LONG[8:11], id="the cheapest size"),
        pytest.param([*LONG, *LONG[:8]], FREE, 5, LONG[8:11], id="no more than is asked for"),
        pytest.param([*LONG, *LONG[:8]], FREE, 0, [], id="nothing is asked for"),
        pytest.param([*LONG, 100], FREE, 99, [], id="one token is the same everywhere"),
        pytest.param([1, 2, 3, 4], FREE, 99, [], id="nothing repeats"),
        pytest.param([7, 8, 1, 7, 8, 2, 7, 8], FREE, 1, [2], id="the nearest place"),
        pytest.param([3, 7, 8, 1, 9, 7, 8, 2, 3, 7, 8], FREE, 1, [1], id="the longest match"),
        pytest.param([5, 5, 5, 5], FREE, 99, [5], id="what is there, and no more"),
        pytest.param([], FREE, 99, [], id="an empty text"),
    ],
)
def test_draft(prompt: list[int], ms: dict[int, float], n_most: int, expected: list[int]) -> None:
    assert Drafter(prompt, _costs(ms)).draft(n_most) == expected


def test_numbers_are_compared_whole() -> None:
    # The bytes of 0x01000000 stand within those of the two before it.
    drafter = Drafter([0x00000100, 0x00000001, 9, 9, 0x01000000, 0x00010000], _costs(FREE))
    assert drafter.draft(9) == []


def test_wrong_guesses_end_the_guessing() -> None:
    prompt = [1, 2, 3] * 30
    drafter = Drafter(prompt, _costs({1: 10.0, 2: 13.0, 4: 18.0, 8: 30.0, 16: 60.0}))
    lengths = []
    for idx in range(8):
        lengths.append(len(drafter.draft(99)))
        drafter.append([500 + idx, 1, 2, 3])
    assert lengths[0] > 0
    assert lengths[-1] == 0


def test_right_guesses_make_them_longer() -> None:
    text = list(range(1000, 1200))
    drafter = Drafter([*text, *text[:3]], _costs({1: 10.0, 2: 12.0, 4: 16.0, 8: 26.0, 16: 48.0}))
    at, lengths = 3, []
    for _ in range(6):
        draft = drafter.draft(99)
        assert draft == text[at : at + len(draft)]
        lengths.append(len(draft))
        drafter.append(text[at : at + len(draft) + 1])
        at += len(draft) + 1
    assert lengths[-1] > lengths[0]


def test_behind_a_changed_token_the_text_goes_on() -> None:
    text = list(range(1000, 1060))
    drafter = Drafter([*text, *text[:8]], _costs(FREE))
    draft = drafter.draft(99)
    assert draft == text[8:23]
    drafter.append([text[8], text[9], 77])  # 77 in place of text[10].
    assert drafter.draft(3) == text[11:14]


@pytest.mark.parametrize(
    ("ms", "n_tokens", "expected"),
    [
        pytest.param({}, 1, 1.0, id="nothing known: one is one"),
        pytest.param({}, 16, 1.75, id="nothing known: a batch is taken to be cheap"),
        pytest.param({1: 10.0, 4: 20.0}, 4, 2.0, id="known"),
        pytest.param({1: 10.0, 4: 20.0}, 8, 2.2, id="larger than any known"),
        pytest.param({1: 10.0, 8: 10.5}, 4, 1.05, id="a larger one was cheaper"),
        pytest.param({4: 20.0}, 4, 1.15, id="without a single one there is no ratio"),
    ],
)
def test_costs(ms: dict[int, float], n_tokens: int, expected: float) -> None:
    assert _costs(ms).relative(n_tokens) == pytest.approx(expected)


def test_one_slow_moment_does_not_count() -> None:
    costs = _costs({1: 10.0})
    for ms in (12.0, 12.0, 900.0, 12.0, 12.0):
        costs.note(4, ms)
    assert costs.relative(4) == pytest.approx(1.2)


def test_costs_are_reckoned_anew_only_when_a_time_has_moved() -> None:
    costs = _costs(STEPS)
    known = costs.of_sizes()
    assert known == {size: costs.relative(size) for size in SIZES}
    for _ in range(9):
        costs.note(1, STEPS[1] * 1.01)
    assert costs.of_sizes() is known
    for _ in range(9):
        costs.note(1, STEPS[1] * 1.03)
    assert costs.of_sizes() == {size: costs.relative(size) for size in SIZES} != known


def test_a_size_whose_cost_is_forgotten_is_reckoned_anew() -> None:
    costs = _costs({1: 10.0, 4: 900.0})
    assert costs.of_sizes()[4] == 90
    for _ in range(600):
        costs.note(1, 10.0)
    assert costs.of_sizes()[4] == pytest.approx(1.15)


def test_a_size_that_is_not_tried_any_more_is_forgotten() -> None:
    costs = _costs({1: 10.0, 4: 900.0})
    for _ in range(600):
        costs.note(1, 10.0)
    assert costs.relative(4) == pytest.approx(1.15)


def _n_evaluations(prompt: list[int], said: list[int], ms: dict[int, float] = FREE) -> int:
    """How many batches it takes to say it."""
    drafter, at, n_batches = Drafter(prompt, _costs(ms)), 0, 0
    while at < len(said):
        draft = drafter.draft(len(said) - at - 1)
        n_right = next(
            (idx for idx, token in enumerate(draft) if token != said[at + idx]), len(draft)
        )
        drafter.append(said[at : at + n_right + 1])
        at += n_right + 1
        n_batches += 1
    return n_batches


def _with_name(name: list[int], n_places: int = 8) -> list[int]:
    """Text that says a name at places that are 20 tokens apart."""
    parts = ([*range(100 * idx, 100 * idx + 20), *name] for idx in range(1, n_places + 1))
    return [token for part in parts for token in part]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param([7], [8], id="a token for a token"),
        pytest.param([7], [8, 9, 6], id="a longer name"),
        pytest.param([7, 5, 9], [8], id="a shorter one"),
        pytest.param([7, 5], [8, 7, 5], id="one that ends in the old"),
    ],
)
@pytest.mark.parametrize("told", [False, True], ids=["", "the new name was told"])
def test_a_rename_is_expected_once_it_was_seen(old: list[int], new: list[int], told: bool) -> None:
    before, after = _with_name(old), _with_name(new)
    prompt = [*before, 1, *(new if told else []), 2]
    # The first change costs some batches; then it is as if nothing were changed. Unlearnt it is 19 to 42.
    assert _n_evaluations(prompt, after) <= _n_evaluations([*before, 1], before) + 3


def test_a_name_that_stays_is_expected_to_stay() -> None:
    before = _with_name([7], 12)
    after = [*_with_name([8], 3), *before[len(_with_name([7], 3)) :]]
    assert _n_evaluations([*before, 1], after) <= _n_evaluations([*before, 1], before) + 4


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), max_size=30),
    st.integers(0, 40),
)
def test_whatever_is_said_a_draft_has_its_size(
    prompt: list[int], said: list[list[int]], n_most: int
) -> None:
    drafter = Drafter(prompt, _costs(FREE))
    for tokens in said:
        draft = drafter.draft(n_most)
        assert len(draft) + 1 in SIZES
        assert len(draft) <= n_most
        drafter.append(tokens)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 40))
def test_a_draft_is_text_that_followed_the_same_tokens(prompt: list[int], n_most: int) -> None:
    draft = Drafter(prompt, _costs(FREE)).draft(n_most)
    assert len(draft) + 1 in SIZES
    assert len(draft) <= n_most
    if draft:
        wanted = [*prompt[-2:], *draft]
        assert any(prompt[idx : idx + len(wanted)] == wanted for idx in range(len(prompt)))
