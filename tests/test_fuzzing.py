"""`make fuzz`: whose turn it is, that each target is there, and that what breaks is told."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fuzzing

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_a_target_is_there(name: str) -> None:
    module, _, test = fuzzing.TARGETS[name].partition(":")
    assert callable(getattr(importlib.import_module(module), test))


def had(inputs: int, seconds: float) -> dict[str, float]:
    return {"inputs": inputs, "seconds": seconds, "defects": 0}


@pytest.mark.parametrize(
    ("known", "name"),
    [
        pytest.param({}, "frames", id="none was tried"),
        pytest.param({"frames": had(9, 1)}, "edits", id="one was tried"),
        pytest.param({"frames": had(99, 1), "edits": had(98, 30)}, "edits", id="by inputs"),
        pytest.param(
            {"frames": had(10**6, 50), "edits": had(10**7, 30)}, "edits", id="by time, with enough"
        ),
        pytest.param(
            {"frames": had(2, 50), "edits": had(0, 30)}, "frames", id="not what cannot be tried"
        ),
    ],
)
def test_the_poorest_is_next(known: dict[str, dict[str, float]], name: str) -> None:
    assert fuzzing.poorest(["frames", "edits"], known) == name


def test_a_short_run_adds_to_what_was_tried(tmp_path: Path) -> None:
    results = tmp_path / "fuzz.json"
    results.write_text(json.dumps({"frames-raw": had(1000, 7)}))
    arguments = ["--seconds", "1", "--only", "frames-raw", "--results", str(results)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fuzzing.py"), *arguments],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    found = json.loads(results.read_text())["frames-raw"]
    assert found["inputs"] > 1000
    assert found["defects"] == 0
