"""What became of what was shown, told from edits alone; and that the gate hears of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lsp_client import LspClient
from marks import caret
from midfill.confidence import chance, shift
from midfill.context import gather
from midfill.engines.fake import FakeEngine
from midfill.habit import Habit
from midfill.text import Document
from midfill_server.habits import Habits
from typist import QUIET, URI, Typist
from virtual_time import virtual

CHANCE = 0.5


def shown(marked: str, text: str, *, chance: float | None = CHANCE) -> tuple[Habits, Document, int]:
    """A text that stands on the screen at the caret."""
    source, offset = caret(marked)
    document = Document.of(source, "python", uri=URI)
    habits = Habits()
    habits.shows("c1", document, offset, text, chance)
    return habits, document, offset


def becomes(habits: Habits, *texts: str) -> None:
    """The document is one after the other."""
    for text in texts:
        habits.edited(Document.of(text, "python", uri=URI))


Outcomes = tuple[float, float]
"""How many were shown, and how many of these right."""


def outcomes(habits: Habits) -> Outcomes:
    found = habits.of("python")
    return found.n_expected / CHANCE, found.n_right


TAKEN: Outcomes = (1, 1)
MISSED: Outcomes = (1, 0)
OPEN: Outcomes = (0, 0)


@pytest.mark.parametrize(
    ("marked", "text", "after", "expected"),
    [
        pytest.param("x = ║\n", "abc", ["x = abc\n"], TAKEN, id="taken"),
        pytest.param("x = ║\n", "abc", ["x = a\n", "x = ab\n", "x = abc\n"], TAKEN, id="typed"),
        pytest.param("x = ║\n", "abc", ["x = ab\n"], OPEN, id="begun"),
        pytest.param("x = ║\n", "abc", ["x = ab\n", "x = abd\n"], MISSED, id="left-halfway"),
        pytest.param("x = ║\n", "abc", ["x = d\n"], MISSED, id="something-else"),
        pytest.param("x = ║\n", "abc", ["x = a\n", "x = \n"], OPEN, id="taken-back"),
        pytest.param("x = ║\n", "abc", ["x =\n"], MISSED, id="deleted"),
        pytest.param("x = ║\n", "abc", ["x = \n\n"], MISSED, id="return-instead"),
        pytest.param("x = ║\ny\n", "abc", ["x = \nyz\n"], MISSED, id="below"),
        pytest.param("y\nx = ║\n", "abc", ["yz\nx = \n"], MISSED, id="above"),
        pytest.param("x = f║)\n", "(a)", ["x = f(a)\n"], TAKEN, id="replacing"),
        pytest.param("x = ║\n", "f(a)", ["x = f()\n", "x = f(a)\n"], TAKEN, id="auto-closed"),
        pytest.param("x = ║\n", "f(a)", ["x = f()\n", "x = f(b)\n"], MISSED, id="other-argument"),
        pytest.param("if x:║\n", "\n    y\n    z", ["if x:\n    y\n"], TAKEN, id="first-line"),
        pytest.param("if x:║\n", "\n    y\n    z", ["if x:\n    \n"], OPEN, id="next-line-begun"),
        pytest.param("if x:║\n", "\n    y\n    z", ["if x:\n    w\n"], MISSED, id="other-block"),
        pytest.param("x = ║\r\n", "abc", ["x = abc\r\n"], TAKEN, id="crlf"),
        pytest.param("x = ║\n", "abc  ", ["x = abc\n"], TAKEN, id="space-at-its-end"),
        pytest.param("x = ║\n", "abc", ["x = abc\n", "x = d\n", "x = abc\n"], TAKEN, id="once"),
    ],
)
def test_what_came_of_it(marked: str, text: str, after: list[str], expected: Outcomes) -> None:
    habits, _, _ = shown(marked, text)
    becomes(habits, *after)
    assert outcomes(habits) == expected


def test_what_is_left_while_it_is_typed_is_the_same() -> None:
    habits, _, _ = shown("x = ║\n", "abc", chance=0.25)
    becomes(habits, "x = a\n")
    document = Document.of("x = a\n", "python", uri=URI)
    habits.shows("c2", document, len("x = a"), "bc", 0.9)
    becomes(habits, "x = ab\n", "x = abc\n")
    assert habits.of("python") == Habit(1, 0.25, 0.25 * 0.75)


def test_another_text_in_its_place_is_judged_in_its_stead() -> None:
    habits, document, offset = shown("x = ║\n", "abc", chance=0.25)
    habits.shows("c2", document, offset, "xyz", 0.75)
    becomes(habits, "x = xyz\n")
    assert habits.of("python") == Habit(1, 0.75, 0.75 * 0.25)


def test_asking_elsewhere_passes_it_over() -> None:
    habits, document, _ = shown("y = \nx = ║\n", "abc")
    habits.shows("c2", document, len("y = "), "abc", 0.5)
    assert outcomes(habits) == MISSED


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [pytest.param("c1", TAKEN, id="it"), pytest.param("c0", MISSED, id="another")],
)
def test_an_editor_may_put_it_in_otherwise(request_id: str, expected: Outcomes) -> None:
    habits, _, _ = shown("if x:\n║\n", "    y")
    becomes(habits, "if x:\n\ty\n")
    for _ in range(2):
        habits.accepted(URI, request_id)
    assert outcomes(habits) == expected


def test_an_editor_may_tell_first() -> None:
    habits, _, _ = shown("x = ║\n", "abc")
    habits.accepted(URI, "c1")
    becomes(habits, "x = abc\n", "x = d\n")
    assert outcomes(habits) == TAKEN


def test_without_a_chance_nothing_is_judged() -> None:
    habits, _, _ = shown("x = ║\n", "abc", chance=None)
    becomes(habits, "x = abc\n")
    assert outcomes(habits) == OPEN


def test_a_closed_document_tells_nothing() -> None:
    habits, _, _ = shown("x = ║\n", "abc")
    habits.forget(URI)
    becomes(habits, "x = d\n")
    assert outcomes(habits) == OPEN


def test_languages_are_told_apart() -> None:
    habits, _, _ = shown("x = ║\n", "abc")
    becomes(habits, "x = abc\n")
    assert outcomes(habits) == TAKEN
    assert habits.of("lua") == Habit()


def ghost(client: LspClient) -> str:
    """What is shown unasked behind `x = `."""
    items = client.answer(client.ask(0, 4, by_hand=False))["result"]["items"]
    return str(items[0]["insertText"]) if items else ""


@pytest.mark.parametrize(
    ("typed", "is_quiet"),
    [pytest.param("q", True, id="wrong"), pytest.param("abc", False, id="right")],
)
def test_what_is_never_right_is_shown_no_more(tmp_path: Path, typed: str, is_quiet: bool) -> None:
    context = gather(Document.of("x = ", "python"), 4, None)
    at_first = chance([(0, math.log(0.99))], "abc", "abc", context)
    assert at_first is not None
    with LspClient("--model", "fake:text=abc", state_dir=tmp_path) as client:
        client.initialize(
            options={"completion": {"eagerness": 1 - 0.95 * at_first, "ahead": False}}
        )
        client.open("x = ")
        assert ghost(client) == "abc"
        for version in range(2, 30, 2):
            client.change(version, {"text": f"x = {typed}"})
            client.change(version + 1, {"text": "x = "})
            last = ghost(client)
        assert last == ("" if is_quiet else "abc")


@pytest.mark.parametrize(
    ("typed", "goes_up"),
    [pytest.param("abc", True, id="right"), pytest.param("q", False, id="wrong")],
)
@virtual
async def test_the_next_request_hears_of_it(typed: str, goes_up: bool) -> None:
    typist = Typist(FakeEngine("abc"), QUIET, "x = ║")
    (found,) = await typist.ask()
    assert found.confidence is not None
    document = typist.document
    typist.session.habits.shows("c1", document, typist.caret, found.text, found.confidence)
    typist.type(typed)
    snapshot = typist.session.snapshot(URI)
    assert snapshot is not None
    context = typist.session.place(snapshot, typist.caret)
    assert (shift(context.habit) > 0) is goes_up
