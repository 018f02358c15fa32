"""What `midfill doctor` says of where settings come from, besides the editor, which it cannot ask."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from midfill.settings import Settings
from midfill_server.checks import Finding
from midfill_server.options import settings_from_project
from midfill_server.project import PROJECT_FILE, read_project

_VARIABLES = {
    "MIDFILL_STATE_DIR": True,
    "MIDFILL_API_KEY": False,
}
"""Environment variables that Midfill reads, and whether their value may be told."""


def check_settings(folder: Path, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """The project's own settings in a folder, and the variables of the environment."""
    return [_project(folder), *_environment(environment)]


def _project(folder: Path) -> Finding:
    topic, project = "project", read_project(folder)
    where = folder / PROJECT_FILE
    if project.problem:
        return Finding(topic, project.problem, "warning", "Correct it, or take it away.")
    if not project.options:
        return Finding(topic, f"there is no {PROJECT_FILE} in {folder}")
    _, problems = settings_from_project(project.options, Settings())
    if problems:
        text = f"{where} has settings that do not hold"
        remedy = "Correct them: docs/settings.md marks what a project may set."
        return Finding(topic, text, "warning", remedy, tuple(problems))
    return Finding(topic, f"{where} holds for its files", details=tuple(_written(project.options)))


def _written(options: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _written(value, f"{path}{name}.")
        else:
            yield f"{path}{name} = {value!r}"


def _environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, may_be_told in _VARIABLES.items():
        if value := environment.get(name):
            yield Finding("environment", f"{name} is {value if may_be_told else 'set'}")
