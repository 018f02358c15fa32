"""A notebook's cells as one text, so that a cell knows what those before it have defined.

Everything that reads a document then works across cells: the tree, the window, the filters. The cells of the
same language stand as they are with a blank line between them; Markdown is a comment, as in a script.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midfill.languages import Language, language
from midfill.text import Document

MARKDOWN = "markdown"


@dataclass(frozen=True)
class Notebook:
    """A notebook: its cells are documents of their own."""

    uri: str
    cells: tuple[str, ...]
    """The URIs of the cells, in order."""

    def with_cells(self, start: int, end: int, cells: tuple[str, ...]) -> Notebook:
        """The notebook with others in place of the cells from `start` to before `end`."""
        return Notebook(self.uri, (*self.cells[:start], *cells, *self.cells[end:]))


@dataclass(frozen=True)
class Joined:
    """One cell among the others."""

    document: Document
    """All cells as one document: the notebook's URI, the version and the language of the one cell."""
    start: int
    """Where the cell begins in it."""


def joined(notebook: Notebook, cells: Mapping[str, Document], uri: str) -> Joined:
    """The cell `uri` with the notebook's others before and after it. Cells in other languages are left out."""
    own = cells[uri]
    place = notebook.cells.index(uri)
    before = _texts(notebook.cells[:place], cells, own.language)
    after = _texts(notebook.cells[place + 1 :], cells, own.language)
    head = "".join(f"{text}\n\n" for text in before)
    gap = "\n" if own.text.endswith("\n") else "\n\n"
    text = head + own.text + (gap if after else "") + "\n\n".join(after)
    return Joined(Document.of(text, own.language, uri=notebook.uri, version=own.version), len(head))


def _texts(uris: tuple[str, ...], cells: Mapping[str, Document], wanted: str) -> list[str]:
    known = language(wanted)
    texts = [
        cells[uri].text if cells[uri].language == wanted else _comment(cells[uri], known)
        for uri in uris
        if uri in cells
    ]
    return [text.replace("\r\n", "\n").strip("\n") for text in texts if text.strip()]


def _comment(cell: Document, known: Language) -> str:
    """A Markdown cell as a comment; nothing for other cells, and where the language knows no comments of a line."""
    if cell.language != MARKDOWN or not known.line_comment:
        return ""
    return "\n".join(
        f"{known.line_comment} {line.rstrip()}".rstrip() for line in cell.text.strip().splitlines()
    )
