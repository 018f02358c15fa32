"""`midfill serve`, but every engine is in a host, also a scripted one: so each stage of its work can last.

With `MIDFILL_DEFECT` in the environment, each request meets a defect whose message quotes the document.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest import mock

from midfill.engine import Engine, Role
from midfill.engines import select
from midfill.engines.supervisor import HostEngine
from midfill.settings import EngineSettings, InstructSettings
from midfill_server.cli import serve
from midfill_server.session import Session, Snapshot


def in_a_host(
    settings: EngineSettings,
    instruct: InstructSettings | None = None,
    *,
    role: Role = "completion",
    tell: Callable[[str], None] = lambda sentence: None,
) -> Engine:
    """As `open_engine`, for what `engine.model` names."""
    return HostEngine(settings, instruct, role=role)


def defect(session: Session, snapshot: Snapshot, offset: int) -> None:
    """What a defect may do."""
    text = snapshot.document.text
    raise ValueError(f"cannot parse {text!r}")


if __name__ == "__main__":
    with mock.patch.object(select, "open_engine", in_a_host):
        if "MIDFILL_DEFECT" in os.environ:
            Session.context = defect  # type: ignore[assignment, method-assign]
        serve.command()
