"""Windows: whole pieces of a file that begin where code begins, and rest while a person types."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.context import CompletionContext, gather, unix
from midfill.syntax import parse
from midfill.text import Document
from midfill.window import Segment, after, before, frame

STEP = 100


def context_of(marked: str, language: str = "python") -> CompletionContext:
    text, offset = caret(marked)
    document = Document.of(text, language)
    return gather(document, offset, parse(document))


def functions(first: int, last: int) -> str:
    return "".join(
        f'\n\ndef function_{number}(one, two):\n    """Add."""\n    total = one\n    if two:\n'
        f"        total += two\n\n    return total\n"
        for number in range(first, last)
    )


MODULE = "import os\nfrom pathlib import Path\n" + functions(0, 20)
BELOW = functions(20, 40)


def test_pieces_begin_where_functions_begin() -> None:
    pieces = list(before(context_of(f"{MODULE}x = ║{BELOW}"), 2 * STEP))
    assert len(pieces) > 8
    for piece in pieces[:-1]:
        assert piece.text.startswith("\n\n\ndef function_")
    below = list(after(context_of(f"{MODULE}x = ║{BELOW}"), 2 * STEP))
    assert len(below) > 8
    for piece in below[1:]:
        assert piece.text.startswith("\n\n\ndef function_")


@pytest.mark.parametrize(
    ("language", "lines", "begins"),
    [
        pytest.param(
            "python",
            ["    a = 1", "    b = f(", "        1,", "    )", "", "    @wraps", "    def g():", ""],
            "    @wraps",
            id="after a blank line",
        ),
        pytest.param(
            "java",
            ["        }", "    }", "    int a;", "    int f() {", "        g();", "    }", "    }", ""],
            "    int a;",
            id="not at a closing brace",
        ),
        pytest.param(
            "python", ['    """', "zero", "one", '    """', "    x = 1", "    y = 2", "", ""],
            '    """', id="not in a string"
        ),
        pytest.param("", ["", "", "", "", "", "", "", ""], "end", id="blank lines"),
    ],
)  # fmt: skip
def test_where_a_block_of_lines_is_cut(language: str, lines: list[str], begins: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    step = len(text)
    head = "x" * (step - 1) + "\n"
    near, *_ = before(context_of(f"{head}{text}end\n║", language), step)
    assert near.text.strip("\n").split("\n", 1)[0] == begins


@given(
    st.lists(st.sampled_from(["", "a", "  b(", ")", "    c\r", "\td", '"""', "é"]), max_size=60),
    st.integers(0, 400),
    st.integers(1, 60),
)
def test_the_pieces_are_the_whole_file(lines: list[str], at: int, step: int) -> None:
    text = "\n".join(lines)
    document = Document.of(text, "python")
    context = gather(document, min(at, len(text)), parse(document))
    above, below = list(before(context, step)), list(after(context, step))
    pieces = [*reversed(above), *below]
    assert pieces[0].start == 0
    assert above[0].end == below[0].start == context.offset
    assert pieces[-1].end == len(text)
    assert all(one.end == two.start for one, two in pairwise(pieces))
    assert all(piece.text == unix(text[piece.start : piece.end]) for piece in pieces)


TYPED = '''\
def parse(self, text: str = "it's") -> list[int]:
    """Read a list of numbers (as "1, 2")."""
    found = [int(part) for part in text.split(",")]
    for each in found:
        if each < 0: raise ValueError(f"{each} is negative")
    return {
        "numbers": found,
    }["numbers"]
'''


def test_typing_moves_no_piece_but_the_nearest() -> None:
    text, offset = caret(f"{MODULE}\n\n║{BELOW}")
    known_above: set[Segment] = set()
    sizes = []
    far: set[tuple[tuple[int, str], ...]] = set()
    syntax = None
    for n_typed in range(len(TYPED) + 1):
        document = Document.of(text[:offset] + TYPED[:n_typed] + text[offset:], "python")
        syntax = parse(document, syntax)
        context = gather(document, offset + n_typed, syntax)
        _, *above = before(context, STEP)
        _, *below = after(context, STEP)
        sizes.append(len(above))
        known_above |= set(above)
        far.add(tuple((len(document.text) - piece.start, piece.text) for piece in below))
    # One more piece for each whole block that was typed, and all that were there stay.
    assert sizes == sorted(sizes)
    assert len(known_above) == sizes[-1] <= sizes[0] + len(TYPED) // STEP + 1
    # A new line shifts what is below, which is cut all the same.
    assert len(far) == 1


CLASS = '''\
import os
from typing import (
    Any,
)


class Reader(Base):
    """A reader."""

    size = 1

    def read(
        self, n: int
    ) -> bytes:
        one = 1
        if n:
            two = 2
            three = 3
'''


@pytest.mark.parametrize(
    ("begins", "max_chars", "shown"),
    [
        pytest.param("three", 999, ["import os", "from typing import (\n    Any,\n)", "class Reader(Base):",
            "    def read(\n        self, n: int\n    ) -> bytes:", "        if n:"], id="all"),
        pytest.param("one", 80, ["class Reader(Base):",
            "    def read(\n        self, n: int\n    ) -> bytes:"], id="headers go first"),
        pytest.param("size", 999, ["import os", "from typing import (\n    Any,\n)", "class Reader(Base):"],
            id="a class"),
        pytest.param("class", 999, ["import os", "from typing import (\n    Any,\n)"], id="imports"),
        pytest.param("three", 5, [], id="no room"),
        pytest.param("from", 999, ["import os"], id="what the window holds is not shown twice"),
    ],
)  # fmt: skip
def test_the_frame_of_a_window(begins: str, max_chars: int, shown: list[str]) -> None:
    context = context_of(CLASS + "║")
    start = CLASS.rfind("\n", 0, CLASS.index(begins)) + 1
    found = frame(context, start, max_chars)
    assert [segment.text.rstrip("\n") for segment in found] == shown
    assert all(CLASS[each.start : each.end] == each.text for each in found)


def test_the_frame_without_a_tree_is_read_from_the_lines() -> None:
    context = CompletionContext(Document.of(CLASS, "python"), len(CLASS), "line", None)
    start = CLASS.index("        one")
    assert [each.text.split("(")[0] for each in frame(context, start, 999)] == [
        "class Reader",
        "    def read",
    ]
