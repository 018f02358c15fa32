"""The ring of recent places: what a chunk is, and which ones stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marks import caret
from midfill.recent import MAX_CHUNKS, MAX_LINES, Chunk, Ring, region, text_of
from midfill.similarity import alike
from midfill.snippets import Snippet
from midfill.syntax import parse
from midfill.text import Document

LONG_BODY = "".join(f"        self.field_{n} = compute({n})\n" for n in range(2 * MAX_LINES))


def chunk(text: str, uri: str = "file:///a.py") -> Chunk:
    return Chunk(uri, Snippet(uri.rpartition("/")[2], text))


def lines(name: str, *numbers: int) -> str:
    return "".join(f"{name}_{n} = {name}({n})\n" for n in numbers)


def check_region(marked: str, first_line: str, last_line: str, language: str = "python") -> None:
    text, offset = caret(marked)
    document = Document.of(text, language)
    start, end = region(document, document.line_of(offset), parse(document))
    found = text_of(document, start, end).splitlines()
    assert (found[0], found[-1]) == (first_line, last_line)


@pytest.mark.parametrize(
    ("marked", "first_line", "last_line"),
    [
        pytest.param(
            "import os\n\n\ndef one():\n    a = 1║\n    return a\n\n\ndef two():\n    pass\n",
            "def one():",
            "    return a",
            id="the-function",
        ),
        pytest.param(
            "class A:\n    def one(self):\n        return 1║\n\n    def two(self):\n        return 2\n",
            "class A:",
            "        return 2",
            id="the-largest-that-fits",
        ),
        pytest.param(
            f"class A:\n    def one(self):\n        x = 1║\n        return x\n\n    def two(self):\n{LONG_BODY}",
            "    def one(self):",
            "        return x",
            id="the-method-of-a-long-class",
        ),
        pytest.param(
            "first = 1\n" * 40 + "\nnear = 1\nnear = 2║\nnear = 3\n\n" + "last = 1\n" * 40,
            "near = 1",
            "near = 3",
            id="between-blank-lines",
        ),
        pytest.param(
            "".join(f"first_{n} = 1\n" for n in range(100)) + "║",
            "first_92 = 1",
            "first_99 = 1",
            id="some-lines-where-nothing-ends",
        ),
        pytest.param("one = 1║", "one = 1", "one = 1", id="a-short-file"),
    ],
)
def test_a_region_is_something_whole(marked: str, first_line: str, last_line: str) -> None:
    check_region(marked, first_line, last_line)


def test_without_a_tree_a_region_is_between_blank_lines() -> None:
    text = "far\n" * 40 + "\nnear\nnear ║\n\n" + "far\n" * 40
    check_region(text, "near", "near ", language="unknown")


def test_a_line_past_the_end_is_the_last() -> None:
    document = Document.of("one\ntwo\n")
    assert region(document, 99, None) == (0, 3)


def test_snippets_have_unix_line_endings() -> None:
    assert text_of(Document.of("one\r\ntwo\rthree"), 0, 3) == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("older", "newer", "n_kept"),
    [
        pytest.param(
            chunk(lines("abc", *range(9))),
            chunk(lines("abc", *range(9)), "file:///b.py"),
            1,
            id="twin",
        ),
        pytest.param(
            chunk(lines("abc", *range(9))),
            chunk(lines("abc", *range(6)) + lines("new", 1, 2, 3)),
            1,
            id="edited-since",
        ),
        pytest.param(
            chunk(lines("abc", *range(9))),
            chunk(lines("abc", *range(6)) + lines("new", 1, 2, 3), "file:///b.py"),
            2,
            id="alike-in-another-file",
        ),
    ],
)
def test_the_newer_of_two_twins_stays(older: Chunk, newer: Chunk, n_kept: int) -> None:
    ring = Ring().with_chunk(older).with_chunk(newer)
    assert len(ring.chunks) == n_kept
    assert ring.chunks[-1] == newer


def test_two_lines_are_too_little() -> None:
    assert Ring().with_chunk(chunk("alpha = 1\nbeta = 2\n}\n\n")) == Ring()


NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta"])
CHUNKS = st.builds(
    lambda name, numbers, uri: chunk(lines(name, *numbers), f"file:///{uri}.py"),
    NAMES,
    st.sets(st.integers(0, 30), min_size=1, max_size=12),
    NAMES,
)


@given(st.lists(CHUNKS, max_size=40))
def test_a_ring_is_bounded_has_no_twins_and_remembers_the_order(added: list[Chunk]) -> None:
    ring = Ring()
    for one in added:
        ring = ring.with_chunk(one)
    assert len(ring.chunks) <= MAX_CHUNKS
    for idx, one in enumerate(ring.chunks):
        for other in ring.chunks[idx + 1 :]:
            assert alike(one.snippet.text, other.snippet.text) <= 0.9
    last = [max(n for n, each in enumerate(added) if each == one) for one in ring.chunks]
    assert last == sorted(last)
