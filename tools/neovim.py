"""Find or fetch Neovim for the tests that drive a real editor: the newest, and the oldest that the plugin serves.

They are unpacked from suites of Debian into `.cache/neovim`, beside the system's packages and without touching
them. Where that cannot be done, this says loudly what is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "neovim"
NEWEST, OLDEST = (0, 12), (0, 10)
"""The first release with `vim.lsp.inline_completion`, and the first with ghost text within a line."""
SUITES = {NEWEST: "forky", OLDEST: "trixie"}


class CannotFetchError(Exception):
    """Neovim cannot be had here; the message says why."""


def find(release: tuple[int, int] = NEWEST) -> Path | None:
    """The newest: `MIDFILL_NVIM`, the one on the path, or the fetched one. The oldest: the fetched one."""
    elsewhere = (os.environ.get("MIDFILL_NVIM"), shutil.which("nvim")) if release == NEWEST else ()
    for candidate in (*elsewhere, _fetched(release)):
        if candidate and Path(candidate).is_file() and _version(Path(candidate)) >= release:
            return Path(candidate)
    return None


def main() -> None:
    """Make sure that they are there, or say what is missing."""
    for release in SUITES:
        name = ".".join(map(str, release))
        try:
            found = find(release) or _fetch(release)
        except CannotFetchError as reason:
            bar = "!" * 78
            print(
                f"{bar}\nSKIPPED LAYER: the tests in Neovim {name}. {reason}\n"
                f"Install Neovim 0.12 or newer, or name one in MIDFILL_NVIM.\n{bar}",
                flush=True,
            )
        else:
            print(f"Neovim for the tests: {'.'.join(map(str, _version(found)))}", flush=True)


def _fetched(release: tuple[int, int]) -> Path:
    return CACHE / SUITES[release] / "root" / "usr" / "bin" / "nvim"


def _version(nvim: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([nvim, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0,)
    match = re.match(r"NVIM v(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def _fetch(release: tuple[int, int]) -> Path:
    suite, fetched = SUITES[release], _fetched(release)
    cache = CACHE / suite
    apt, dpkg, patchelf = shutil.which("apt-get"), shutil.which("dpkg-deb"), _patchelf()
    if not (apt and dpkg and patchelf):
        raise CannotFetchError(
            "This system has no apt-get, dpkg-deb or patchelf to unpack it with."
        )
    mirror = _mirror()
    print(f"Fetching Neovim for the tests ({suite})", flush=True)
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
    _run([*base, "install", "-y", "--no-install-recommends", "--download-only", "neovim"])
    for package in sorted((cache / "archives").glob("*.deb")):
        _run([dpkg, "-x", str(package), str(cache / "root")])
    # The binary wants a newer C library than the system's, so it is pointed at the one unpacked with it.
    # It is changed in place: from there it finds its own runtime files.
    libraries = next((cache / "root/usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    _run([patchelf, "--set-interpreter", str(loader), str(fetched)])
    _run([patchelf, "--force-rpath", "--set-rpath", str(libraries), str(fetched)])
    if _version(fetched) < release:
        raise CannotFetchError(f"What {suite} has does not run here.")
    return fetched


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


if __name__ == "__main__":
    main()
