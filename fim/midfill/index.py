"""The workspace's definitions and pieces of text, as the server reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from midfill.snippets import Snippet


class Imported(NamedTuple):
    """One name that a file takes from elsewhere."""

    module: str
    name: str
    alias: str


class Index:
    """A read view of the index of a workspace. Any thread may ask it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def definitions_for(
        self,
        text_near_caret: str,
        language: str,
        path: str,
        *,
        imports: Sequence[Imported] | None = None,
        limit: int = 12,
    ) -> list[Snippet]:
        """The definitions, in other files, of the names that a text uses; the surest and most used first."""
        return []

    def similar(self, text: str, path: str, limit: int = 8) -> list[Snippet]:
        """Pieces of other files that share the rarest identifiers with a text (BM25), the best first."""
        return []
