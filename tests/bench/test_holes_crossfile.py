"""Holes whose answer stands in another file: what is cut, and what is open then."""

from __future__ import annotations

import pytest
from bench.holes_crossfile import cut_across_files, definitions
from bench.holes_items import Source

STORE = """\
class Store:
    def fetch_all(self, limit, *, after=None):
        return []


def strip(x):
    return x
"""
USER = """\
from .store import Store


def rows(store: Store):
    total = store.fetch_all(10)
    return total.strip()
"""
PACKAGE = [
    Source("pkg/pkg/store.py", STORE),
    Source("pkg/pkg/user.py", USER),
    *(Source(f"pkg/pkg/other{idx}.py", f"def unrelated{idx}():\n    pass\n") for idx in range(9)),
]


def test_a_hole_begins_in_the_name_and_ends_with_the_call() -> None:
    holes = [hole for seed in range(40) for hole in cut_across_files(PACKAGE, 10, seed)]
    middles = {hole.middle for hole in holes}
    assert {"Store", "fetch_all(10)"} <= middles
    begun = {"etch_all(10)", "tch_all(10)", "ch_all(10)", "h_all(10)", "tore", "ore"}
    assert middles - {"Store", "fetch_all(10)"} == begun
    assert {hole.prefix + hole.middle + hole.suffix for hole in holes} == {USER}
    assert {hole.kind for hole in holes} == {"crossfile"}


def test_the_defining_file_is_open_at_the_definition_among_others() -> None:
    call = next(hole for hole in cut_across_files(PACKAGE, 10, seed=1) if "10" in hole.middle)
    opened = {other.path: other for other in call.others}
    assert len(opened) == 5
    assert opened["pkg/store.py"].line_idx == 1
    assert "pkg/user.py" not in opened


def test_the_same_seed_cuts_the_same_holes() -> None:
    assert cut_across_files(PACKAGE, 1, seed=3) == cut_across_files(PACKAGE, 1, seed=3)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param("fetch_all", "def fetch_all():\n    pass\n", id="defined-twice"),
        pytest.param("strip", "", id="a-method-of-strings"),
    ],
)
def test_a_name_that_may_be_anybodys_is_no_definition(name: str, more: str) -> None:
    assert name not in definitions([*PACKAGE, Source("pkg/pkg/more.py", more)])


def test_a_name_that_the_file_uses_twice_is_no_hole() -> None:
    twice = Source("pkg/pkg/user.py", USER + "\n\nagain = Store().fetch_all(1)\n")
    assert cut_across_files([PACKAGE[0], twice], 10, seed=1) == []


def test_modules_of_the_standard_library_know_nothing_of_each_other() -> None:
    alone = [Source("python/a.py", STORE), Source("python/b.py", USER)]
    assert cut_across_files(alone, 10, seed=1) == []
