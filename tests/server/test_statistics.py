"""Counting, adding up the counts of several servers, and percentiles from bins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.engine import Usage
from midfill_server.statistics import FILE_NAME, Offer, Statistics, load, percentile, report


def counted(*times_ms: float) -> Statistics:
    statistics = Statistics()
    for time_ms in times_ms:
        statistics.answered("model", time_ms)
        statistics.spent(Usage(tokens_reused=9, tokens_evaluated=1))
    return statistics


@given(st.lists(st.floats(1, 1e6), min_size=1), st.sampled_from([50, 90, 99]))
def test_a_percentile_is_right_to_a_bin(times_ms: list[float], percent: int) -> None:
    found = percentile(counted(*times_ms).bins, percent)
    exact = sorted(times_ms)[-(-len(times_ms) * percent // 100) - 1]
    assert found is not None
    assert exact * 0.999 - 0.1 <= found <= exact * 2**0.25 + 0.1


def test_nothing_has_no_percentiles_and_no_shares() -> None:
    found = report({}, {})
    assert found["ms"] == {"p50": None, "p90": None, "p99": None}
    assert found["acceptance"] is found["kept_after_30_s"] is found["cache_hits"] is None


def test_servers_add_up(tmp_path: Path) -> None:
    first, second = counted(1, 1000), counted(1000)
    for statistics in (first, second, first):
        statistics.save(tmp_path)
    first.answered("cache", 1)
    first.save(tmp_path)
    counts, bins = load(tmp_path)
    assert (counts["from_model"], counts["from_cache"], sum(bins.values())) == (3, 1, 4)
    assert report(counts, bins)["cache_hits"] == 0.25
    assert report(counts, bins)["tokens_reused"] == 0.9
    assert sorted(path.name for path in tmp_path.glob("*.json*")) == [FILE_NAME]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="cut-off"),
        pytest.param("[]", id="a-list"),
        pytest.param('{"counts": 7, "bins": {}}', id="no-counts"),
        pytest.param('{"counts": {"a": "b"}, "bins": {}}', id="no-number"),
    ],
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    counted(1).save(tmp_path)
    assert load(tmp_path)[0]["from_model"] == 1


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    counted(1).save(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param("x = alpha(1)\n", 1, id="there"),
        pytest.param("def f():\r\n    x = alpha(1)\r\n", 1, id="moved"),
        pytest.param("x = beta(1)\n", 0, id="changed"),
        pytest.param("y = alpha(1)\n", 0, id="elsewhere"),
    ],
)
def test_what_is_kept(text: str, kept: int) -> None:
    statistics = Statistics()
    statistics.offered("c1", Offer("file:///a", "x = ", "alpha(1)\n"))
    offer = statistics.accepted("c1")
    assert offer is not None
    statistics.judge(offer, text)
    statistics.judge(offer, None)
    assert (statistics.counts["kept"], statistics.counts["changed"]) == (kept, 1 - kept)


def test_parts_are_counted_once() -> None:
    statistics = Statistics()
    statistics.offered("c1", Offer("file:///a", "", "😋😋"))
    for n_units in (2, 1, 2, 99):
        statistics.accepted_in_part("c1", n_units)
    assert statistics.counts["accepted_chars"] == 4
    statistics.accepted("c1")
    assert statistics.counts["accepted_chars"] == 4
    assert statistics.counts["accepted_in_part"] == 1


def test_old_offers_are_forgotten() -> None:
    statistics = Statistics()
    for number in range(1000):
        statistics.offered(f"c{number}", Offer("file:///a", "", "x"))
    assert statistics.accepted("c0") is None
    assert statistics.accepted("c999") is not None
