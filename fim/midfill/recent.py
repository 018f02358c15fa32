"""The ring of regions that were edited or looked at lately: what somebody works on is where the answer stands.

llama.vim keeps 16 chunks of 64 lines, cut around the cursor wherever it has been, and gives the model all of them.
Here a chunk is cut when attention leaves a place, so that a key costs nothing, and follows the syntax where there is a
tree: a whole function, not the half of two. It is shorter, since only the best of them go into a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

from midfill.similarity import alike, lines_of
from midfill.snippets import Snippet
from midfill.syntax import Syntax
from midfill.text import Document

MAX_CHUNKS = 16
"""llama.vim's."""
MAX_LINES = 24
"""Some 250 tokens (10 to 11 a line of Python), of which two thirds of a prompt's room for snippets hold one."""
MIN_LINES = 3
"""llama.vim's: a chunk of fewer lines says too little for its place."""

AROUND_LINES = 8
"""Lines on either side of a place that is in no definition of at most `MAX_LINES`."""

JUMP_LINES = 32
"""Lines by which the caret moves to be at another place; llama.vim's, which cuts a chunk then."""

TWIN = 0.9
"""Two chunks more alike than this are one; llama.vim's."""

SAME_FILE_TWIN = 0.5
"""The same for two of one file: the newer is then the older after some edits."""


@dataclass(frozen=True)
class Chunk:
    """A region of a document as it was when attention left it."""

    uri: str
    snippet: Snippet


@dataclass(frozen=True)
class Ring:
    """The latest chunks, the oldest first, no two of them twins."""

    chunks: tuple[Chunk, ...] = ()

    def with_chunk(self, chunk: Chunk) -> Ring:
        """The ring after one more chunk; its twins go, and the oldest where there are too many."""
        if len(lines_of(chunk.snippet.text)) < MIN_LINES:
            return self
        kept = [known for known in self.chunks if not _twins(known, chunk)]
        return Ring((*kept, chunk)[-MAX_CHUNKS:])


def region(document: Document, line: int, syntax: Syntax | None) -> tuple[int, int]:
    """The first line of the region around `line`, and the line after its last.

    It is the largest definition or block around the line that has at most `MAX_LINES`. Where there is none, it
    is some lines on either side that do not leave what encloses them, from one blank line to another.
    """
    line = min(line, len(document.lines) - 1)
    first, last = 0, len(document.lines)
    if syntax is not None:
        body = document.lines[line].rstrip("\r\n")
        for scope in syntax.scopes(document.line_starts[line] + len(body)):
            start, end = document.line_of(scope.start), document.line_of(scope.end) + 1
            if MIN_LINES <= end - start <= MAX_LINES:
                return start, end
            if end - start > MAX_LINES:
                first, last = start, end
    return _between_blank_lines(document, line, first, last)


def text_of(document: Document, first: int, last: int) -> str:
    """The lines from `first` to before `last` as a snippet has them: with `\\n`, and no blank line at either end."""
    lines = [line.rstrip("\r\n") for line in document.lines[first:last]]
    return "\n".join(lines).strip("\n") + "\n"


def _between_blank_lines(document: Document, line: int, first: int, last: int) -> tuple[int, int]:
    start, end = max(first, line - AROUND_LINES), min(last, line + AROUND_LINES)
    if start > first:
        start = next((n + 1 for n in range(start, line) if _blank(document, n)), start)
    if end < last:
        end = next((n for n in range(end - 1, line, -1) if _blank(document, n)), end)
    return start, end


def _blank(document: Document, line: int) -> bool:
    return not document.lines[line].strip()


def _twins(older: Chunk, newer: Chunk) -> bool:
    limit = SAME_FILE_TWIN if older.uri == newer.uri else TWIN
    return alike(older.snippet.text, newer.snippet.text) > limit
