"""The table of `make reliability`: every kind of result has its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import reliability

RESULTS = Path(__file__).parents[1] / "bench" / "results"

JUNIT = """<testsuites><testsuite>
<testcase name="test_a_killed_host[load]"/><testcase name="test_a_killed_host[idle]"><failure/></testcase>
<testcase name="test_a_full_disk"><skipped/></testcase>
<testcase name="test_a_clock"><properties/></testcase>
<testcase name="test_a_clock"><skipped message="`make reliability` looks at all stages and faults"/></testcase>
</testsuite></testsuites>"""


def test_cases_are_counted_by_their_test(tmp_path: Path) -> None:
    path = tmp_path / "faults.xml"
    path.write_text(JUNIT)
    assert reliability.faults(path) == {
        "a killed host": {"passed": 1, "failed": 1},
        "a full disk": {"skipped": 1},
        "a clock": {"passed": 1},
    }


@pytest.mark.parametrize(
    ("found", "row"),
    [
        pytest.param(
            {"faults": {"a killed host costs one answer": {"passed": 3, "failed": 1}}},
            "| a killed host costs one answer | 3 of 4 survived | `pytest tests/faults/test_host_faults.py` |",
            id="fault",
        ),
        pytest.param(
            {"faults": {"a full disk": {"skipped": 2}}},
            "| a full disk | 0 of 0 survived, 2 not possible here | `pytest tests/faults` |",
            id="skipped",
        ),
        pytest.param(
            {"injection": {"texts": 43, "places": {"a prompt": [43, 0], "a notice": [43, 2]}}},
            "in 2 places: 86 tried, 2 came through | `pytest tests/server/test_injection.py` |",
            id="injection",
        ),
        pytest.param(
            {
                "privacy": {
                    "planted": ["a", "b"],
                    "found": [],
                    "files_read": 9,
                    "searched": ["the log", "`doctor`"],
                    "packets_out": [],
                    "worked": {"completion": True},
                }
            },
            "| secrets planted / found elsewhere | 2 / 0 in 9 files, answers and logs",
            id="privacy",
        ),
    ],
)
def test_a_result_has_its_row(found: dict[str, Any], row: str) -> None:
    assert row in reliability.table(found)


def test_each_row_names_a_command_that_there_is() -> None:
    newest = max(RESULTS.glob("reliability-*.json"), key=lambda path: path.name)
    _, _, *rows = reliability.table(json.loads(newest.read_text("utf-8"))).splitlines()
    for row in rows:
        *_, command, _ = row.split("|")
        kind, path = command.strip(" `").split(" ", 1)
        assert kind in ("make", "pytest", "python"), row
        assert kind != "pytest" or (RESULTS.parents[1] / path).is_file(), row


def test_the_page_is_of_the_newest_results() -> None:
    newest = max(RESULTS.glob("reliability-*.json"), key=lambda path: path.name)
    found = json.loads(newest.read_text("utf-8"))
    assert reliability.table(found) in reliability.PAGE.read_text("utf-8")
