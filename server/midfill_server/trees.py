"""The trees of the open documents: at once where that is quick, else made in a thread while nobody waits for them.

A tree that is not there yet is an ordinary state: whoever asks gets none, and the next one to ask may have it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from midfill.languages import grammar, language
from midfill.syntax import ParsingStopped, Syntax, parse
from midfill.text import Document

MAX_STEPS_AT_ONCE = 400
"""Steps of the parser while the event loop waits, of some 20 microseconds each: a first parse of some 800 lines of
Python, and nearly every edit."""

STEPS_PER_REST = 100
"""Steps after which a thread that parses offers Python's lock: with it the event loop waits 7 ms at most for a
document of 13,000 lines, without it 67 ms (2 cores at work, measured)."""


@dataclass(frozen=True)
class _Known:
    document: Document
    syntax: Syntax | None


class Trees:
    """Owned by the session; lives on the event loop."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._prepared: dict[str, asyncio.Task[None]] = {}

    def prepare(self, identifier: str) -> None:
        """Load what a language needs, in a thread: up to 50 ms of C++ or TypeScript, which the first key in it would
        wait for else."""
        known = language(identifier)
        if known.grammar and known.id not in self._prepared:
            task = asyncio.ensure_future(asyncio.to_thread(_prepare, known.id))
            self._prepared[known.id] = task

    def of(self, document: Document) -> Syntax | None:
        """The document's tree, made from that of an earlier version; nothing while it is being made."""
        known = self._known.get(document.uri)
        if known is not None and known.document is document:
            return known.syntax
        if document.uri in self._coming:
            return None
        before = known.syntax if known else None
        try:
            syntax = parse(document, before, _stop_after(MAX_STEPS_AT_ONCE))
        except ParsingStopped:
            self._coming[document.uri] = asyncio.ensure_future(self._make(document, before))
            return None
        self._known[document.uri] = _Known(document, syntax)
        return syntax

    async def made(self, document: Document) -> Syntax | None:
        """The document's tree, waited for; nothing only where there is none for it."""
        while (syntax := self.of(document)) is None:
            coming = self._coming.get(document.uri)
            if coming is None:
                break
            await asyncio.shield(coming)
        return syntax

    def at_hand(self, document: Document) -> Syntax | None:
        """The document's tree if it has been made."""
        known = self._known.get(document.uri)
        return known.syntax if known is not None and known.document is document else None

    def forget(self, uri: str) -> None:
        """Let a document's tree go."""
        self._known.pop(uri, None)
        self._coming.pop(uri, None)

    async def settled(self) -> None:
        """Wait until no tree is being made, nor anything that one needs."""
        await asyncio.gather(*self._coming.values(), *self._prepared.values())

    async def _make(self, document: Document, before: Syntax | None) -> None:
        task = asyncio.current_task()
        syntax = await asyncio.to_thread(parse, document, before, rest_between())
        # A document that was closed meanwhile is not known again.
        if self._coming.get(document.uri) is task:
            del self._coming[document.uri]
            self._known[document.uri] = _Known(document, syntax)


def _prepare(identifier: str) -> None:
    # A wheel that does not fit the machine is told where it is needed.
    with suppress(Exception):
        if known := grammar(identifier):
            known.prepare()


def rest_between() -> Callable[[], bool]:
    """For a thread that parses: never stops, and lets others run now and then."""
    steps = itertools.count(1)

    def step() -> bool:
        if next(steps) % STEPS_PER_REST == 0:
            time.sleep(0)
        return False

    return step


def parsed_at_once(document: Document, before: Syntax | None) -> Syntax | None:
    """The tree of a document that is only assumed, from that of one like it; nothing where it takes too long."""
    try:
        return parse(document, before, _stop_after(MAX_STEPS_AT_ONCE))
    except ParsingStopped:
        return None


def _stop_after(max_steps: int) -> Callable[[], bool]:
    steps = itertools.count(1)
    return lambda: next(steps) > max_steps
