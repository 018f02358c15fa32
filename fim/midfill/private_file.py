"""Writes a small file of our own: whole, and readable by its user alone."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

_TRIES = 20


def write_private(path: Path, text: str) -> None:
    """Put a file in the place of another, its folder with it; readers see the old or the new, never a part.

    Raises:
        OSError: it cannot be written; nothing of it is left, and the old one is as it was.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        _replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)  # Of a full disk.


def _replace(draft: Path, path: Path) -> None:
    # Windows refuses to replace a file while someone reads it, which takes them microseconds.
    for _ in range(_TRIES):
        try:
            draft.replace(path)
            return
        except PermissionError:
            time.sleep(0.01)
    draft.replace(path)
