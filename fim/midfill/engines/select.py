"""Which engine the settings ask for."""

# Each engine is imported when it is chosen: httpx alone takes longer to import than a server may take to answer.
# ruff: noqa: PLC0415

from __future__ import annotations

from midfill.engine import Engine
from midfill.engines.fake import FAKE_SCHEME, FakeEngine
from midfill.settings import EngineSettings


def open_engine(settings: EngineSettings) -> Engine:
    """A server at an address, a scripted engine, or our own host with the model loaded in it."""
    if settings.url:
        from midfill.engines.remote import RemoteEngine

        return RemoteEngine(settings.url)
    if settings.model.startswith(FAKE_SCHEME):
        return FakeEngine.at(settings.model)
    from midfill.engines.supervisor import HostEngine

    return HostEngine(settings)
