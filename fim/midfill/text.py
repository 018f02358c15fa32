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
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""What a position's `units` count: bytes, UTF-16 code units, or code points."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")


class Position(NamedTuple):
    """A place as an editor says it: both numbers from 0, `units` in the encoding agreed with the editor."""

    line: int
    units: int


class Edit(NamedTuple):
    """Replace what stands from `start` to `end` by `text`."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True)
class Document:
    """One version of one text."""

    uri: str
    language: str
    """The language identifier of the protocol, such as `python` or `typescriptreact`."""
    version: int
    lines: tuple[str, ...]
    """Every line with its ending. The last has none and may be empty, so there is always at least one."""

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
        line = self.lines[position.line]
        return self.line_starts[position.line] + column_of(line, position.units, encoding)

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
        lines = list(self.lines)
        for edit in edits:
            if isinstance(edit, str):
                lines = split_lines(edit)
            else:
                _splice(lines, edit, encoding)
        return Document(self.uri, self.language, version, tuple(lines))


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
    body = line.rstrip("\r\n")
    if encoding == "utf-32" or body.isascii():
        return min(units, len(body))
    if encoding == "utf-8":
        data, cut = body.encode("utf-8", "surrogatepass"), units
        while cut < len(data) and data[cut] & 0xC0 == 0x80:
            cut -= 1
        return len(data[:cut].decode("utf-8", "surrogatepass"))
    data, cut = body.encode("utf-16-le", "surrogatepass"), units * 2
    if 0 < cut < len(data) and data[cut - 1] & 0xFC == 0xD8 and data[cut + 1] & 0xFC == 0xDC:
        cut -= 2
    return len(data[:cut].decode("utf-16-le", "surrogatepass"))


def units_of(line: str, column: int, encoding: Encoding) -> int:
    """How many units of `encoding` the first `column` characters of a line take."""
    head = line[:column]
    if encoding == "utf-32" or head.isascii():
        return len(head)
    if encoding == "utf-8":
        return len(head.encode("utf-8", "surrogatepass"))
    return len(head.encode("utf-16-le", "surrogatepass")) // 2


def _splice(lines: list[str], edit: Edit, encoding: Encoding) -> None:
    """Apply one edit in place. Only the touched lines are split again, so the cost is that of the edit."""
    (first, start), (last, end) = sorted((_clamped(lines, edit.start), _clamped(lines, edit.end)))
    start = column_of(lines[first], start, encoding)
    end = column_of(lines[last], end, encoding)
    tail = lines[last][end:]
    fresh = split_lines(lines[first][:start] + edit.text + tail)
    if last + 1 < len(lines):
        # The tail ends in a newline, after which `split_lines` put the empty line that already follows.
        fresh.pop()
    if first and fresh and fresh[0].startswith("\n") and lines[first - 1].endswith("\r"):
        # A lone carriage return and the newline that now follows it are one line ending.
        lines[first - 1] += "\n"
        fresh[0] = fresh[0][1:]
        if not fresh[0]:
            del fresh[0]
    lines[first : last + 1] = fresh
    if not lines or lines[-1][-1:] in ("\r", "\n"):
        lines.append("")


def _clamped(lines: Sequence[str], position: Position) -> Position:
    if position.line >= len(lines):
        return Position(len(lines) - 1, _PAST_ANY_LINE)
    return position


_PAST_ANY_LINE = 2**31 - 1
"""The protocol's largest unsigned number: a column past the end of any line."""
