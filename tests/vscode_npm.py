"""npm in the folder of the VS Code extension, where what its lock names is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

VSCODE = Path(__file__).parents[1] / "clients" / "vscode"
LOCK = VSCODE / "package-lock.json"

_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
"""What npm says where there is no network."""


def npm(*arguments: str, environment: Mapping[str, str] = os.environ) -> str:
    """What npm says; the test is skipped where it is not here or needs a network that is not there."""
    program = shutil.which("npm", path=environment.get("PATH"))
    if program is None:
        pytest.skip(
            "THE VS CODE EXTENSION IS NOT TESTED: npm is not here (install Node 20 or newer)"
        )
    installed = VSCODE / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < LOCK.stat().st_mtime:
        _run(program, ("ci", "--no-audit", "--no-fund"), environment)
        installed.touch()
    return _run(program, arguments, environment)


def _run(program: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [program, *arguments],
        cwd=VSCODE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    if done.returncode and any(reason in done.stdout for reason in _UNREACHABLE):
        pytest.skip(f"THE VS CODE EXTENSION IS NOT TESTED: npm {arguments[0]} needs the network")
    assert done.returncode == 0, done.stdout
    return done.stdout
