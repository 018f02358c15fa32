"""`FILE:LINE:COL` and `FILE:START-END`: a place, or some lines, in a file or in standard input."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from midfill.errors import DocumentError
from midfill.ignored import OWN
from midfill.languages import language_of
from midfill.settings import Settings
from midfill.text import Document
from midfill.workspace import LeftOut, Workspace
from midfill_server.project import PROJECT_FILE

_LINES = re.compile(r"(?P<path>.+?)(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?")
_PLACE = re.compile(r"(?P<path>.+?)(?::(?P<line>\d+)(?::(?P<column>\d+))?)?")


@dataclass(frozen=True)
class Place:
    """A document and the offset of the caret in it."""

    document: Document
    offset: int
    path: Path | None = None
    """None for standard input."""


@dataclass(frozen=True)
class Lines:
    """A document and the offsets of some lines in it; equal ones mean what stands around that place."""

    document: Document
    start: int
    end: int
    path: Path | None
    """None for standard input."""


def read_lines(argument: str, language: str | None) -> Lines:
    """The lines that `FILE[:START[-END]]` names, from 1; `-` for the file is standard input.

    One line alone means the definition around it, and a file without lines means all of it.

    Raises:
        DocumentError: the file, or a line in it, does not exist.
    """
    match = _LINES.fullmatch(argument)
    assert match is not None, "the pattern matches every text that is not empty"
    path, first, last = match["path"], match["first"], match["last"]
    document = read_place(path, language).document
    name = "standard input" if path == "-" else path
    for line in (first, last):
        if line is not None and not 1 <= int(line) <= len(document.lines):
            raise DocumentError(f"{name} has no line {line}; it has {len(document.lines)}.")
    starts, length = document.line_starts, len(document.text)
    start = starts[int(first) - 1] if first else 0
    end = length
    if last:
        if int(last) < int(first):
            raise DocumentError(f"{first}-{last} are no lines; the first one is named first.")
        end = starts[int(last) - 1] + len(document.lines[int(last) - 1].rstrip("\r\n"))
    elif first:
        end = start
    return Lines(document, start, end, None if path == "-" else Path(path))


def read_place(argument: str, language: str | None) -> Place:
    """The place that `FILE[:LINE[:COL]]` names; `-` for the file is standard input.

    Line and column count from 1, the column in characters. Without a column the caret stands at the end
    of the line; without a line, at the end of the text.

    Raises:
        DocumentError: the file, or the place in it, does not exist.
    """
    match = _PLACE.fullmatch(argument)
    assert match is not None, "the pattern matches every text that is not empty"
    path = match["path"]
    if path == "-":
        text, uri = _decoded(sys.stdin.buffer.read(), "standard input"), ""
    else:
        text, uri = _read(Path(path)), Path(path).absolute().as_uri()
    document = Document.of(text, language or language_of(path), uri=uri)
    offset = _offset(document, path, match["line"], match["column"])
    return Place(document, offset, None if path == "-" else Path(path))


def check_wanted(place: Place, settings: Settings) -> None:
    """Refuse a place in a file in which an editor that has its project open would complete nothing.

    Raises:
        DocumentError: it is secret by its name, or `.midfillignore` or the settings leave it out.
    """
    if place.path is None:
        return
    around = place.path.absolute().parents
    root = next(
        (
            at
            for marks in _ROOT_MARKS
            for at in around
            if any(map(os.path.lexists, map(at.joinpath, marks)))
        ),
        around[0],
    )
    workspace = Workspace.of([root], left_out=LeftOut(settings.completion.ignore))
    if not workspace.may_complete(place.path):
        raise DocumentError(
            f"Nothing is completed in {place.path}: it is secret by its name, or ignored."
        )


_ROOT_MARKS = ((PROJECT_FILE, ".git"), OWN)
"""What the root of a project holds, the surest first."""


def _read(path: Path) -> str:
    try:
        return _decoded(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise DocumentError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise DocumentError(f"{path} is a folder; name a file.") from None
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}.") from None


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise DocumentError(f"{name} is not UTF-8 text; convert it first.") from None


def _offset(document: Document, path: str, line: str | None, column: str | None) -> int:
    if line is None:
        return len(document.text)
    line_number, name = int(line), "standard input" if path == "-" else path
    if not 1 <= line_number <= len(document.lines):
        raise DocumentError(f"{name} has no line {line_number}; it has {len(document.lines)}.")
    body = document.lines[line_number - 1].rstrip("\r\n")
    column_number = int(column) if column is not None else len(body) + 1
    if not 1 <= column_number <= len(body) + 1:
        raise DocumentError(
            f"{name} has no column {column_number} in line {line_number}; "
            f"the last is {len(body) + 1}."
        )
    return document.line_starts[line_number - 1] + column_number - 1
