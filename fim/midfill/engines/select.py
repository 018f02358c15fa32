"""Which engine the settings ask for."""

# Each engine is imported when it is chosen: httpx alone takes longer to import than a server may take to answer.
# ruff: noqa: PLC0415

from __future__ import annotations

from midfill.engine import Engine, Role
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.settings import EngineSettings, InstructSettings


def open_engine(
    settings: EngineSettings,
    instruct: InstructSettings | None = None,
    *,
    role: Role = "completion",
) -> Engine:
    """A server at an address, a scripted engine, or our own host with the models loaded in it."""
    if settings.url:
        from midfill.engines.remote import RemoteEngine

        return RemoteEngine(settings.url, role=role)
    model = settings.model if role == "completion" or instruct is None else instruct.model
    if model.startswith(FAKE_SCHEME):
        return FakeEngine.at(model)
    from midfill.engines.supervisor import HostEngine

    return HostEngine(settings, instruct, role=role)
