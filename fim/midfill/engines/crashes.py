"""A small file for each crash that nobody expected: versions, times, and where in our own code. Never what was in hand.

An exception's message can quote the user's code, and so can local variables and lines of source: none of them is kept.
Of a stack there are our own frames, named from the package on, and the names of the packages between them. The same
crash again is counted in its file. The files are in the state folder, for this user alone; `midfill doctor --report`
collects them, and nothing else reads them.
"""

# What only a crash needs is imported by it: an editor waits for the server to start.
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from midfill.errors import MidfillError
from midfill.private_file import write_private
from midfill.version import __version__

MAX_CRASHES = 20
"""Files that are kept, the newest."""

MAX_FRAMES = 40
_AGAIN_AFTER_S = 10.0
"""A crash with every key is not written with every key."""

_STARTED_S = time.monotonic()
_OWN = ("midfill", "midfill_server", "midfill_models")
_FATAL_FRAME = re.compile(
    r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+) in (?P<name>\S+)$', re.M
)
"""As Python's faulthandler writes it when a signal ends the process."""
_FATAL_ERROR = re.compile(r"^Fatal Python error: (?P<what>[A-Z][\w -]+)$", re.M)
_ASSERTION = re.compile(r"(?P<file>[\w.-]+:\d+): GGML_ASSERT\(")


@dataclass(frozen=True)
class Crash:
    """What happened, where, and how often."""

    process: str
    """`server` or `host`."""
    what: str
    """The kinds of the exceptions, the last raised first; or how a process ended."""
    stack: tuple[str, ...]
    """From the place where it happened outwards."""
    uptime_s: float
    """Of the process when it happened last."""
    first: str
    last: str
    """Times, in UTC."""
    n: int = 1
    versions: tuple[str, ...] = ()


def report_crash(process: str, error: BaseException, folder: Path | None = None) -> None:
    """Note an exception that nobody expected. Raises nothing."""
    kinds = list[str]()
    at: BaseException | None = error
    while at is not None and len(kinds) < 5:
        kinds.append(_kind(at))
        at = at.__cause__ or at.__context__
    _note(process, " from ".join(kinds), tuple(_frames(error.__traceback__)), folder)


def report_end(how: str, said: str, folder: Path | None = None) -> None:
    """Note that a host has ended; `said` is what it has written to its log meanwhile. Raises nothing."""
    error = _FATAL_ERROR.search(said)
    assertion = _ASSERTION.search(said)
    found = [
        how,
        error["what"] if error else "",
        f"GGML_ASSERT at {assertion['file']}" if assertion else "",
    ]
    frames = [(hit["file"], int(hit["line"]), hit["name"]) for hit in _FATAL_FRAME.finditer(said)]
    _note("host", ", ".join(filter(None, found)), tuple(_named(frames)), folder)


def crashes(folder: Path | None = None) -> list[Crash]:
    """What was noted, the newest first."""
    found = [crash for path in _paths(folder or _state_folder()) if (crash := _read(path))]
    return sorted(found, key=lambda crash: crash.last, reverse=True)


def watch(process: str) -> None:
    """Note from now on what this process does not expect, and whatever ends one of its threads."""
    _watched.append(process)
    hook, thread_hook = sys.excepthook, threading.excepthook

    def excepthook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        note(error)
        hook(kind, error, trace)

    def in_thread(given: threading.ExceptHookArgs) -> None:
        note(given.exc_value)
        thread_hook(given)

    sys.excepthook, threading.excepthook = excepthook, in_thread


def watch_loop() -> None:
    """The same for what the running event loop would only log."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        note(context.get("exception"))
        loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)


def note(error: BaseException | None) -> None:
    """Note an exception, if this process is watched and it is one that nobody expected. Raises nothing."""
    if _watched and isinstance(error, Exception) and not isinstance(error, MidfillError):
        report_crash(_watched[-1], error)


_watched: list[str] = []


def _note(process: str, what: str, stack: tuple[str, ...], folder: Path | None) -> None:
    with contextlib.suppress(Exception):
        folder = folder or _state_folder()
        now = datetime.now(timezone.utc)
        key = hashlib.sha256(json.dumps((__version__, process, what, stack)).encode()).hexdigest()
        path = folder / f"crash-{key[:16]}.json"
        before = _read(path)
        if before and abs(time.time() - path.stat().st_mtime) < _AGAIN_AFTER_S:
            return
        at = now.isoformat(timespec="seconds")
        crash = Crash(
            process, what, stack, round(time.monotonic() - _STARTED_S, 1), at, at, 1, _versions()
        )
        if before:
            crash = replace(crash, first=before.first, n=before.n + 1)
        write_private(path, json.dumps(asdict(crash), indent=1))
        by_age = sorted(_paths(folder), key=lambda old: old.stat().st_mtime, reverse=True)
        for old in by_age[MAX_CRASHES:]:
            old.unlink(missing_ok=True)


def _read(path: Path) -> Crash | None:
    try:
        fields = json.loads(path.read_text("utf-8"))
        lists = {name: tuple(map(str, fields[name])) for name in ("stack", "versions")}
        crash = Crash(**{**fields, **lists})
    except Exception:  # A damaged file is one of many things.
        return None
    sound = isinstance(crash.n, int) and all(
        isinstance(text, str) for text in (crash.process, crash.what, crash.first, crash.last)
    )
    return crash if sound else None


def _paths(folder: Path) -> list[Path]:
    return list(folder.glob("crash-*.json"))


def _state_folder() -> Path:
    from midfill.engines.state import state_folder

    return state_folder()


def _kind(error: BaseException) -> str:
    """The class, without its module where that is Python's."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _frames(trace: TracebackType | None) -> Iterator[str]:
    # `extract_tb` reads lines of source only when they are asked for.
    places = traceback.extract_tb(trace)[-MAX_FRAMES:][::-1]
    return _named([(at.filename, at.lineno or 0, at.name) for at in places])


def _named(frames: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    """Our own frames as `midfill/text.py:12 offset`; of others the package, once for all that follow each other."""
    last = ""
    for file, line, name in frames[:MAX_FRAMES]:
        parts = Path(file).parts
        # The last of these names: a user, or a folder of theirs, may have it too.
        own = max((idx for idx, part in enumerate(parts[:-1]) if part in _OWN), default=None)
        if own is not None and "site-packages" not in parts[own:]:
            last = ""
            yield f"{'/'.join(parts[own:])}:{line} {name}"
        else:
            package = _package(parts)
            if package != last:
                last = package
                yield f"({package})"


def _package(parts: Sequence[str]) -> str:
    """The package that a file is in, or that it is Python's own; a path says who the user is."""
    if "site-packages" in parts:
        return Path(parts[parts.index("site-packages") + 1]).stem
    return "python" if any(part.startswith("python3") for part in parts) else "elsewhere"


def _versions() -> tuple[str, ...]:
    import platform
    from importlib import metadata

    found = [f"midfill {__version__}", f"Python {platform.python_version()}"]
    found.append(f"{platform.system()} {platform.release()} {platform.machine()}")
    for name in ("llama-cpp-python", "pygls", "lsprotocol", "httpx", "tree-sitter"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return tuple(found)
