"""Everything that is known at the caret, frozen: what the prompt is made of and what the filters judge by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from midfill.caret import CaretKind, Extent, caret_at
from midfill.habit import NO_HABIT, Habit
from midfill.snippets import Snippet
from midfill.syntax import Syntax
from midfill.text import Document


@dataclass(frozen=True)
class CompletionContext:
    """The caret in one version of a document. Texts have `\\n` line endings, whatever the document has."""

    document: Document
    offset: int
    extent: Extent
    syntax: Syntax | None
    """The document's tree, if one was at hand; completing never waits for it."""
    path: str = ""
    """The document's path relative to the workspace, with `/` on every system; empty if it has none."""
    snippets: tuple[Snippet, ...] = ()
    """Code from elsewhere, the most useful last. Typing adds to them at their end only."""
    copyable: tuple[str, ...] = ()
    """More code from elsewhere, the likeliest last. The model does not read it; an engine that copies may."""
    kind: CaretKind = "code"
    """What stands at the caret."""
    is_wanted: bool = True
    """Whether a completion may be shown here that nobody has asked for."""
    habit: Habit = NO_HABIT
    """How completions in this language fared lately that nobody had asked for."""

    @cached_property
    def prefix(self) -> str:
        """The text before the caret."""
        return unix(self.document.text[: self.offset])

    @cached_property
    def suffix(self) -> str:
        """The text after the caret."""
        return unix(self.document.text[self.offset :])

    @property
    def line_head(self) -> str:
        """What stands before the caret on its line."""
        line = self.document.line_of(self.offset)
        return self.document.lines[line][: self.offset - self.document.line_starts[line]]

    @property
    def line_tail(self) -> str:
        """What stands after the caret on its line."""
        line = self.document.line_of(self.offset)
        tail = self.document.lines[line][self.offset - self.document.line_starts[line] :]
        return tail.rstrip("\r\n")

    @property
    def indent(self) -> str:
        """The white space that the caret's line begins with."""
        return self.line_head[: len(self.line_head) - len(self.line_head.lstrip())]

    @property
    def line_ending(self) -> str:
        """The document's own line ending, taken from the line at or before the caret."""
        line_idx = self.document.line_of(self.offset)
        for line in (self.document.lines[line_idx], self.document.lines[max(0, line_idx - 1)]):
            for ending in ("\r\n", "\n", "\r"):
                if line.endswith(ending):
                    return ending
        return "\n"


def gather(
    document: Document,
    offset: int,
    syntax: Syntax | None,
    path: str = "",
    snippets: tuple[Snippet, ...] = (),
    copyable: tuple[str, ...] = (),
) -> CompletionContext:
    """The context at `offset`. The tree, if given, must be that of this very document."""
    extent, kind, is_wanted = caret_at(document, offset, syntax)
    return CompletionContext(
        document, offset, extent, syntax, path, snippets, copyable, kind, is_wanted
    )


def unix(text: str) -> str:
    """Models were trained on `\\n`; a `\\r` before it breaks infilling (seen with Code Llama)."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
