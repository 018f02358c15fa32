"""Measuring: what is chosen from which times, and that it gives way to requests."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gguf_models import tiny_model
from midfill.engine import Sampling
from midfill.engines import llama, llama_tuning
from midfill.engines.gguf_header import GgufHeader, Tensor
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_context import LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.llama_load import Loaded, llama_version, load
from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_tuning import Tuning, fastest, measure, repacking_matters, thread_counts
from midfill.engines.tuned import Tuned, read_tuned, tuned_path
from midfill.settings import EngineSettings

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture
def loaded(tiny: Path) -> Iterator[Loaded]:
    found = load(tiny, EngineSettings(), ctypes.create_string_buffer(2), lambda: True)
    yield found
    found.context.free()
    found.model.free()


@pytest.mark.parametrize(
    ("n_cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (3, 4, 2, 1)), (16, (15, 16, 8, 4, 1))],
)
def test_thread_counts(n_cores: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(n_cores) == counts


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        pytest.param({3: 10.0, 4: 9.5, 2: 11.0}, 3, id="a little faster is noise"),
        pytest.param({3: 10.0, 4: 8.9, 2: 8.5}, 2, id="the fastest"),
        pytest.param({3: 10.0}, 3, id="alone"),
    ],
)
def test_the_default_stays_unless_another_is_much_faster(
    ms: dict[int, float], expected: int
) -> None:
    assert fastest(ms) == expected


@pytest.mark.parametrize(
    ("types", "matters"),
    [
        pytest.param({12: 70, 14: 30}, True, id="Q4_K_M"),
        pytest.param({2: 70, 14: 30}, False, id="Q4_0"),
        pytest.param({8: 100}, False, id="Q8_0"),
    ],
)
def test_repacking_is_measured_for_k_quants(types: dict[int, int], matters: bool) -> None:
    tensors = tuple(Tensor(str(kind), kind, size) for kind, size in types.items())
    header = GgufHeader(MappingProxyType({}), MappingProxyType({}), tensors)
    assert repacking_matters(header) is matters


class Clock:
    """Samples that take a time from a table instead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ms: Any) -> None:
        self.samples: list[tuple[int, int, int]] = []

        def sample(_scratch: Any, n_tokens: int, n_threads: int, n_all: int) -> float:
            self.samples.append((n_tokens, n_threads, n_all))
            took: float = ms(n_tokens, n_threads, n_all)
            return took

        monkeypatch.setattr(llama_tuning._Scratch, "sample", sample)
        monkeypatch.setattr(llama_tuning, "n_cores", lambda: 8)


def _measured(tiny: Path, n_threads: int = 0) -> Tuned:
    model = LlamaModel.load(tiny)
    work = measure(tiny, model, n_threads, ctypes.create_string_buffer(2))
    try:
        while True:
            next(work)
    except StopIteration as end:
        tuned: Tuned = end.value
        return tuned
    finally:
        model.free()


def test_writing_and_reading_may_take_different_threads(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, lambda n, threads, _all: threads if n == 1 else 99 / threads)
    tuned = _measured(tiny)
    assert (tuned.n_threads, tuned.n_threads_batch) == (1, 8)
    rounds = clock.samples[1:]  # The first tells how slow the model is.
    assert rounds[:4] == [(64, 7, 64), (1, 7, 1), (64, 8, 64), (1, 8, 1)]
    assert len([sample for sample in rounds if sample == (64, 4, 64)]) == 5


@pytest.mark.parametrize(
    ("large_ms", "n_batch"),
    [pytest.param(30, 256, id="faster"), pytest.param(39, 64, id="hardly")],
)
def test_large_batches(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, large_ms: float, n_batch: int
) -> None:
    Clock(monkeypatch, lambda n, _threads, _all: {1: 1, 64: 40, 256: large_ms}[n])
    assert _measured(tiny).n_batch == n_batch


def test_a_slow_model_is_measured_with_fewer_and_smaller_samples(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, lambda n, _threads, _all: 100.0 * n)
    monkeypatch.setattr(llama_tuning, "BUDGET_S", 0.0)
    tuned = _measured(tiny)
    assert clock.samples[1:] == [(n, count, n) for count in (7, 8, 4) for n in (32, 1)]
    assert (tuned.n_threads, tuned.n_batch) == (7, 64)


@pytest.mark.parametrize(
    ("plain", "repack"),
    [
        pytest.param((30.0, 300.0), False, id="reads faster as it is"),
        pytest.param((30.0, 580.0), True, id="hardly"),
        pytest.param((200.0, 400.0), True, id="reads faster, but writes much slower"),
    ],
)
def test_the_order_of_weights(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, plain: tuple[float, float], repack: bool
) -> None:
    monkeypatch.setattr(llama_tuning, "repacking_matters", lambda header: True)
    asked: list[bool] = []
    load_model = LlamaModel.load

    def load_plain(path: Path, **how: Any) -> LlamaModel:
        asked.append(how.get("repack", True))
        return load_model(path, **how)

    monkeypatch.setattr(LlamaModel, "load", load_plain)
    Clock(monkeypatch, lambda n, _threads, _all: {1: 30.0, 64: 600.0}.get(n, 9999.0))
    by_scratch: dict[int, None] = {}
    default = llama_tuning._Scratch.sample

    def sample(scratch: Any, n_tokens: int, n_threads: int, n_all: int) -> float | None:
        by_scratch.setdefault(id(scratch))
        if list(by_scratch).index(id(scratch)) == 0:
            return default(scratch, n_tokens, n_threads, n_all)
        return plain[0 if n_tokens == 1 else 1]

    monkeypatch.setattr(llama_tuning._Scratch, "sample", sample)
    assert _measured(tiny, n_threads=1).repack is repack
    assert asked == [True, False]


def _finish(tuning: Tuning) -> int:
    n_steps = 0
    while not tuning.done:
        tuning.step()
        n_steps += 1
    return n_steps


def test_the_result_is_remembered_and_its_threads_are_used_at_once(
    tiny: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    monkeypatch.setattr(LlamaContext, "use_threads", lambda _self, *counts: used.append(counts))
    _finish(Tuning(tiny, loaded, EngineSettings(), lambda: False))
    tuned = read_tuned(tuned_path(tiny, llama_version()))
    assert tuned is not None
    assert used == [(tuned.n_threads, tuned.n_threads_batch)]
    assert all(ms > 0 for ms in tuned.ms.values())
    assert len(tuned.ms) >= 4


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        pytest.param(EngineSettings(tune=False), {}, id="switched off"),
        pytest.param(EngineSettings(), {"tuned": Tuned(1, 1)}, id="remembered"),
    ],
)
def test_when_nothing_is_measured(
    tiny: Path, loaded: Loaded, settings: EngineSettings, changes: dict[str, Any]
) -> None:
    assert Tuning(tiny, loaded._replace(**changes), settings, lambda: False).done


def test_nothing_begins_while_someone_waits_and_an_interrupted_sample_is_taken_again(
    tiny: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = True
    tuning = Tuning(tiny, loaded, EngineSettings(), lambda: waiting)
    taken: list[float | None] = []
    sample = llama_tuning._Scratch.sample

    def interrupted_once(*asked: Any) -> float | None:
        if not taken:
            tuning.interrupt()  # As a request would, at this moment.
        taken.append(sample(*asked))
        return taken[-1]

    monkeypatch.setattr(llama_tuning._Scratch, "sample", interrupted_once)
    for _ in range(3):
        tuning.step()
    assert not taken
    waiting = False
    _finish(tuning)
    assert taken[0] is None
    assert None not in taken[1:]


def test_no_memory_to_measure_leaves_the_defaults(
    tiny: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lc, "llama_init_from_model", lambda *_: None)
    assert _finish(Tuning(tiny, loaded, EngineSettings(), lambda: False)) == 1
    assert read_tuned(tuned_path(tiny, llama_version())) is None


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - it becomes true in another thread
        await asyncio.sleep(0.01)


async def test_an_idle_engine_measures_and_a_request_goes_first(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "_IDLE_S", 0.01)
    began: list[float] = []
    sample = llama_tuning._Scratch.sample

    def slow(scratch: Any, *asked: Any) -> float | None:
        """A sample that goes on until a request interrupts it; only the first."""
        began.append(time.perf_counter())
        if len(began) == 1:
            assert engine._tuning is not None
            while engine._tuning._abort[0] == b"\0":
                time.sleep(0.001)
            return None
        return sample(scratch, *asked)

    monkeypatch.setattr(llama_tuning._Scratch, "sample", slow)
    engine = LlamaEngine(tiny, EngineSettings(n_ctx=512))

    async def use() -> None:
        await _until(lambda: bool(began))
        pieces = [piece async for piece in engine.generate([1, 5, 6], Sampling(3))]
        assert pieces[-1].usage.tokens_generated == 3
        await _until(lambda: read_tuned(tuned_path(tiny, llama_version())) is not None)

    try:
        await asyncio.wait_for(use(), 30)
    finally:
        await engine.close()
    assert len(began) > 4
