"""A notebook's cells as one text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill.notebook import Notebook, joined
from midfill.text import Document

Cell = tuple[str, str]
"""Language and text."""


def check_joined(cells: list[Cell], own: int, text: str) -> None:
    uris = tuple(f"cell:{n}" for n in range(len(cells)))
    documents = {
        uri: Document.of(text, language, uri=uri, version=7)
        for uri, (language, text) in zip(uris, cells, strict=True)
    }
    found = joined(Notebook("file:///n.ipynb", uris), documents, uris[own])
    assert found.document.text == text
    assert (found.document.uri, found.document.version) == ("file:///n.ipynb", 7)
    assert found.document.language == cells[own][0]
    own_text = cells[own][1]
    assert found.document.text[found.start : found.start + len(own_text)] == own_text


@pytest.mark.parametrize(
    ("cells", "own", "text"),
    [
        pytest.param([("python", "x = 1")], 0, "x = 1", id="alone"),
        pytest.param(
            [("python", "x = 1"), ("python", "y = x"), ("python", "z = y\n")],
            1,
            "x = 1\n\ny = x\n\nz = y",
            id="between",
        ),
        pytest.param(
            [("markdown", "# Title\n\nSome *text*"), ("python", "x = 1\n")],
            1,
            "# # Title\n#\n# Some *text*\n\nx = 1\n",
            id="markdown-is-a-comment",
        ),
        pytest.param(
            [("markdown", "Say"), ("julia", "x = 1"), ("typescript", "let x = 1")],
            2,
            "// Say\n\nlet x = 1",
            id="other-languages-are-left-out",
        ),
        pytest.param(
            [("python", "x = 1\r\ny = 2\r\n"), ("python", "a\r\nb\r\n")],
            1,
            "x = 1\ny = 2\n\na\r\nb\r\n",
            id="the-own-cell-stands-as-it-is",
        ),
        pytest.param(
            [("python", "\n"), ("python", ""), ("python", "x\n")], 1, "\n\nx", id="empty-cells"
        ),
        pytest.param(
            [("python", "x = 1"), ("markdown", "About ")], 1, "About ", id="in-a-markdown-cell"
        ),
    ],
)
def test_joined(cells: list[Cell], own: int, text: str) -> None:
    check_joined(cells, own, text)


def test_cells_that_are_not_open_are_passed_over() -> None:
    notebook = Notebook("file:///n.ipynb", ("a", "b"))
    cell = Document.of("x = 1", "python", uri="b")
    assert joined(notebook, {"b": cell}, "b").document.text == "x = 1"


URIS = st.lists(st.sampled_from("abcdefgh"), unique=True).map(tuple)


@given(URIS, st.integers(0, 9), st.integers(0, 9), URIS)
def test_cells_are_replaced_as_a_list_is(
    before: tuple[str, ...], start: int, n_deleted: int, fresh: tuple[str, ...]
) -> None:
    expected = list(before)
    expected[start : start + n_deleted] = fresh
    notebook = Notebook("n", before).with_cells(start, start + n_deleted, fresh)
    assert notebook == Notebook("n", tuple(expected))
