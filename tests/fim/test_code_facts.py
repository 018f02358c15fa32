"""Facts that are read from a tree, and what a caret or a selection is about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from marks import caret
from midfill.code_facts import CodeFacts, facts_markdown, facts_of, facts_query
from midfill.languages import languages
from midfill.subject import subject_at
from midfill.syntax import parse
from midfill.text import Document

PYTHON = """\
def f(a, *rest, k=1):
    '''Doc.'''
    def inner(x):
        return x
    self.total = inner(a)
    rows[a] += 1
    global N
    if a and rest:
        raise ValueError(a)
    for b in rest:
        yield b║
    return self.load(a).rows()
"""
TYPESCRIPT = """\
class Shelf {
  /** Takes. */
  take(name: string, n = 1): number {
    if (n < 1 || !name) {
      throw new RangeError(name);║
    }
    this.left[name] -= n;
    this.asked++;
    return this.names.map((x) => x).length;
  }
}
"""
GO = """\
func (s *Stock) Take(name string, n int) error {
	if n < 1 && name != "" {
		panic("none")║
	}
	s.left[name] = s.left[name] - n
	return s.save(name)
}
"""
RUST = """\
fn take(&mut self, n: u32) -> Result<u32, Error> {
    self.left = self.left - n;║
    let x = self.load()?;
    x
}
"""
JAVA = """\
class Shelf {
    int take(String name, int n) throws IOException {
        this.left = n;║
        return n > 0 ? load(name) : 0;
    }
}
"""


@pytest.mark.parametrize(
    ("language", "marked", "facts"),
    [
        pytest.param(
            "python",
            PYTHON,
            {
                "parameters": ("a", "*rest", "k=1"),
                "returns": ("b", "self.load(a).rows()"),
                "raises": ("ValueError(a)",),
                "calls": ("inner", "ValueError", "….rows", "self.load"),
                "writes": ("self.total", "rows[a]", "N"),
                "complexity": 4,
            },
            id="python",
        ),
        pytest.param(
            "typescript",
            TYPESCRIPT,
            {
                "parameters": ("name: string", "n = 1"),
                "result": "number",
                "returns": ("this.names.map((x) => x).length",),
                "raises": ("new RangeError(name)",),
                "calls": ("RangeError", "this.names.map"),
                "writes": ("this.left[name]", "this.asked"),
                "complexity": 3,
            },
            id="typescript",
        ),
        pytest.param(
            "go",
            GO,
            {
                "parameters": ("name string", "n int"),
                "result": "error",
                "returns": ("s.save(name)",),
                "raises": ('("none")',),
                "calls": ("panic", "s.save"),
                "writes": ("s.left[name]",),
                "complexity": 3,
            },
            id="go",
        ),
        pytest.param(
            "rust",
            RUST,
            {
                "parameters": ("&mut self", "n: u32"),
                "result": "Result<u32, Error>",
                "returns": ("x",),
                "raises": ("self.load()",),
                "calls": ("self.load",),
                "writes": ("self.left",),
                "complexity": 2,
            },
            id="rust",
        ),
        pytest.param(
            "java",
            JAVA,
            {
                "parameters": ("String name", "int n"),
                "result": "int",
                "returns": ("n > 0 ? load(name) : 0",),
                "raises": ("IOException",),
                "calls": ("load",),
                "writes": ("this.left",),
                "complexity": 2,
            },
            id="java",
        ),
    ],
)
def test_facts(language: str, marked: str, facts: dict[str, Any]) -> None:
    text, offset = caret(marked)
    document = Document.of(text, language)
    syntax = parse(document)
    assert syntax is not None
    subject = subject_at(document, syntax, offset, offset)
    assert subject is not None
    found = facts_of(syntax, subject.start, subject.end)
    assert asdict(found) == asdict(CodeFacts(known=True)) | facts


def test_every_facts_query_fits_its_grammar() -> None:
    with_facts = set()
    for language in languages():
        for identifier in language.ids if language.grammar else ():
            syntax = parse(Document.of("x", identifier))
            assert syntax is not None
            if facts_query(syntax) is not None:
                with_facts.add(language.query)
    assert with_facts == {"python", "javascript", "typescript", "go", "rust", "java", "c", "cpp"}


def test_what_a_program_holds_cannot_leave_its_code_span() -> None:
    facts = CodeFacts(calls=("a`<img>`b", "x\u202ey"), known=True)
    text = facts_markdown(facts, "**f**")
    assert "``a`<img>`b``" in text
    assert "\u202e" not in text


SUBJECTS = """\
import os

@cache
def first(a):
    return a


class Shelf:
    left = 1

    @property
    def count(self):
        def inner():
            return 2

        return inner()

x = 1
"""


@pytest.mark.parametrize(
    ("at", "name", "lines"),
    [
        pytest.param("return a", "first", (3, 5), id="with-its-decorator"),
        pytest.param("def first", "first", (3, 5), id="at-its-first-character"),
        pytest.param("    def count", "Shelf.count", (11, 16), id="before-its-first-character"),
        pytest.param("return 2", "Shelf.count.inner", (13, 14), id="the-innermost-function"),
        pytest.param("left = 1", "Shelf", (8, 16), id="a-class-where-there-is-no-function"),
    ],
)
def test_a_caret_means_what_is_around_it(at: str, name: str, lines: tuple[int, int]) -> None:
    document = Document.of(SUBJECTS, "python")
    offset = SUBJECTS.index(at)
    subject = subject_at(document, parse(document), offset, offset)
    assert subject is not None
    assert (subject.name, subject.lines) == (name, lines)


@pytest.mark.parametrize(
    ("first", "last", "name", "lines"),
    [
        pytest.param(3, 5, "first", (3, 5), id="all-of-a-function"),
        pytest.param(4, 5, "first", (3, 5), id="a-function-without-its-decorator"),
        pytest.param(2, 7, "first", (3, 5), id="blank-lines-around"),
        pytest.param(5, 5, "line 5", (5, 5), id="one-line"),
        pytest.param(13, 16, "lines 13 to 16", (13, 16), id="some-lines"),
        pytest.param(1, 18, "lines 1 to 18", (1, 18), id="more-than-one-definition"),
    ],
)
def test_a_selection_means_its_lines(
    first: int, last: int, name: str, lines: tuple[int, int]
) -> None:
    document = Document.of(SUBJECTS, "python")
    # From the first line's start to the next line's, as editors select whole lines.
    start, end = document.line_starts[first - 1], document.line_starts[last]
    subject = subject_at(document, parse(document), start, end)
    assert subject is not None
    assert (subject.name, subject.lines) == (name, lines)


@pytest.mark.parametrize(
    ("text", "language", "selected"),
    [
        pytest.param("\n\n", "python", slice(0, 2), id="blank-lines"),
        pytest.param("x = 1\n", "python", slice(2, 2), id="no-definition"),
        pytest.param("x = 1\n", "unknown", slice(2, 2), id="no-grammar"),
        pytest.param("", "python", slice(0, 0), id="nothing"),
    ],
)
def test_nothing_is_meant(text: str, language: str, selected: slice) -> None:
    document = Document.of(text, language)
    assert subject_at(document, parse(document), selected.start, selected.stop) is None
