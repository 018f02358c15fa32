"""`midfill serve`, but every engine is in a host, also a scripted one: so each stage of its work can last."""

from __future__ import annotations

from collections.abc import Callable

from midfill.engine import Engine, Role
from midfill.engines.supervisor import HostEngine
from midfill.settings import EngineSettings, InstructSettings
from midfill_server.cli import serve


def in_a_host(
    settings: EngineSettings,
    instruct: InstructSettings | None = None,
    *,
    role: Role = "completion",
    tell: Callable[[str], None] = lambda sentence: None,
) -> Engine:
    """As `open_engine`, for what `engine.model` names."""
    return HostEngine(settings, instruct, role=role)


if __name__ == "__main__":
    serve.open_engine = in_a_host
    serve.command()
