"""An engine that comes when it is wanted and goes when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from midfill.engine import Engine, ModelInfo, Sampling
from midfill.engines.fake import FakeEngine
from midfill.engines.resident import Resident
from midfill.errors import EngineGone, ModelError
from midfill.selftest import SelfTest

PATIENCE_S = 30.0


class Opener:
    """Opens fake engines and keeps them."""

    def __init__(self, *, load: Callable[[], None] = lambda: None, delay_s: float = 0.0) -> None:
        self.engines: list[FakeEngine] = []
        self.load = load
        self._delay_s = delay_s

    async def __call__(self) -> Engine:
        await asyncio.sleep(self._delay_s)
        self.engines.append(FakeEngine("answer", load=self.load, piece_delay_s=0.02))
        return self.engines[-1]


async def said(engine: Engine) -> str:
    async with aclosing(engine.generate([65], Sampling(100))) as pieces:
        return "".join([piece.text async for piece in pieces])


async def until(condition: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_opened_once_when_it_is_wanted() -> None:
    opener = Opener(delay_s=0.05)
    resident = Resident(opener, "a.gguf")
    assert (resident.loaded, resident.known(), resident.loading()) == (False, None, None)
    asked = [asyncio.create_task(said(resident)) for _ in range(3)]
    await until(lambda: resident.loading() is not None)
    assert not resident.loaded
    asked[0].cancel()
    assert await asyncio.gather(*asked[1:]) == ["answer"] * 2
    assert (resident.loaded, resident.loading()) == (True, None)
    assert len(opener.engines) == 1
    await resident.close()
    with pytest.raises(EngineGone):
        await said(resident)


async def test_closed_while_nobody_wants_it_and_opened_again() -> None:
    opener, unloads = Opener(), []
    resident = Resident(opener, idle_s=0.05)
    resident.on_unload = lambda: unloads.append(True)
    assert await said(resident) == "answer"
    await until(lambda: unloads)
    assert not resident.loaded
    await asyncio.sleep(0.01)  # It is told of when it begins; this is for the engine to be closed.
    with pytest.raises(EngineGone):
        await said(opener.engines[0])
    assert (await resident.info()).name == "fake"
    assert len(opener.engines) == 1, "what is known of the model needs no loading"
    assert await said(resident) == "answer"
    assert len(opener.engines) == 2
    await resident.close()


async def test_never_closed_in_the_middle() -> None:
    opener = Opener()
    resident = Resident(opener, idle_s=0.001)
    for _ in range(20):
        assert await said(resident) == "answer"
        await asyncio.sleep(0.001)
    assert opener.engines[0].usages[-1].stop_reason == "eot"
    await resident.close()


async def test_a_loading_that_failed_is_tried_again() -> None:
    def refuse() -> None:
        raise ModelError("Damaged.")

    opener = Opener(load=refuse)
    resident = Resident(opener)
    with pytest.raises(ModelError, match="Damaged"):
        await resident.info()
    opener.load = lambda: None
    assert await said(resident) == "answer"
    await resident.close()


async def test_tells_how_much_is_loaded() -> None:
    shares: list[float | None] = [0.25]
    loaded = asyncio.Event()

    class Slow(FakeEngine):
        async def info(self) -> ModelInfo:
            await loaded.wait()
            return await super().info()

        def loading(self) -> float | None:
            return shares[0]

    async def opened() -> Engine:
        return Slow()

    resident = Resident(opened)
    asking = asyncio.create_task(resident.info())
    await until(lambda: resident.loading() == 0.25)
    shares[0] = None  # The engine has it, and has not said so yet.
    assert resident.loading() == 1.0
    loaded.set()
    await asking
    assert resident.loading() is None
    await resident.close()


async def test_tried_once_when_nobody_wants_it() -> None:
    opener, tried = Opener(), list[int]()

    async def test(engine: Engine) -> SelfTest:
        tried.append(len(opener.engines[-1].requests))
        return SelfTest(("all",), ("Bad.",))

    resident = Resident(opener, idle_s=0.05, test=test, test_after_s=0.01)
    # Six characters in two pieces, each of which takes longer than the rest before the test.
    assert await said(resident) == "answer"
    assert not tried
    await until(lambda: resident.tested)
    assert resident.tested == SelfTest(("all",), ("Bad.",))
    await until(lambda: not resident.loaded)
    assert await said(resident) == "answer"
    await asyncio.sleep(0.05)
    assert tried == [1]
    await resident.close()


@pytest.mark.parametrize(
    ("error", "n_tries"),
    [
        pytest.param(ValueError("x"), 1, id="a defect of ours"),
        pytest.param(EngineGone("x"), 2, id="it went meanwhile"),
    ],
)
async def test_a_test_that_fails_takes_nothing_away(error: Exception, n_tries: int) -> None:
    opener, tried = Opener(), list[bool]()

    async def test(engine: Engine) -> SelfTest:
        tried.append(True)
        raise error

    resident = Resident(opener, idle_s=0.03, test=test, test_after_s=0.001)
    for n_most in (1, n_tries):
        assert await said(resident) == "answer"
        await until(lambda n_most=n_most: not resident.loaded and len(tried) == n_most)  # type: ignore[misc]
    assert resident.tested is None
    await resident.close()


async def test_closed_in_the_middle_of_a_test() -> None:
    begun = asyncio.Event()

    async def test(engine: Engine) -> SelfTest:
        begun.set()
        await asyncio.sleep(PATIENCE_S)
        return SelfTest()

    resident = Resident(Opener(), test=test, test_after_s=0)
    await resident.info()
    await begun.wait()
    await resident.close()
    assert resident.tested is None
