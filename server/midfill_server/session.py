"""All mutable state of the server, in one place and on one thread: that of the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from midfill.cache import CompletionCache
from midfill.context import CompletionContext, gather
from midfill.engine import Engine, Role
from midfill.engines.fake import FAKE_SCHEME
from midfill.errors import EngineError, MidfillError, ModelError
from midfill.following import nothing_follows
from midfill.formats import format_of, limits_of
from midfill.notebook import Notebook
from midfill.settings import EngineSettings, Settings
from midfill.syntax import Syntax
from midfill.text import Document, Edit, Encoding
from midfill.workspace import Workspace
from midfill_server.folders import Folders
from midfill_server.foresight import Foresight
from midfill_server.gathering import Caret, Gathering
from midfill_server.habits import Habits
from midfill_server.heap import Heap
from midfill_server.notebooks import Notebooks
from midfill_server.pace import Pace
from midfill_server.scheduler import Scheduler
from midfill_server.statistics import Statistics
from midfill_server.trees import Trees, parsed_at_once

logger = logging.getLogger(__name__)

OpenEngine = Callable[[Settings, Role], Engine]


@dataclass(frozen=True)
class Snapshot:
    """What a handler freezes before it first waits: nothing later reads live state."""

    document: Document
    encoding: Encoding
    settings: Settings
    engine: Engine
    tree_of: Callable[[Document], Syntax | None]
    """The tree of that document, made when it is first wanted: what is known already is answered without."""
    python: Engine | None = None
    """The engine that completes Python where nothing that follows matters; None where there is none, or not yet."""

    def engine_for(self, context: CompletionContext) -> Engine:
        """The engine that completes at a caret."""
        suits = self.python is not None and context.document.language == "python"
        return self.python if self.python and suits and nothing_follows(context) else self.engine

    def taken(self, entry: Edit) -> tuple[Snapshot, int]:
        """The state as if an entry of the editor's own list had been taken, and the caret behind it."""
        start = self.document.offset(entry.start, self.encoding)
        document = self.document.edited([entry], self.document.version, self.encoding)
        before = self.tree_of(self.document)
        syntax = parsed_at_once(document, before) if before else None
        return replace(self, document=document, tree_of=lambda _: syntax), start + len(entry.text)


@dataclass(frozen=True)
class Explained:
    """An explanation that can be read again by hovering over what it is about."""

    text: str
    """The lines as they were."""
    markdown: str


@dataclass
class Session:
    """What the server knows of one editor."""

    open_engine: OpenEngine
    command_line: Settings = field(default_factory=Settings)
    """What the command line says; the editor's settings are laid over it."""
    initialization: Any = None
    """The editor's settings as `initialize` had them."""
    configuration: Any = None
    """The editor's settings as it told them last."""
    settings: Settings = field(init=False)
    """What all of these make together. A project's own are laid over it: see `settings_for`."""
    folders: Folders = field(default_factory=Folders)
    statistics: Statistics = field(default_factory=Statistics)
    habits: Habits = field(default_factory=Habits)
    encoding: Encoding = "utf-16"
    documents: dict[str, Document] = field(default_factory=dict)
    scheduler: Scheduler = field(default_factory=Scheduler)
    cache: CompletionCache = field(default_factory=CompletionCache)
    pace: Pace = field(default_factory=Pace)
    foresight: Foresight = field(default_factory=Foresight)
    heap: Heap = field(default_factory=Heap)
    carets: dict[str, int] = field(default_factory=dict)
    """Where in a document was asked last, in characters from its end: what is typed there does not change it."""
    read: dict[str, Hashable] = field(default_factory=dict)
    """The text around the caret that the engine has read last, by document."""
    tried: dict[str, Hashable] = field(default_factory=dict)
    """The text around the caret for which a completion was last computed ahead, by document."""
    problems: list[str] = field(default_factory=list)
    """Settings that had no meaning, a sentence each, to be told."""
    told: set[str] = field(default_factory=set)
    """What has been told; nothing is told twice."""
    trouble: str = ""
    """Why no model can be used, in one sentence; empty while one can."""
    notice: str = ""
    """What the model cannot do that others can, in one sentence, to be told once."""
    no_instruct: str = ""
    """Why the model that is set to explain and edit cannot, in one sentence; empty where nothing speaks against it."""
    model: str = ""
    """The name of the model that is loaded."""
    n_working: int = 0
    """Requests that are being answered."""
    started: bool = False
    """Whether the editor has said that it is ready."""
    ended: bool = False
    """Whether the editor has said goodbye."""
    explained: dict[str, Explained] = field(default_factory=dict)
    """The last explanation in each document."""
    notebooks: Notebooks = field(init=False)
    gathering: Gathering = field(init=False)
    trees: Trees = field(default_factory=Trees)
    _engine: Engine | None = None
    _python: Engine | None = None
    _python_is_ready: bool = False
    _closing: set[asyncio.Future[None]] = field(default_factory=set)
    _snoozed_until_s: float = 0.0
    _instruct: Engine | None = None
    _instruct_is: tuple[EngineSettings, str] | None = None
    """What it was opened for."""
    _request_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.settings = self.command_line
        self.notebooks = Notebooks(self.documents)
        self.gathering = Gathering(self.documents, self.trees.at_hand, self.notebooks.notebook_of)

    def open(self, document: Document) -> None:
        """Take a document that the editor opened."""
        self.documents[document.uri] = document
        self.gathering.attend(document.uri, 0)
        self.gathering.changed([document.uri])

    def edit(self, uri: str, edits: Iterable[Edit | str], version: int) -> None:
        """Apply the editor's edits. One for a document that is not open is dropped, and said so in the log."""
        document = self.documents.get(uri)
        if document is None:
            logger.warning("an edit came for a document that is not open")
            return
        edits = list(edits)
        self.documents[uri] = edited = document.edited(edits, version, self.encoding)
        self.habits.edited(edited)
        if places := [edit.start.line for edit in edits if isinstance(edit, Edit)]:
            self.gathering.attend(uri, places[-1])

    def close(self, uri: str) -> None:
        """Forget a document and stop what runs for it."""
        self.gathering.rest(uri)
        self.documents.pop(uri, None)
        self.gathering.forget(uri)
        self.trees.forget(uri)
        self.habits.forget(uri)
        self.explained.pop(uri, None)
        self.carets.pop(uri, None)
        self.read.pop(uri, None)
        self.tried.pop(uri, None)
        self.scheduler.supersede(uri)
        self.scheduler.supersede(instruct_key(uri))

    def snapshot(self, uri: str) -> Snapshot | None:
        """The frozen state that completing at a place of `uri` needs, or None if it is not open."""
        document = self.documents.get(uri)
        if document is None:
            return None
        settings = self.settings_for(document)
        python = self._python if self._python_is_ready else None
        return Snapshot(document, self.encoding, settings, self.engine, self.trees.of, python)

    def settings_for(self, document: Document) -> Settings:
        """What holds for a document now: its project's own settings count, whether the server rests, and whether the
        file is one that is kept out of prompts."""
        uri = self.notebooks.notebook_of(document.uri)
        settings = self.folders.settings_for(uri, document.language, self.settings)
        if self.snoozed_for_s > 0 or not self.gathering.may_complete(document.uri):
            return replace(settings, completion=replace(settings.completion, enabled=False))
        return settings

    def use(self, settings: Settings) -> None:
        """Let new settings hold. If they ask for another engine, whatever runs on the old one is answered empty."""
        before, self.settings = self.settings, settings
        self.open_folders()
        if _engines_of(settings) == _engines_of(before):
            return
        self.trouble = self.model = self.no_instruct = ""
        self.scheduler.stop()
        engines = (self._engine, self._python)
        self._engine = self._python = None
        self._python_is_ready = False
        for engine in filter(None, engines):
            closing = asyncio.ensure_future(engine.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def snooze(self, seconds: float) -> None:
        """Complete nothing for so long."""
        self._snoozed_until_s = time.monotonic() + seconds
        self.scheduler.stop()

    @property
    def snoozed_for_s(self) -> float:
        """How long it rests from now on; 0 if it does not."""
        return max(0.0, self._snoozed_until_s - time.monotonic())

    def caret(self, snapshot: Snapshot, offset: int) -> Caret:
        """All that completing at a caret of a snapshot reads. To be called before anything is waited for."""
        return self._gathered(snapshot, self.context(snapshot, self.place(snapshot, offset)))

    def place(self, snapshot: Snapshot, offset: int) -> CompletionContext:
        """The text around a caret of a snapshot, and no more: enough to find what is known already. To be called
        before anything is waited for."""
        uri = snapshot.document.uri
        where = self.notebooks.around(snapshot.document)
        self.gathering.attend(uri, snapshot.document.line_of(offset))
        path = self.gathering.path_of(uri)
        habit = self.habits.of(snapshot.document.language)
        at = where.start + offset
        return CompletionContext(where.document, at, "line", None, path, habit=habit)

    def context(self, snapshot: Snapshot, place: CompletionContext) -> CompletionContext:
        """A place with what its tree tells. To be called before anything is waited for."""
        document = place.document
        own = document is snapshot.document
        syntax = snapshot.tree_of(document) if own else self.trees.of(document)
        found = gather(document, place.offset, syntax, place.path)
        return replace(found, habit=place.habit)

    def gathered(self, snapshot: Snapshot, context: CompletionContext) -> CompletionContext:
        """A context with code from elsewhere, as it is now; the index is asked for what the next may use."""
        return self._gathered(snapshot, context).context()

    def _gathered(self, snapshot: Snapshot, context: CompletionContext) -> Caret:
        at = (snapshot.document.uri, context.document, context.offset)
        selection = self.gathering.choose(*at, snapshot.settings)
        self.gathering.look_up(*at, context.syntax, snapshot.settings)
        return Caret(context, selection)

    def open_folders(self) -> None:
        """Let hold what the settings and the projects say now of what may be read.

        The folders are indexed once the editor has told its settings: they may leave out files of them.
        """
        paths = [str(folder.path) for folder in self.folders.all if folder.path]
        index, left_out = self.settings.index, self.folders.left_out(self.settings)
        workspace = Workspace.of(paths, index.max_file_kb, left_out)
        self.gathering.open_folders(workspace, index if self.started and not self.ended else None)

    def open_notebook(self, notebook: Notebook, cells: Iterable[Document]) -> None:
        """Take a notebook that the editor opened, or whose cells are others than before, and cells that are new."""
        self.notebooks.put(notebook)
        for cell in cells:
            self.open(cell)

    def close_notebook(self, uri: str, cells: Iterable[str]) -> None:
        """Forget a notebook and its cells."""
        for cell in cells:
            self.close(cell)
        self.notebooks.drop(uri)
        self.trees.forget(uri)

    @property
    def engine(self) -> Engine:
        """The engine, opened when it is first wanted."""
        if self._engine is None:
            self._engine = self.open_engine(self.settings, "completion")
        return self._engine

    @property
    def can_instruct(self) -> bool:
        """Whether the settings name something that may explain and edit."""
        return bool(self.settings.instruct.model or self.settings.engine.urls)

    @property
    def instruct(self) -> Engine | None:
        """The engine that explains and edits, opened when it is first wanted; None where the settings name none."""
        wanted = _engines_of(self.settings)
        if self._instruct is not None and self._instruct_is != wanted:
            self.scheduler.meanwhile("closing", self._instruct.close())
            self._instruct = None
        if self._instruct is None and self.can_instruct:
            self._instruct = self.open_engine(self.settings, "instruct")
            self._instruct_is = wanted
        return self._instruct

    async def parsed(self, uri: str) -> tuple[Document, Syntax | None] | None:
        """A document as it is now and its tree, which is waited for; or None if it is not open."""
        document = self.documents.get(uri)
        return None if document is None else (document, await self.trees.made(document))

    def works(self, engine: Engine, model: str) -> None:
        """An engine has its model. If it is still the one in use, what was wrong with it is mended."""
        if engine is self._engine:
            self.told.discard(self.trouble)
            self.model, self.trouble = model, ""

    def fails(self, error: MidfillError) -> str:
        """An engine could not answer. What a person must mend is returned, the first time that it is so.

        What passes by itself is not: a host that has ended is started again, a busy server asked again.
        """
        if type(error) not in (EngineError, ModelError):
            return ""
        self.trouble = str(error)
        if self.trouble in self.told:
            return ""
        self.told.add(self.trouble)
        return self.trouble

    async def warm_up(self) -> None:
        """Load the model behind the editor's back; what a person must mend stands in `trouble` afterwards."""
        settings = self.settings
        try:
            info = await self.engine.info()
            name, notice, trouble = info.name, limits_of(info), ""
        except MidfillError as error:
            name, notice, trouble = "", "", str(error)
        no_instruct = await _why_not_instruct(settings)
        # An engine that was closed while it loaded is no trouble: the editor is leaving, or wants another.
        if not self.ended and settings.engine == self.settings.engine:
            self.model, self.notice, self.trouble = name, notice, trouble
        if settings.instruct.model == self.settings.instruct.model:
            self.no_instruct = no_instruct

    async def warm_up_python(self) -> str:
        """Load the model that completes Python; until it is there, and where it cannot be used, the other does all.

        The sentence says why it cannot be used; empty where it can, or none is set.
        """
        settings = self.settings
        if not settings.engine.python_model or settings.engine.urls or self.ended:
            return ""
        try:
            if self._python is None:
                self._python = self.open_engine(settings, "python")
            engine = self._python
            format_of(await engine.info())
        except MidfillError as error:
            return "" if self.ended or settings.engine != self.settings.engine else str(error)
        self._python_is_ready = engine is self._python
        return ""

    def loading(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None where that is not known."""
        return self._engine.loading() if self._engine else None

    def request_id(self) -> str:
        """A name for one answer, told back when it is accepted."""
        return f"c{next(self._request_ids)}"

    async def end(self) -> None:
        """Stop all work and let the engine go."""
        self.ended = True
        self.scheduler.stop()
        engines = (self._engine, self._python, self._instruct)
        self._engine = self._python = self._instruct = None
        for engine in engines:
            if engine is not None:
                await engine.close()
        if self._closing:
            await asyncio.wait(self._closing)
        await self.gathering.end()


async def _why_not_instruct(settings: Settings) -> str:
    """What the file that is set to explain and edit says against it. A file that cannot be read is another's to tell,
    when it is asked to."""
    file = settings.instruct.model
    if not file or settings.engine.urls or file.startswith(FAKE_SCHEME):
        return ""
    # Imported here, as `initialize` needs none of it.
    from midfill.abilities import chat_refusal  # noqa: PLC0415
    from midfill.engines.gguf_info import read_model  # noqa: PLC0415
    from midfill.engines.model_files import located  # noqa: PLC0415

    def read() -> str:
        return chat_refusal(read_model(Path(located(file))))

    try:
        return await asyncio.to_thread(read)
    except MidfillError:
        return ""


def instruct_key(uri: str) -> str:
    """What the scheduler calls work on a document that is no completion."""
    return f"instruct {uri}"


def _engines_of(settings: Settings) -> tuple[EngineSettings, str]:
    """What engines are opened by: where it changes, others are needed."""
    return settings.engine, settings.instruct.model
