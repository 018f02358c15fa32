"""Find or fetch Neovim for the tests that drive a real editor: the newest, and the oldest that the plugin serves.

They are unpacked from suites of Debian into `.cache/neovim`, beside the system's packages and without touching
them. Where that cannot be done, this says loudly what is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from debian import CACHE, CannotFetchError, found_or_fetched, skipped

NEWEST, OLDEST = (0, 12), (0, 10)
"""The first release with `vim.lsp.inline_completion`, and the first with ghost text within a line."""
SUITES = {NEWEST: "forky", OLDEST: "trixie"}


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
            found = _found_or_fetched(release)
        except CannotFetchError as reason:
            remedy = "Install Neovim 0.12 or newer, or name one in MIDFILL_NVIM."
            skipped(f"the tests in Neovim {name}", reason, remedy)
        else:
            print(f"Neovim for the tests: {'.'.join(map(str, _version(found)))}", flush=True)


def _fetched(release: tuple[int, int]) -> Path:
    return CACHE / "neovim" / SUITES[release] / "root" / "usr" / "bin" / "nvim"


def _version(nvim: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([nvim, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0,)
    match = re.match(r"NVIM v(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def _found_or_fetched(release: tuple[int, int]) -> Path:
    suite = SUITES[release]
    return found_or_fetched(
        lambda: find(release), "neovim", suite, CACHE / "neovim" / suite, "nvim"
    )


if __name__ == "__main__":
    main()
