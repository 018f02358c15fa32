"""The baseline that knows nothing: repeat what followed the longest repetition of the text before the caret.

Code repeats itself so much that this beats small models (.098 / .065 / .150 exact on the ends of lines, inside
them, and expressions, where a model of 3.5M parameters had .070 / .068 / .115). A model earns its place by
being better than this on the same holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midfill.context import CompletionContext

MIN_MATCH_CHARS = 3
MAX_MATCH_CHARS = 64
"""Of two repetitions that are longer than this, the nearer one counts."""

MIN_TAIL_CHARS = 3
MAX_TAIL_CHARS = 16
"""How much of what stands after the caret on its line is looked for in the copy, to end it there."""


class Repetition(NamedTuple):
    """An earlier place, or a later one, where the text runs as it does before the caret."""

    following: str
    """What stands after that place."""
    n_matched: int
    """Characters before the caret that are the same there; 0 if there is no such place."""


def longest_repetition(prefix: str, suffix: str, others: Sequence[str] = ()) -> Repetition:
    """The longest, of several the nearest before the caret, else the nearest after it, else in the last of `others`."""
    for n_matched in range(min(MAX_MATCH_CHARS, len(prefix)), MIN_MATCH_CHARS - 1, -1):
        tail = prefix[-n_matched:]
        found = prefix.rfind(tail, 0, len(prefix) - 1)
        if found >= 0:
            return Repetition(prefix[found + n_matched :], n_matched)
        found = suffix.find(tail)
        if found >= 0:
            return Repetition(suffix[found + n_matched :], n_matched)
        for text in reversed(others):
            found = text.rfind(tail)
            if found >= 0:
                return Repetition(text[found + n_matched :], n_matched)
    return Repetition("", 0)


def cut_as_an_editor(following: str, context: CompletionContext) -> str:
    """The part of a copy that fits at the caret, found without knowing what is wanted there."""
    if context.extent == "block":
        return cut_to_block(following, context.line_head)
    return cut_to_tail(following.partition("\n")[0], context.line_tail).rstrip()


def cut_to_tail(line: str, tail: str) -> str:
    """A line up to where it begins to say again what already stands after the caret."""
    tail = tail.strip()
    if len(tail) >= MIN_TAIL_CHARS:
        found = line.find(tail[:MAX_TAIL_CHARS])
        return line[:found] if found >= 0 else line
    if tail and not tail[0].isalnum() and line.rstrip().endswith(tail):
        return line.rstrip()[: -len(tail)]
    return line


def cut_to_block(following: str, line_head: str) -> str:
    """The lines up to the first that stands less deep than the block that begins at the caret."""
    at_head = bool(line_head.strip())
    depth = _depth(line_head) + at_head if at_head else len(line_head)
    lines = following.split("\n")
    if at_head and lines[0].strip():
        return ""
    for line_idx, line in enumerate(lines[1:], start=1):
        if line.strip() and _depth(line) < depth:
            return "\n".join(lines[:line_idx]).rstrip()
    return following.rstrip()


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
