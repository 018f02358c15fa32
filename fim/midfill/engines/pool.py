"""Several servers with the same model as one engine: who is there, who has the prompt in its cache, who has time.

A prompt goes back to the server that last read the longest beginning of it, because reading the rest costs a
fraction of reading it all; unless that server has other work and another has none. A request of which nothing was
shown yet is sent to another server, once, when its own fails. Nothing is ever asked twice for the same text and
shown twice. One server is a pool too: rests, retries and messages are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from typing import TypeVar

from midfill.engine import Belief, Engine, ModelInfo, Piece, Sampling
from midfill.engines.access import Access
from midfill.engines.pool_member import Member, choose
from midfill.errors import EngineBusy, EngineGone, EngineRefused, MidfillError

_BUSY_S = 60.0
"""A request is not sent again to busy servers for longer. Completions have a shorter limit of their own."""

_LOOK_S = 5.0
"""A server of which nothing was heard for so long is asked whether it is there, while the pool is in use."""

_IN_USE_S = 60.0
"""After so long without a request the servers are left alone."""

_TICK_S = 0.1

_GRACE_S = 0.5
"""For servers before the first that answers in the settings' order: it decides which model is served."""

T = TypeVar("T")

Tell = Callable[[str], None]
"""Takes a sentence for the user."""


class PoolEngine:
    """An `Engine` at several addresses. Lives on one event loop; `close` it."""

    def __init__(
        self,
        urls: Sequence[str],
        access: Access,
        tell: Tell = lambda sentence: None,
        infill: Belief = "auto",
    ) -> None:
        """`tell` gets one sentence for each change of a server's state; `infill` is what a person says of the model.

        Raises:
            EngineRefused, SettingsError: an address is none, or the access cannot be used.
        """
        self._members = [Member(url, access) for url in dict.fromkeys(urls)]
        self._tell = tell
        self._infill: Belief = infill
        self._model: ModelInfo | None = None
        self._used_s = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def info(self) -> ModelInfo:
        """The model of the first server that is there, waiting until it is loaded.

        Raises:
            MidfillError: no server can be used; why the first cannot.
        """
        await self._ready()
        if self._model is None:
            raise _closed()
        return replace(self._model, infill=self._infill)

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`.

        Raises:
            MidfillError: as for `info`.
        """
        return await self._of_any(lambda engine: engine.tokenize(text))

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            MidfillError: as for `info`.
        """
        return await self._of_any(lambda engine: engine.detokenize(ids))

    def loading(self) -> float | None:
        """How much of the model the first server has loaded that is loading one; None where none is."""
        shares = (member.engine.loading() for member in self._members if member.engine)
        return next((share for share in shares if share is not None), None)

    async def _of_any(self, asked: Callable[[Engine], Awaitable[T]]) -> T:
        tried: set[Member] = set()
        while True:
            await self._ready()
            member = next(iter(self._up(besides=tried)), None)
            if member is None or member.engine is None:
                raise self._why()
            try:
                return await asked(member.engine)
            except EngineGone as gone:
                self._lost(member, gone)
                tried.add(member)
                if not self._up(besides=tried):
                    raise

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue `prompt`.

        Raises:
            EngineGone: the server ended in the middle, or did so before and no other could take over.
            EngineBusy: all servers have had too much to do for too long.
            MidfillError: as for `info`.
        """
        ids = tuple(prompt)
        began_s = time.monotonic()
        may_move = True
        failed: set[Member] = set()
        while True:
            await self._ready()
            member = await self._chosen(ids, failed)
            has_begun = False
            try:
                async with contextlib.aclosing(self._asked(member, ids, sampling)) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except EngineBusy as busy:
                member.rest(busy)
                if has_begun or time.monotonic() - began_s > _BUSY_S:
                    raise
            except EngineGone as gone:
                if self._closed:
                    raise
                self._lost(member, gone)
                failed.add(member)
                if has_begun or not may_move or not self._up(besides=failed):
                    raise
                may_move = False

    async def close(self) -> None:
        """Close all connections. Running generations end as `cancelled`."""
        self._closed = True
        tasks = [self._looking, *(member.opening for member in self._members), *self._checks]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *self._closing, return_exceptions=True)
        for member in self._members:
            await member.close()

    async def _asked(
        self, member: Member, prompt: tuple[int, ...], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """The generation of one server, given up when it is not there any more."""
        assert member.engine is not None
        with member.running_with(prompt):
            async with contextlib.aclosing(member.engine.generate(prompt, sampling)) as pieces:
                while True:
                    piece = await member.watched(pieces)
                    if piece.usage.stop_reason == "cancelled" and not self._closed:
                        raise EngineGone(f"The engine at {member.url} went away in the middle.")
                    yield piece
                    if piece.usage.stop_reason:
                        return

    async def _chosen(self, prompt: tuple[int, ...], failed: Collection[Member]) -> Member:
        """Who is asked; waits while all are busy."""
        while True:
            members = self._up(besides=failed)
            if not members:
                raise self._why()
            now_s = time.monotonic()
            free = [member for member in members if member.busy_until_s <= now_s]
            if free:
                return choose(free, prompt)
            await asyncio.sleep(min(member.busy_until_s for member in members) - now_s)

    def _up(self, besides: Collection[Member] = ()) -> list[Member]:
        return [member for member in self._members if member.is_up and member not in besides]

    async def _ready(self) -> None:
        """Return when a server can be asked.

        Raises:
            MidfillError: none can; why the first of them cannot.
        """
        if self._closed:
            raise _closed()
        self._used_s = time.monotonic()
        if self._looking is None or self._looking.done():
            self._look()
            self._looking = asyncio.create_task(self._look_after())
        while not self._up():
            opening = [member.opening for member in self._members if member.opening is not None]
            if not opening:
                raise self._why()
            # Unlike awaiting them, this does not cancel them for the others.
            _, late = await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)
            if late and not opening[0].done():
                await asyncio.wait((opening[0],), timeout=_GRACE_S)
            if self._closed:
                raise _closed()
            self._take_opened()

    def _why(self) -> MidfillError:
        for member in self._members:
            member.was_told = True
        errors = [member.error for member in self._members if member.error is not None]
        return type(errors[0])(str(errors[0])) if errors else _closed()

    async def _look_after(self) -> None:
        """Look at the servers for as long as they are used."""
        while time.monotonic() - self._used_s < _IN_USE_S:
            await asyncio.sleep(_TICK_S)
            self._take_opened()
            self._look()

    def _look(self) -> None:
        now_s = time.monotonic()
        for member in self._members:
            if member.is_up and now_s - member.heard_s > _LOOK_S:
                member.heard_s = now_s
                _keep(self._checks, self._check(member))
            elif not member.is_up and member.opening is None and now_s >= member.rests_until_s:
                member.opening = asyncio.create_task(member.open())
                # At the end nobody looks at how it ended.
                member.opening.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _check(self, member: Member) -> None:
        if not await member.answers():
            self._lost(member, member.silent())

    def _take_opened(self) -> None:
        """Let those serve who have come up, in the settings' order; note why the others have not."""
        for member in self._members:
            if member.opening is None or not member.opening.done():
                continue
            opening, member.opening = member.opening, None
            if opening.cancelled():
                continue
            try:
                model = opening.result()
            except MidfillError as error:
                self._down(member, error)
                continue
            if self._model is None or not self._up():
                self._model = model
            if not _is_same(model, self._model):
                self._down(member, _another(member, model, self._model))
                continue
            if member.was_told:
                self._tell(f"The engine at {member.url} answers again.")
            member.up()
        # Where none is there, whoever asks is told why.
        for member in self._members if self._up() else ():
            if member.error is not None and not member.was_told:
                self._tell_of(member)

    def _lost(self, member: Member, error: MidfillError) -> None:
        """Note once that a server has failed, however many of its requests did."""
        if member.is_up:
            self._down(member, error)

    def _down(self, member: Member, error: MidfillError) -> None:
        was_up = member.is_up
        if (engine := member.down(error)) is not None:
            _keep(self._closing, engine.close())
        if was_up:
            self._tell_of(member)

    def _tell_of(self, member: Member) -> None:
        """Tell why a server is of no use, once."""
        rest = (
            "The other servers go on without it."
            if self._up()
            else "Until it is back nothing is completed."
        )
        member.was_told = True
        self._tell(f"{member.error} {rest}")


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    """Let `work` run aside; a task that nobody holds may vanish."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _is_same(model: ModelInfo, other: ModelInfo) -> bool:
    """Whether a prompt for one is a prompt for the other."""
    return (model.name, model.bos_id, model.control_ids) == (
        other.name,
        other.bos_id,
        other.control_ids,
    )


def _another(member: Member, model: ModelInfo, served: ModelInfo) -> EngineRefused:
    if model.name != served.name:
        return EngineRefused(f"{member.url} has the model {model.name}, not {served.name}.")
    return EngineRefused(f"{member.url} reads the prompts of {model.name} in another way.")


def _closed() -> EngineGone:
    return EngineGone("The engine is closed.")
