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
from midfill_server.gathering import Gathering

SEEN_LINES = 64
"""Of another open file; as many as the largest chunk that a baseline takes."""


class Workplaces:
    """A folder for each package, and where the product keeps its indexes of them. Gone when it is closed."""

    def __init__(self, sources: Sequence[Source], settings: Settings) -> None:
        self._settings = settings
        self._packages: defaultdict[str, list[Source]] = defaultdict(list)
        for source in sources:
            self._packages[package_of(source.name)].append(source)
        self._folder = tempfile.TemporaryDirectory()
        # The index stays away from the user's own.
        self._environ = mock.patch.dict(
            os.environ, {"MIDFILL_STATE_DIR": str(Path(self._folder.name) / "state")}
        )

    def __enter__(self) -> Workplaces:
        self._environ.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._environ.stop()
        self._folder.cleanup()

    async def context(self, hole: Hole) -> CompletionContext:
        """What a server knows at the caret. The kind of the hole is not part of it."""
        if not hole.others:
            return context_of(hole)
        root = self._laid_out(hole)
        file = root / path_of(hole)
        truth = file.read_text("utf-8")
        file.write_text(hole.prefix + hole.suffix, "utf-8")
        try:
            return await self._gathered(hole, root, file.as_uri())
        finally:
            file.write_text(truth, "utf-8")

    async def _gathered(self, hole: Hole, root: Path, uri: str) -> CompletionContext:
        here = Document.of(hole.prefix + hole.suffix, "python", uri=uri)
        documents = {uri: here}
        for other in hole.others:
            at = (root / other.path).as_uri()
            documents[at] = Document.of(other.text, "python", uri=at)
        trees: dict[str, Syntax | None] = {}

        def tree_of(document: Document) -> Syntax | None:
            if document.uri not in trees:
                trees[document.uri] = parse(document)
            return trees[document.uri]

        gathering = Gathering(documents, tree_of, lambda wanted: wanted)
        offset = len(hole.prefix)
        try:
            gathering.open_folders([root], self._settings.index)
            for other in hole.others:
                gathering.attend((root / other.path).as_uri(), other.line_idx)
            gathering.attend(uri, here.line_of(offset))
            await gathering.settled()
            gathering.look_up(uri, here, offset, tree_of(here), self._settings)
            await gathering.settled()
            chosen = gathering.choose(uri, here, offset, self._settings)
        finally:
            await gathering.end()
        return gather(here, offset, tree_of(here), path_of(hole), chosen.snippets)

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
