"""Find or fetch Neovim 0.12 for the tests that drive a real editor.

Debian's stable release ships an older one, so it is unpacked from a newer suite into `.cache/neovim`, beside the
system's packages and without touching them. Where that cannot be done, this says loudly what is skipped.
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
FETCHED = CACHE / "root" / "usr" / "bin" / "nvim"
SUITE = "forky"
NEEDED = (0, 12)
"""The first release with `vim.lsp.inline_completion`."""


class CannotFetchError(Exception):
    """Neovim cannot be had here; the message says why."""


def find() -> Path | None:
    """A Neovim that is new enough: `MIDFILL_NVIM`, the one on the path, or the fetched one."""
    for candidate in (os.environ.get("MIDFILL_NVIM"), shutil.which("nvim"), FETCHED):
        if candidate and Path(candidate).is_file() and _version(Path(candidate)) >= NEEDED:
            return Path(candidate)
    return None


def main() -> None:
    """Make sure that there is one, or say what is missing."""
    try:
        found = find() or _fetch()
    except CannotFetchError as reason:
        bar = "!" * 78
        print(
            f"{bar}\nSKIPPED LAYER: the Neovim tests. {reason}\n"
            f"Install Neovim 0.12 or newer, or name one in MIDFILL_NVIM.\n{bar}",
            flush=True,
        )
    else:
        print(f"Neovim for the tests: {'.'.join(map(str, _version(found)))}", flush=True)


def _version(nvim: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([nvim, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0,)
    match = re.match(r"NVIM v(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def _fetch() -> Path:
    apt, dpkg, patchelf = shutil.which("apt-get"), shutil.which("dpkg-deb"), _patchelf()
    if not (apt and dpkg and patchelf):
        raise CannotFetchError(
            "This system has no apt-get, dpkg-deb or patchelf to unpack it with."
        )
    mirror = _mirror()
    print(f"Fetching Neovim for the tests ({SUITE})", flush=True)
    shutil.rmtree(CACHE, ignore_errors=True)
    for folder in ("lists/partial", "archives/partial", "root"):
        (CACHE / folder).mkdir(parents=True)
    (CACHE / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (CACHE / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {SUITE} main\n")
    options = {
        "Dir::Etc::sourcelist": CACHE / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": CACHE / "lists",
        "Dir::State::status": CACHE / "status",
        "Dir::Cache": CACHE,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    base = [apt, "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*base, "update"])
    _run([*base, "install", "-y", "--no-install-recommends", "--download-only", "neovim"])
    for package in sorted((CACHE / "archives").glob("*.deb")):
        _run([dpkg, "-x", str(package), str(CACHE / "root")])
    # The binary wants a newer C library than the system's, so it is pointed at the one unpacked with it.
    # It is changed in place: from there it finds its own runtime files.
    libraries = next((CACHE / "root/usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    _run([patchelf, "--set-interpreter", str(loader), str(FETCHED)])
    _run([patchelf, "--force-rpath", "--set-rpath", str(libraries), str(FETCHED)])
    if _version(FETCHED) < NEEDED:
        raise CannotFetchError(f"What {SUITE} has does not run here.")
    return FETCHED


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
