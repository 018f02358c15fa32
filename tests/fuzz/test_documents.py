"""Edits as any editor may send them, in three encodings, against a plain string that is edited likewise."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.values import ODD
from midfill.text import Document, Edit, Encoding, Position, split_lines

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
_CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
_TEXT = st.text(st.sampled_from("ab\r\n\n\r" + ODD + "\U0001f600\ud83d\udc00"), max_size=25)
_LINE = st.integers(0, 6) | st.sampled_from([99, 2**31 - 1])
_UNITS = st.integers(0, 12) | st.sampled_from([99, 2**31 - 1])


class Model(NamedTuple):
    """A document as a string, by the words of the protocol alone."""

    text: str

    def offset(self, position: Position, encoding: Encoding) -> int:
        lines = [(0, 0)] if not self.text else []
        lines += [found.span(1) for found in re.finditer(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)", self.text)]
        if lines[-1] == (len(self.text),) * 2 and self.text and self.text[-1] not in "\r\n":
            lines.pop()  # The expression matches once more, at the end of a line that has no ending.
        if position.line >= len(lines):
            return len(self.text)
        start, end = lines[position.line]
        units = 0
        for at in range(start, end):
            codec, width = _CODECS[encoding]
            units += len(self.text[at].encode(codec, "surrogatepass")) // width
            if units > position.units:
                return at
        return end

    def edited(self, edit: Edit, encoding: Encoding) -> Model:
        start, end = sorted((self.offset(edit.start, encoding), self.offset(edit.end, encoding)))
        return Model(self.text[:start] + edit.text + self.text[end:])


_EDITS = st.lists(
    st.builds(Edit, st.builds(Position, _LINE, _UNITS), st.builds(Position, _LINE, _UNITS), _TEXT)
    | _TEXT,
    min_size=1,
    max_size=8,
)


@settings(max_examples=400, deadline=None)
@example(
    "a\ud83d\udc00\x85", [Edit(Position(0, 0), Position(2, 4), "")], "utf-16", [0]
)  # Two halves of a character, side by side.
@given(_TEXT, _EDITS, st.sampled_from(ENCODINGS), st.lists(st.integers(0, 2), max_size=8))
def test_edits_do_what_they_say(
    text: str, edits: list[Edit | str], encoding: Encoding, turns: list[int]
) -> None:
    """However many of them come in one message, wherever they point, and in what order their ends stand."""
    model, document, waiting = Model(text), Document.of(text), list[Edit | str]()
    for version, edit in enumerate(edits):
        model = Model(edit) if isinstance(edit, str) else model.edited(edit, encoding)
        waiting.append(edit)
        if version < len(turns) and turns[version]:
            continue  # It comes with the next.
        document, waiting = document.edited(waiting, version, encoding), []
        assert document.text == model.text
        assert list(document.lines) == split_lines(model.text)
        assert document.version == version


_KEYS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, -1, -2, 2, -9, 9]),
        st.sampled_from([0, 0, 1, 3]),
        st.integers(0, 1),
        st.sampled_from(["a", "😋", "é", "", "日a", "a\n", "\r", "\u2028"]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(_TEXT, _KEYS, st.lists(st.sampled_from(ENCODINGS), min_size=12, max_size=12))
def test_typing_with_a_mark(
    text: str, keys: list[tuple[int, int, int, str]], encodings: list[Encoding]
) -> None:
    """Keys near each other, whose places are counted from the one before."""
    model, document, caret = Model(text), Document.of(text), 0
    for version, (step, n_gone, inside, new) in enumerate(keys):
        encoding = encodings[version]
        start = min(max(0, caret + step), len(model.text))
        end = min(len(model.text), start + n_gone)
        places = [document.position(offset, encoding) for offset in (start, end)]
        first, last = (Position(at.line, at.units + inside) for at in places)
        edit = Edit(first, last, new)
        caret = min(model.offset(place, encoding) for place in edit[:2]) + len(new)
        model = model.edited(edit, encoding)
        document = document.edited([edit], version, encoding)
        assert document.text == model.text
        assert list(document.lines) == split_lines(model.text)


TRACE = os.environ.get("MIDFILL_TRACE", "")
"""A recording of somebody typing (josephg/editing-traces), which is not in this repository."""


@pytest.mark.skipif(
    not TRACE, reason="MIDFILL_TRACE names no recorded trace, such as sveltecomponent.json.gz"
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_recorded_trace(encoding: Encoding) -> None:
    """Behind a line that every encoding counts otherwise."""
    before = "\U0001f60b\u00e9\n"
    trace = json.loads(gzip.decompress(Path(TRACE).read_bytes()))
    text = before + trace["startContent"]
    document = Document.of(text)
    patches = [patch for change in trace["txns"] for patch in change["patches"]]
    for version, (position, n_gone, new) in enumerate(patches):
        start = len(before) + position
        first = document.position(start, encoding)
        edit = Edit(first, document.position(start + n_gone, encoding), new)
        text = text[:start] + new + text[start + n_gone :]
        document = document.edited([edit], version, encoding)
        assert version % 100 or document.text == text
    assert document.text == text == before + trace["endContent"]
    assert list(document.lines) == split_lines(text)
