"""Running a program that a model had a part in: in a process of its own, with limits, apart from the network.

It is a fence against accidents (endless loops, full memory, written files), not against an attacker: the process reads
what its user may read. On Linux it has no network where the kernel lets a user make a name space (`unshare`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from typing import Literal

Outcome = Literal["passed", "failed", "time"]

MEMORY_BYTES = 1 << 30
MAX_FILE_BYTES = 1 << 20
MAX_OPEN_FILES = 32

_START = f"""\
import sys
try:
    import resource
    seconds = int(sys.argv[1])
    for name, limit in (("CPU", seconds), ("AS", {MEMORY_BYTES}), ("FSIZE", {MAX_FILE_BYTES}),
                        ("NOFILE", {MAX_OPEN_FILES}), ("CORE", 0)):
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (limit, limit))
except ImportError:
    pass  # Windows has no such limits; the time limit holds there too.
program = sys.stdin.read()
exec(compile(program, "program", "exec"), {{"__name__": "__main__"}})
sys.stdout.flush()
"""
"""Sets limits that cannot be raised again, then runs what it reads."""


def outcome(program: str, time_limit_s: float) -> Outcome:
    """Run a Python program to its end: `passed` if it got there without an exception, `time` if it took too long."""
    # Said at the very end, so that a program that leaves early has not passed.
    word = secrets.token_hex(16)
    source = f"{program}\n\nimport sys as _sys\n_sys.__stdout__.write({word!r})\n"
    command = [*without_network(), sys.executable, "-I", "-c", _START, str(int(time_limit_s) + 1)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(source.encode(), time_limit_s)
        except subprocess.TimeoutExpired:
            return "time"
        finally:
            _end(process)
    # SIGXCPU, where the processor's time was up before the clock's.
    if process.returncode == -getattr(signal, "SIGXCPU", 0):
        return "time"
    return "passed" if process.returncode == 0 and said.endswith(word.encode()) else "failed"


@cache
def without_network() -> tuple[str, ...]:
    """What to put before a command so that it has no network; nothing where that cannot be done."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    command = (unshare, "--user", "--map-root-user", "--net", "--")
    done = subprocess.run(
        [*command, sys.executable, "-I", "-c", ""], capture_output=True, check=False
    )
    return command if done.returncode == 0 else ()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.communicate()
