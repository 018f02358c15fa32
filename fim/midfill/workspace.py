"""Which files of the editor's folders may be read at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folders that an editor has open."""

    roots: tuple[Path, ...]

    def may_read(self, path: Path) -> bool:
        """Whether text of this file may enter the index or a prompt."""
        return False
