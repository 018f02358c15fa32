"""The smallest edits that put a text in the place of some lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.edits import applied, fitted, minimal
from midfill.subject import Subject, unix
from midfill.text import Document

LINES = st.lists(st.sampled_from(["", "a", "b", "  a", "é😋", "long line"]), min_size=1, max_size=8)


def lines_of(document: Document, first: int, last: int) -> Subject:
    end = document.line_starts[last] + len(document.lines[last].rstrip("\r\n"))
    return Subject(document, None, document.line_starts[first], end)


@given(LINES, LINES, LINES, LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_the_changes_make_the_text_and_touch_nothing_else(
    before: list[str], old: list[str], new: list[str], after: list[str], ending: str, at_end: bool
) -> None:
    lines = [*before, *old, *([] if at_end else after)]
    document = Document.of(ending.join(lines))
    subject = lines_of(document, len(before), len(before) + len(old) - 1)
    changes = minimal(subject, "\n".join(new))
    whole = applied(document.text, changes)
    assert unix(whole) == "\n".join([*before, *new, *([] if at_end else after)])
    for one, other in pairwise(changes):
        assert one.end < other.start
    # An inserted last line begins with the ending before it, so that nothing outside is written anew.
    assert all(subject.start <= change.start <= change.end for change in changes)
    assert all(change.end <= subject.end for change in changes)


def test_a_line_keeps_what_it_begins_and_ends_with() -> None:
    document = Document.of("x = (\n  alpha(1) +\r\n  b\n)\n")
    (change,) = minimal(lines_of(document, 1, 2), "  alpha(22) +\n  b")
    assert change == (14, 15, "22")


@pytest.mark.parametrize(
    ("document", "code", "text"),
    [
        pytest.param("    a:\n        b\n", "a:\n    b\n", "    a:\n        b", id="margin"),
        pytest.param("\ta:\n\t\tb\n", "a:\n    b\n", "\ta:\n\t\tb", id="tabs"),
        pytest.param(
            "  a:\n    b\n", "a:\n    b\n        c\n", "  a:\n    b\n      c", id="two-spaces"
        ),
        pytest.param("a:\n    b\n", "a:\n\tb\n\t\tc\n", "a:\n    b\n        c", id="from-tabs"),
        pytest.param("    a\n", "a\n\n\nb\n", "    a\n\n\n    b", id="blank-lines-stay-empty"),
        pytest.param(
            '    a("""\nat the margin\n""")\n',
            'b("""\nat the margin\n""")\n',
            '    b("""\nat the margin\n""")',
            id="strings-keep-their-margin",
        ),
    ],
)
def test_fitted(document: str, code: str, text: str) -> None:
    known = Document.of(document)
    subject = lines_of(known, 0, len(known.lines) - 2)
    assert fitted(code, subject)[0] == text
