"""One server of a pool: what answers there, what it has read, what it works on, when it failed; and the choice.

Everything here lives on the pool's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

import httpx

from midfill.engine import Engine, ModelInfo, Piece
from midfill.engines.access import Access
from midfill.engines.connection import Connection
from midfill.engines.remote import RemoteEngine
from midfill.engines.remote_openai import OpenAIEngine
from midfill.errors import EngineBusy, EngineGone, MidfillError

RESTS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Rest before a server that failed is looked at again, from failure to failure in a row; the last for all further."""

BUSY_RESTS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""The same after "too much to do", where the server does not say for how long."""

SILENT_S = 1.0
"""After so long without a part of an answer the server is asked whether it is there."""

_THERE_S = 2.0
"""It has so long to say so, while it computes. Together they are less than a completion's limit of 5 s."""

WARM_TOKENS = 64
"""What prompts share below this says nothing: the files of one project begin alike."""

_REMEMBERED_PROMPTS = 8
"""As many as a server is taken to keep in its cache."""

Prompt = tuple[int, ...]


class Member:
    """One server. Owned by its pool, which closes it."""

    def __init__(self, url: str, access: Access) -> None:
        """Raises EngineRefused or SettingsError where the address or the access cannot be used."""
        self.url = url.rstrip("/").removesuffix("/v1")
        self.engine: Engine | None = None
        """None while the server is of no use."""
        self.is_up = False
        self.opening: asyncio.Task[ModelInfo] | None = None
        self.error: MidfillError | None = None
        """Why it was of no use the last time."""
        self.was_told = False
        """Whether the user knows that it is of no use."""
        self.heard_s = 0.0
        self.asked_s = 0.0
        self.rests_until_s = 0.0
        self.busy_until_s = 0.0
        self.running: list[Prompt] = []
        self.recent: list[Prompt] = []
        """What it has in its cache, as far as this pool knows: the last at the end."""
        self._access = access
        self._http = Connection(self.url, access, speaks="llama-server or OpenAI's API")
        self._n_failures = 0
        self._n_busy = 0

    async def open(self) -> ModelInfo:
        """Find out what answers, and its model.

        Raises:
            MidfillError: nothing that is an engine does.
        """
        props = await self._http.request("GET", "/props")
        has_none = props.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
        kind = OpenAIEngine if has_none else RemoteEngine
        engine = kind(self.url, self._access)
        try:
            model = await engine.info()
        except BaseException:
            await engine.close()
            raise
        self.engine = engine
        return model

    def up(self) -> None:
        """Note that it can be asked."""
        self.is_up, self.was_told, self.error = True, False, None
        self._n_failures = self._n_busy = 0
        self.recent.clear()
        self.heard_s = time.monotonic()

    def down(self, error: MidfillError) -> Engine | None:
        """Note that it is of no use, and why. Gives the engine that is to be closed."""
        self.is_up, self.error = False, error
        self.rests_until_s = time.monotonic() + _at(RESTS_S, self._n_failures)
        self._n_failures += 1
        engine, self.engine = self.engine, None
        return engine

    def rest(self, busy: EngineBusy) -> None:
        """Note that it has too much to do."""
        rest_s = _at(BUSY_RESTS_S, self._n_busy) if busy.retry_after_s is None else None
        self._n_busy += 1
        self.busy_until_s = time.monotonic() + (busy.retry_after_s or rest_s or 0.0)

    def silent(self) -> EngineGone:
        """The error that says that it is not there any more."""
        return EngineGone(f"The engine at {self.url} does not answer any more.")

    async def answers(self) -> bool:
        """Whether anything answers, whatever it says."""
        try:
            await asyncio.wait_for(self._http.request("GET", "/health"), _THERE_S)
        except (MidfillError, asyncio.TimeoutError):
            return False
        return True

    async def watched(self, pieces: AsyncGenerator[Piece, None]) -> Piece:
        """The next piece, unless the server falls silent and is not there any more.

        Raises:
            EngineGone: it is not.
        """
        coming = asyncio.ensure_future(anext(pieces))
        try:
            while not (await asyncio.wait((coming,), timeout=SILENT_S))[0]:
                if not await self.answers() and not coming.done():
                    raise self.silent()
            self.heard_s = time.monotonic()
            piece = coming.result()
            self._n_busy = 0
            return piece
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait((coming,))
                _ = coming.cancelled() or coming.exception()

    @contextlib.contextmanager
    def running_with(self, prompt: Prompt) -> Iterator[None]:
        """Work on a prompt, which takes the place of the one in the cache that is most like it."""
        alike = max(self.recent, key=lambda other: n_shared(other, prompt), default=())
        if n_shared(alike, prompt) >= WARM_TOKENS or len(self.recent) == _REMEMBERED_PROMPTS:
            self.recent.remove(alike if n_shared(alike, prompt) >= WARM_TOKENS else self.recent[0])
        self.recent.append(prompt)
        self.running.append(prompt)
        self.asked_s = time.monotonic()
        try:
            yield
        finally:
            self.running.remove(prompt)

    async def close(self) -> None:
        """Close the connections; what runs ends as `cancelled`."""
        if self.engine is not None:
            await self.engine.close()
        await self._http.close()


def choose(members: Sequence[Member], prompt: Prompt) -> Member:
    """Who answers a prompt soonest: whoever has most of it in the cache, or else the least to do.

    A server with other work gives way to one that has none. Work on an earlier state of the same text does not
    count: this request takes its place.
    """

    def warmth(member: Member) -> int:
        shared = max((n_shared(other, prompt) for other in member.recent), default=0)
        return shared if shared >= WARM_TOKENS else 0

    def n_others(member: Member) -> int:
        return sum(n_shared(other, prompt) < WARM_TOKENS for other in member.running)

    idle = [member for member in members if not n_others(member)]
    return max(idle or members, key=lambda it: (warmth(it), -n_others(it), -it.asked_s))


def n_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts share at their start; by bisection, since slices compare in C."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _at(rests_s: Sequence[float], n_failures: int) -> float:
    return rests_s[min(n_failures, len(rests_s) - 1)]
