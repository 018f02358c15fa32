"""Tabby's filters (TabbyML/tabby at 21b2904, clients/tabby-agent/src/codeCompletion/postprocess), in its order.

Each takes the text as its lines, with their endings, and the place, and gives the lines that are left.
`formatIndentation` is not here: it acts only where the editor tells an indentation and the file has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MIN_CHARS = 4
"""`postprocess.minCompletionChars`"""
_REPEATED = (re.compile(r"(.{3,}?)\1{5,}\Z"), re.compile(r"(.{10,}?)\1{3,}\Z"))


@dataclass(frozen=True)
class Place:
    """The caret: lines before and after it with their endings, the caret's own line the last and the first."""

    prefix_lines: tuple[str, ...]
    suffix_lines: tuple[str, ...]
    is_line_end: bool
    """Nothing right of the caret, or only what is replaced."""
    n_replaced: int
    language: str

    @property
    def head(self) -> str:
        """The caret's line, left of it."""
        return self.prefix_lines[-1]

    @property
    def tail(self) -> str:
        """The caret's line, right of it."""
        return self.suffix_lines[0]


def filtered(text: str, place: Place) -> str:
    """What the filters leave: those before the agent's cache, then those after it."""
    for step in FILTERS:
        text = step(text, place)
        if not text:
            break
    return text


def drop_lines_inside_a_line(text: str, place: Place) -> str:
    """`trimMultiLineInSingleLineMode`: with code right of the caret, one line, and only if it ends with that code."""
    lines = text.split("\n")
    if place.is_line_end or len(lines) == 1:
        return text
    first, tail = lines[0].rstrip(), place.tail.rstrip()
    return first[: len(first) - len(tail)] if first.endswith(tail) else ""


def drop_line_that_repeats_itself(text: str, place: Place) -> str:
    """`removeLineEndsWithRepetition`: the last line, if its end says something again and again."""
    lines = _lines(text)
    last = max((idx for idx, line in enumerate(lines) if line.strip()), default=0)
    if not any(pattern.search(lines[last]) for pattern in _REPEATED):
        return text
    return "".join(lines[:last]).rstrip()


def drop_duplicate_of_suffix(text: str, place: Place) -> str:
    """`dropDuplicated`: everything, if its first three lines nearly are those after the caret."""
    ours = _from_first_said(_lines(text))
    theirs = _from_first_said(list(place.suffix_lines))
    n_lines = min(3, len(ours), len(theirs))
    if n_lines < 1:
        return text
    first, second = ("".join(lines[:n_lines]).strip() for lines in (ours, theirs))
    most = max(1.0, 0.05 * len(first), 0.05 * len(second))
    return "" if distance(first, second) <= most else text


def trim_space(text: str, place: Place) -> str:
    """`trimSpace`: white space that is there already."""
    if place.head.strip() and place.head[-1:].isspace():
        text = text.lstrip()
    if not place.tail.strip() or place.tail[:1].isspace():
        text = text.rstrip()
    return text


def drop_minimum(text: str, place: Place) -> str:
    """`dropMinimum`: what is too short to be worth it."""
    return text if len(text.strip()) >= MIN_CHARS else ""


def trim_repeated_blocks(text: str, place: Place) -> str:
    """`removeRepetitiveBlocks`: three parts, blank lines between them, that are nearly the same."""
    # A split that keeps what is between, as JavaScript's does with a group.
    blocks = re.split(r"\n(\s*)\n", text)
    return _trim_repeated(text, blocks, 2)


def trim_repeated_lines(text: str, place: Place) -> str:
    """`removeRepetitiveLines`: six lines that are nearly the same."""
    return _trim_repeated(text, _lines(text), 5)


def limit_scope(text: str, place: Place) -> str:
    """`limitScopeByIndentation`: up to the line that ends the block, or with it where it may be needed."""
    lines = _lines(text)
    said = _detected(lines, place)
    least, may_close = _scope(lines, said, place)
    for idx in range(1, len(lines)):
        if not lines[idx].strip() or _depth(lines[idx]) >= least:
            continue
        if _closes(said, idx) and _opens(said, idx):
            continue
        # In Python a line behind a blank one is not the block's own.
        takes = may_close and (place.language != "python" or bool(lines[idx - 1].strip()))
        end = idx + takes
        return "".join(lines[:end]).rstrip() if end < len(lines) else text
    return text


def drop_doubled_closing_line(text: str, place: Place) -> str:
    """`removeDuplicatedBlockClosingLine`: a last line that closes, if it stands below already."""
    lines = _lines(text)
    if len(lines) < 2 or not _closes(_detected(lines, place), len(lines) - 1):
        return text
    below = next((line for line in place.suffix_lines[1:] if line.strip()), "")
    last = lines[-1]
    if below and (last.startswith(below.rstrip()) or below.startswith(last.rstrip())):
        return "".join(lines[:-1]).rstrip()
    return text


def even_indentation(text: str, place: Place) -> str:
    """`normalizeIndentation`: no odd number of spaces, where only spaces stand left of the caret."""
    if not place.head or "\t" in place.head or place.head.strip():
        return text
    lines = _lines(text)
    n_spaces = len(lines[0]) - len(lines[0].lstrip())
    if n_spaces % 2 and (n_spaces + len(place.head)) % 2:
        lines[0] = lines[0].lstrip()
    for idx, line in enumerate(lines):
        n_spaces = len(line) - len(line.lstrip())
        if line.strip() and n_spaces % 2:
            lines[idx] = " " * (n_spaces - 1) + line.lstrip()
    return "".join(lines)


def drop_lines_of_suffix(text: str, place: Place) -> str:
    """`removeDuplicateSuffixLines`: from the last line that begins what follows, if all from there is that."""
    lines = text.split("\n")
    below = [line.strip() for line in place.suffix_lines if line.strip()]
    if not below:
        return text
    for idx in range(len(lines) - 1, -1, -1):
        rest = lines[idx : idx + len(below)]
        if lines[idx].strip() and rest == below[: len(rest)]:
            return "\n".join(lines[:idx])
    return text


FILTERS: tuple[Callable[[str, Place], str], ...] = (
    drop_lines_inside_a_line,
    drop_line_that_repeats_itself,
    drop_duplicate_of_suffix,
    trim_space,
    drop_minimum,
    trim_repeated_blocks,
    trim_repeated_lines,
    limit_scope,
    drop_doubled_closing_line,
    even_indentation,
    drop_duplicate_of_suffix,
    trim_space,
    drop_lines_of_suffix,
    drop_minimum,
)


def distance(a: str, b: str) -> int:
    """Levenshtein's: the fewest characters put in, taken away or changed."""
    row = list(range(len(b) + 1))
    for place, char in enumerate(a, start=1):
        before, row[0] = row[0], place
        for idx, other in enumerate(b, start=1):
            before, row[idx] = (
                row[idx],
                min(row[idx] + 1, row[idx - 1] + 1, before + (char != other)),
            )
    return row[-1]


def _scope(lines: list[str], said: list[str], place: Place) -> tuple[int, bool]:
    """The least depth that belongs to the block, and whether one line that closes it does."""
    reference = next((line for line in reversed(place.prefix_lines) if line.strip()), "")
    first = next((line for line in lines if line.strip()), "")
    if not reference or not first:
        return 0, True
    depth = _depth(reference)
    may_close = True
    if lines[0].strip() and place.head.strip():
        least = depth + 1
        may_close = _opens(said, 0)
    else:
        ours = _depth(first if not lines[0].strip() else place.head + first)
        least = depth + 1 if ours > depth else depth
    below = next((line for line in place.suffix_lines[1:] if line.strip()), None)
    if below is not None:
        may_close = may_close and _depth(below) < least
    return least, may_close


def _trim_repeated(text: str, parts: list[str], n_repetitions: int) -> str:
    """The text up to the first of several parts that repeat each other; the last may be cut and is not judged."""
    n_same = 0
    idx = len(parts) - 2
    while idx >= 1:
        if not parts[idx].strip():
            idx -= 1
            continue
        before = next((at for at in range(idx - 1, -1, -1) if parts[at].strip()), -1)
        if before < 0:
            break
        ours, theirs = parts[idx].strip(), parts[before].strip()
        if distance(ours, theirs) > 0.1 * max(len(ours), len(theirs)):
            break
        n_same += 1
        idx = before
    return "".join(parts[: idx + 1]).rstrip() if n_same >= n_repetitions else text


def _detected(lines: list[str], place: Place) -> list[str]:
    return [place.head + lines[0], *lines[1:]]


def _from_first_said(lines: list[str]) -> list[str]:
    first = next((idx for idx, line in enumerate(lines) if line.strip()), len(lines))
    return lines[first:]


def _opens(lines: list[str], idx: int) -> bool:
    return 0 <= idx < len(lines) - 1 and _depth(lines[idx]) < _depth(lines[idx + 1])


def _closes(lines: list[str], idx: int) -> bool:
    return 0 < idx < len(lines) and _depth(lines[idx - 1]) > _depth(lines[idx])


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _lines(text: str) -> list[str]:
    """Lines with their endings; an empty text has one empty line."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [lines[-1]]
