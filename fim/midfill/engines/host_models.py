"""The models of a host by their role, and every generation that it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from midfill.engine import ModelInfo, Piece, Role, Sampling
from midfill.engines.crashes import note
from midfill.engines.host_http import Loading, Unloadable, place
from midfill.engines.host_meter import Meter
from midfill.engines.resident import Resident
from midfill.engines.shortage import is_about_memory, too_little_memory
from midfill.engines.stops import Stops, stopped
from midfill.errors import EngineRefused, MidfillError

_log = logging.getLogger("midfill.host")


class Models:
    """Engines by role; two roles may have the same. Lives on one event loop."""

    def __init__(self, residents: Mapping[Role, Resident]) -> None:
        self.residents = residents
        self.meter = Meter()
        self._first: asyncio.Task[ModelInfo] | None = None
        for resident in residents.values():
            resident.on_unload = lambda path=resident.path: self.meter.forget(path)  # type: ignore[misc]

    def begin(self, on_failure: Callable[[], None]) -> None:
        """Begin to load the model that completes; others are loaded when they are first asked."""
        self._first = asyncio.create_task(self.residents["completion"].info())
        self._first.add_done_callback(
            lambda task: None if not task.cancelled() and not task.exception() else on_failure()
        )

    async def close(self) -> None:
        """Close all engines."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.wait((self._first,))
        for resident in self.residents.values():
            await resident.close()

    def pick(self, name: object, default: Role = "completion") -> Resident:
        """The engine of a role. Any other name is what a client calls a model elsewhere: the default's.

        Raises:
            EngineRefused: the role has no model here.
        """
        if name == "instruct" and "instruct" not in self.residents:
            raise EngineRefused("This host has no instruct model; name one in instruct.model.")
        if name == "python" and "python" not in self.residents:
            raise EngineRefused(
                "This host has no model for Python; name one in engine.pythonModel."
            )
        for role, resident in self.residents.items():
            if name == role:
                return resident
        return self.residents.get(default, self.residents["completion"])

    def check_loaded(self) -> None:
        """Refuse until the model that completes has been loaded once.

        Raises:
            HTTPException: it is being loaded, or cannot be.
        """
        if self._first is None or not self._first.done():
            raise Loading(self.residents["completion"].loading() or 0.0)
        try:
            self._first.result()
        except Exception as error:
            raise _unloadable(self.residents["completion"].path, error) from None

    async def ready(self, resident: Resident) -> ModelInfo:
        """The model of an engine. One that is loaded on demand is waited for, as llama-server's router does.

        Raises:
            HTTPException: it is being loaded for the first time, or cannot be.
        """
        if resident is self.residents["completion"]:
            self.check_loaded()
        try:
            return await resident.info()
        except Exception as error:
            raise _unloadable(resident.path, error) from None

    def generate(
        self,
        resident: Resident,
        prompt: Sequence[int],
        sampling: Sampling,
        stops: Stops | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """A generation, counted, up to where `stops` end it."""
        pieces = resident.generate(prompt, sampling)
        if stops is not None:
            pieces = stopped(pieces, stops, sampling.n_candidates)
        return self.meter.watched(resident.path, len(prompt), pieces)


def _unloadable(path: str, error: Exception) -> Unloadable:
    if isinstance(error, MidfillError):
        return Unloadable(str(error))
    if is_about_memory(repr(error)):
        return Unloadable(too_little_memory(path))
    note(error)
    _log.error("Loading failed: %s", place(error))
    return Unloadable(f"The engine failed to start ({type(error).__name__}).")
