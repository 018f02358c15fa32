"""A file system of its own, which is full until a test makes room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A small file system, all of whose room one file takes."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler.log"

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * (1 << 16)):
                    pass
            except OSError:
                pass
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass

    def empty(self) -> None:
        """Give all of it back."""
        self._filler.unlink()


@contextmanager
def full_disk(folder: Path, size_mb: int = 4) -> Iterator[Disk]:
    """A full disk at a folder until the context ends; skips, loudly, where none may be mounted."""
    folder.mkdir(mode=0o700)
    options = f"size={size_mb}m,mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "midfill-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("A FULL DISK IS NOT CHECKED: nothing may be mounted here")
    try:
        disk = Disk(folder)
        disk.fill()
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
