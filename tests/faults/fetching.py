"""`midfill models pull`, but at a stage of it the process ends as if it had been killed.

`fetching.py STAGE ARGUMENT`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from midfill_server import downloads
from midfill_server.cli import main

BYTES = 100_000
"""After how many a download that is killed in its middle has ended."""


def ends(*arguments: Any, **named: Any) -> Any:
    """As SIGKILL does it: nothing is put in order, and what Python has not written yet is lost."""
    os._exit(137)


def ends_between(write: Callable[..., int]) -> Callable[..., int]:
    """Write, and end when so much is there."""

    def written(self: Any, data: bytes) -> int:
        n = write(self, data)
        if self.tell() >= BYTES:
            ends()
        return n

    return written


def ends_over(place: str) -> Callable[..., Path]:
    """Rename, and end before that where the file lies in a folder of this name."""
    rename = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        if self.parent.name == place:
            ends()
        return rename(self, target)

    return replaced


STAGES: dict[str, Callable[[], Any]] = {
    "asking": lambda: mock.patch.object(downloads, "_on_server", ends),
    "room": lambda: mock.patch.object(downloads, "_check_room", ends),
    "bytes": lambda: mock.patch.object(
        downloads._Hashed, "write", ends_between(downloads._Hashed.write)
    ),
    "sync": lambda: mock.patch.object(os, "fsync", ends),
    "check": lambda: mock.patch.object(downloads, "_check_gguf", ends),
    "note": lambda: mock.patch.object(downloads, "record", ends),
    "note-half": lambda: mock.patch.object(Path, "replace", ends_over("models")),
    "name": lambda: mock.patch.object(Path, "replace", ends_over(".partial")),
}
"""What ends the process, from the first request to the moment in which the file gets its name."""

if __name__ == "__main__":
    stage = sys.argv.pop(1)
    sys.argv[1:1] = ["models", "pull"]
    with STAGES[stage]():
        main()
