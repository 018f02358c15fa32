"""Make `.venv` ready: the locked packages, llama.cpp built from source, and Midfill itself, editable.

Only Python's standard library, since it runs before anything is installed. A second run finds that nothing
has changed and ends at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "midfill-setup"
INPUTS = (ROOT / "pyproject.toml", ROOT / "requirements" / "dev.txt", Path(__file__))

CMAKE_ARGS = "-DLLAVA_BUILD=OFF"
"""Without the multimodal library, which we do not use: a sixth less to compile (measured)."""

BUILD_MINUTES = "5 to 10 minutes on two cores"
_STEP = re.compile(r"\[(\d+)/(\d+)\]")


def main() -> None:
    """Set up, or say in one sentence what is missing."""
    if sys.version_info < (3, 10):
        sys.exit("Midfill needs Python 3.10 or newer.")
    if sys.argv[1:] == ["--engine"]:  # For whoever builds a wheel of it: what is pinned.
        print(_engine())
        return
    # Other options for llama.cpp, such as -DGGML_CUDA=on for a GPU, make another build.
    os.environ.setdefault("CMAKE_ARGS", CMAKE_ARGS)
    wanted = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    _make_venv()
    _pip("Installing the locked packages", "install", "--require-hashes", "-r", str(INPUTS[1]))
    _install_llama_cpp()
    _pip("Installing Midfill itself", "install", "--no-deps", "--no-build-isolation", "-e", ".")
    STAMP.write_text(wanted)
    print("Midfill is set up.", flush=True)


def _fingerprint() -> str:
    digest = hashlib.sha256(os.environ["CMAKE_ARGS"].encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_venv() -> None:
    if PYTHON.is_file():
        return
    print("Making .venv", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(
            f"{made.stdout}{made.stderr}\nPython cannot make a virtual environment here; "
            "on Debian and Ubuntu: apt-get install python3-venv python3-dev"
        )


def _install_llama_cpp() -> None:
    """Build and install llama-cpp-python, showing how far the build has come.

    A wheel of the right version in the folder that MIDFILL_WHEELS names is used instead of building one.
    """
    requirement = _engine()
    if ready := os.environ.get("MIDFILL_WHEELS"):
        _pip(
            f"Installing {requirement} from a ready wheel",
            *("install", "--no-deps", "--no-index", "--find-links", ready, requirement),
        )
        return
    if shutil.which("c++") is None and "CXX" not in os.environ:
        sys.exit("A C++ compiler is needed; on Debian and Ubuntu: apt-get install g++ make")
    print(f"Building {requirement}: this takes {BUILD_MINUTES}, once.", flush=True)
    command = [str(PYTHON), "-m", "pip", "install", "-v", "--no-deps", requirement]
    started, shown, log = time.monotonic(), 0.0, []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as build:
        assert build.stdout is not None
        for line in build.stdout:
            log.append(line)
            elapsed = time.monotonic() - started
            if (step := _STEP.search(line)) and elapsed - shown > 5:
                done, total = int(step[1]), int(step[2])
                left = (
                    f", about {elapsed / done * (total - done):.0f} s to go" if done >= 10 else ""
                )
                _show(f"  {done} of {total} steps, {elapsed:.0f} s{left}")
                shown = elapsed
    _show("")
    if build.returncode:
        sys.exit("".join(log[-60:]) + "\nllama-cpp-python could not be built; see above.")


def _engine() -> str:
    match = re.search(r'"(llama-cpp-python==[^"]+)"', INPUTS[0].read_text("utf-8"))
    assert match, "pyproject.toml pins llama-cpp-python"
    return match[1]


def _show(status: str) -> None:
    """One line that is written over on a terminal, and one after the other in a log."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{status}", end="", flush=True)
    elif status:
        print(status, flush=True)


def _pip(what: str, *arguments: str) -> None:
    print(what, flush=True)
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"{what} failed; see above.")


if __name__ == "__main__":
    main()
