"""Which engine the settings ask for."""

# Each engine is imported when it is chosen: httpx alone takes longer to import than a server may take to answer.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable

from midfill.engine import Engine, Role
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.settings import EngineSettings, InstructSettings


def open_engine(
    settings: EngineSettings,
    instruct: InstructSettings | None = None,
    *,
    role: Role = "completion",
    tell: Callable[[str], None] = lambda sentence: None,
) -> Engine:
    """Servers at addresses, a scripted engine, or our own host with the models loaded in it.

    `tell` gets a sentence for the user each time that one of several servers goes or comes back.

    Raises:
        MidfillError: an address, a key file or a file of certificates cannot be used.
    """
    if settings.urls:
        from midfill.engines.access import access_of
        from midfill.engines.pool import PoolEngine

        return PoolEngine(settings.urls, access_of(settings), tell, settings.infill)
    models: dict[Role, str] = {
        "completion": settings.model,
        "instruct": settings.model if instruct is None else instruct.model,
        "python": settings.python_model,
    }
    model = models[role]
    if model.startswith(FAKE_SCHEME):
        return FakeEngine.at(model)
    from midfill.engines.supervisor import HostEngine

    return HostEngine(settings, instruct, role=role)
