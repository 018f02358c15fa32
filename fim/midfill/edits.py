"""From a model's text for some lines to the smallest edits that put it there: indentation, endings, differences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

from midfill.subject import Subject
from midfill.text import split_lines


class Change(NamedTuple):
    """Replace what stands between two offsets of a document by `text`."""

    start: int
    end: int
    text: str


def fitted(code: str, subject: Subject) -> tuple[str, ...]:
    """The ways in which `code` can stand in the subject's place, the likeliest first; `\\n` line endings.

    Models give a method as if it stood at the margin, indent with another unit, or take the margin away from the
    first line only. Which was meant is found out by whoever looks at what parses.
    """
    lines = _in_units_of(subject.document.text, code.strip("\n").rstrip().split("\n"))
    margin = min((_indent(line) for line in lines if line.strip()), key=len, default="")
    shifted = [f"{subject.indent}{line[len(margin) :]}" if line.strip() else "" for line in lines]
    head = subject.indent + lines[0].lstrip()
    hung = [head, *(line if line.strip() else "" for line in lines[1:])]
    ways = ["\n".join(way) for way in (shifted, hung)]
    return tuple(dict.fromkeys(_with_strings_of(subject.text, way) for way in ways))


def minimal(subject: Subject, text: str) -> tuple[Change, ...]:
    """The changes of lines that make the subject read `text`, in order; other lines keep even their endings."""
    raw, base = subject.document.text[subject.start : subject.end], subject.start
    old = split_lines(raw)
    starts = [base]
    for line in old:
        starts.append(starts[-1] + len(line))
    bare = [line.rstrip("\r\n") for line in old]
    new, ending = text.split("\n"), subject.line_ending
    changes = []
    for kind, i, j, k, m in SequenceMatcher(None, bare, new, autojunk=False).get_opcodes():
        fresh = ending.join(new[k:m])
        if kind == "replace":
            changes.append(_trimmed(starts[i], starts[j - 1] + len(bare[j - 1]), raw, base, fresh))
        elif kind == "insert" and i < len(old):
            changes.append(Change(starts[i], starts[i], fresh + ending))
        elif kind == "insert":
            changes.append(Change(subject.end, subject.end, ending + fresh))
        elif kind == "delete" and j < len(old):
            changes.append(Change(starts[i], starts[j], ""))
        elif kind == "delete":
            before = starts[i - 1] + len(bare[i - 1]) if i else starts[i]
            changes.append(Change(before, subject.end, ""))
    return tuple(_joined(changes))


def applied(text: str, changes: Iterable[Change]) -> str:
    """A document's text with the changes made."""
    for change in sorted(changes, reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _joined(changes: Iterable[Change]) -> list[Change]:
    """The changes with those that touch as one: of two at one place an editor could not tell the order."""
    joined: list[Change] = []
    for change in changes:
        if joined and joined[-1].end == change.start:
            before = joined.pop()
            joined.append(Change(before.start, change.end, before.text + change.text))
        else:
            joined.append(change)
    return joined


def _trimmed(start: int, end: int, raw: str, base: int, fresh: str) -> Change:
    """A replacement of one line by one line, without what both begin and end with."""
    old = raw[start - base : end - base]
    if "\n" in old + fresh or "\r" in old + fresh:
        return Change(start, end, fresh)
    shorter = min(len(old), len(fresh))
    head = next((n for n in range(shorter) if old[n] != fresh[n]), shorter)
    tails = range(shorter - head)
    tail = next((n for n in tails if old[-1 - n] != fresh[-1 - n]), shorter - head)
    return Change(start + head, end - tail, fresh[head : len(fresh) - tail])


def _in_units_of(document: str, lines: list[str]) -> list[str]:
    """Lines indented by the document's unit where they are indented by another."""
    wanted, used = _units(document.split("\n")), _units(lines)
    if not wanted or not used or wanted[0] in used:
        return lines
    width = len(used[0].expandtabs(_TAB))
    fitted_lines = []
    for line in lines:
        indent = _indent(line)
        levels, rest = divmod(len(indent.expandtabs(_TAB)), width)
        fitted_lines.append(wanted[0] * levels + " " * rest + line[len(indent) :])
    return fitted_lines


def _units(lines: list[str]) -> list[str]:
    """What one level of indentation may be, the likeliest first: a tab, or the steps from a line to the next.

    A step may also be that of a list in a comment, or of what hangs below a bracket.
    """
    filled = [_indent(line) for line in lines if line.strip()]
    if any(indent.startswith("\t") for indent in filled):
        return ["\t"]
    steps = Counter(len(b) - len(a) for a, b in pairwise(filled) if 1 < len(b) - len(a) <= _MOST)
    return [" " * step for step in sorted(steps, key=lambda step: (-steps[step], step))]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _with_strings_of(old: str, new: str) -> str:
    """`new` with the lines inside strings of several lines as they stood in `old`, where only their margin differs.

    A margin in there is part of the text. The strings are told by their quotes, so only those with three count.
    """
    margins: dict[str, str] = {}
    for line in _inside_quotes(old):
        margins.setdefault(line.strip(), line)
    if not margins:
        return new
    inside = Counter(_inside_quotes(new))
    lines = []
    for line in new.split("\n"):
        known = margins.get(line.strip()) if inside[line] and line.strip() else None
        lines.append(line if known is None else known)
    return "\n".join(lines)


def _inside_quotes(text: str) -> list[str]:
    """The whole lines that stand in strings with three quotes, their last lines included."""
    return [
        line
        for found in _QUOTED.finditer(text)
        for line in _rest_of_line(text, found).split("\n")[1:]
    ]


def _rest_of_line(text: str, found: re.Match[str]) -> str:
    end = text.find("\n", found.end())
    return text[found.start() : len(text) if end < 0 else end]


_TAB, _MOST = 4, 8
"""Columns of a tab beside spaces, and of the widest level of indentation."""

_QUOTED = re.compile(r"(\"\"\"|''').*?\1", re.DOTALL)
