"""The scheduler under every order of starting, cancelling and ending."""

from __future__ import annotations

import asyncio

import pytest

from midfill_server.scheduler import Scheduler


class Work:
    """Work that ends when it is told to, and remembers that it was stopped."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.stopped = False

    async def __call__(self) -> str:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return "done"


async def started(scheduler: Scheduler, key: str, work: Work) -> asyncio.Task[str | None]:
    task = asyncio.ensure_future(scheduler.latest(key, work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_work_gives_its_result() -> None:
    scheduler, work = Scheduler(), Work()
    work.go_on.set()
    assert await scheduler.latest("a", work) == "done"


async def test_the_latest_takes_the_place_of_the_one_before() -> None:
    scheduler, first, second = Scheduler(), Work(), Work()
    before, after = await started(scheduler, "a", first), await started(scheduler, "a", second)
    second.go_on.set()
    assert await before is None
    assert await after == "done"
    assert (first.stopped, second.stopped) == (True, False)


async def test_keys_do_not_disturb_each_other() -> None:
    scheduler, first, second = Scheduler(), Work(), Work()
    tasks = [await started(scheduler, "a", first), await started(scheduler, "b", second)]
    first.go_on.set()
    second.go_on.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


async def test_cancelling_the_caller_stops_the_work_and_only_that() -> None:
    scheduler, first, second = Scheduler(), Work(), Work()
    task = await started(scheduler, "a", first)
    other = await started(scheduler, "b", second)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert first.stopped
    second.go_on.set()
    assert await other == "done"


async def test_an_error_reaches_the_caller() -> None:
    async def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Scheduler().latest("a", fail)


async def test_stop_ends_everything() -> None:
    scheduler, works = Scheduler(), [Work(), Work()]
    tasks = [await started(scheduler, str(n), work) for n, work in enumerate(works)]
    scheduler.stop()
    assert await asyncio.gather(*tasks) == [None, None]
    assert all(work.stopped for work in works)
