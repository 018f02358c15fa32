"""Documents as immutable snapshots, with lines exactly as the Language Server Protocol counts them.

Python's `str.splitlines` also splits at form feeds, U+2028 and others; the protocol (3.18, "Text Documents")
knows only `\\n`, `\\r\\n` and `\\r`. A form feed is ordinary in C and Python sources, so the difference
corrupts real files. Everything that needs a document takes a `Document`: it never changes, an edit makes
the next one, and so nothing has to be locked or copied.

Offsets and columns are counted in Unicode code points (Python's own), unless a name says `units`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""What a position's `units` count: bytes, UTF-16 code units, or code points."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
_HALF = re.compile("[\ud800-\udfff]")


class Position(NamedTuple):
    """A place as an editor says it: both numbers from 0, `units` in the encoding agreed with the editor."""

    line: int
    units: int


class Edit(NamedTuple):
    """Replace what stands from `start` to `end` by `text`."""

    start: Position
    end: Position
    text: str


class Mark(NamedTuple):
    """A place in a line of which both countings are known, so that places near it need no counting from the start."""

    line: int
    column: int
    units: int
    encoding: Encoding


@dataclass(frozen=True)
class Document:
    """One version of one text."""

    uri: str
    language: str
    """The language identifier of the protocol, such as `python` or `typescriptreact`."""
    version: int
    lines: tuple[str, ...]
    """Every line with its ending. The last has none and may be empty, so there is always at least one."""
    mark: Mark | None = field(default=None, compare=False, repr=False)
    """Where the last edit ended: the next is near, and a line may have a million characters."""

    @classmethod
    def of(cls, text: str, language: str = "", *, uri: str = "", version: int = 0) -> Document:
        """A document holding `text`."""
        return cls(uri, language, version, tuple(split_lines(text)))

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.lines)

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """The offset of each line's first character."""
        return tuple(accumulate(map(len, self.lines[:-1]), initial=0))

    def offset(self, position: Position, encoding: Encoding = "utf-32") -> int:
        """The offset of a position; one that lies past a line or the text counts as its end."""
        if position.line >= len(self.lines):
            return self.line_starts[-1] + len(self.lines[-1])
        column, _ = _reached(self.lines, position, encoding, self.mark)
        return self.line_starts[position.line] + column

    def position(self, offset: int, encoding: Encoding = "utf-32") -> Position:
        """The position of an offset that lies in the text."""
        line = self.line_of(offset)
        return Position(line, units_of(self.lines[line], offset - self.line_starts[line], encoding))

    def line_of(self, offset: int) -> int:
        """The index of the line that holds `offset`."""
        return bisect_right(self.line_starts, offset) - 1

    def edited(
        self, edits: Iterable[Edit | str], version: int, encoding: Encoding = "utf-32"
    ) -> Document:
        """The next version: each edit applied to what the one before it left; a string replaces all."""
        lines, mark = list(self.lines), self.mark
        for edit in edits:
            if isinstance(edit, str):
                lines, mark = split_lines(edit), None
            else:
                mark = _splice(lines, edit, encoding, mark)
        return Document(self.uri, self.language, version, tuple(lines), mark)


def split_lines(text: str) -> list[str]:
    """The lines of a text with their endings; a text that ends in a newline has one more, empty line."""
    lines = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def column_of(line: str, units: int, encoding: Encoding) -> int:
    """The column that `units` of `encoding` reach in a line, at most the place before its ending.

    Units that end inside a character count as its start.
    """
    return _reached((line,), Position(0, units), encoding, None)[0]


def units_of(line: str, column: int, encoding: Encoding) -> int:
    """How many units of `encoding` the first `column` characters of a line take."""
    head = line[:column]
    if encoding == "utf-32" or head.isascii():
        return len(head)
    if encoding == "utf-8":
        return len(head.encode("utf-8", "surrogatepass"))
    return len(head.encode("utf-16-le", "surrogatepass")) // 2


def _reached(
    lines: Sequence[str], position: Position, encoding: Encoding, mark: Mark | None
) -> tuple[int, int]:
    """The column of a position that is in the text, and the units that it has, counted from the mark if it is near."""
    line, units = lines[position.line], position.units
    length = len(line) - (line.endswith("\n") + line.endswith(("\r", "\r\n")))
    if encoding == "utf-32" or line.isascii():
        return (min(units, length),) * 2
    column = known = 0
    if mark and mark.line == position.line and mark.encoding == encoding:
        # As many characters before the mark as it has units too many: each takes at least one.
        column = max(0, mark.column - max(0, mark.units - units))
        known = mark.units - units_of(line[column : mark.column], mark.column - column, encoding)
    run = line[column : min(length, column + units - known)]
    if not run.isascii():
        run = _head(run, units - known, encoding)
    return column + len(run), known + units_of(run, len(run), encoding)


def _head(text: str, units: int, encoding: Encoding) -> str:
    """As much of a text as so many units hold whole."""
    if encoding == "utf-16" and _HALF.search(text):
        # Halves of characters that two edits brought side by side: encoded together they would become one.
        for column, character in enumerate(text):
            units -= 1 + (character > "\uffff")
            if units < 0:
                return text[:column]
        return text
    codec, width = ("utf-8", 1) if encoding == "utf-8" else ("utf-16-le", 2)
    data = text.encode(codec, "surrogatepass")
    cut = min(units * width, len(data))
    if encoding == "utf-8":
        while cut < len(data) and data[cut] & 0xC0 == 0x80:
            cut -= 1
    elif 0 < cut < len(data) and data[cut - 1] & 0xFC == 0xD8 and data[cut + 1] & 0xFC == 0xDC:
        cut -= 2
    return data[:cut].decode(codec, "surrogatepass")


def _splice(lines: list[str], edit: Edit, encoding: Encoding, mark: Mark | None) -> Mark | None:
    """Apply one edit in place, and say where it ends if that is in the line in which it begins.

    Only what is inserted is looked at, so the cost is that of the edit and of copying the lines that it touches.
    """
    (first, start), (last, end) = sorted((_clamped(lines, edit.start), _clamped(lines, edit.end)))
    start, known = _reached(lines, Position(first, start), encoding, mark)
    end, _ = _reached(lines, Position(last, end), encoding, mark)
    tail = lines[last][end:]
    fresh = split_lines(edit.text)
    if edit.text.endswith("\r") and tail == "\n":
        # A lone carriage return and the newline that now follows it are one line ending. What stands after it is the
        # empty beginning of the next line, which is there already.
        fresh[-2] += tail
        fresh.pop()
        tail = ""
    ends_here = len(fresh) == 1
    head = lines[first][:start]
    if ends_here:
        fresh = ["".join((head, fresh[0], tail))]  # One copy less of what may be long.
    else:
        fresh[0], fresh[-1] = head + fresh[0], fresh[-1] + tail
    if first and fresh[0].startswith("\n") and lines[first - 1].endswith("\r"):
        lines[first - 1] += "\n"
        del fresh[0]
    lines[first : last + 1] = fresh
    if not lines or lines[-1][-1:] in ("\r", "\n"):
        lines.append("")
    if not ends_here or "\r" in edit.text or "\n" in edit.text:
        return None
    units = known + units_of(edit.text, len(edit.text), encoding)
    return Mark(first, start + len(edit.text), units, encoding)


def _clamped(lines: Sequence[str], position: Position) -> Position:
    if position.line >= len(lines):
        return Position(len(lines) - 1, _PAST_ANY_LINE)
    return position


_PAST_ANY_LINE = 2**31 - 1
"""The protocol's largest unsigned number: a column past the end of any line."""
