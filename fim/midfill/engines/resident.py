"""An engine that is opened when it is first wanted, and closed while nobody has wanted it for long.

A model takes gigabytes that other programs could use. What is kept of a closed one is what it said of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from midfill.engine import Engine, ModelInfo, Piece, Sampling
from midfill.errors import EngineGone

if TYPE_CHECKING:
    from midfill.selftest import SelfTest

TEST_AFTER_S = 1.0
"""Rest after which a model that was loaded is tried: whoever had it loaded is answered first."""

Test = Callable[[Engine], Awaitable["SelfTest"]]
_log = logging.getLogger("midfill.host")

OpenEngine = Callable[[], Awaitable[Engine]]
"""Opens an engine, which may still be loading its model when it is there."""


class Resident:
    """An `Engine` that opens another. Lives on one event loop; `close` it."""

    def __init__(
        self,
        open_engine: OpenEngine,
        path: str = "",
        *,
        idle_s: float = 0.0,
        test: Test | None = None,
        test_after_s: float = TEST_AFTER_S,
    ) -> None:
        """`path` names the model. `idle_s` is how long it stays without requests; 0 for ever. The first time that it
        is loaded and nobody has wanted it for `test_after_s`, `test` tries it."""
        self.path = path
        self.tested: SelfTest | None = None
        """What came of it."""
        self.on_unload: Callable[[], None] = lambda: None
        """Called when the model has been unloaded to save memory."""
        self._open = open_engine
        self._idle_s = idle_s
        self._engine: Engine | None = None
        self._info: ModelInfo | None = None
        self._opening: asyncio.Task[Engine] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._n_users = 0
        self._closed = False
        self._test, self._test_after_s = test, test_after_s
        self._testing: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory, whole."""
        return self._opening is not None and self._engine is not None and self._opening.done()

    def known(self) -> ModelInfo | None:
        """The model, if it has been loaded before."""
        return self._info

    def loading(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None while nothing is being loaded."""
        if self._opening is None or self._opening.done():
            return None
        share = self._engine.loading() if self._engine is not None else 0.0
        return 1.0 if share is None else share

    async def info(self) -> ModelInfo:
        """The model, loaded if it never was.

        Raises:
            MidfillError: it cannot be loaded. The next request tries again.
        """
        if self._info is None:
            async with self._used():
                pass
        assert self._info is not None
        return self._info

    async def tokenize(self, text: str) -> list[int]:
        """As the engine does, once it is there."""
        async with self._used() as engine:
            return await engine.tokenize(text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        """As the engine does, once it is there."""
        async with self._used() as engine:
            return await engine.detokenize(ids)

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """As the engine does, once it is there."""
        async with (
            self._used() as engine,
            contextlib.aclosing(engine.generate(prompt, sampling)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close the engine, for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._testing is not None:
            self._testing.cancel()
            await asyncio.wait((self._testing,))
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._leaving is not None:
            await asyncio.wait((self._leaving,))
        await self._shut()

    @contextlib.asynccontextmanager
    async def _used(self) -> AsyncIterator[Engine]:
        """The engine, which stays at least for as long as the context lasts."""
        self._n_users += 1
        if self._timer is not None:
            self._timer.cancel()
        try:
            yield await self._opened()
        finally:
            self._n_users -= 1
            if self._idle_s and not self._n_users and not self._closed:
                self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._begin_leave)

    async def _opened(self) -> Engine:
        if self._closed:
            raise EngineGone("The engine is closed.")
        if self._opening is None:
            self._opening = asyncio.create_task(self._load())
            # Whoever asked may have been cancelled, so that nobody sees how it ends.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        opening = self._opening
        await asyncio.wait(
            (opening,)
        )  # Unlike awaiting it, this does not cancel it for the others.
        if opening.cancelled():
            raise EngineGone("The engine is closed.")
        return opening.result()

    async def _load(self) -> Engine:
        if self._leaving is not None:
            await asyncio.wait((self._leaving,))  # Its memory is needed.
        try:
            self._engine = await self._open()
            self._info = await self._engine.info()
        except BaseException:
            self._opening = None  # The file may be mended.
            await self._shut()
            raise
        if self._test is not None and self._testing is None:
            self._testing = asyncio.create_task(self._try(self._engine, self._test))
        return self._engine

    async def _try(self, engine: Engine, test: Test) -> None:
        """Try the model when nobody wants it, and say in the log what is wrong with it."""
        rested = False
        while not rested:
            await asyncio.sleep(self._test_after_s)
            rested = self._n_users == 0
        try:
            tested = await test(engine)
        except EngineGone:
            self._testing = None  # When it is loaded again.
            return
        except Exception as error:  # Whatever it is, the model is used as before.
            _log.warning("The self-test of %s failed: %s", self.path, type(error).__name__)
            return
        self.tested = tested
        for defect in tested.defects:
            _log.warning("Self-test: %s", defect)
        _log.info("Self-test of %s: %.0f ms, %s", self.path, tested.ms, "; ".join(tested.right))

    def _begin_leave(self) -> None:
        """Let the engine go; nobody uses it, though its loading may outlast whoever asked for it."""
        if self._opening is not None and not self._opening.done():
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._begin_leave)
        else:
            # At once, and not in the task: a request that comes in between must find no engine.
            self._opening, self._leaving = None, asyncio.create_task(self._shut())
            self.on_unload()

    async def _shut(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()
