"""Find or fetch Emacs for the test of a client that knows lists only: 29 or newer, which has eglot.

It is unpacked from a suite of Debian into `.cache/emacs`, beside the system's packages and without touching them. Where
that cannot be done, this says loudly what is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from debian import CACHE, CannotFetchError, found_or_fetched, skipped

SUITE = "trixie"
ROOT = CACHE / "emacs" / SUITE / "root" / "usr"
OLDEST = 29


def find() -> list[str] | None:
    """The command that runs it: `MIDFILL_EMACS`, the one on the path, or the fetched one."""
    for candidate in (os.environ.get("MIDFILL_EMACS"), shutil.which("emacs")):
        if candidate and _version([candidate]) >= OLDEST:
            return [candidate]
    fetched = _fetched()
    return fetched if fetched and _version(fetched) >= OLDEST else None


def environment() -> dict[str, str]:
    """What the fetched one must be told of where it is; harmless to another."""
    found = _fetched()
    if not found or find() != found:
        return {}
    lisp = next((ROOT / "share/emacs").glob("[0-9]*/lisp"))
    folders = [lisp, *(path for path in lisp.rglob("*") if path.is_dir())]
    return {
        "EMACSLOADPATH": os.pathsep.join(map(str, folders)),
        "EMACSDATA": str(lisp.parent / "etc"),
        "EMACSDOC": str(lisp.parent / "etc"),
    }


def main() -> None:
    """Make sure that it is there, or say what is missing."""
    try:
        found = found_or_fetched(find, "emacs-nox", SUITE, CACHE / "emacs" / SUITE, "emacs-nox")
    except CannotFetchError as reason:
        remedy = f"Install Emacs {OLDEST} or newer, or name one in MIDFILL_EMACS."
        skipped("the test in Emacs", reason, remedy)
    else:
        print(f"Emacs for the tests: {_version(found)}", flush=True)


def _fetched() -> list[str] | None:
    program = ROOT / "bin/emacs-nox"
    dumps = list(ROOT.glob("libexec/emacs/*/*/emacs*.pdmp"))
    return [str(program), f"--dump-file={dumps[0]}"] if program.exists() and dumps else None


def _version(command: list[str]) -> int:
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.match(r"GNU Emacs (\d+)", said.stdout)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    main()
