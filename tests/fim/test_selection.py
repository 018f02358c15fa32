"""What a prompt is to hold of other places: order, budget, and that typing only adds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.selection import COPYABLE_CHARS, Candidate, Reason, Selection, ranked, select
from midfill.similarity import alike
from midfill.snippets import Snippet


def candidate(name: str, reason: Reason = "similar", root: str = "", n_lines: int = 3) -> Candidate:
    text = "".join(f"{name}_{n} = {name}({n})\n" for n in range(n_lines))
    return Candidate(Snippet(f"{name}.py", text), reason, root)


def names(candidates: object) -> list[str]:
    assert isinstance(candidates, list | tuple)
    return [each.snippet.path.removesuffix(".py") for each in candidates]


def test_definitions_go_first_then_what_is_most_like_the_query() -> None:
    far, near, defines = candidate("far"), candidate("near"), candidate("defined", "definition")
    best, strange = ranked([far, near, defines], "x = near_1 + other", "")
    assert names(best) == ["defined", "near"]
    assert names(strange) == ["far"]


def test_the_own_folder_goes_before_others() -> None:
    here = [candidate("alpha", root="a"), candidate("beta", "definition", "a")]
    there = [candidate("alpha_beta", root="b"), candidate("gamma", "definition", "b")]
    best, _ = ranked([*there, *here], "alpha beta", "a")
    assert names(best) == ["beta", "gamma", "alpha", "alpha_beta"]


def test_the_order_does_not_hang_on_the_order_of_the_finders() -> None:
    found = [candidate(name) for name in ("alpha", "beta", "gamma")]
    query = "alpha beta gamma"
    assert ranked(found, query, "") == ranked(reversed(found), query, "")


def test_the_best_stands_last_and_what_is_added_after_it() -> None:
    first = select([candidate("best"), candidate("second")], (), "", 1000)
    assert names(first.chosen) == ["second", "best"]
    then = select([candidate("new"), candidate("best")], first.chosen, "", 1000)
    assert names(then.chosen) == ["second", "best", "new"]


@pytest.mark.parametrize(
    ("around", "why"),
    [
        pytest.param(candidate("one").snippet.text, "already said", id="the-file-says-it"),
        pytest.param("two = 1\n", None, id="the-file-does-not"),
    ],
)
def test_what_stands_around_the_caret_is_not_said_twice(around: str, why: str | None) -> None:
    found = select([candidate("one")], (), around, 1000)
    assert dict(found.left_out).get(candidate("one")) == why
    assert bool(found.chosen) == (why is None)


def test_twins_are_taken_once() -> None:
    twin = Candidate(Snippet("copy.py", candidate("one").snippet.text), "recent")
    found = select([candidate("one"), twin], (), "", 1000)
    assert names(found.chosen) == ["one"]
    assert found.left_out == ((twin, "already said"),)


def test_a_part_of_another_is_not_taken() -> None:
    whole, part = candidate("one", n_lines=12), candidate("one", n_lines=3)
    found = select([whole, part], (), "", 1000)
    assert found.chosen == (whole,)
    assert found.left_out == ((part, "already said"),)


def test_the_first_choice_leaves_a_third_of_the_budget_for_later() -> None:
    long = candidate("long", n_lines=20)
    cost = len(long.snippet.path) + len(long.snippet.text)
    budget_chars = (3 * cost + 1) // 2
    first = select([long], (), "", budget_chars - 1)
    assert first.left_out == ((long, "no room"),)
    assert not first.lacks_room_for("definition")
    assert select([long], (), "", budget_chars).chosen == (long,)
    small = candidate("small")
    assert names(select([long], (small,), "", budget_chars).chosen) == ["small", "long"]


CANDIDATES = st.lists(
    st.builds(
        candidate,
        st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]),
        st.sampled_from(["definition", "similar", "recent"]),
        st.sampled_from(["", "a"]),
        st.integers(1, 12),
    ),
    max_size=12,
)


@given(
    st.lists(st.tuples(CANDIDATES, st.text("abgdez_ \n", max_size=30)), max_size=8),
    st.integers(0, 1500),
)
def test_a_run_of_typing_only_adds_at_the_end(
    steps: list[tuple[list[Candidate], str]], budget_chars: int
) -> None:
    previous: tuple[Candidate, ...] = ()
    for found, query in steps:
        best, strange = ranked(found, query, "a")
        selection = select(best, previous, query, budget_chars)
        chosen = selection.chosen
        assert chosen[: len(previous)] == previous
        assert sum(len(s.path) + len(s.text) for s in selection.snippets) <= budget_chars
        for idx, one in enumerate(chosen):
            for other in chosen[idx + 1 :]:
                assert alike(one.snippet.text, other.snippet.text) <= 0.9
        # Everything is chosen, before or now, or left out with a reason.
        told = {*chosen, *(out for out, _ in selection.left_out), *strange}
        assert told >= {*found}
        # The same history makes the same choice.
        assert select(best, previous, query, budget_chars) == selection
        previous = chosen


def test_what_an_engine_may_copy_from_ends_with_the_likest() -> None:
    places = tuple(candidate(name, "alike") for name in ("likest", "read", "other", "likest"))
    found = Selection((candidate("read"),), places=places)
    assert found.copyable == (places[2].snippet.text, places[0].snippet.text)


def test_what_an_engine_may_copy_from_is_bounded() -> None:
    small, large = (
        Candidate(Snippet(f"{n}.py", f"{n}" * n), "alike") for n in (9, COPYABLE_CHARS + 1)
    )
    many = tuple(candidate(f"name{idx}", "alike", n_lines=40) for idx in range(40))
    assert Selection(places=(large, small)).copyable == (small.snippet.text,)
    copyable = Selection(places=many).copyable
    assert 0 < sum(map(len, copyable)) <= COPYABLE_CHARS
    assert copyable[-1] == many[0].snippet.text
