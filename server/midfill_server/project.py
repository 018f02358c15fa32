"""A project's own settings: the `midfill.toml` at the root of a workspace's folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from midfill.hidden import quoted
from midfill.plain_file import read_plain
from midfill.settings import Settings
from midfill_server.options import settings_from_project

PROJECT_FILE = "midfill.toml"

MAX_BYTES = 1 << 16
"""A file of settings is smaller; what is larger was not meant to be one."""


@dataclass(frozen=True)
class Project:
    """What a project's file says, which is nothing where there is none."""

    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    problem: str = ""
    """Why it cannot be read, in a sentence."""


def settings_at(file: Path, settings: Settings | None = None) -> tuple[Settings, list[str]]:
    """What holds for a file outside of an editor: `settings` with those of its project laid over them, and what is
    wrong with these. Its project is the nearest folder around it that has such a file."""
    for folder in file.absolute().parents:
        if os.path.isfile(folder / PROJECT_FILE):  # noqa: PTH113  Path's raises where it may not look.
            project = read_project(folder)
            found, problems = settings_from_project(project.options, settings or Settings())
            return found, [*filter(None, [project.problem]), *problems]
    return settings or Settings(), []


def read_project(folder: Path) -> Project:
    """The project's settings in a folder."""
    path = folder / PROJECT_FILE
    try:
        data = read_plain(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Project()
    except OSError as error:
        return Project(problem=f"{path} cannot be read ({error.strerror}); it is left aside.")
    if data is None or len(data) > MAX_BYTES:
        what = "no regular file" if data is None else f"larger than {MAX_BYTES} bytes"
        return Project(problem=f"{path} is {what}; it is left aside.")
    # Imported here, since most folders have none: it takes longer to import than all that is above.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    try:
        return Project(MappingProxyType(tomllib.loads(data.decode("utf-8"))))
    except UnicodeDecodeError:
        return Project(problem=f"{path} is not UTF-8 text; it is left aside.")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Project(problem=f"{path} is not TOML: {quoted(str(error))}; it is left aside.")
