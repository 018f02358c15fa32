"""The manual's example of testing without an editor runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "headless.md").read_text("utf-8")


def block(language: str, beginning: str = "") -> str:
    """The page's first block of code in a language that begins so."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return next(text for text in found if text.startswith(beginning))


@pytest.mark.parametrize(
    ("toml", "status", "counts"),
    [
        pytest.param(block("toml"), 0, "6 passed", id="as-printed"),
        pytest.param("[completion]\nnoSuchSetting = 1", 1, "1 failed, 5 passed", id="a-mistake"),
    ],
)
def test_the_example_runs(tmp_path: Path, toml: str, status: int, counts: str) -> None:
    (tmp_path / "test_completions.py").write_text(block("python", "# test_comp"), "utf-8")
    (tmp_path / "midfill.toml").write_text(toml, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n", "utf-8")
    path = os.pathsep.join(str(ROOT / folder) for folder in ("fim", "server", "models"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, counts in done.stdout) == (status, True), done.stdout


@pytest.mark.parametrize(
    "command", sorted({*re.findall(r"^\| `midfill ([a-z]+(?: [a-z]+)?)", PAGE, re.MULTILINE)})
)
def test_each_command_is_there(command: str) -> None:
    asked = [sys.executable, "-m", "midfill_server", *command.split(), "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert (shown.returncode, "--json" in shown.stdout or command == "serve") == (0, True)
