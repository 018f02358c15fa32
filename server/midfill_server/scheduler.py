"""One request at a time for each document, and one generation.

Clients differ: VS Code cancels a request with the next key and asks again 50 ms later, Neovim never cancels. So it is
decided here. A request takes its turn from the one before, which is answered empty. What the engine does for a document
is a *run*. It goes on while what is typed follows what it says, whoever asked for it, and whoever asks next takes what
is left of it. When the text departs it is cancelled at once, and the next begins when it has ended.

What is computed ahead of the user is a run as well, at most one in all documents, and gives way to any run that
somebody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from midfill.cache import CLOSERS, typed_since
from midfill.complete import Completion
from midfill.context import CompletionContext
from midfill.text import Document
from midfill_server.latest import Latest

CANCEL_GRACE_S = 0.03
"""A cancelled request's run goes on for so long, for the edit that the cancel came with: either may arrive first."""
ASK_GRACE_S = 0.3
"""After an edit that it fits, a run goes on for so long until somebody asks: VS Code asks 50 ms after the key, Neovim
200 ms."""
IDLE_S = 1.5
"""Without an edit or a request for so long, the user is idle: nine keys in ten follow within 0.45 s (public editing
traces)."""

Work = Callable[["Run"], Awaitable[tuple[Completion, ...]]]


class Superseded(Exception):
    """A later request for the same document took the turn."""


class Run:
    """What the engine does for a document, from one caret on."""

    def __init__(self, context: CompletionContext, work: Work, *, is_ahead: bool) -> None:
        self.context = context
        self.is_ahead = is_ahead
        """Whether nobody has waited for it yet."""
        self.is_cancelled = False
        self.text = ""
        """What the model has said so far."""
        self.loaded = asyncio.Event()
        """Set when the model is loaded."""
        self.n_waiting = 0
        self.task = asyncio.ensure_future(work(self))
        self._end: asyncio.TimerHandle | None = None

    def follows(self, now: CompletionContext) -> bool:
        """Whether what was typed up to the caret of `now` is what the model has said."""
        typed = typed_since(self.context, now)
        return not self.is_cancelled and typed is not None and self.text.startswith(typed)

    def fits(self, document: Document) -> bool:
        """Whether it may still be of use in a later version of the document, wherever the caret is.

        What was computed ahead fits also as long as only a part of what was to be typed stands there.
        """
        after = self.context.suffix.lstrip(CLOSERS)
        now = CompletionContext(document, len(document.text), "line", None).prefix
        if not now.endswith(after):
            return False
        before = now[: len(now) - len(after)]
        whole = self.context.prefix + self.text
        if not self.is_ahead and len(before) < len(self.context.prefix):
            return False
        return whole.startswith(before) or whole.startswith(before.rstrip(CLOSERS))

    def cancel(self) -> None:
        """Stop it, if it is not done."""
        self.is_cancelled = True
        self.task.cancel()

    def end_in(self, seconds: float) -> None:
        """Cancel it after so long, or later if that was said before, if nobody waits for it then.

        For what is computed ahead nobody has to wait.
        """
        loop = asyncio.get_running_loop()
        if self.is_ahead or (self._end and self._end.when() > loop.time() + seconds):
            return
        if self._end:
            self._end.cancel()
        self._end = loop.call_later(seconds, self._end_unless_wanted)

    def _end_unless_wanted(self) -> None:
        if not self.n_waiting:
            self.cancel()


class Scheduler(Latest):
    """The turns and the runs of completion, by document, and other work by keys of its own.

    Owned by the session; lives on the event loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[str, Turn] = {}
        self._runs: dict[str, Run] = {}
        """Until they have ended, also when they are cancelled."""
        self._idle: asyncio.TimerHandle | None = None

    @contextmanager
    def turn(self, key: str) -> Iterator[Turn]:
        """Take the turn for a document from whoever has it.

        When the body is cancelled, the document's run goes on for a moment, in case it is what is asked for next.
        """
        if before := self._turns.get(key):
            before.take()
        turn = self._turns[key] = Turn(self, key)
        try:
            yield turn
        except asyncio.CancelledError:
            if not turn.taken.done() and (run := self.run(key)):
                run.end_in(CANCEL_GRACE_S)
            raise
        finally:
            if self._turns.get(key) is turn:
                del self._turns[key]

    def run(self, key: str) -> Run | None:
        """What the engine does for a document, unless it was told to stop."""
        run = self._runs.get(key)
        return None if run is None or run.is_cancelled or run.task.done() else run

    def ended(self, key: str) -> Awaitable[Any] | None:
        """What to wait for until nothing runs for a document; None if nothing does."""
        run = self._runs.get(key)
        return run.task if run and not run.task.done() else None

    def begin(
        self, key: str, context: CompletionContext, work: Work, *, is_ahead: bool = False
    ) -> Run:
        """Begin a run where none is. What runs ahead of the user, in any document, is cancelled."""
        assert self.ended(key) is None
        self.stop_ahead()
        run = self._runs[key] = Run(context, work, is_ahead=is_ahead)

        def ended(task: asyncio.Future[tuple[Completion, ...]]) -> None:
            if self._runs.get(key) is run:
                del self._runs[key]
            if not task.cancelled():
                task.exception()  # Asked for, or asyncio would report it where nobody waits.

        run.task.add_done_callback(ended)
        return run

    def ahead(self, key: str, context: CompletionContext, work: Work) -> None:
        """Do `work` for nobody, unless the engine works for this document already."""
        if self.ended(key) is None:
            self.begin(key, context, work, is_ahead=True)

    def stop_ahead(self) -> None:
        """Cancel what runs ahead of the user, in any document."""
        for run in self._runs.values():
            if run.is_ahead and not run.is_cancelled:
                run.cancel()

    def edited(self, key: str, document: Document) -> None:
        """Stop the run of a document if its new text departs from it."""
        if run := self.run(key):
            if run.fits(document):
                run.end_in(ASK_GRACE_S)
            else:
                run.cancel()

    def when_idle(self, action: Callable[[], None]) -> None:
        """Call `action` when nothing has happened for a while; it takes the place of the one before."""
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, action)

    def supersede(self, key: str) -> None:
        """Answer what is asked for a document empty, and stop what runs for it, or for any other key."""
        super().supersede(key)
        if turn := self._turns.get(key):
            turn.take()
        if run := self._runs.get(key):
            run.cancel()

    def stop(self) -> None:
        """Stop everything."""
        super().stop()
        if self._idle:
            self._idle.cancel()
        for key in [*self._turns, *self._runs]:
            self.supersede(key)


class Turn:
    """A request's right to the engine; whatever it waits for raises `Superseded` when a later one takes it."""

    def __init__(self, scheduler: Scheduler, key: str) -> None:
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scheduler = scheduler
        self._key = key

    def take(self) -> None:
        """Take it away."""
        if not self.taken.done():
            self.taken.set_result(None)

    async def rest(self, seconds: float) -> None:
        """Do nothing for so long.

        Raises:
            Superseded: a later request came.
        """
        if seconds > 0:
            await self._first(seconds)

    async def begin(self, context: CompletionContext, work: Work) -> Run:
        """Begin a run when the one before has ended, which is cancelled.

        Raises:
            Superseded: a later request came.
        """
        while before := self._scheduler.ended(self._key):
            if run := self._scheduler.run(self._key):
                run.cancel()
            await self._first(None, before)
        return self._scheduler.begin(self._key, context, work)

    async def wait(self, run: Run, load_limit_s: float, limit_s: float) -> bool:
        """Wait for a run's end, so long at most for the model to be loaded and then for the end, and say if it came.

        Raises:
            Superseded: a later request came.
        """
        run.n_waiting += 1
        run.is_ahead = False
        loaded = asyncio.ensure_future(run.loaded.wait())
        try:
            await self._first(load_limit_s, run.task, loaded)
            if run.loaded.is_set():
                await self._first(limit_s, run.task)
        finally:
            run.n_waiting -= 1
            loaded.cancel()
        return run.task.done()

    async def _first(self, limit_s: float | None, *things: Awaitable[Any]) -> None:
        futures = {self.taken, *map(asyncio.ensure_future, things)}
        await asyncio.wait(futures, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if self.taken.done():
            raise Superseded
