"""A real Helix in a terminal, set up as the manual says: the completion is an entry of its list, taken by keys."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import helix

HELIX, TMUX = helix.find(), shutil.which("tmux")
MANUAL = Path(__file__).parents[2] / "docs" / "editors.md"
SAYS = {"return os.pa": "th.exists(path)"}
"""And nothing before: a list that is open already is narrowed by Helix, not asked for anew."""
START = "import os\n\n\ndef isfile(path):\n    "
TYPED = "return os.pa"

pytestmark = [
    pytest.mark.helix,
    pytest.mark.skipif(HELIX is None, reason="Helix is not here; `make test` fetches it on Debian"),
    pytest.mark.skipif(TMUX is None, reason="HELIX IS NOT TESTED: tmux is not here"),
]


class Terminal:
    """A terminal without a screen, with one program in it."""

    def __init__(self, folder: Path, program: Path) -> None:
        assert TMUX is not None
        self._tmux = [TMUX, "-f", os.devnull, "-S", str(folder / "tmux")]
        self._run("new-session", "-d", "-x", "100", "-y", "24", str(program))

    def type(self, text: str) -> None:
        for key in text:
            self._run("send-keys", "-l", key)
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def wait_for(self, look: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not look():
            assert time.monotonic() < end, self.screen()
            time.sleep(0.1)

    def is_over(self) -> bool:
        has = subprocess.run([*self._tmux, "has-session"], capture_output=True, check=False)
        return has.returncode != 0

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def _run(self, *words: str) -> str:
        return subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, check=True, timeout=30
        ).stdout


def configuration(model: str) -> str:
    """What the manual tells Helix' users to write, with another model."""
    found = re.search(r"### Helix.*?```toml\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    assert found
    assert "/path/to/model.gguf" in found[1]
    return found[1].replace("/path/to/model.gguf", model)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    assert HELIX is not None
    (tmp_path / ".config/helix").mkdir(parents=True)
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(SAYS))
    settings = configuration(f"fake:answers={answers}")
    (tmp_path / ".config/helix/languages.toml").write_text(settings)
    source, program = tmp_path / "main.py", tmp_path / "start"
    source.write_text(START)
    told = {
        **helix.environment(),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / ".config"),
        "MIDFILL_STATE_DIR": str(tmp_path / "state"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    variables = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items())
    program.write_text(f"#!/bin/sh\n{variables}exec {shlex.quote(str(HELIX))} {source}\n")
    program.chmod(0o755)
    terminal = Terminal(tmp_path, program)
    yield terminal
    terminal.end()


def test_the_entry_of_the_list_is_taken_by_keys(terminal: Terminal, tmp_path: Path) -> None:
    entry = "path.exists(path)"
    terminal.wait_for(lambda: "def isfile" in terminal.screen())
    terminal.press("g", "e")
    terminal.press("A")
    terminal.wait_for(lambda: "INS" in terminal.screen())
    terminal.type(TYPED)

    def is_offered() -> bool:
        # By hand, since the server may not have been there yet when it was typed.
        terminal.press("C-x")
        time.sleep(1)
        return entry in terminal.screen()

    terminal.wait_for(is_offered)
    terminal.press("Tab")
    terminal.wait_for(lambda: f"return os.{entry}" in terminal.screen())
    terminal.press("Enter")
    terminal.press("Escape")
    terminal.wait_for(lambda: "NOR" in terminal.screen())
    terminal.type(":wq")
    terminal.press("Enter")
    terminal.wait_for(terminal.is_over)
    assert (tmp_path / "main.py").read_text().rstrip("\n") == f"{START}return os.{entry}"
