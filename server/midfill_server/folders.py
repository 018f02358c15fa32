"""The folders that an editor has open, what their projects say, and the settings that hold for a file in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from pygls.uris import to_fs_path

from midfill.settings import Settings
from midfill.workspace import LeftOut
from midfill_server.options import settings_from_project
from midfill_server.project import Project, read_project
from midfill_server.rules import is_offered


@dataclass(frozen=True)
class Folder:
    """A root of the workspace."""

    uri: str
    path: PurePath | None
    """None where it is on no file system of this machine."""
    project: Project = field(default_factory=Project)


class Folders:
    """The folders, and the settings of each file. Owned by the session."""

    def __init__(self) -> None:
        self.all: tuple[Folder, ...] = ()
        self._known: dict[tuple[str, str], Settings] = {}
        self._known_for = Settings()

    def change(self, added: Iterable[str], removed: Iterable[str] = ()) -> None:
        """Folders come and go, by their addresses. Their projects' files are read by `reload`."""
        gone = {*removed}
        stay = {folder.uri: folder for folder in self.all if folder.uri not in gone}
        fresh = {uri: Folder(uri, path_of(uri)) for uri in added if uri not in stay}
        self.all = (*stay.values(), *fresh.values())
        self._known.clear()

    def reload(self) -> None:
        """Read the projects' files again."""
        self.all = tuple(
            replace(folder, project=read_project(Path(folder.path))) if folder.path else folder
            for folder in self.all
        )
        self._known.clear()

    def problems(self, settings: Settings) -> Iterator[str]:
        """What is wrong with the projects' files, a sentence each."""
        for folder in self.all:
            if folder.project.problem:
                yield folder.project.problem
            for problem in settings_from_project(folder.project.options, settings)[1]:
                yield f"{folder.path}: {problem}"

    def folder_of(self, uri: str) -> Folder | None:
        """The innermost folder that a file is in."""
        path = path_of(uri)
        around = [
            folder
            for folder in self.all
            if path and folder.path and path.is_relative_to(folder.path)
        ]
        return max(around, key=lambda folder: len(str(folder.path)), default=None)

    def left_out(self, settings: Settings) -> LeftOut:
        """The files that a person or a project wants nothing of to be read: see `completion.ignore`."""
        projects = (
            (str(folder.path), settings_from_project(folder.project.options, Settings())[0])
            for folder in self.all
            if folder.path
        )
        ignored = ((path, each.completion.ignore) for path, each in projects)
        return LeftOut(settings.completion.ignore, tuple(each for each in ignored if each[1]))

    def settings_for(self, uri: str, language: str, settings: Settings) -> Settings:
        """What holds for a file: a person's settings and its project's. Completion is off where either turns it off."""
        if settings is not self._known_for:
            self._known.clear()
            self._known_for = settings
        key = uri, language
        if key not in self._known:
            self._known[key] = self._settled(uri, language, settings)
        return self._known[key]

    def _settled(self, uri: str, language: str, settings: Settings) -> Settings:
        folder = self.folder_of(uri)
        project = folder.project if folder else Project()
        both, _ = settings_from_project(project.options, settings)
        enabled = all(is_offered(each.completion, language) for each in (settings, both))
        return replace(both, completion=replace(both.completion, enabled=enabled))


def path_of(uri: str) -> PurePath | None:
    """The path that a `file:` address names; None for another, and for one that no file can have."""
    try:
        path = to_fs_path(uri) if uri.startswith("file:") else None
        if not path or "\0" in path:
            return None
        os.fsencode(path)  # Half a character has no bytes.
    except ValueError:
        return None
    return PurePath(path)
