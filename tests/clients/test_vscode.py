"""The VS Code extension: its manifest is the settings', and it is checked, tested, bundled and packaged."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill.version import __version__

ROOT = Path(__file__).parents[2]
VSCODE = ROOT / "clients" / "vscode"
MANIFEST = VSCODE / "package.json"
LOCK = VSCODE / "package-lock.json"

Npm = Callable[..., str]

_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
"""What npm says where there is no network."""


@pytest.fixture(scope="module")
def npm() -> Npm:
    """Runs npm in the extension's folder, where what the lock names is installed."""
    if shutil.which("npm") is None:
        pytest.skip(
            "THE VS CODE EXTENSION IS NOT TESTED: npm is not here (install Node 20 or newer)"
        )
    installed = VSCODE / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < LOCK.stat().st_mtime:
        _npm("ci", "--no-audit", "--no-fund")
        installed.touch()
    return _npm


def _npm(*arguments: str) -> str:
    done = subprocess.run(
        [shutil.which("npm") or "npm", *arguments],
        cwd=VSCODE,
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


def test_the_manifest_is_made_from_the_settings() -> None:
    generated = runpy.run_path(str(VSCODE / "generate.py"))["generated"]
    manifest = MANIFEST.read_text("utf-8")
    if "UPDATE" in os.environ:
        manifest = generated(manifest)
        MANIFEST.write_text(manifest, "utf-8")
    assert manifest == generated(manifest), "run UPDATE=1 pytest tests/clients"


def test_the_lock_is_the_manifests() -> None:
    manifest, lock = (json.loads(file.read_text("utf-8")) for file in (MANIFEST, LOCK))
    root = lock["packages"][""]
    assert (lock["version"], root["version"]) == (__version__, __version__), "run npm install"
    assert root["devDependencies"] == manifest["devDependencies"], "run npm install"
    assert '"resolved"' not in LOCK.read_text("utf-8"), "a lock names no registry"


def test_the_licence_goes_along() -> None:
    assert (VSCODE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_types_and_lint(npm: Npm) -> None:
    npm("run", "check")


def test_how_the_server_is_found(npm: Npm) -> None:
    npm("test")


def test_bundle(npm: Npm) -> None:
    npm("run", "bundle")
    bundle = (VSCODE / "dist" / "extension.js").read_text("utf-8")
    assert str(ROOT) not in bundle
    assert "vscode-languageclient" in (VSCODE / "dist" / "NOTICE.txt").read_text("utf-8")


@pytest.mark.slow
def test_package(npm: Npm, tmp_path: Path) -> None:
    vsix = tmp_path / "midfill.vsix"
    said = npm("run", "package", "--", "--out", str(vsix))
    assert "WARNING" not in said
    with zipfile.ZipFile(vsix) as archive:
        names = {name for name in archive.namelist() if name.startswith("extension/")}
    assert names == {
        "extension/LICENSE.txt",
        "extension/dist/NOTICE.txt",
        "extension/dist/extension.js",
        "extension/package.json",
        "extension/readme.md",
    }
