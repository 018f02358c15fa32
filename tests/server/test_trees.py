"""Trees are there at once where that is quick, and come later where it is not."""

from __future__ import annotations

import asyncio
import itertools
from unittest import mock

import pytest
from lsprotocol import types as lsp

from midfill import syntax
from midfill.engines.fake import FakeEngine
from midfill.languages import grammar
from midfill.syntax import parse
from midfill.text import Document, Edit, Position
from midfill_server import trees
from midfill_server.server import create_server
from midfill_server.session import Session
from midfill_server.trees import MAX_STEPS_AT_ONCE, Trees, parsed_at_once

SHORT = Document.of("def f(a):\n    return a\n" * 20, "python", uri="a")
LONG = Document.of(
    "def f(a, b):\n    x = a + b\n    return [x, a, b]\n\n" * 3000, "python", uri="a"
)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each parse takes that the event loop waits for."""
    found: list[int] = []
    stop_after = trees._stop_after

    def counted(max_steps: int) -> object:
        steps, stops = itertools.count(1), stop_after(max_steps)
        found.append(0)

        def step() -> bool:
            found[-1] = next(steps)
            return stops()

        return step

    monkeypatch.setattr(trees, "_stop_after", counted)
    return found


async def test_a_short_document_has_its_tree_at_once() -> None:
    found = Trees().of(SHORT)
    assert found is not None
    assert found.document is SHORT


async def test_a_tree_is_made_once() -> None:
    known = Trees()
    assert known.of(SHORT) is known.of(SHORT)


async def test_a_long_document_has_its_tree_later(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = steps_of(monkeypatch)
    known = Trees()
    assert known.of(LONG) is None
    assert known.of(LONG) is None, "it is being made"
    assert steps == [MAX_STEPS_AT_ONCE + 1]
    await known.settled()
    found = known.of(LONG)
    assert found is not None
    assert found.document is LONG


async def test_who_cannot_do_without_a_tree_waits_for_it() -> None:
    known = Trees()
    first, second = await asyncio.gather(known.made(LONG), known.made(LONG))
    assert first is not None
    assert first is second is known.at_hand(LONG)
    assert await known.made(SHORT) is known.at_hand(SHORT)


@pytest.mark.parametrize("how", ["document", "notebook"])
async def test_the_grammar_of_what_is_opened_is_compiled_before_a_key(how: str) -> None:
    session = Session(lambda settings, role: FakeEngine())
    server = create_server(session)
    item = lsp.TextDocumentItem("file:///a.cs", "csharp", 1, "class A {}")
    grammar.cache_clear()
    if how == "document":
        server.protocol.lsp_text_document__did_open(lsp.DidOpenTextDocumentParams(item))
    else:
        notebook = lsp.NotebookDocument("file:///n", "x", 1, [])
        params = lsp.DidOpenNotebookDocumentParams(notebook, [item])
        server.protocol.lsp_notebook_document__did_open(params)
    await session.trees.settled()
    known = grammar("csharp")
    assert known is not None
    assert {"imports", "places", "structure"} <= known.__dict__.keys()
    await session.end()


async def test_a_grammar_that_is_damaged_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midfill_server.trees.grammar", mock.Mock(side_effect=ImportError))
    known = Trees()
    for identifier in ("python", "nolang", ""):
        known.prepare(identifier)
    await known.settled()


async def test_a_document_without_a_grammar_is_not_waited_for() -> None:
    assert await Trees().made(Document.of("x", "plaintext", uri="a")) is None


async def test_a_key_in_a_long_document_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Trees()
    known.of(LONG)
    await known.settled()
    steps = steps_of(monkeypatch)
    typed = LONG.edited([Edit(Position(6000, 14), Position(6000, 14), "c")], 2)
    found = known.of(typed)
    assert found is not None
    assert found.tree.root_node.end_byte == len(typed.text)
    assert len(steps) == 1


async def test_an_edit_that_changes_all_below_is_parsed_later() -> None:
    known = Trees()
    known.of(LONG)
    await known.settled()
    typed = LONG.edited([Edit(Position(0, 0), Position(0, 0), "x = (")], 2)
    assert known.of(typed) is None
    await known.settled()
    assert known.of(typed) is not None


async def test_of_a_document_that_is_only_assumed_no_more_than_that_is_parsed() -> None:
    before = parse(LONG)
    assert before is not None
    typed = LONG.edited([Edit(Position(6000, 14), Position(6000, 14), "c")], 2)
    assert parsed_at_once(typed, before) is not None
    assert (
        parsed_at_once(LONG.edited([Edit(Position(0, 0), Position(0, 0), "x = (")], 2), before)
        is None
    )


async def test_what_was_edited_while_it_was_parsed_is_parsed_from_there() -> None:
    known = Trees()
    known.of(LONG)
    typed = LONG.edited([Edit(Position(6000, 14), Position(6000, 14), "c")], 2)
    assert known.of(typed) is None
    await known.settled()
    found = known.of(typed)
    assert found is not None
    assert found.document is typed


async def test_a_closed_document_is_forgotten() -> None:
    known = Trees()
    known.of(LONG)
    coming = list(known._coming.values())
    known.forget("a")
    await asyncio.gather(*coming)
    assert known._known == {}


async def test_no_parser_means_no_tree() -> None:
    known = Trees()
    assert known.of(Document.of("x" * (syntax.MAX_CHARACTERS + 1), "python", uri="a")) is None
    assert known.of(Document.of("x", "nolang", uri="b")) is None
    assert known._coming == {}
