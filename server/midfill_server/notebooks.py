"""The notebooks that an editor has open. Their cells are documents like others, kept with them by the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midfill.notebook import Joined, Notebook, joined
from midfill.text import Document


class Notebooks:
    """Which cells belong together, and a cell among the others. Owned by the session."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        """`documents`: the open ones, cells among them."""
        self._documents = documents
        self._open: dict[str, Notebook] = {}
        self._notebook_uris: dict[str, str] = {}
        self._known: dict[str, _Known] = {}

    def put(self, notebook: Notebook) -> None:
        """Take a notebook that was opened, or one whose cells are others than before."""
        self.drop(notebook.uri)
        self._open[notebook.uri] = notebook
        self._notebook_uris.update(dict.fromkeys(notebook.cells, notebook.uri))

    def drop(self, uri: str) -> None:
        """Forget a notebook."""
        if notebook := self._open.pop(uri, None):
            for cell in notebook.cells:
                self._notebook_uris.pop(cell, None)
        self._known.pop(uri, None)

    def get(self, uri: str) -> Notebook | None:
        """An open notebook."""
        return self._open.get(uri)

    def notebook_of(self, uri: str) -> str:
        """The notebook of a cell; any other document stands for itself."""
        return self._notebook_uris.get(uri, uri)

    def around(self, document: Document) -> Joined:
        """A cell with those before and after it; any other document alone. The same value as long as it holds."""
        notebook = self._open.get(self.notebook_of(document.uri))
        if notebook is None:
            return Joined(document, 0)
        cells = {uri: self._documents[uri] for uri in notebook.cells if uri in self._documents}
        cells[document.uri] = document
        parts = (document, *cells.values())
        known = self._known.get(notebook.uri)
        if known is None or not known.holds(parts):
            known = _Known(parts, joined(notebook, cells, document.uri))
            self._known[notebook.uri] = known
        return known.joined


@dataclass(frozen=True)
class _Known:
    parts: tuple[Document, ...]
    joined: Joined

    def holds(self, parts: tuple[Document, ...]) -> bool:
        pairs = zip(self.parts, parts, strict=False)
        return len(self.parts) == len(parts) and all(one is other for one, other in pairs)
