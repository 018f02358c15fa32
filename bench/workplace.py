"""What the product knows of other files at a hole: its own gathering, with the package as the workspace.

The hole's package lies in a folder of its own, the hole's file with the hole in it, and the product's index reads that
folder. The other open files are visited in order, then the hole, as a person would; what the prompt holds of all that
is the product's own choice.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from unittest import mock

from bench.baselines.policy import OpenFile
from bench.holes_crossfile import package_of
from bench.holes_items import Hole, Source

from midfill.context import CompletionContext, gather
from midfill.settings import Settings
from midfill.snippets import Snippet
from midfill.syntax import Syntax, parse
from midfill.text import Document
from midfill.workspace import Workspace
from midfill_server.gathering import Gathering

SEEN_LINES = 64
"""Of another open file; as many as the largest chunk that a baseline takes."""


class Workplaces:
    """A folder for each package, and where the product keeps its indexes of them. Gone when it is closed.

    For the holes of one file the package's folder is open, with nothing but that file in an editor. The index is asked
    for the caret of one key before, as while somebody types. It knows the file as it was saved, but tells nothing of
    it: of the file that is open it is never asked.
    """

    def __init__(self, sources: Sequence[Source], settings: Settings) -> None:
        self._settings = settings
        self._packages: defaultdict[str, list[Source]] = defaultdict(list)
        for source in sources:
            self._packages[package_of(source.name)].append(source)
        self._folder = tempfile.TemporaryDirectory()
        self._open: dict[Path, _Workplace] = {}
        # The index stays away from the user's own.
        self._environ = mock.patch.dict(
            os.environ, {"MIDFILL_STATE_DIR": str(Path(self._folder.name) / "state")}
        )

    async def __aenter__(self) -> Workplaces:
        self._environ.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for workplace in self._open.values():
            await workplace.end()
        self._environ.stop()
        self._folder.cleanup()

    async def context(self, hole: Hole) -> CompletionContext:
        """What a server knows at the caret. The kind of the hole is not part of it."""
        if len(self._packages[package_of(hole.source)]) < 2:
            return context_of(hole)
        root = self._laid_out(hole)
        if hole.others:
            # These ask what the index says of definitions, so it must not know the hole's file with the hole filled.
            file = root / path_of(hole)
            truth = file.read_text("utf-8")
            file.write_text(hole.prefix + hole.suffix, "utf-8")
            workplace = _Workplace(root, self._settings)
            try:
                return await workplace.context(hole)
            finally:
                await workplace.end()
                file.write_text(truth, "utf-8")
        if root not in self._open:
            self._open[root] = _Workplace(root, self._settings)
        return await self._open[root].context(hole)

    def _laid_out(self, hole: Hole) -> Path:
        """The folder of the hole's package, its files in it."""
        package = package_of(hole.source)
        root = Path(self._folder.name) / package.replace("/", "-")
        if not root.exists():
            for source in self._packages[package]:
                file = root / source.name.partition("/")[2]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(source.text, "utf-8")
        return root


class _Workplace:
    """A package's folder as the workspace of a server, for one hole after another."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root, self._settings = root, settings
        self._documents: dict[str, Document] = {}
        self._trees: dict[str, Syntax | None] = {}
        self._gathering = Gathering(self._documents, self._tree_of, lambda wanted: wanted)
        self._is_open = False

    async def context(self, hole: Hole) -> CompletionContext:
        try:
            return await self._gathered(hole, (self._root / path_of(hole)).as_uri())
        finally:
            self._documents.clear()
            self._trees.clear()
            # What is chosen for the next hole does not follow from this one. Nothing is remembered of a closed file.
            self._gathering.attend("", 0)

    async def end(self) -> None:
        await self._gathering.end()

    async def _gathered(self, hole: Hole, uri: str) -> CompletionContext:
        gathering, settings = self._gathering, self._settings
        here = Document.of(hole.prefix + hole.suffix, "python", uri=uri)
        self._documents[uri] = here
        for other in hole.others:
            at = (self._root / other.path).as_uri()
            self._documents[at] = Document.of(other.text, "python", uri=at)
        if not self._is_open:
            workspace = Workspace.of([self._root], settings.index.max_file_kb)
            gathering.open_folders(workspace, settings.index)
            self._is_open = True
        for other in hole.others:
            gathering.attend((self._root / other.path).as_uri(), other.line_idx)
        offset = len(hole.prefix)
        gathering.attend(uri, here.line_of(offset))
        await gathering.settled()
        gathering.look_up(uri, here, max(0, offset - 1), self._tree_of(here), settings)
        await gathering.settled()
        chosen = gathering.choose(uri, here, offset, settings)
        path, tree = path_of(hole), self._tree_of(here)
        return gather(here, offset, tree, path, chosen.snippets, chosen.copyable)

    def _tree_of(self, document: Document) -> Syntax | None:
        if document.uri not in self._trees:
            self._trees[document.uri] = parse(document)
        return self._trees[document.uri]


def context_of(hole: Hole) -> CompletionContext:
    """The caret, and of the other open files what was on the screen."""
    document = Document.of(hole.prefix + hole.suffix, "python")
    snippets = tuple(snippet_of(other) for other in hole.others)
    return gather(document, len(hole.prefix), parse(document), path_of(hole), snippets)


def path_of(hole: Hole) -> str:
    """The hole's file in its workspace."""
    return hole.source.partition("/")[2]


def snippet_of(other: OpenFile) -> Snippet:
    """The lines around the caret of another open file."""
    lines = other.text.splitlines(keepends=True)
    seen = lines[max(0, other.line_idx - SEEN_LINES // 2) :][:SEEN_LINES]
    return Snippet(other.path, "".join(seen))
