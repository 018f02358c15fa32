"""The real VS Code, headless, with the packaged extension: what a script of Node's needs to drive it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from code_server import find
from vscode_npm import VSCODE, npm

EDITOR = find()
"""None where it is not here."""
SUITES = VSCODE / "test-editor"
SERVER = (sys.executable, "-m", "midfill_server")
LIMIT_S = 500


def environment() -> dict[str, str]:
    """Variables with which Node is the editor's own."""
    assert EDITOR is not None
    return EDITOR.environment(os.environ)


def packaged(folder: Path) -> Path:
    """The extension, as it is published."""
    path = folder / "midfill.vsix"
    npm("run", "package", "--", "--out", str(path), environment=environment())
    return path


def on_path(folder: Path, serve: Sequence[str] = SERVER) -> Path:
    """A folder that holds a command `midfill`, found on the path as where a person has installed it.

    `serve` runs instead of it for its word `serve`.
    """
    program = folder / "bin" / "midfill"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = serve ] && exec {shlex.join(serve)} "$@"\nexec {shlex.join(SERVER)} "$@"\n'
    )
    program.chmod(0o755)
    return program.parent


def scripted(folder: Path, answers: Mapping[str, str]) -> str:
    """The name of an instruct model that says these answers, by what it was asked about."""
    file = folder / "answers.json"
    file.write_text(json.dumps(answers))
    return f"fake:answers={quote(str(file))}&piece_delay_s=0.02"


def drive(script: str, folder: Path, vsix: Path, path: Path, **options: Any) -> str:
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
    variables = {
        **environment(),
        "MIDFILL_STATE_DIR": str(folder / "state"),
        "MIDFILL_TEST_TIMES": str(folder / "times.jsonl"),
        "MIDFILL_TEST_LATENCY": str(folder / "latency.json"),
    }
    try:
        done = subprocess.run(
            ["node", str(SUITES / script), str(folder / "options.json")],
            env=variables,
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
