"""What is begun before an editor asks: where it will ask, whether it will, and what its request finds then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from marks import caret
from midfill.engines.fake import Asked, FakeEngine
from midfill.text import Document, Edit, Position
from midfill_server.foresight import PATIENCE_S, Foresight
from typist import QUIET, Typist, real
from virtual_time import virtual

EDITOR_RESTS_S = 0.08
"""As VS Code does, between a key and its request."""
ANSWER_S = 0.2


def edit(line: int, start: int, end: int, text: str) -> Edit:
    return Edit(Position(line, start), Position(line, end), text)


A_KEY = edit(1, 4, 4, "r")


@pytest.mark.parametrize(
    ("made", "marked"),
    [
        pytest.param(A_KEY, "if a:\n    r║", id="letter"),
        pytest.param(edit(1, 3, 4, ""), "if a:\n   ║", id="backspace"),
        pytest.param(edit(0, 5, 5, "\n    "), "if a:\n    ║\n    ", id="line-with-indent"),
        pytest.param(edit(0, 3, 4, "()"), "if (║):\n    ", id="pair"),
        pytest.param(edit(0, 4, 4, "😋"), "if a😋║:\n    ", id="two-units"),
        pytest.param(edit(0, 4, 4, "\n\n\n"), None, id="more-than-a-key"),
    ],
)
def test_where_the_caret_is_after_a_key(made: Edit, marked: str | None) -> None:
    before = Document.of("if a:\n    ", version=1)
    after = before.edited([made], 2, "utf-16")
    foresight = trusted(before)
    offset = foresight.edited(after, [made], "utf-16", 1.0)
    assert (offset is None) == (marked is None)
    if marked is not None:
        assert (after.text, offset) == caret(marked)


def trusted(document: Document) -> Foresight:
    """After an editor has asked where it was expected."""
    foresight = Foresight()
    typed = document.edited([A_KEY], 1)
    assert foresight.edited(typed, [A_KEY], "utf-16", 0.0) is None
    foresight.asked(typed, document.line_starts[1] + 5)
    return foresight


BEFORE = Document.of("if a:\n    ")
NEXT, OTHER = (
    BEFORE.edited([A_KEY], 2),
    Document.of("if b:\n    ", uri="file:///b").edited([A_KEY], 2),
)


def test_an_editor_that_asked_will_ask_again() -> None:
    foresight = trusted(BEFORE)
    # Within a word that is typed quickly it does not ask at all.
    for at_s in (0.1, 0.2, 0.3):
        assert foresight.edited(NEXT, [A_KEY], "utf-16", at_s) is not None


def test_an_editor_that_asks_for_nothing_after_a_key_is_not_served_unasked() -> None:
    foresight = trusted(BEFORE)
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 1.0) is not None
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 1.1 + PATIENCE_S) is None
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 1.2 + PATIENCE_S) is None


def test_a_pause_after_a_request_says_nothing() -> None:
    foresight = trusted(BEFORE)
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 100.0) is not None


@pytest.mark.parametrize(
    "elsewhere", [pytest.param(0, id="place"), pytest.param(None, id="entry-of-its-list")]
)
def test_an_editor_that_asks_elsewhere_is_not_understood(elsewhere: int | None) -> None:
    foresight = trusted(BEFORE)
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 0.1) is not None
    foresight.asked(NEXT, elsewhere)
    assert foresight.edited(NEXT, [A_KEY], "utf-16", 0.2) is None


def test_edits_elsewhere_several_or_of_the_whole_are_no_key() -> None:
    foresight = trusted(BEFORE)
    assert foresight.edited(OTHER, [A_KEY], "utf-16", 0.1) is None
    assert foresight.edited(NEXT, [A_KEY, A_KEY], "utf-16", 0.2) is None
    assert foresight.edited(NEXT, [NEXT.text], "utf-16", 0.3) is None


def grown(asked: Asked) -> str:
    """An answer that no other key leads to."""
    return f"_{len(asked.prefix)}"


def typist(**settings: object) -> tuple[Typist, FakeEngine]:
    """Somebody whose editor has asked once by itself, after a key."""
    engine = FakeEngine(grown, piece_delay_s=ANSWER_S)
    return Typist(engine, replace(QUIET, ahead=True, **settings), "x║"), engine  # type: ignore[arg-type]


async def asked_once(somebody: Typist) -> None:
    somebody.type("a")
    await asyncio.sleep(EDITOR_RESTS_S)
    await somebody.ghost()
    await asyncio.sleep(10 * ANSWER_S)


def now_s() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_the_model_begins_with_the_key() -> None:
    somebody, engine = typist()
    await asked_once(somebody)
    n_before, key_s = len(real(engine)), now_s()
    somebody.type("b")
    await asyncio.sleep(EDITOR_RESTS_S)
    assert real(engine)[n_before:] == ["xab"]
    assert await somebody.ghost() == "_3"
    assert now_s() - key_s == pytest.approx(ANSWER_S, abs=0.01)
    assert real(engine)[n_before:] == ["xab"]


@virtual
async def test_the_rest_is_over_when_the_editor_asks() -> None:
    somebody, engine = typist(debounce_ms=100)
    await asked_once(somebody)
    key_s = now_s()
    somebody.type("b")
    await asyncio.sleep(EDITOR_RESTS_S)
    assert "xab" not in real(engine)
    assert await somebody.ghost() == "_3"
    assert now_s() - key_s == pytest.approx(0.1 + ANSWER_S, abs=0.01)


@virtual
async def test_the_next_key_stops_what_nobody_has_asked_for() -> None:
    somebody, engine = typist()
    await asked_once(somebody)
    n_before, n_ended = len(real(engine)), len(engine.usages)
    for char in "bcd":
        somebody.type(char)
        await asyncio.sleep(ANSWER_S / 4)
    assert await somebody.ghost() == "_5"
    # One key was overtaken in the rest that keys as quick as these are given.
    assert real(engine)[n_before:] == ["xab", "xabcd"]
    assert engine.usages[n_ended].stop_reason == "cancelled"


@pytest.mark.parametrize("off", ["ahead", "enabled"])
@virtual
async def test_nothing_is_begun_that_a_person_has_turned_off(off: str) -> None:
    somebody, engine = typist()
    await asked_once(somebody)
    somebody.configure(**{off: False})
    n_before = len(engine.requests)
    somebody.type("b")
    await asyncio.sleep(EDITOR_RESTS_S)
    assert len(engine.requests) == n_before
