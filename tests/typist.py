"""Somebody who types in one document and asks for completions, in the process of the test and in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from marks import caret
from midfill.engine import Engine
from midfill.engines.fake import FakeEngine
from midfill.settings import CompletionSettings, Settings
from midfill.text import Document, Edit
from midfill_server.answering import AskedBy, Found, answer, read_when_idle, take_edit
from midfill_server.session import Session

URI = "file:///a.py"
QUIET = CompletionSettings(debounce_ms=0, ahead=False)


class Typist:
    """One caret in one document, and the server's session behind it."""

    def __init__(
        self,
        engine: Engine,
        settings: CompletionSettings = QUIET,
        marked: str = "║",
        language: str = "",
    ) -> None:
        self.session = Session(lambda settings, role: engine, Settings(completion=settings))
        self.uri = URI
        self.language = language
        self.open(marked)

    def open(self, marked: str, uri: str = URI) -> None:
        """Open a document and go to its caret."""
        self.uri = uri
        text, self.caret = caret(marked)
        self.session.open(Document.of(text, self.language, uri=uri))
        read_when_idle(self.session, uri)

    @property
    def document(self) -> Document:
        return self.session.documents[self.uri]

    def type(self, text: str, n_deleted: int = 0) -> None:
        """Type at the caret, after deleting so many characters before it."""
        document, start = self.document, self.caret - n_deleted
        edit = Edit(
            document.position(start, "utf-16"), document.position(self.caret, "utf-16"), text
        )
        self.session.edit(self.uri, [edit], document.version + 1)
        take_edit(self.session, self.uri, [edit])
        self.caret = start + len(text)

    def ask(self, asked_by: AskedBy = "typing") -> asyncio.Task[tuple[Found, ...]]:
        """Ask at the caret without waiting. The handler looks at the document before it first waits."""
        snapshot = self.session.snapshot(self.uri)
        assert snapshot is not None
        if asked_by != "hand":
            self.session.foresight.asked(snapshot.document, self.caret)
        return asyncio.ensure_future(answer(self.session, snapshot, self.caret, asked_by))

    async def ghost(self, asked_by: AskedBy = "typing") -> str:
        """The text at the caret; empty if there is none."""
        found = await self.ask(asked_by)
        return found[0].text if found else ""

    def configure(self, **changed: object) -> None:
        """Change settings of completion."""
        settings = self.session.settings
        completion = replace(settings.completion, **changed)  # type: ignore[arg-type]
        self.session.settings = replace(settings, completion=completion)


def real(engine: FakeEngine) -> list[str]:
    """The prefixes of what the engine was asked for by somebody who waits."""
    return [asked.prefix for asked in engine.requests if not asked.sampling.yields]


def ahead(engine: FakeEngine) -> list[str]:
    """The prefixes of what it was asked for ahead of the user."""
    return [asked.prefix for asked in engine.requests if asked.sampling.yields]
