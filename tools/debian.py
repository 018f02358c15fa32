"""Unpack a program from a suite of Debian, beside the system's packages and without touching them.

For the tests that drive real editors. It takes apt-get, dpkg-deb and patchelf, and the mirror that this machine's own
apt uses.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CACHE = Path(__file__).resolve().parent.parent / ".cache"
BAR = "!" * 78


class CannotFetchError(Exception):
    """It cannot be had here; the message says why."""


def skipped(what: str, reason: CannotFetchError, remedy: str) -> None:
    """Say loudly which tests will not run."""
    print(f"{BAR}\nSKIPPED LAYER: {what}. {reason}\n{remedy}\n{BAR}", flush=True)


def found_or_fetched(
    find: Callable[[], T | None], package: str, suite: str, cache: Path, binary: str
) -> T:
    """What `find` finds, which is asked again once the package is unpacked where there is nothing.

    Raises:
        CannotFetchError: it cannot be had here, or does not run.
    """
    found = find()
    if found is None:
        unpack(package, suite, cache, binary)
        found = find()
    if found is None:
        raise CannotFetchError(f"What {suite} has does not run here.")
    return found


def unpack(package: str, suite: str, cache: Path, binary: str) -> Path:
    """The program `binary`, a path below `/usr/bin`, of a package unpacked with all that it needs in `cache`.

    Raises:
        CannotFetchError: it cannot be had here.
    """
    apt, dpkg, patchelf = shutil.which("apt-get"), shutil.which("dpkg-deb"), _patchelf()
    if not (apt and dpkg and patchelf):
        raise CannotFetchError(
            "This system has no apt-get, dpkg-deb or patchelf to unpack it with."
        )
    mirror = _mirror()
    print(f"Fetching {package} for the tests ({suite})", flush=True)
    shutil.rmtree(cache, ignore_errors=True)
    for folder in ("lists/partial", "archives/partial", "root"):
        (cache / folder).mkdir(parents=True)
    (cache / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (cache / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": cache / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": cache / "lists",
        "Dir::State::status": cache / "status",
        "Dir::Cache": cache,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    base = [apt, "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*base, "update"])
    _run([*base, "install", "-y", "--no-install-recommends", "--download-only", package])
    for archive in sorted((cache / "archives").glob("*.deb")):
        _run([dpkg, "-x", str(archive), str(cache / "root")])
    for folder in ("lists", "archives"):
        shutil.rmtree(cache / folder)
    # The binary may want a newer C library than the system's, so it is pointed at the one unpacked with it.
    # It is changed in place: from there it finds its own files.
    program = cache / "root/usr/bin" / binary
    libraries = next((cache / "root/usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    _run([patchelf, "--set-interpreter", str(loader), str(program)])
    _run([patchelf, "--force-rpath", "--set-rpath", str(libraries), str(program)])
    return program


def _patchelf() -> str | None:
    beside = Path(sys.executable).parent / "patchelf"
    return str(beside) if beside.is_file() else shutil.which("patchelf")


def _mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    for path in Path("/etc/apt").rglob("*"):
        if path.suffix in (".list", ".sources"):
            for line in path.read_text("utf-8", "replace").splitlines():
                found = re.search(r"https?://\S+/debian/?(?=\s|$)", line)
                if found and not line.startswith("#"):
                    return found[0]
    raise CannotFetchError("This is not a Debian system with a package mirror.")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines()
        raise CannotFetchError(f"{Path(command[0]).name} failed: {why[-1] if why else 'no reason'}")
