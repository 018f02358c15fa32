"""The cache and the scheduler in any order of events, against what may be said of them in a line."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from midfill.cache import AFTER_CHARS, CLOSERS, CompletionCache, Hit
from midfill.caret import Extent
from midfill.complete import Completion
from midfill.context import CompletionContext
from midfill.generation import Generation
from midfill.text import Document
from midfill_server.scheduler import Run, Scheduler, Superseded
from virtual_time import VirtualTimeLoop

_SAID = st.text(st.sampled_from("ab\n)é"), max_size=8)
_KEYS = st.text(st.sampled_from("ab\n)é "), min_size=1, max_size=3)
_EXTENT = st.sampled_from(["line", "block"])
N_ENTRIES = 6
LIFETIME_S = 50.0


def _context(before: str, after: str, extent: Extent = "line") -> CompletionContext:
    return CompletionContext(Document.of(before + after), len(before), extent, None)


class CacheOrders(RuleBasedStateMachine):
    """A text with a caret in it, and what a model has said at places of it."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = CompletionCache(N_ENTRIES, LIFETIME_S)
        self.before, self.after, self.now_s = "", "", 0.0
        self.put: list[tuple[str, str, str, Generation, float]] = []
        """Variant, prefix, suffix, what was kept, and when."""

    @initialize(before=_SAID, after=_SAID)
    def begin(self, before: str, after: str) -> None:
        self.before, self.after = before, after

    @rule(
        said=_SAID,
        extent=_EXTENT,
        reason=st.sampled_from(["eot", "line", "block"]),
        variant=st.sampled_from("xy"),
    )
    def say(self, said: str, extent: Extent, reason: Any, variant: str) -> None:
        """The model says something here, which is found here at once."""
        generation = Generation(said, stop_reason=reason)
        self.cache.put(_context(self.before, self.after, extent), variant, generation, self.now_s)
        self.put.append((variant, self.before, self.after, generation, self.now_s))
        assert any(
            said.startswith(hit.said.text) and not hit.n_typed for hit in self._hits(variant)
        )

    @rule(keys=_KEYS)
    def type(self, keys: str) -> None:
        """At the caret."""
        self.before += keys

    @precondition(lambda self: self.put)
    @rule(n=st.integers(0, 8))
    def follow(self, n: int) -> None:
        """What was said last, or a part of it."""
        self.before += self.put[-1][3].text[:n]

    @rule(n=st.integers(1, 3))
    def delete(self, n: int) -> None:
        """Before the caret."""
        self.before = self.before[:-n]

    @rule(text=st.sampled_from([")", "b", "]}", "\n"]), puts=st.booleans())
    def behind(self, text: str, puts: bool) -> None:
        """The editor closes a bracket, or takes it away; or somebody edits there."""
        self.after = text + self.after if puts else self.after.removeprefix(text)

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @rule()
    def forget(self) -> None:
        """All of it."""
        self.cache.clear()
        self.put.clear()

    @rule(variant=st.sampled_from("xyz"))
    def ask(self, variant: str) -> None:
        """What is found was said of this very text, is no older than it may be, and the longest comes first."""
        hits = self._hits(variant)
        lengths = [len(hit.left.text) for hit in hits]
        assert lengths == sorted(lengths, reverse=True)
        for hit in hits:
            assert any(self._made(hit, variant, *put) for put in self.put), hit
            assert hit.left.text == hit.said.text[hit.n_typed :]

    def _made(
        self,
        hit: Hit,
        variant: str,
        of: str,
        before: str,
        after: str,
        said: Generation,
        at_s: float,
    ) -> bool:
        same_after = after.lstrip(CLOSERS) == self.after.lstrip(CLOSERS)
        return (
            variant == of
            and said.text.startswith(hit.said.text)
            and self.before == before + hit.said.text[: hit.n_typed]
            and same_after
            and self.now_s - at_s <= LIFETIME_S
            and hit.same_suffix == (after[:AFTER_CHARS] == self.after[:AFTER_CHARS])
        )

    def _hits(self, variant: str) -> list[Hit]:
        return self.cache.hits(_context(self.before, self.after), variant, self.now_s)

    @invariant()
    def small(self) -> None:
        """No more is kept than may be, and no place leads nowhere."""
        assert len(self.cache) <= N_ENTRIES
        places = [entries for of in self.cache._places.values() for entries in of.values()]
        known = {entry_id for entries in places for entry_id in entries}
        assert known == set(self.cache._entries)


class SchedulerOrders(RuleBasedStateMachine):
    """Requests, edits and cancels for two documents, in virtual time."""

    keys = ("file:///1", "file:///2")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        self.scheduler = self._in_loop(self._made())
        self.texts = dict.fromkeys(self.keys, "x")
        self.requests: list[asyncio.Task[str]] = []
        self.running: dict[str, int] = dict.fromkeys(self.keys, 0)

    async def _made(self) -> Scheduler:
        return Scheduler()

    def _in_loop(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def _work(self, key: str) -> Any:
        async def work(run: Run) -> tuple[Completion, ...]:
            self.running[key] += 1
            try:
                run.loaded.set()
                for piece in "abab":
                    await asyncio.sleep(0.04)
                    run.text += piece
                return ()
            finally:
                await asyncio.sleep(0)  # An engine takes a moment to stop.
                self.running[key] -= 1

        return work

    def _context(self, key: str) -> CompletionContext:
        document = Document.of(self.texts[key], uri=key)
        return CompletionContext(document, len(document.text), "line", None)

    @rule(idx=st.integers(0, 1), rest=st.sampled_from([0.0, 0.02, 0.5]))
    def ask(self, idx: int, rest: float) -> None:
        """A request as the server answers it."""
        key = self.keys[idx]

        async def answered() -> str:
            try:
                with self.scheduler.turn(key) as turn:
                    await turn.rest(rest)
                    now = self._context(key)
                    run = self.scheduler.run(key)
                    if run is None or not run.follows(now):
                        run = await turn.begin(now, self._work(key))
                    return "done" if await turn.wait(run, 5.0, 5.0) else "late"
            except Superseded:
                return "superseded"

        self.requests.append(self.loop.create_task(answered()))
        self._in_loop(asyncio.sleep(0))

    @rule(idx=st.integers(0, 1), keys=st.sampled_from(["a", "b", "ab", "c", ""]))
    def edit(self, idx: int, keys: str) -> None:
        """Typing, or a deletion."""
        key = self.keys[idx]
        self.texts[key] = self.texts[key] + keys if keys else self.texts[key][:-1]

        async def edited() -> None:
            self.scheduler.edited(key, Document.of(self.texts[key], uri=key))

        self._in_loop(edited())

    @precondition(lambda self: self.requests)
    @rule(n=st.integers(0, 3))
    def cancel(self, n: int) -> None:
        """One of the last requests."""
        self.requests[-1 - n % len(self.requests)].cancel()
        self._in_loop(asyncio.sleep(0))

    @rule(idx=st.integers(0, 1))
    def ahead(self, idx: int) -> None:
        """The server works for nobody."""

        async def begun() -> None:
            self.scheduler.ahead(
                self.keys[idx], self._context(self.keys[idx]), self._work(self.keys[idx])
            )

        self._in_loop(begun())

    @rule(idx=st.integers(0, 2))
    def supersede(self, idx: int) -> None:
        """A document is closed, or everything is stopped."""

        async def stopped() -> None:
            if idx < len(self.keys):
                self.scheduler.supersede(self.keys[idx])
            else:
                self.scheduler.stop()

        self._in_loop(stopped())

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._in_loop(asyncio.sleep(seconds))

    @invariant()
    def one_at_a_time(self) -> None:
        """The engine does one thing for each document, and one ahead of all."""
        assert all(n <= 1 for n in self.running.values())
        runs = [run for key in self.keys if (run := self.scheduler.run(key))]
        assert sum(run.is_ahead for run in runs) <= 1

    def teardown(self) -> None:
        """Everybody has an answer, and nothing is left running."""
        try:
            self._in_loop(asyncio.sleep(30.0))
            assert all(request.done() for request in self.requests)
            for request in self.requests:
                assert request.cancelled() or request.result() in ("done", "superseded")
            assert not any(self.running.values())
            assert not self.scheduler._turns
            assert not self.scheduler._runs
        finally:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self._in_loop(asyncio.gather(*left, return_exceptions=True))
            asyncio.set_event_loop(None)
            self.loop.close()


_FEW = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCacheOrders = CacheOrders.TestCase
TestCacheOrders.settings = _FEW
TestSchedulerOrders = SchedulerOrders.TestCase
TestSchedulerOrders.settings = _FEW
