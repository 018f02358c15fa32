"""The process of a host: started apart from who starts it, its log, and what to say where it did not work."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midfill.engines.shortage import is_about_memory, too_little_memory
from midfill.engines.state import HostFiles
from midfill.errors import EngineError, ModelError
from midfill.settings import EngineSettings

LARGEST_EXIT_STATUS = 255
"""Above are the codes with which Windows ends a process; on POSIX a signal gives a negative status."""

BUILD_ANEW = "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
"""What mends a build of llama.cpp that is there and does not work; pip's cache would bring the same again."""

_LOADS_LIBRARY = "_ctypes_extensions.py"
"""llama-cpp-python's module that loads libraries: in the stack that a signal leaves while it does."""

_TAIL_BYTES = 1 << 14
_LOG_BYTES = 1 << 20
"""A log larger than this is begun anew."""


def spawn(
    model: str,
    instruct: str,
    files: HostFiles,
    settings: EngineSettings,
    token: str,
    grace_s: float,
) -> subprocess.Popen[bytes]:
    """Start a host that outlives this process, and is outlived by none of its clients' leases.

    Raises:
        OSError: the process cannot be started.
    """
    terms = {
        "key": files.key,
        "folder": str(files.folder),
        "token": token,
        "grace_s": grace_s,
        "instruct": instruct,
        "settings": asdict(settings),
    }
    # Passive: spinning threads of OpenMP cost a factor of 3 where cores are shared (measured).
    # No backtrace: llama.cpp would run a debugger on itself when an assertion fails.
    environment = {"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"} | os.environ
    if files.log_path.exists() and files.log_path.stat().st_size > _LOG_BYTES:
        files.log_path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(files.log_path, flags, 0o600), "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "midfill.engines.host", "--model", model],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Python looks for modules in the folder it is started in; an editor's may be anyone's work.
            cwd=files.folder,
            env=environment,
            **_DETACHED,
        )
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin:
        process.stdin.write(json.dumps(terms).encode() + b"\n")
    # Waits for its end, so that it does not stay behind as a zombie.
    threading.Thread(target=process.wait, name="midfill-host-end", daemon=True).start()
    return process


def log_size(path: Path) -> int:
    """Bytes of a log; 0 where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def log_since(path: Path, since: int) -> str:
    """What was written to a log behind a place, the last of it where that is much."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(since if since <= end <= since + _TAIL_BYTES else max(0, end - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
    return ""


def died_loading(model: str, files: HostFiles, said: str = "") -> ModelError:
    """What to say where the process ended over the model's file; `said` is what it wrote to its log then."""
    if is_about_memory(said):
        return ModelError(too_little_memory(model))
    if _LOADS_LIBRARY in said:
        return ModelError(
            "Loading llama.cpp ended the process that runs models: a library of its own, or of a GPU's driver, is "
            f"damaged; install that driver, or llama.cpp anew with `{BUILD_ANEW}`; the log is {files.log_path}."
        )
    return ModelError(
        f"Loading {Path(model).name} ended the process that loads it: the file is probably damaged or "
        f"hostile, or the memory does not suffice; the log is {files.log_path}."
    )


def cannot_start(model: str, files: HostFiles, how: str, said: str = "") -> EngineError:
    """What to say where there is no process; `said` is what it wrote to its log."""
    if is_about_memory(said):
        return EngineError(too_little_memory(model))
    with contextlib.suppress(OSError):
        if shutil.disk_usage(files.folder).free < _ROOM_BYTES:
            return EngineError(
                f"The process that runs the model cannot be started: the disk of {files.folder} is full."
            )
    return EngineError(
        f"The process that runs the model cannot be started ({how}); its log is {files.log_path}."
    )


_ROOM_BYTES = 1 << 16
"""What the files of a host need at least."""

if sys.platform == "win32":
    _DETACHED: dict[str, Any] = {
        "creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    }
else:
    _DETACHED: dict[str, Any] = {"start_new_session": True}
