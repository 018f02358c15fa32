"""Which file a module's name can mean: pure text, by the data of `modules.toml`.

A file is known by its *stem*: its path without the ending, and without the last name where that stands for the
folder (`pkg/__init__.py` is `pkg`). A module's name, in the pieces that a path has, is the end of the stem of the
file that it means: `pkg.store` is `src/pkg/store.py`. So nothing has to be known of search paths and build files,
and what is not in the workspace is not found. What this gets wrong is a name that stands in two places; there the
nearer one is taken.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from midfill.languages import language, languages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Modules:
    """How the imports of a family of languages name files."""

    languages: tuple[str, ...] = ()
    """By their names in `languages.toml`. They may import from one another."""
    separator: str = "."
    """What stands between the pieces of a module's name."""
    here: str = ""
    """What a name starts with that counts from the file that imports; nothing where there is no such name."""
    up: str = ""
    """What each step up adds after that."""
    base: Literal["folder", "module"] = "folder"
    """What such a name counts from: the file's folder, or its own stem."""
    indexes: tuple[str, ...] = ()
    """Names of files that stand for their folder."""
    folders: bool = False
    """Whether a name may mean all files of a folder."""
    rooted: bool = False
    """Whether a name starts at a folder that is no package itself, as with Python's `sys.path`."""
    partial: str = ""
    """Names in which this is found may have more pieces in front than there are folders."""
    whole_alias: bool = False
    """Whether a module that is imported as it is keeps its whole name, as in `import a.b`."""

    @property
    def family(self) -> str:
        """The name of the family: that of its first language, or nothing."""
        return self.languages[0] if self.languages else ""


class Target(NamedTuple):
    """The stem that a module's name may mean."""

    stem: str
    exact: bool
    """Whether it is the whole stem; otherwise its end."""


def modules_of(identifier: str) -> Modules:
    """How the language that an editor calls `identifier` imports. One that is not known is its own family."""
    own = language(identifier).id
    return _by_language().get(own, Modules((own,) if own else ()))


def stem_of(path: str, family: Modules) -> str:
    """The stem of a file by its path, which has `/`."""
    pure = PurePosixPath(path)
    stem = pure.with_name(pure.name[: -len(pure.suffix)] if pure.suffix else pure.name)
    if stem.name.endswith(".d"):  # TypeScript's declarations.
        stem = stem.with_suffix("")
    if stem.name in family.indexes:
        return "" if stem.parent == PurePosixPath() else str(stem.parent)
    return str(stem)


def is_index(path: str, family: Modules) -> bool:
    """Whether a file stands for its folder."""
    return PurePosixPath(path).stem in family.indexes


def targets(module: str, path: str, family: Modules) -> list[Target]:
    """What a module's name, as the file at `path` says it, may mean; the likelier first."""
    rest, n_up = module, -1
    if family.here and rest.startswith(family.here):
        rest, n_up = rest.removeprefix(family.here), 0
    while (n_up >= 0 or family.here != family.up) and family.up and rest.startswith(family.up):
        rest, n_up = rest.removeprefix(family.up), max(n_up, 0) + 1
    rest = rest.rstrip("/")
    if rest.endswith(_endings(family)):
        rest = rest[: rest.rindex(".")]
    pieces = [piece for piece in rest.split(family.separator) if piece]
    if n_up >= 0:
        base = stem_of(path, family) if family.base == "module" else _folder(path)
        above = base.split("/")[: len(base.split("/")) - n_up] if base else []
        return [Target("/".join([*above, *pieces]), exact=True)]
    pieces = [piece for piece in pieces if piece not in ("crate", "@", "~", "#", ".", "..")]
    if not family.partial or not re.search(family.partial, module):
        return [Target("/".join(pieces), exact=False)] if pieces else []
    return [Target("/".join(pieces[n:]), exact=False) for n in range(len(pieces))]


def nearness(path: str, other: str) -> int:
    """How many folders two files have in common from the top."""
    shared = 0
    for a, b in zip(path.split("/")[:-1], other.split("/")[:-1], strict=False):
        if a != b:
            break
        shared += 1
    return shared


def reversed_stem(stem: str) -> str:
    """A stem with its last name first and `/` behind each, so that an end of it is a beginning."""
    return "".join(f"{name}/" for name in reversed(stem.split("/")) if name)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


@cache
def _endings(family: Modules) -> tuple[str, ...]:
    return tuple(
        end for name in family.languages for end in language(name).extensions if end[0] == "."
    )


@cache
def _by_language() -> dict[str, Modules]:
    read = tomllib.loads((Path(__file__).parent / "modules.toml").read_text("utf-8"))
    known = {each.id for each in languages()}
    found: dict[str, Modules] = {}
    for row in read["modules"]:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
        }
        family = Modules(**values)
        assert known.issuperset(family.languages), f"unknown languages in {family.languages}"
        found.update(dict.fromkeys(family.languages, family))
    return found
