"""The real VS Code: Mocha in its extension host, real keys and clicks from Chromium, and the packaged extension.

What is asserted stands in `clients/vscode/test-editor`, test by test; here the editor is set up for it, with the real
server, the real host and the embedded model, and started once with the server on the path and once without.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vscode_client import (
    EDITOR,
    LIMIT_S,
    SERVER,
    SUITES,
    drive,
    environment,
    on_path,
    packaged,
    scripted,
)
from vscode_npm import VSCODE, npm

STOPWATCH = Path(__file__).with_name("stopwatch.py")

pytestmark = [
    pytest.mark.vscode,
    pytest.mark.slow,
    pytest.mark.skipif(
        EDITOR is None, reason="THE REAL VS CODE IS NOT TESTED: `make test` says what it needs"
    ),
]

ANSWERS = {
    "def total": "```python\ndef total(items):\n    return sum(items)\n```",
    "def greet": "This function says hello to somebody.\n\n"
    "* It takes a `name`.\n* It puts the name behind a word of greeting.\n",
}
"""What the instruct model says, by what it was asked about."""


def _titles(*suites: str) -> list[Any]:
    return [
        pytest.param(f"{suite} {title}", id=f"{suite}: {title}")
        for suite in suites
        for title in re.findall(
            r'^  test\("(.+?)", ', (SUITES / f"{suite}.test.ts").read_text("utf-8"), re.M
        )
    ]


WITH_SERVER = ("walkthrough", "completion", "instruct", "latency", "looks")


@dataclass(frozen=True)
class Run:
    """What came of one editor's tests."""

    folder: Path
    errors: Mapping[str, str]
    """By the title of the test; empty where it passed."""

    def check(self, title: str) -> None:
        """Fail as the test did."""
        assert title in self.errors, f"it was not run: {self.errors}"
        assert not self.errors[title], self.errors[title]


@pytest.fixture(scope="module")
def vsix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm("run", "test-editor", environment=environment())
    return packaged(tmp_path_factory.mktemp("vsix"))


@pytest.fixture(scope="module")
def with_server(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("vscode")
    watched = [sys.executable, str(STOPWATCH), str(folder / "times.jsonl"), *SERVER]
    settings = {
        "midfill.instruct.model": scripted(folder, ANSWERS),
        "midfill.engine.hostLingerS": 0,
    }
    said = drive(
        "drive.mts",
        folder,
        vsix,
        on_path(folder, watched),
        tests=str(VSCODE / "out" / "editor"),
        suites=WITH_SERVER,
        machineSettings=settings,
        limitS=LIMIT_S,
    )
    results = folder / "results.json"
    assert results.is_file(), said[-3000:]
    told = json.loads(results.read_text("utf-8"))
    # A hook that fails stands among the failures only.
    every = [*told["failures"], *told["tests"]]
    return Run(folder, {each["fullTitle"]: each["err"].get("stack", "") for each in every})


def _wheel(folder: Path) -> Path:
    """A package that stands in for Midfill's: its command is the server of this source tree."""
    wheel, info = folder / "midfill_here-1-py3-none-any.whl", "midfill_here-1.dist-info"
    program = [sys.executable, "-m", "midfill_server"]
    becomes = f"os.execv({sys.executable!r}, {program!r} + sys.argv[1:])"
    files = {
        "midfill_here.py": f"import os, sys\n\n\ndef main():\n    {becomes}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: midfill-here\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nmidfill = midfill_here:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.mark.model
@pytest.mark.parametrize("title", _titles(*WITH_SERVER))
def test_with_the_server_on_the_path(with_server: Run, title: str) -> None:
    with_server.check(title)


@pytest.mark.model
def test_without_a_server_two_clicks_lead_to_ghost_text(vsix: Path, tmp_path: Path) -> None:
    settings = {
        "midfill.server.requirement": str(_wheel(tmp_path)),
        "midfill.engine.hostLingerS": 0,
    }
    path = Path(sys.base_prefix) / "bin"
    drive("two_clicks.mts", tmp_path, vsix, path, machineSettings=settings)


@pytest.mark.model
def test_a_workspace_that_is_not_trusted_sets_nothing(vsix: Path, tmp_path: Path) -> None:
    settings = {"midfill.engine.hostLingerS": 0}
    drive("untrusted.mts", tmp_path, vsix, on_path(tmp_path), machineSettings=settings)


def test_what_the_editor_adds_is_told(
    with_server: Run,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = json.loads((with_server.folder / "latency.json").read_text("utf-8"))
    added, instant = measured["added"], measured["instant"]
    middle, most, own = statistics.median(added), max(added), statistics.median(instant)
    told = {"median": middle, "max": most, "n": len(added), "median_of_an_instant_provider": own}
    record_property("key_to_ghost_added_ms", told)
    model, late, soon = (
        statistics.median(measured[name]) for name in ("model", "withRequest", "withKey")
    )
    told = {"model": model, "begun_with_the_request": late, "begun_with_the_key": soon}
    record_property("key_to_ghost_of_a_slow_model_ms", told)
    with capsys.disabled():
        print(
            f"\nVS Code: ghost text {middle:.0f} ms after the key, besides the server's answer "
            f"(median of {len(added)}; at most {most:.0f} ms), where that of a provider which knows its answer "
            f"at once comes {own:.0f} ms after it (of which 50 ms are the editor's rest). Of a model that "
            f"takes {model:.0f} ms it comes {soon:.0f} ms after the key, {soon - model:.0f} ms more than that; without "
            f"working ahead {late:.0f} ms after it, {late - model:.0f} ms more"
        )
