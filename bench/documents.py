"""What an edit costs the document store, in processor time, and whether the text is then what a plain string says.

    python -m bench.documents [--edits 1000] [--json]

The targets: 0.5 ms for the median edit, also in a line of a megabyte, and 2 ms for the slowest but one in a hundred.
`edit` is what `didChange` costs; `read` what the next request adds, which needs the text and its lines' offsets.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from midfill.text import Document, Edit, Encoding, Position

EDIT_TARGET_MS = 0.5
P99_TARGET_MS = 2.0

ASCII_LINE = "    total = alpha(count, scale) + offset\n"
MIXED_LINE = "    größe = '😋' + alpha(zähler) # 日本\n"


@dataclass(frozen=True)
class Case:
    """A text, and where it is typed in."""

    text: str
    encoding: Encoding
    places: Callable[[random.Random, int], Iterator[tuple[int, int]]]
    """Line and column, in characters, of each of so many keys."""


def typing(line: int, column: int) -> Callable[[random.Random, int], Iterator[tuple[int, int]]]:
    """One key after the other."""
    return lambda rng, n: ((line, column + idx) for idx in range(n))


def anywhere(n_lines: int) -> Callable[[random.Random, int], Iterator[tuple[int, int]]]:
    """Each key at another line."""
    return lambda rng, n: ((rng.randrange(n_lines), rng.randrange(30)) for _ in range(n))


MB = 1 << 20
"""Bytes of UTF-8, as a file's size is told."""


def one_line(words: str) -> str:
    """A megabyte of a text that repeats."""
    return words * (MB // len(words.encode()))


CASES = {
    "10k lines, typing": Case(ASCII_LINE * 10_000, "utf-16", typing(5_000, 10)),
    "10k lines, anywhere": Case(ASCII_LINE * 10_000, "utf-16", anywhere(10_000)),
    "10k lines with é and 😋, anywhere": Case(MIXED_LINE * 10_000, "utf-16", anywhere(10_000)),
    "1 MB in a line, ASCII": Case(one_line("x = 1; "), "utf-16", typing(0, 500_000)),
    "1 MB in a line, é, UTF-16": Case(one_line("é = 1; "), "utf-16", typing(0, 500_000)),
    "1 MB in a line, é, UTF-8": Case(one_line("é = 1; "), "utf-8", typing(0, 500_000)),
    "1 MB in a line, 😋, UTF-16": Case(one_line("😋= 1; "), "utf-16", typing(0, 500_000)),
    "1 MB in a line, 😋, at its end": Case(one_line("😋= 1; "), "utf-16", typing(0, 733_990)),
}


def measured(case: Case, n_edits: int) -> dict[str, Any]:
    """Milliseconds of processor time, and whether the text is right in the end."""
    document = Document.of(case.text)
    lines = case.text.splitlines(keepends=True)
    units = _Units(lines, case.encoding)
    edit_ms, read_ms = [], []
    for version, (line, column) in enumerate(case.places(random.Random(1), n_edits), 1):
        at = Position(line, units.of(line, column))
        edits = [Edit(at, at, "y")]
        started = time.process_time()
        document = document.edited(edits, version, case.encoding)
        edited = time.process_time()
        document.offset(at, case.encoding)
        len(document.text)
        read = time.process_time()
        edit_ms.append(1000 * (edited - started))
        read_ms.append(1000 * (read - edited))
        units.typed(line, column)
    return {
        "edit_ms": _quantiles(edit_ms),
        "read_ms": _quantiles(read_ms),
        "right": document.text == "".join(units.lines),
    }


class _Units:
    """The reference: plain strings, and the units of a column counted once for each line."""

    def __init__(self, lines: list[str], encoding: Encoding) -> None:
        self.lines = lines
        self._codec, self._width = _CODECS[encoding]
        self._last = (-1, -1, 0)

    def of(self, line: int, column: int) -> int:
        if self._last[:2] == (line, column):
            return self._last[2]
        return len(self.lines[line][:column].encode(self._codec)) // self._width

    def typed(self, line: int, column: int) -> None:
        units = self.of(line, column)
        text = self.lines[line]
        self.lines[line] = text[:column] + "y" + text[column:]
        self._last = (line, column + 1, units + 1)


_CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"p{percent}": round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 4)
        for percent in (50, 99)
    }


def main() -> int:
    """Measure all; the exit status is 1 where a text is wrong or a target is missed."""
    parser = argparse.ArgumentParser(description="What an edit costs the document store.")
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {name: measured(case, asked.edits) for name, case in CASES.items()}
    if asked.json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        width = max(map(len, found))
        for name, told in found.items():
            edit, read = told["edit_ms"], told["read_ms"]
            sys.stdout.write(
                f"{name:<{width}}  edit {edit['p50']:.3f} / {edit['p99']:.3f} ms"
                f"  read {read['p50']:.3f} / {read['p99']:.3f} ms  {'right' if told['right'] else 'WRONG'}\n"
            )
    good = (
        told["right"]
        and told["edit_ms"]["p50"] <= EDIT_TARGET_MS
        and told["edit_ms"]["p99"] <= P99_TARGET_MS
        for told in found.values()
    )
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
