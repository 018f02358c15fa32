"""Reads a file that somebody else may have made: only a regular one, so much of it, and without ever waiting for it.

A folder that was unpacked may hold a pipe, which nobody ever writes to, or a link to a device that never ends, under
any name that is looked for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_plain(path: Path, most: int, *, follow: bool = True) -> bytes | None:
    """The file's first `most` bytes and one more where there are more; None where it is no regular file.

    Args:
        follow: whether the last name may be a symbolic link.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        opened = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    except ValueError as error:  # No file has such a name.
        raise FileNotFoundError(0, str(error)) from None
    with os.fdopen(opened, "rb") as file:
        return file.read(most + 1) if stat.S_ISREG(os.fstat(opened).st_mode) else None
