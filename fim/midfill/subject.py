"""What an explanation or an edit is about: whole lines of a document, mostly one definition.

Whole lines, because a model that is given a piece of a line gives back the line. Nothing outside them is ever
changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from midfill.code_facts import attached_from
from midfill.snippets import Snippet
from midfill.syntax import Scope, Syntax
from midfill.text import Document


@dataclass(frozen=True)
class Subject:
    """Some whole lines of one version of a document. Texts have `\\n` line endings."""

    document: Document
    syntax: Syntax | None
    start: int
    end: int
    """Both offsets; `end` stands before the last line's ending."""
    scope: Scope | None = None
    """The definition that the lines are; None where they are something else."""
    diagnostics: tuple[str, ...] = ()
    """What compilers and linters say of these lines."""
    snippets: tuple[Snippet, ...] = ()
    """Definitions elsewhere that the lines use."""

    @cached_property
    def text(self) -> str:
        """The lines, without the last one's ending."""
        return unix(self.document.text[self.start : self.end])

    @property
    def indent(self) -> str:
        """The white space that the lines begin with."""
        first = self.text.partition("\n")[0]
        return first[: len(first) - len(first.lstrip())]

    @property
    def line_ending(self) -> str:
        """The document's own: that of the lines, or of its first line."""
        lines = self.document.lines
        for line in (lines[self.document.line_of(self.start)], lines[0]):
            for ending in ("\r\n", "\n", "\r"):
                if line.endswith(ending):
                    return ending
        return "\n"

    @property
    def lines(self) -> tuple[int, int]:
        """The first and the last line, from 1 as people count them."""
        return self.document.line_of(self.start) + 1, self.document.line_of(self.end) + 1

    @property
    def file_name(self) -> str:
        """The name of the document's file, or nothing."""
        return PurePosixPath(unquote(urlsplit(self.document.uri).path)).name

    @property
    def name(self) -> str:
        """What the lines are called, such as `Shelf.take`; `lines 3 to 9` where they are no definition."""
        if self.scope is None:
            first, last = self.lines
            return f"line {first}" if first == last else f"lines {first} to {last}"
        return ".".join([*(scope.name for scope in self.around if scope.name), self.scope.name])

    @cached_property
    def around(self) -> tuple[Scope, ...]:
        """The scopes that hold the lines, the outermost first."""
        if self.syntax is None:
            return ()
        begins = self.start + len(self.indent) + 1
        return tuple(
            scope
            for scope in self.syntax.scopes(begins)
            if scope.start < self.start and scope.end >= self.end and scope.kind != "block"
        )

    def headers(self) -> str:
        """The headers of what holds the lines, as they stand."""
        text = self.document.text
        starts = self.document.line_starts
        return "\n".join(
            unix(text[starts[self.document.line_of(scope.start)] : scope.header_end]).rstrip()
            for scope in self.around
        )

    def imports(self) -> str:
        """The document's imports, one below the other."""
        if self.syntax is None:
            return ""
        found = [span for span in self.syntax.imports() if not self.start <= span.start < self.end]
        return "\n".join(unix(self.document.text[span.start : span.end]) for span in found)


def subject_at(document: Document, syntax: Syntax | None, start: int, end: int) -> Subject | None:
    """What is meant by a caret (`start` equals `end`) or a selection; None where there is nothing.

    A caret means the innermost function around it, or else the definition that its line introduces (by a comment, a
    decorator, a word such as `export`), or else the innermost other definition. A selection means its lines, blank
    ones at its ends aside; comments and decorators right above a definition belong to it.
    """
    if start == end:
        return _around(document, syntax, start)
    lines = _selected_lines(document, min(start, end), max(start, end))
    if lines is None:
        return None
    subject = _subject(document, syntax, *lines)
    if syntax is None:
        return subject
    for scope in reversed(syntax.scopes(max(subject.end - 1, 0))):
        first, last = _lines_of(syntax, scope)
        if last == lines[1] and lines[0] in (first, attached_from(syntax, first)):
            whole = _subject(document, syntax, attached_from(syntax, first), last)
            return replace(whole, scope=scope)
    return subject


def unix(text: str) -> str:
    """A text with the line endings that models were trained on."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _around(document: Document, syntax: Syntax | None, caret: int) -> Subject | None:
    if syntax is None:
        return None
    line = document.line_of(caret)
    text, begin = document.lines[line], document.line_starts[line]
    # Before the first character of a definition's line the definition is meant, too.
    at = max(caret, min(begin + _indent(text) + 1, begin + len(text.rstrip())))
    scopes = [scope for scope in syntax.scopes(at) if scope.kind not in _NO_SUBJECT]
    functions = [scope for scope in scopes if scope.kind in ("function", "method")]
    introduced = None if functions else _introduced(syntax, at)
    scope = introduced or next(reversed(functions or scopes), None)
    if scope is None:
        return None
    first, last = _lines_of(syntax, scope)
    return replace(_subject(document, syntax, attached_from(syntax, first), last), scope=scope)


def _introduced(syntax: Syntax, caret: int) -> Scope | None:
    """The definition that begins after a caret and to which the caret's line belongs."""
    document = syntax.document
    line = document.line_of(caret)
    below = range(line, min(line + _MOST_LINES, len(document.lines)))
    blank = next((n for n in below if not document.lines[n].strip()), below.stop)
    if blank == line:
        return None
    end = document.line_starts[blank - 1] + len(document.lines[blank - 1])
    begun = [scope for scope in syntax.scopes_begun(caret, end) if scope.kind not in _NO_SUBJECT]
    begins = document.line_of(begun[0].start) if begun else -1
    if not begun or (begins != line and attached_from(syntax, begins) > line):
        return None
    first = document.line_starts[begins] + _indent(document.lines[begins])
    return begun[0] if first == begun[0].start or _wraps(syntax, first, begun[0]) else None


def _wraps(syntax: Syntax, offset: int, scope: Scope) -> bool:
    """Whether what begins at an offset is a definition with words before it, and no more."""
    begin, end = syntax.byte_of(offset), syntax.byte_of(scope.end)
    node = syntax.tree.root_node.named_descendant_for_byte_range(begin, end)
    return node is not None and node.start_byte == begin and node.end_byte <= end + len(";")


def _lines_of(syntax: Syntax, scope: Scope) -> tuple[int, int]:
    document = syntax.document
    return document.line_of(scope.start), document.line_of(max(scope.start, scope.end - 1))


def _selected_lines(document: Document, start: int, end: int) -> tuple[int, int] | None:
    first, last = document.line_of(start), document.line_of(end)
    if last > first and end == document.line_starts[last]:
        last -= 1  # The selection ends before that line's first character.
    filled = [line for line in range(first, last + 1) if document.lines[line].strip()]
    return (filled[0], filled[-1]) if filled else None


def _subject(document: Document, syntax: Syntax | None, first: int, last: int) -> Subject:
    # What marks a file as UTF-8 is no part of its code: no model repeats it.
    start = document.line_starts[first] + document.lines[first].startswith(_MARK)
    end = document.line_starts[last] + len(document.lines[last].rstrip("\r\n"))
    return Subject(document, syntax, start, end)


def _indent(line: str) -> int:
    """How many characters stand before a line's code."""
    line = line.replace(_MARK, " ")
    return len(line) - len(line.lstrip())


_MARK = "\ufeff"

_NO_SUBJECT = ("block", "module")

_MOST_LINES = 100
"""Between a line that introduces a definition and the definition."""
