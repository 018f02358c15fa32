"""What a baseline decides: what the model reads, when it stops, and what of its text is shown.

A policy sees the document, the caret and the other files that the user has open, as an editor's plug-in does.
All are asked by hand here: rules that only say when to ask unbidden (llama.vim's eight characters right of the
caret, Tabby's debounce) leave no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from midfill.context import CompletionContext
from midfill.snippets import Snippet


@dataclass(frozen=True)
class OpenFile:
    """A file that the user has looked at besides the one that is being completed."""

    path: str
    """Relative to the workspace, with `/` on every system."""
    text: str
    line_idx: int
    """Where the caret was last in it."""


@dataclass(frozen=True)
class Ask:
    """What a policy sends."""

    prefix: str
    suffix: str
    max_tokens: int
    extra: tuple[Snippet, ...] = ()
    """Chunks that stand before the prompt, laid out by the server."""
    clipped: bool = False
    """Whether the prompt was cut so far that the token before the prefix is lost."""


@dataclass(frozen=True)
class Shown:
    """What is shown at the caret. An empty text shows nothing."""

    text: str
    n_replaced: int = 0
    """How many characters right of the caret, on its line, it takes the place of."""


class Policy(Protocol):
    """One program's way to complete."""

    def ask(self, context: CompletionContext, others: Sequence[OpenFile]) -> Ask:
        """What the model is to read."""

    def end(self, said: str, context: CompletionContext) -> int | None:
        """Where the stop rule cuts what was said so far; None to go on."""

    def shown(self, said: str, context: CompletionContext) -> Shown:
        """What the filters leave of it."""
