"""Where an editor will ask next, told from its edits, so that the model begins with the key and not with the request.

An editor rests before it asks, and no server can change that: VS Code for 50 ms and some 30 more until the request is
here (measured), Neovim's own client for 200 ms. The caret is not in an edit, but after a key it is where the edit ends.
Whether an editor asks there is seen from what it did after the keys before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midfill.text import Document, Edit, Encoding

PATIENCE_S = 1.0
"""An editor that asks for nothing for so long after a key will not. Those that were seen rest for 0.2 s at most."""

_PAIRS = ("()", "[]", "{}", "<>", '""', "''", "``")
"""What an editor makes of one key that opens; the caret is between the two."""


@dataclass(frozen=True)
class _Awaited:
    document: Document
    offset: int
    since_s: float


class Foresight:
    """Whether one editor asks by itself, and where. Owned by the session. Times are by any clock."""

    def __init__(self) -> None:
        self._uri: str | None = None
        """The document in which it did after the last key that it asked about, where that was foreseen."""
        self._awaited: _Awaited | None = None

    def edited(
        self, document: Document, edits: Sequence[Edit | str], encoding: Encoding, now_s: float
    ) -> int | None:
        """The offset at which the editor will ask, after edits that have made the document; None where it may not."""
        if self._awaited and now_s - self._awaited.since_s > PATIENCE_S:
            self._uri = None
        offset = _caret(document, edits, encoding)
        self._awaited = None if offset is None else _Awaited(document, offset, now_s)
        return offset if document.uri == self._uri else None

    def asked(self, document: Document, offset: int | None) -> None:
        """The editor asks by itself; without an offset for what goes on from an entry of its own list."""
        if self._awaited and document is self._awaited.document:
            self._uri = document.uri if offset == self._awaited.offset else None
            self._awaited = None


def _caret(document: Document, edits: Sequence[Edit | str], encoding: Encoding) -> int | None:
    """Where the caret is after edits that one key may have made."""
    if len(edits) != 1 or isinstance(edit := edits[0], str) or edit.text.count("\n") > 1:
        return None
    end = document.offset(edit.start, encoding) + len(edit.text)
    return end - 1 if edit.text in _PAIRS else end
