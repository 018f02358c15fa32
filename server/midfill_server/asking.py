"""What the index is asked for a caret, and what it says; in a thread of its own, as it takes some milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from midfill.definitions import Imported, imports_of
from midfill.snippets import Snippet
from midfill.syntax import Syntax

if TYPE_CHECKING:
    from midfill.index import Index

PLACE_LINES = 4
PLACES = 32
"""Pieces of other files that are like the last four lines, for an engine that copies: of 600 holes each at the ends of
lines, inside them and of expressions, copying was right in .145, .240 and .210 with the hole's file alone, in
.230, .310 and .287 with these pieces, and in .232, .302 and .285 with all files of the package (`bench.copying`)."""

PLACE_FILES = 8
"""Of so many files, because whether each may be read is asked of the file system on each line."""

MAX_LINES_OF_IMPORTS = 2000
"""Longer documents count with the imports that they had when they were indexed: finding them takes 50 ms for 10,000
lines (measured with tree-sitter 0.26.1), in which Python's lock is held."""


class Question(NamedTuple):
    """The text before a caret, and where it stands."""

    uri: str
    text: str
    language: str
    path: str
    syntax: Syntax | None
    at: tuple[int, int]
    """The line, and how many there are."""
    imports: tuple[Imported, ...] | None
    """The document's own, where they are known."""


class Answer(NamedTuple):
    """Code from elsewhere, the best first, and the document's imports."""

    imports: tuple[Imported, ...] | None
    definitions: list[Snippet]
    similar: list[Snippet]
    alike: list[Snippet]
    """Like the last lines."""


def ask(index: Index, question: Question) -> Answer:
    """What the index says. For any thread."""
    text, syntax, path = question.text, question.syntax, question.path
    short = syntax is not None and len(syntax.document.lines) <= MAX_LINES_OF_IMPORTS
    imports = question.imports
    if imports is None and syntax and short:
        imports = imports_of(syntax)
    definitions = index.definitions_for(text, question.language, path, imports=imports)
    last_lines = "\n".join(text.split("\n")[-PLACE_LINES:])
    alike = index.similar(last_lines, path, limit=PLACES)
    files = set(list(dict.fromkeys(each.path for each in alike))[:PLACE_FILES])
    return Answer(
        imports,
        definitions,
        index.similar(text, path),
        [each for each in alike if each.path in files],
    )
