"""The real VS Code: Mocha in its extension host, real keys and clicks from Chromium, and the packaged extension.

What is asserted stands in `clients/vscode/test-editor`, test by test; here the editor is set up for it, with the real
server, the real host and the embedded model, and started once with the server on the path and once without.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from code_server import find
from vscode_npm import VSCODE, npm

EDITOR = find()
SUITES = VSCODE / "test-editor"
STOPWATCH = Path(__file__).with_name("stopwatch.py")
LIMIT_S = 500

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
    assert EDITOR is not None
    path = tmp_path_factory.mktemp("vsix") / "midfill.vsix"
    environment = EDITOR.environment(os.environ)
    npm("run", "test-editor", environment=environment)
    npm("run", "package", "--", "--out", str(path), environment=environment)
    return path


@pytest.fixture(scope="module")
def with_server(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("vscode")
    answers = folder / "answers.json"
    answers.write_text(json.dumps(ANSWERS))
    # Found on the path, as where a person has installed it.
    server = [sys.executable, "-m", "midfill_server"]
    watched = [sys.executable, str(STOPWATCH), str(folder / "times.jsonl"), *server]
    program = folder / "bin" / "midfill"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = serve ] && exec {shlex.join(watched)} "$@"\nexec {shlex.join(server)} "$@"\n'
    )
    program.chmod(0o755)
    settings = {
        "midfill.instruct.model": f"fake:answers={quote(str(answers))}&piece_delay_s=0.02",
        "midfill.engine.hostLingerS": 0,
    }
    said = _start(
        "drive.mts",
        folder,
        vsix,
        program.parent,
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


def _start(script: str, folder: Path, vsix: Path, path: Path, **options: Any) -> str:
    """Let a script of Node's drive the editor, and tell what it said."""
    assert EDITOR is not None
    (folder / "work").mkdir()
    told = {
        "codeServer": str(EDITOR.code_server),
        "chromium": str(EDITOR.chromium),
        "vsix": str(vsix),
        "workspace": str(folder / "work"),
        "folder": str(folder),
        "path": os.pathsep.join((str(path), "/usr/bin", "/bin")),
        "settings": {"midfill.completion.eagerness": 1},
        **options,
    }
    (folder / "options.json").write_text(json.dumps(told))
    environment = {
        **EDITOR.environment(os.environ),
        "MIDFILL_STATE_DIR": str(folder / "state"),
        "MIDFILL_TEST_TIMES": str(folder / "times.jsonl"),
        "MIDFILL_TEST_LATENCY": str(folder / "latency.json"),
    }
    try:
        done = subprocess.run(
            ["node", str(SUITES / script), str(folder / "options.json")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=LIMIT_S + 120,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        _, alive = psutil.wait_procs(_of(folder), timeout=60)
        assert not alive, "processes are left"
        return done.stdout
    finally:
        for process in _of(folder):
            process.kill()


def _of(folder: Path) -> list[psutil.Process]:
    """The processes that were started in this test's editor, and run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MIDFILL_STATE_DIR") == str(folder / "state"):
                found.append(process)
        except psutil.Error:
            continue
    return found


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
    _start("two_clicks.mts", tmp_path, vsix, path, machineSettings=settings)


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
    with capsys.disabled():
        print(
            f"\nVS Code: ghost text {middle:.0f} ms after the key, besides the server's answer "
            f"(median of {len(added)}; at most {most:.0f} ms), where that of a provider which knows its answer "
            f"at once comes {own:.0f} ms after it (of which 50 ms are the editor's rest)"
        )
