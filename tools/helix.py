"""Find or fetch Helix for the test of the configuration that the manual has for it: 25 or newer.

It is unpacked from a suite of Debian into `.cache/helix`, beside the system's packages and without touching them. Where
that cannot be done, this says loudly what is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from debian import CACHE, CannotFetchError, found_or_fetched, skipped

SUITE = "trixie"
ROOT = CACHE / "helix" / SUITE / "root" / "usr"
OLDEST = 25


def find() -> Path | None:
    """`MIDFILL_HELIX`, the one on the path, or the fetched one."""
    named = (os.environ.get("MIDFILL_HELIX"), shutil.which("hx"), shutil.which("helix"))
    for candidate in (*named, ROOT / "bin/hx"):
        if candidate and _version(Path(candidate)) >= OLDEST:
            return Path(candidate)
    return None


def environment() -> dict[str, str]:
    """What the fetched one must be told of where it is."""
    return {"HELIX_RUNTIME": str(ROOT / "lib/hx/runtime")} if find() == ROOT / "bin/hx" else {}


def main() -> None:
    """Make sure that it is there, or say what is missing."""
    try:
        found = found_or_fetched(find, "hx", SUITE, CACHE / "helix" / SUITE, "hx")
    except CannotFetchError as reason:
        remedy = f"Install Helix {OLDEST} or newer, or name one in MIDFILL_HELIX."
        skipped("the test in Helix", reason, remedy)
    else:
        print(f"Helix for the tests: {_version(found)}", flush=True)


def _version(program: Path) -> int:
    """The year of its release; 0 where it does not run, and of the other program that is named `hx`."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.match(r"helix (\d+)\.", said.stdout)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    main()
