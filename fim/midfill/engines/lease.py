"""A host that stays because this process is there: found by its state file, held by an open response.

Whoever has taken the port of a host that died is never shown the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import httpx

from midfill.engine import Role
from midfill.engines.access import Access, open_client
from midfill.engines.remote import RemoteEngine, shows_token
from midfill.engines.spawning import log_since, log_size
from midfill.engines.state import MAX_LINGER_S, HostFiles, HostState
from midfill.errors import EngineGone, MidfillError

_ANSWER_S = 10.0
"""A host that listens but does not answer for so long is left alone, and another takes its place."""

_SILENCE_S = 30.0
"""A host says something in each lease every 5 s. One that says nothing for so long, nor answers then, hangs."""


class Lease:
    """A host that stays because this process is there, and a client for it."""

    def __init__(
        self,
        model: str,
        files: HostFiles,
        state: HostState,
        holding: asyncio.Task[None],
        role: Role,
    ) -> None:
        self.model = model
        self.files = files
        self.state = state
        self.remote = RemoteEngine(state.url, Access(state.token), role=role)
        self.useless: MidfillError | None = None
        """Why the host is of no use any more, once that has been found out."""
        self._holding = holding
        self._log_bytes = log_size(files.log_path)

    @classmethod
    async def take(
        cls, model: str, files: HostFiles, state: HostState, linger_s: float, role: Role
    ) -> Lease | None:
        """A lease of the host that `state` names; None if it is gone, or is another's by now."""
        granted = asyncio.get_running_loop().create_future()
        holding = asyncio.create_task(_hold(files, state, linger_s, granted))
        try:
            await asyncio.wait(
                (holding, granted), timeout=_ANSWER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if granted.done() and not holding.done():
                return cls(model, files, state, holding, role)
        except asyncio.CancelledError:
            holding.cancel()
            raise
        holding.cancel()
        await asyncio.wait((holding,))
        return None

    @property
    def lost(self) -> bool:
        """Whether the host has ended."""
        return self._holding.done()

    def said(self) -> str:
        """What the host has written to its log since."""
        return log_since(self.files.log_path, self._log_bytes)

    def died(self) -> EngineGone:
        """What to say where it has ended in the middle."""
        return EngineGone(
            f"The process that runs {Path(self.model).name} has ended; its log is {self.files.log_path}."
        )

    async def release(self) -> None:
        """Close the connections."""
        self._holding.cancel()
        await asyncio.wait((self._holding,))
        await self.remote.close()


async def _hold(
    files: HostFiles, state: HostState, linger_s: float, granted: asyncio.Future[None]
) -> None:
    """Hold a lease until cancelled, or until the host ends. Ends at once if it is not the host that we seek."""
    params = {"linger_s": min(max(linger_s, 0.0), MAX_LINGER_S)}
    headers = {"Authorization": f"Bearer {state.token}"}
    access = Access(connect_s=_ANSWER_S, silence_s=_SILENCE_S)
    async with open_client(state.url, access) as client:
        try:
            # Whoever has taken the port of a host that died must be shown neither the token nor any code.
            while await shows_token(client, state.token):
                with contextlib.suppress(
                    httpx.ReadTimeout
                ):  # This machine may have slept: see whether it answers.
                    async with client.stream(
                        "GET", "/lease", params=params, headers=headers
                    ) as response:
                        async for line in response.aiter_lines():
                            if line and json.loads(line)["key"] != files.key:
                                return
                            if not granted.done():
                                granted.set_result(None)
                    return
        except httpx.ReadTimeout:
            if granted.done():
                _end_hung(files, state)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            pass  # It is gone, or is no host of ours.


def _end_hung(files: HostFiles, state: HostState) -> None:
    """End a host that hangs, for the next one needs its memory; only where it is seen that the process is one."""
    with contextlib.suppress(OSError, AttributeError):
        command = Path("/proc", str(state.pid), "cmdline").read_bytes()
        if files.read() == state and b"midfill.engines.host" in command:
            os.kill(state.pid, signal.SIGKILL)
