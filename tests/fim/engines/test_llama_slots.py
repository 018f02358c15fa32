"""The slot policy as tables: which slot serves a prompt, and who gives way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.engines.llama_slots import Slot, choose_prompt, choose_slot, common_length, make_room

SEEN_BEFORE = list(range(100, 200))
OTHER = [100, 101, *range(500, 600)]
EMPTY: list[int] = []


@pytest.mark.parametrize(
    ("slots", "prompt", "expected"),
    [
        pytest.param([(EMPTY, 0), (EMPTY, 0)], [1, 2, 3], (0, 0), id="all empty: the first"),
        pytest.param(
            [(OTHER, 1), (EMPTY, 0)], [1, 2, 3], (1, 0), id="nothing shared: an empty one"
        ),
        pytest.param(
            [(OTHER, 2), (SEEN_BEFORE, 1)], [1, 2, 3], (1, 0), id="none empty: the oldest"
        ),
        pytest.param(
            [(EMPTY, 0), (SEEN_BEFORE, 1)],
            [*SEEN_BEFORE, 7],
            (1, 100),
            id="typed on: all is reused",
        ),
        pytest.param(
            [(EMPTY, 0), (SEEN_BEFORE, 1)], SEEN_BEFORE, (1, 99), id="the same: one token is left"
        ),
        pytest.param(
            [(EMPTY, 0), (SEEN_BEFORE, 1)],
            SEEN_BEFORE[:40],
            (1, 39),
            id="deleted: one token is left",
        ),
        pytest.param(
            [(EMPTY, 0), (SEEN_BEFORE, 1)],
            [*SEEN_BEFORE[:60], 7, 8, 9],
            (1, 60),
            id="changed near the end: what is before is reused",
        ),
        pytest.param(
            [(SEEN_BEFORE, 1), (EMPTY, 0)],
            OTHER,
            (1, 0),
            id="only control tokens shared: another file stays warm",
        ),
        pytest.param(
            [(SEEN_BEFORE, 1), ([3, 4], 2)],
            OTHER,
            (0, 2),
            id="no empty slot: the oldest goes, and its control tokens are reused",
        ),
        pytest.param(
            [(SEEN_BEFORE[:80], 9), (SEEN_BEFORE, 1)],
            [*SEEN_BEFORE, 7],
            (1, 100),
            id="the longest common prefix wins over the latest use",
        ),
        pytest.param(
            [(SEEN_BEFORE, 1), (SEEN_BEFORE, 2)],
            [*SEEN_BEFORE, 7],
            (1, 100),
            id="as long: the one used last",
        ),
        pytest.param([([5], 1)], [5], (0, 0), id="one token: it is evaluated again"),
    ],
)
def test_choose_slot(
    slots: list[tuple[list[int], int]], prompt: list[int], expected: tuple[int, int]
) -> None:
    choice = choose_slot([Slot(tokens, used) for tokens, used in slots], prompt)
    assert (choice.slot_idx, choice.n_reused) == expected
    assert choice.from_idx == choice.slot_idx


@pytest.mark.parametrize(
    ("slots", "n_redrawn", "busy", "expected"),
    [
        pytest.param(
            [(SEEN_BEFORE, 2), (EMPTY, 0)], 0, (), (1, 40, 0), id="shared by an empty slot"
        ),
        pytest.param([(SEEN_BEFORE, 2), ([1, 2], 1)], 0, (), (1, 40, 0), id="shared by the oldest"),
        pytest.param([(SEEN_BEFORE[:70], 2), (EMPTY, 0)], 0, (), (0, 40, 0), id="more than half"),
        pytest.param([(SEEN_BEFORE[:70], 2), (EMPTY, 0)], 0, (0,), (1, 40, 0), id="it is busy"),
        pytest.param([(SEEN_BEFORE[:70], 2)], 0, (0,), (0, 40, 0), id="all are busy"),
        pytest.param(
            [(SEEN_BEFORE[:42], 2), (EMPTY, 0)], 170, (), (0, 29, 0), id="the last are drawn again"
        ),
    ],
)
def test_choose_slot_where_slots_share(
    slots: list[tuple[list[int], int]],
    n_redrawn: int,
    busy: tuple[int, ...],
    expected: tuple[int, int, int],
) -> None:
    prompt = [*SEEN_BEFORE[:40], *range(700, 860)]
    held = [Slot(tokens, used) for tokens, used in slots]
    choice = choose_slot(held, prompt, n_redrawn=n_redrawn, busy=busy, can_share=True)
    assert choice == expected


@pytest.mark.parametrize(
    ("held", "takes_instead"),
    [
        pytest.param([], False, id="nothing is warm"),
        pytest.param([1, *"ssssssss", *"pppp"], False, id="typing: the layout is warm"),
        pytest.param([1, *"pppppp"], True, id="a jump: the other one needs less than half"),
        pytest.param([1, *"ppp"], False, id="the other one needs less, but not by much"),
    ],
)
def test_choose_prompt(held: list[object], takes_instead: bool) -> None:
    def ids(items: Sequence[object]) -> list[int]:
        return [item if isinstance(item, int) else ord(str(item)) for item in items]

    prompt, instead = ids([1, *"ssssssss", *"pppppp"]), ids([1, *"pppppp", *"xxxx"])
    assert choose_prompt([Slot(ids(held)), Slot()], prompt, []) == prompt
    chosen = choose_prompt([Slot(ids(held)), Slot()], prompt, instead)
    assert chosen == (instead if takes_instead else prompt)


def test_after_a_jump_the_other_layout_is_read_once_and_then_the_one_that_typing_adds_to() -> None:
    before, after = list(range(1000, 1700)), list(range(2000, 2300))
    slots = [Slot([*before, *range(3000, 3300)]), Slot()]
    read: list[str] = []
    for typed in ([], [5], [5, 6], [5, 6, 7]):
        spm, psm = [*after, 4, *before, *typed], [*before, *typed, 4, *after]
        chosen = choose_prompt(slots, spm, psm)
        read.append("spm" if chosen is spm else "psm")
        slots[chosen is spm].tokens = list(chosen)
    assert read == ["psm", "spm", "spm", "spm"]
    # The next jump begins anew.
    spm, psm = [*after[9:], 4, *before[:600]], [*before[:600], 4, *after[9:]]
    assert choose_prompt(slots, spm, psm) is psm


@pytest.mark.parametrize(
    ("lengths", "n_wanted", "expected"),
    [
        pytest.param([300, 300], 64, [], id="room enough"),
        pytest.param([500, 490], 34, [], id="exactly full"),
        pytest.param([500, 500], 64, [(1, 436)], id="the oldest gives from its end"),
        pytest.param([500, 520], 5, [(1, 456)], id="at least 64 at a time"),
        pytest.param([900, 30, 90], 40, [(1, 0), (2, 26)], id="then the next"),
        pytest.param([1000, 10, 10], 500, [(1, 0), (2, 0)], id="never its own"),
    ],
)
def test_make_room_in_1024_cells_for_the_first_slot(
    lengths: list[int], n_wanted: int, expected: list[tuple[int, int]]
) -> None:
    slots = [Slot([0] * length, last_used=idx) for idx, length in enumerate(lengths)]
    slots[0].last_used = 99
    assert make_room(slots, 0, n_wanted, 1024) == expected


tokens = st.lists(st.integers(0, 2), max_size=200)


@given(tokens, tokens)
def test_common_length_is_that_of_a_plain_loop(left: list[int], right: list[int]) -> None:
    n_same = 0
    while n_same < min(len(left), len(right)) and left[n_same] == right[n_same]:
        n_same += 1
    assert common_length(left, right) == n_same


@given(st.lists(tokens, min_size=1, max_size=5), st.lists(st.integers(0, 2), min_size=1))
def test_what_is_reused_is_there_and_one_token_is_left(
    contents: list[list[int]], prompt: list[int]
) -> None:
    slots = [Slot(content) for content in contents]
    _, n_reused, from_idx = choose_slot(slots, prompt, can_share=True)
    assert contents[from_idx][:n_reused] == prompt[:n_reused]
    assert n_reused < len(prompt)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6), st.integers(1, 300))
def test_room_is_made_without_touching_the_slot_that_grows(
    lengths: list[int], n_wanted: int
) -> None:
    slots = [Slot([0] * length, last_used=idx) for idx, length in enumerate(lengths)]
    n_cells = max(sum(lengths), lengths[0] + n_wanted)
    kept = dict(enumerate(lengths)) | dict(make_room(slots, 0, n_wanted, n_cells))
    assert kept[0] == lengths[0]
    assert sum(kept.values()) + n_wanted <= n_cells
