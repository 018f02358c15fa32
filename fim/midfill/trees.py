"""tree-sitter's trees as they are: bytes, points, edits, and where the errors stand."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from typing import NamedTuple

from tree_sitter import Language, Parser, Tree


class Bytes(NamedTuple):
    """A piece of a text, in bytes."""

    start: int
    end: int


def encoded(text: str, *, latin_only: bool = False) -> bytes:
    """A text as it may be given to a parser: UTF-8, where NUL and lone surrogates are other characters.

    On them, TSX's scanner ran on for minutes and gigabytes (found by random texts, tree-sitter 0.26.1). A
    scanner that is `latin_only` looks characters up in a table of 256 and reads past its end for others,
    which ends the process (tree-sitter-bash 0.25.1, `{` before an emoji). What stands for them is as many
    bytes long, so offsets hold.
    """
    if latin_only and not text.isascii():
        text = _NOT_LATIN.sub(_latin, text)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).encode()
    return data.replace(b"\0", b" ")


def tree_of(
    tables: Language, text: bytes, old: Tree | None, on_step: Callable[[], bool] | None
) -> Tree | None:
    """The tree of a text, made from one that was told of the edits, or nothing if `on_step` has stopped it."""
    parser = Parser(tables)
    if on_step is None:
        return parser.parse(text) if old is None else parser.parse(text, old)
    stop = on_step

    view, lent = memoryview(text), list[bytes]()

    def read(byte: int, _point: object) -> bytes:
        chunk = bytes(view[byte : byte + _CHUNK])
        if len(chunk) > 1:  # Shorter ones are the same objects everywhere.
            lent.append(chunk)
        return chunk

    def step(_byte: int, _has_error: bool) -> bool:
        return stop()

    try:
        if old is None:
            return parser.parse(read, progress_callback=step)
        return parser.parse(read, old, progress_callback=step)
    except ValueError:  # The parser's word for having been stopped.
        return None
    finally:
        _take_back(lent)


def errors_of(tree: Tree) -> list[Bytes]:
    """Where a tree has ERROR and MISSING nodes, in bytes. Costs by the width of the broken part of the tree."""
    errors, waiting = [], [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.has_error:
            if node.is_error or node.is_missing:
                errors.append(Bytes(node.start_byte, node.end_byte))
            waiting += node.children
    return errors


def edited(tree: Tree, old: bytes, new: bytes, start: int, old_end: int, new_end: int) -> Tree:
    """A copy of the tree of `old` told that the bytes from `start` became others, to be parsed with `new`."""
    copy = tree.copy()
    copy.edit(
        start, old_end, new_end, _point(old, start), _point(old, old_end), _point(new, new_end)
    )
    return copy


def edited_to(tree: Tree, old: bytes, new: bytes) -> Tree:
    """The tree of `old` told of the one change that makes it `new`."""
    head = _common_head(old, new)
    tail = min(_common_tail(old, new), min(len(old), len(new)) - head)
    return edited(tree, old, new, head, len(old) - tail, len(new) - tail)


def _take_back(lent: list[bytes]) -> None:
    """Free what a parser was given to read: tree-sitter 0.26.1 for Python never does.

    That was 65 MB for each hour of typing (measured). A version that does will leave no reference, and then none is
    taken from it.
    """
    while lent:
        n_references, chunk = _last_of(lent)
        if n_references > _ALONE:
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(chunk))


def _last_of(lent: list[bytes]) -> tuple[int, bytes]:
    chunk = lent.pop()
    return sys.getrefcount(chunk), chunk


_ALONE, _ = _last_of([bytes(bytearray(2))])
"""References to bytes that nobody else holds, as this Python counts them."""


def _common_head(a: bytes, b: bytes) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_tail(a: bytes, b: bytes) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _point(data: bytes, byte: int) -> tuple[int, int]:
    """Row and column as tree-sitter counts them: a row ends with a newline and nothing else."""
    return data.count(b"\n", 0, byte), byte - data.rfind(b"\n", 0, byte) - 1


def _latin(match: re.Match[str]) -> str:
    """Letters that take as many bytes as a character: `ÿ` takes two, `y` one."""
    n_bytes = len(match[0].encode("utf-8", "surrogatepass"))
    return "ÿ" * (n_bytes // 2) + "y" * (n_bytes % 2)


_CHUNK = 4096
"""Bytes given to the parser at a time."""

_NOT_LATIN = re.compile("[^\x00-\xff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
