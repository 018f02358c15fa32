"""Traces: what is read, what is made, and what is typed next."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from statistics import quantiles

import pytest
from bench.replay.traces import Key, Patch, Trace, ahead, gap_ms, read_trace, type_file
from hypothesis import given
from hypothesis import strategies as st

CODE = "def f(a):\n    total = a + 1\n    return total\n\n\nclass Widget:\n    name = 'x'\n" * 8


def typed(start: str, *edits: tuple[int, int, str]) -> Trace:
    keys = tuple(Key(100.0, (Patch(*edit),)) for edit in edits)
    return Trace("t.py", "python", start, keys)


@pytest.mark.parametrize(
    ("edits", "runs"),
    [
        pytest.param([(0, 0, "a"), (1, 0, "b"), (2, 0, "c")], ["bc", "c", ""], id="a-run"),
        pytest.param([(0, 0, "a"), (3, 0, "b"), (4, 0, "c")], ["", "c", ""], id="a-jump"),
        pytest.param(
            [(0, 0, "a"), (1, 0, "x"), (1, 1, ""), (1, 0, "b")], ["b", "", "b", ""], id="a-mistake"
        ),
        pytest.param([(0, 0, "a"), (0, 1, "")], ["", ""], id="taken-back"),
        pytest.param([(0, 0, "a"), (1, 2, "b")], ["", ""], id="replaced"),
    ],
)
def test_what_is_typed_next(edits: list[tuple[int, int, str]], runs: list[str]) -> None:
    assert ahead(typed("....", *edits)) == runs


def test_a_key_follows_where_the_caret_was_left() -> None:
    trace = typed("....", (0, 0, "a"), (1, 0, "b"), (1, 1, ""), (3, 0, "c"))
    assert [trace.follows(idx) for idx in range(4)] == [False, True, True, False]


def test_a_recording_is_read_with_its_first_transaction_as_the_text(tmp_path: Path) -> None:
    file = tmp_path / "some.json.gz"
    txns = [
        {"time": "1970", "patches": [[0, 0, "a𝒳c"]]},
        {"time": "2020", "patches": [[2, 0, "b"]]},
        {"time": "2020", "patches": [[3, 0, "!"], [0, 1, "A"]]},
        {"time": "2020", "patches": []},
        {"time": "2020", "patches": [[4, 1, ""]]},
    ]
    file.write_bytes(gzip.compress(json.dumps({"startContent": "", "txns": txns}).encode()))
    trace = read_trace(file, "python", 10, seed=1)
    assert (trace.name, trace.start) == ("some", "a𝒳c")
    assert list(trace.texts()) == ["a𝒳bc", "A𝒳b!c", "A𝒳b!"]
    assert read_trace(file, "python", 1, seed=1, first_key=1).start == "a𝒳bc"


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("[]", "utf-8")
    with pytest.raises(ValueError, match="is no editing trace"):
        read_trace(file, "python", 1, 1)


@given(st.integers(0, 50))
def test_a_file_that_is_typed_to_the_end_is_that_file(seed: int) -> None:
    trace = type_file("a.py", "python", CODE, 100_000, seed)
    assert len(trace.start) < len(CODE)
    assert list(trace.texts())[-1] == CODE


def test_typing_has_mistakes_jumps_and_indentation() -> None:
    trace = type_file("a.py", "python", CODE * 3, 400, seed=1)
    assert len(trace.keys) == 400
    assert any(key.patches[0].n_deleted for key in trace.keys)
    assert sum(not trace.follows(idx) for idx in range(400)) > 3
    assert any(key.typed == "\n    " for key in trace.keys)


def test_the_same_seed_types_the_same() -> None:
    assert type_file("a.py", "python", CODE, 50, 7) == type_file("a.py", "python", CODE, 50, 7)


def test_gaps_are_those_that_were_measured() -> None:
    rng = random.Random(1)
    cuts = quantiles([gap_ms(rng) for _ in range(20_000)], n=100)
    assert [cuts[share - 1] for share in (10, 50, 75, 90)] == pytest.approx(
        [60, 138, 216, 450], rel=0.1
    )
