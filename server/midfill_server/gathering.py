"""What the prompt at a caret is made of besides the document: gathered while nobody waits, chosen when somebody does.

A request never waits for it. The ring is filled when attention leaves a place; the index is asked after a request,
in a thread of its own, for the one that comes next.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midfill.context import CompletionContext
from midfill.definitions import Imported
from midfill.masking import masked
from midfill.prompt import CHARS_PER_TOKEN
from midfill.recent import JUMP_LINES, Chunk, Ring, region, text_of
from midfill.selection import Candidate, Reason, Selection, ranked, select
from midfill.settings import IndexSettings, Settings
from midfill.snippets import Snippet
from midfill.syntax import Syntax
from midfill.text import Document
from midfill.workspace import Workspace
from midfill_server.asking import Question, ask
from midfill_server.folders import path_of

if TYPE_CHECKING:
    from midfill.index_store import Progress
    from midfill_server.indexing import Indexing

logger = logging.getLogger(__name__)

QUERY_LINES = 20
"""Lines up to the caret that candidates are compared with: the window of RepoCoder (Zhang et al. 2023)."""


@dataclass(frozen=True)
class Caret:
    """A caret with all that a completion there reads, frozen when the request came."""

    place: CompletionContext
    """Without code from elsewhere."""
    selection: Selection

    def context(self) -> CompletionContext:
        """What the library completes at."""
        chosen = self.selection
        return replace(self.place, snippets=chosen.snippets, copyable=chosen.copyable)


class Gathering:
    """Recent places, the index's latest answers, and what the last prompt held. Owned by the session."""

    def __init__(
        self,
        documents: Mapping[str, Document],
        tree_of: Callable[[Document], Syntax | None],
        notebook_of: Callable[[str], str],
    ) -> None:
        """`documents`: the open ones. `tree_of`: a document's tree if it is at hand. `notebook_of`: the notebook
        of a cell, or the document itself."""
        self.workspace = Workspace(())
        """Says what may be read; nothing as long as no folder is open."""
        self.on_indexing: Callable[[], object] = lambda: None
        """Called when files begin to be read."""
        self._documents = documents
        self._tree_of = tree_of
        self._notebook_of = notebook_of
        self._ring = Ring()
        self._place: _Place | None = None
        self._run: _Run | None = None
        self._readable: dict[str, bool] = {}
        self._completable: dict[str, bool] = {}
        self._paths: dict[str, str] = {}
        self._imports: dict[str, _Imports] = {}
        self._settings: IndexSettings | None = None
        self._indexing: Indexing | None = None
        self._progress: Progress | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._found: dict[str, _Found] = {}
        self._wanted: Question | None = None
        self._asking: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def open_folders(self, workspace: Workspace, settings: IndexSettings | None) -> None:
        """Take the workspace's folders, and read them behind the editor's back if there are settings for that.

        What is open already stays as it is.
        """
        if (workspace, settings) == (self.workspace, self._settings):
            return
        self._stop_indexing()
        self.workspace, self._settings = workspace, settings
        self._found.clear()
        self._readable.clear()
        self._completable.clear()
        self._paths.clear()
        kept = tuple(chunk for chunk in self._ring.chunks if self._may_read(chunk.uri))
        self._ring, self._run = Ring(kept), None
        if settings is not None:
            # Of no use to `initialize`, which it would hold up.
            from midfill_server.indexing import Indexing  # noqa: PLC0415

            self._indexing = Indexing(workspace, settings, self._heard)
            self._progress = None
            self._indexing.start()

    def changed(self, uris: Iterable[str]) -> None:
        """Files were saved, opened, made, renamed or deleted."""
        self._readable.clear()
        self._completable.clear()
        if self._indexing is not None:
            self._indexing.changed(file for uri in uris if (file := self._file_of(uri)))

    def attend(self, uri: str, line: int) -> None:
        """Somebody works at a line of a document; what lies around the place before goes into the ring.

        Whoever was in another document may have changed it, so what a prompt holds is then chosen anew.
        """
        before = self._place
        if before and before.uri != uri:
            self._run = None
        if before and (before.uri != uri or abs(before.line - line) > JUMP_LINES):
            self._remember(before)
        self._place = _Place(uri, line)

    def rest(self, uri: str) -> None:
        """A document was saved, or is about to be closed."""
        if self._place and self._place.uri == uri:
            self._remember(self._place)

    def forget(self, uri: str) -> None:
        """A document was closed. What lay around its last place stays in the ring."""
        if self._place and self._place.uri == uri:
            self._place = None
        self._found.pop(uri, None)
        self._paths.pop(uri, None)
        self._imports.pop(uri, None)

    def path_of(self, uri: str) -> str:
        """How a prompt names a document: by its path in the workspace, or its name outside. A cell is its notebook."""
        uri = self._notebook_of(uri)
        if uri not in self._paths:
            file = self._file_of(uri)
            path = "" if file is None else self.workspace.relative(file) or file.name
            self._paths[uri] = path
        return self._paths[uri]

    async def indexed(self) -> None:
        """Wait until the folders have been read, or will not be."""
        if self._indexing is not None:
            await self._indexing.fresh()

    def indexing(self) -> float | None:
        """How much of the folders has been read, 0 to 1; None where that is not known."""
        known = self._progress
        return known.done / known.total if known and known.total else None

    async def settled(self) -> None:
        """Wait until the index has read the folders, and has answered."""
        await self.indexed()
        if self._asking is not None:
            await self._asking

    def may_complete(self, uri: str) -> bool:
        """Whether a document may be completed in at all; looked up anew when a file was saved or opened."""
        if uri not in self._completable:
            file = self._file_of(uri)
            self._completable[uri] = file is None or self.workspace.may_complete(file)
        return self._completable[uri]

    def choose(self, uri: str, document: Document, offset: int, settings: Settings) -> Selection:
        """What the prompt at a caret is to hold of other places. `document` is the text around the caret.

        As long as a run of typing lasts, what was chosen stays, and only definitions are added within a line:
        whatever is added makes the engine read what comes after it again.
        """
        run, line = self._run, document.line_of(offset)
        if run is None or (run.uri, run.line) != (uri, line):
            self._readable.clear()
        # What may be read is asked of the file system, so only for what is chosen; a refusal is known the next time.
        while True:
            selection = self._selected(uri, document, offset, settings)
            if all(self._may_read(candidate.uri) for candidate in selection.chosen):
                self._run = _Run(uri, line, selection.chosen, settings)
                return replace(selection, places=self._places(uri, settings))

    def _selected(self, uri: str, document: Document, offset: int, settings: Settings) -> Selection:
        run, line = self._run, document.line_of(offset)
        query = _query(document, line, offset)
        root = self._root_of(self.path_of(uri))
        candidates, strange = ranked(self._candidates(uri, settings), query, root)
        around = _around(document, offset, settings)
        # So many characters are hardly ever more tokens than the prompt has room for.
        budget_chars = settings.completion.max_snippet_tokens * CHARS_PER_TOKEN
        previous = run.chosen if run and self._goes_on(run, uri, line, settings) else ()
        if run and previous and run.line == line:
            fresh = [candidate for candidate in candidates if candidate.reason == "definition"]
            chosen = select(fresh, previous, around, budget_chars)
        else:
            chosen = select(candidates, previous, around, budget_chars)
            if previous and chosen.lacks_room_for("definition"):
                chosen = select(candidates, (), around, budget_chars)
        return chosen.also_left_out(strange, "nothing in common")

    def look_up(
        self, uri: str, document: Document, offset: int, syntax: Syntax | None, settings: Settings
    ) -> None:
        """Ask the index for what the next request at this place may use. The latest question is the one that counts."""
        if self._indexing is None or not settings.index.enabled:
            return
        # A word that is being typed is no name yet.
        query = _WORD_AT_END.sub("", _query(document, document.line_of(offset), offset))
        known = self._found.get(uri)
        if known and known.query == query and (known.candidates or known.places):
            return
        at = (document.line_of(offset), len(document.lines))
        imports = self._imports.get(uri)
        self._wanted = Question(
            *(uri, query, document.language, self.path_of(uri), syntax, at),
            # Finding them takes longer than all else, and typing within a line brings none.
            imports.found if imports and imports.at == at else None,
        )
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())

    async def end(self) -> None:
        """Let the thread and the indexing process go."""
        self._stop_indexing()
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*self._stopping)

    def _heard(self, progress: Progress) -> None:
        self._progress = progress
        if progress.total and not progress.done:
            self.on_indexing()

    def _stop_indexing(self) -> None:
        if self._indexing is not None:
            stopping = asyncio.ensure_future(self._indexing.stop())
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            self._indexing = None

    def _remember(self, place: _Place) -> None:
        document = self._documents.get(place.uri)
        self._readable.clear()
        if document is None or not self._may_read(place.uri):
            return
        first, last = region(document, place.line, self._tree_of(document))
        text = masked(text_of(document, first, last))
        chunk = Chunk(self._notebook_of(place.uri), Snippet(self.path_of(place.uri), text))
        self._ring = self._ring.with_chunk(chunk)

    def _goes_on(self, run: _Run, uri: str, line: int, settings: Settings) -> bool:
        """Whether somebody still types at the same place, and may still be told what was chosen for it."""
        return (
            run.uri == uri
            and abs(run.line - line) <= JUMP_LINES
            and run.settings is settings
            and all(self._may_read(candidate.uri) for candidate in run.chosen)
        )

    def _candidates(self, uri: str, settings: Settings) -> Iterator[Candidate]:
        if settings.index.enabled and (found := self._found.get(uri)):
            yield from (each for each in found.candidates if self._readable.get(each.uri, True))
        if settings.context.recent:
            for chunk in self._ring.chunks:
                if self._readable.get(chunk.uri, True):
                    one = chunk.snippet
                    yield Candidate(one, "recent", self._root_of(one.path), chunk.uri)

    def _places(self, uri: str, settings: Settings) -> tuple[Candidate, ...]:
        found = self._found.get(uri)
        if found is None or not settings.index.enabled:
            return ()
        return tuple(each for each in found.places if self._may_read(each.uri))

    def _from_index(self, snippets: Iterable[Snippet], reason: Reason) -> Iterator[Candidate]:
        for one in snippets:
            if file := self.workspace.absolute(one.path):
                yield Candidate(one, reason, self._root_of(one.path), file.as_uri())

    def _may_read(self, uri: str) -> bool:
        """Looked up anew on each line. The index itself learns a moment later of a rule that was just written."""
        if uri not in self._readable:
            file = self._file_of(uri)
            self._readable[uri] = file is not None and self.workspace.may_read(file)
        return self._readable[uri]

    def _file_of(self, uri: str) -> Path | None:
        uri = self._notebook_of(uri)
        path = path_of(uri)
        return Path(path) if path else None

    def _root_of(self, path: str) -> str:
        """The folder that a path as prompts name it begins with, where the workspace has several."""
        return path.partition("/")[0] if len(self.workspace.roots) > 1 else ""

    async def _ask(self) -> None:
        while self._wanted is not None:
            question, self._wanted = self._wanted, None
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "midfill-index")
            loop = asyncio.get_running_loop()
            if self._indexing is None:
                return
            index = self._indexing.index
            try:
                answer = await loop.run_in_executor(self._thread, ask, index, question)
                found = (
                    *self._from_index(answer.definitions, "definition"),
                    *self._from_index(answer.similar, "similar"),
                )
                places = tuple(self._from_index(answer.alike, "alike"))
                self._imports[question.uri] = _Imports(question.at, answer.imports)
                self._found[question.uri] = _Found(question.text, found, places)
            except Exception as error:
                # Its message may quote code. Without the index there is less to say, and no less to show.
                logger.warning("the index could not be asked: %s", type(error).__name__)


class _Place(NamedTuple):
    uri: str
    line: int


class _Imports(NamedTuple):
    at: tuple[int, int]
    found: tuple[Imported, ...] | None


@dataclass(frozen=True)
class _Found:
    """What the index said last for a document."""

    query: str
    candidates: tuple[Candidate, ...]
    places: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class _Run:
    """Somebody typing at one place, and what the last prompt there held."""

    uri: str
    line: int
    chosen: tuple[Candidate, ...]
    settings: Settings = field(repr=False)


def _query(document: Document, line: int, offset: int) -> str:
    """The last lines up to the caret, which is all that typing makes new."""
    return document.text[document.line_starts[max(0, line + 1 - QUERY_LINES)] : offset]


def _around(document: Document, offset: int, settings: Settings) -> str:
    """The text that the prompt's own window holds at most."""
    before = settings.completion.max_prefix_tokens * CHARS_PER_TOKEN
    after = settings.completion.max_suffix_tokens * CHARS_PER_TOKEN
    return document.text[max(0, offset - before) : offset + after]


_WORD_AT_END = re.compile(r"\w+\Z")
