"""What became of what was shown unasked, told from the editor's edits: so it is known with every client.

A text came true if its first line was taken, or typed as it was shown; it did not if something else was typed in its
place, or elsewhere. That is what the gate's chance is of. The text stays here until then; sums of it are what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from midfill.confidence import after
from midfill.habit import NO_HABIT, Habit
from midfill.text import Document

_MAY_STAND_BEHIND = " \t)]}>'\"`"
"""What an editor puts behind the caret by itself, and white space, is no other text yet."""


@dataclass(frozen=True)
class _Shown:
    """A text that is on the screen."""

    request_id: str
    language: str
    start: int
    """The caret's offset in the document."""
    head: str
    """What stood before it on its line."""
    first_line: str
    """Of the text, with the line ends before it."""
    n_after: int
    """Characters after the caret."""
    chance: float

    def is_in(self, document: Document) -> bool | None:
        """Whether the document has become what was shown; None as long as it still may."""
        text = document.text
        if text[self.start - len(self.head) : self.start] != self.head:
            return False
        if text.startswith(self.first_line, self.start):
            return True
        end = len(text) - self.n_after
        if end < self.start:
            return False
        typed = text[self.start : end]
        pairs = zip(self.first_line, typed, strict=False)
        n_same = next(
            (idx for idx, (ours, theirs) in enumerate(pairs) if ours != theirs),
            min(len(self.first_line), len(typed)),
        )
        return False if typed[n_same:].strip(_MAY_STAND_BEHIND) else None


class Habits:
    """How what was shown unasked fared, by language, since the server started. Lives on its event loop."""

    def __init__(self) -> None:
        self._habits: dict[str, Habit] = {}
        self._shown: dict[str, _Shown] = {}
        """What may still come true, by document."""
        self._missed: dict[str, _Shown] = {}
        """What did not, and may yet be told to be taken, by document."""

    def of(self, language: str) -> Habit:
        """How texts in a language fared."""
        return self._habits.get(language, NO_HABIT)

    def shows(
        self, request_id: str, document: Document, offset: int, text: str, chance: float | None
    ) -> None:
        """A text is sent to an editor that asked for it unbidden. It is not judged where the engine told no chance."""
        uri = document.uri
        n_after = len(document.text) - offset
        before = self._shown.get(uri)
        is_here = before is not None and before.start <= offset and before.n_after == n_after
        if before and not is_here:
            # Nothing was edited, and yet the caret is elsewhere.
            self._judge(uri, is_right=False)
        if chance is None:
            self._shown.pop(uri, None)
            return
        end = text.find("\n", len(text) - len(text.lstrip()))
        first_line = text[: end if end >= 0 else len(text)].rstrip()
        if before and is_here and before.first_line[offset - before.start :] == first_line:
            # What is left of it, while it is typed.
            self._shown[uri] = replace(before, request_id=request_id)
            return
        head = document.text[document.line_starts[document.line_of(offset)] : offset]
        language = document.language
        self._shown[uri] = _Shown(request_id, language, offset, head, first_line, n_after, chance)

    def edited(self, document: Document) -> None:
        """A document was edited."""
        shown = self._shown.get(document.uri)
        is_right = shown.is_in(document) if shown else None
        if is_right is not None:
            self._judge(document.uri, is_right=is_right)

    def accepted(self, uri: str, request_id: str) -> None:
        """The editor says that a text was taken: it may have put it in otherwise than it was shown."""
        shown, missed = self._shown.get(uri), self._missed.get(uri)
        if shown and shown.request_id == request_id:
            self._judge(uri, is_right=True)
        elif missed and missed.request_id == request_id:
            del self._missed[uri]
            self._habits[missed.language] = self.of(missed.language).corrected()

    def forget(self, uri: str) -> None:
        """A document was closed; nobody knows what would have become of it."""
        self._shown.pop(uri, None)
        self._missed.pop(uri, None)

    def _judge(self, uri: str, *, is_right: bool) -> None:
        shown = self._shown.pop(uri)
        if is_right:
            self._missed.pop(uri, None)
        else:
            self._missed[uri] = shown
        habit = self.of(shown.language)
        self._habits[shown.language] = after(habit, shown.chance, is_right=is_right)
