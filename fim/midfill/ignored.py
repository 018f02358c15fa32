"""Which paths are left out: by `.gitignore` as Git reads it, by `.midfillignore` likewise, and by the settings.

Git's own rules (gitignore(5)): the last pattern that matches decides, a deeper file goes before a higher one, and
nothing can come back from a folder that is ignored. The two kinds of files, a person's settings and the projects' are
asked apart, and one that says "ignored" is enough: what Git leaves out, `.midfillignore` cannot bring back.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from midfill.plain_file import read_plain

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

KINDS = (".gitignore", ".midfillignore")
OWN = KINDS[1:]
"""Those that are written for Midfill alone."""

MAX_BYTES = 1 << 20
"""No ignore file is larger. One that is leaves out everything: what its end says may be what matters."""


class IgnoreFiles:
    """What the ignore files of some folders say, each read again when it has changed, and the settings."""

    def __init__(self, *settings: Mapping[Path, tuple[str, ...]]) -> None:
        """`settings`: patterns by the folder that they stand for, as in a file there; each mapping is a kind of its
        own."""
        self._settings = settings
        self._specs: dict[Path, _Read] = {}
        self._tops: dict[Path, Path] = {}

    def ignores(
        self, path: Path, root: Path, *, is_dir: bool = False, kinds: Sequence[str] = KINDS
    ) -> bool:
        """Whether a path below `root`, or a folder that it is in, is ignored. Both are absolute.

        The files of the repository that `root` stands in count too, those of some `kinds`, and the settings always.
        """
        top = self._top(root)
        names = path.relative_to(top).parts
        folders = list(_steps(top, names))
        asked: list[_Kind] = [*kinds, *self._settings]
        return any(
            self._says(kind, folders[: depth + 1], path, top.joinpath(*names[: depth + 1]), is_dir)
            for depth in range(len(names))
            for kind in asked
        )

    def ignores_in(self, path: Path, root: Path, *, is_dir: bool) -> bool:
        """The same for a path in a folder that is known not to be ignored, as in a walk."""
        top = self._top(root)
        folders = list(_steps(top, path.relative_to(top).parts))
        asked: list[_Kind] = [*KINDS, *self._settings]
        return any(self._says(kind, folders, path, path, is_dir) for kind in asked)

    def _says(self, kind: _Kind, folders: list[Path], path: Path, step: Path, is_dir: bool) -> bool:
        """What the rules of one kind in `folders` say of `step`, which is `path` or a folder above it."""
        end = "/" if step != path or is_dir else ""
        for folder in reversed(folders):
            for spec in self._specs_of(folder, kind, top=folder == folders[0]):
                decided = spec.check_file(step.relative_to(folder).as_posix() + end).include
                if decided is not None:
                    return decided
        return False

    def _specs_of(self, folder: Path, kind: _Kind, *, top: bool) -> Iterator[GitIgnoreSpec]:
        """Those in a folder, the more important first; at the top Git's own that no one shares come last."""
        if isinstance(kind, Mapping):
            if patterns := kind.get(folder):
                yield _known_spec(patterns)
            return
        paths = [folder / kind]
        if top and kind == KINDS[0]:
            config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
            paths += [folder / ".git" / "info" / "exclude", Path(config) / "git" / "ignore"]
        for path in paths:
            spec = self._spec(path)
            if spec is not None:
                yield spec

    def _spec(self, path: Path) -> GitIgnoreSpec | None:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            self._specs.pop(path, None)
            return None
        known = self._specs.get(path)
        if known is None or known.stamp != stamp:
            known = self._specs[path] = _Read(stamp, _parsed(path))
        return known.spec

    def _top(self, root: Path) -> Path:
        """The top of the repository that a folder stands in; itself where there is none."""
        if root not in self._tops:
            # Path.exists raises where it may not look.
            above = (at for at in (root, *root.parents) if os.path.exists(at / ".git"))  # noqa: PTH110
            self._tops[root] = next(above, root)
        return self._tops[root]


def is_ignored(patterns: tuple[str, ...], path: str) -> bool:
    """Whether patterns leave out a path, which is relative and has `/`."""
    return bool(patterns) and _known_spec(patterns).match_file(path)


def spec_of(patterns: Iterable[str]) -> GitIgnoreSpec:
    """What patterns of gitignore(5) say. One that means nothing must not take the others' effect away."""
    # Imported with the first pattern, because most servers start without one to read.
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    return GitIgnoreSpec.from_lines(_bounded(line) for line in patterns if means_something(line))


def means_something(pattern: str) -> bool:
    """Whether a line of an ignore file is a pattern."""
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what Python's expressions may mean one day.
            GitIgnoreSpec.from_lines([pattern])
    except (ValueError, re.error):
        return False
    return True


_Kind = str | Mapping[Path, tuple[str, ...]]


@lru_cache(maxsize=64)
def _known_spec(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    return spec_of(patterns)


class _Read(NamedTuple):
    stamp: tuple[int, int]
    spec: GitIgnoreSpec | None


def _steps(top: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """The folders from the top down to the one that holds the last name."""
    yield top
    for depth in range(1, len(names)):
        yield top.joinpath(*names[:depth])


def _parsed(path: Path) -> GitIgnoreSpec | None:
    try:
        data = read_plain(path, MAX_BYTES)
    except OSError:
        return None
    if data is None:
        return None
    text = data.decode("utf-8", "replace") if len(data) <= MAX_BYTES else "*"
    return spec_of(text.splitlines())


def _bounded(line: str) -> str:
    """A pattern as it is, or a wider one in place of one with so many stars that a name could be made for which
    matching takes years: Python's expressions try every place for each of them.

    What is left out by mistake costs little, and what is read by mistake can be a secret; so one that takes files back
    is dropped instead.
    """
    segments = line.split("/")
    wide = [
        _one_star(segment) if _n_stars(segment) > _STARS_MOST else segment for segment in segments
    ]
    folders = [idx for idx, segment in enumerate(wide) if segment == "**"]
    if len(folders) > _STARS_MOST:
        wide[folders[0] : folders[-1]] = []
    if wide == segments:
        return line
    bounded = "/".join(wide)
    return "" if line.startswith("!") else bounded if means_something(bounded) else "*"


def _n_stars(segment: str) -> int:
    return 0 if segment == "**" else segment.count("*")


def _one_star(segment: str) -> str:
    if "[" in segment or "\\" in segment:
        return "*"
    first, _, rest = segment.partition("*")
    return f"{first}*{rest.rpartition('*')[2]}"


_STARS_MOST = 2
"""In a name, and of folders in a path."""
