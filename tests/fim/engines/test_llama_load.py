"""From settings to a loaded model: what fits, and the steps down where it does not after all."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gguf_models import Shape, tiny_model
from midfill.engines import llama_load
from midfill.engines.fit import GIB, MIB, Gpu, Machine, Plan
from midfill.engines.gguf_header import read_header
from midfill.engines.llama_context import LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.llama_load import Loaded, llama_version, load
from midfill.engines.llama_model import LlamaModel
from midfill.engines.needs import Needs
from midfill.engines.ram import Ram
from midfill.engines.tuned import Tuned, tuned_path, write_tuned
from midfill.errors import ModelError
from midfill.settings import EngineSettings
from midfill_models import embedded_model

pytestmark = pytest.mark.model

GPUS = Machine(Ram(16 * GIB, 8 * GIB), (Gpu("A", 8 * GIB, 8 * GIB), Gpu("B", GIB, GIB)))


def _load(path: Path, settings: EngineSettings) -> Loaded:
    loaded = load(path, settings, ctypes.create_string_buffer(2), lambda: True)
    loaded.context.free()
    loaded.model.free()
    return loaded


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs, as far as the planning goes: llama.cpp itself then ignores the layers it is given."""
    monkeypatch.setattr(llama_load, "this_machine", lambda: GPUS)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(("wanted", "in_force"), [(-1, 3), (0, 0), (2, 2), (99, 3)])
def test_layers_on_the_gpu(tiny: Path, wanted: int, in_force: int) -> None:
    loaded = _load(tiny, EngineSettings(n_gpu_layers=wanted))
    assert loaded.info.n_gpu_layers == in_force
    assert loaded.plan.gpu_layers == (in_force, 0)
    assert loaded.context.n_batch == (256 if in_force else 64)


class Refusals:
    """A llama.cpp that has no room for the first loads, or the first contexts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models: list[tuple[int, ...]] = []
        self.contexts: list[tuple[int, str]] = []
        self.refuse_model: Callable[[int], bool] = lambda n_layers: False
        self.n_contexts_refused = 0
        load_model = LlamaModel.load

        def model(path: Path, **asked: Any) -> LlamaModel:
            self.models.append(tuple(asked["gpu_layers"]))
            if self.refuse_model(asked["n_gpu_layers"]):
                raise ModelError("no room for weights")
            return load_model(path, **asked)

        def context(model: LlamaModel, **asked: Any) -> LlamaContext:
            self.contexts.append((asked["n_cells"], asked["kv_type"]))
            if len(self.contexts) <= self.n_contexts_refused:
                raise ModelError("no room for a context")
            return LlamaContext(model, **asked)

        monkeypatch.setattr(LlamaModel, "load", model)
        monkeypatch.setattr(llama_load, "LlamaContext", context)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    return Refusals(monkeypatch)


@pytest.mark.parametrize(
    ("n_cells", "expected"),
    [pytest.param(9216, 5632, id="half"), pytest.param(2304, 1280, id="the smallest")],
)
def test_after_it_ran_out_of_memory_it_gets_less(
    tiny: Path, caplog: pytest.LogCaptureFixture, n_cells: int, expected: int
) -> None:
    settings, abort = EngineSettings(), ctypes.create_string_buffer(2)
    ran = Plan(n_ctx=8192, n_cells=n_cells)
    loaded = load(tiny, settings, abort, lambda: True, less_than=ran)
    loaded.context.free()
    loaded.model.free()
    assert loaded.plan.n_cells == expected
    assert len(caplog.records) == 1
    assert caplog.text.rstrip().endswith("tiny.gguf ran out of memory.")
    with pytest.raises(ModelError, match="ran out of memory"):
        load(tiny, settings, abort, lambda: True, less_than=Plan(n_ctx=1, n_cells=256))


@pytest.mark.usefixtures("gpus")
def test_what_the_cpu_lacks_is_what_is_told(tiny: Path, refusals: Refusals) -> None:
    def refuse(n_layers: int) -> bool:
        raise ModelError(f"no room for {n_layers}")

    refusals.refuse_model = refuse
    with pytest.raises(ModelError, match="no room for 0"):
        _load(tiny, EngineSettings())


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_refuses_is_left_alone_at_last(
    tiny: Path, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.refuse_model = lambda n_layers: n_layers > 0
    with caplog.at_level(logging.WARNING, "midfill.llama"):
        assert _load(tiny, EngineSettings()).info.n_gpu_layers == 0
    assert refusals.models == [(3, 0), (2, 0), (1, 0), (0, 0)]
    assert [record.getMessage() for record in caplog.records] == [
        "tiny.gguf runs on the CPU, 11264 tokens of context in f16. It could not be loaded "
        "with all 3 layers on the GPU, 11264 tokens of context in f16: no room for weights."
    ]


def test_a_gpu_that_has_less_by_then_gets_fewer_layers(
    tiny: Path,
    refusals: Refusals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    needs = Needs.of("tiny", read_header(tiny))
    for_two = needs.output + needs.layers[0] + needs.kv_bytes(256, "f16") + needs.largest_tensor
    free = 512 * MIB + needs.compute_bytes(256, 256, flash=True) + for_two
    told = iter([8 * GIB, free])
    monkeypatch.setattr(
        llama_load, "this_machine", lambda: Machine(GPUS.ram, (Gpu("A", next(told), 8 * GIB),))
    )
    refusals.refuse_model = lambda n_layers: n_layers > 2
    loaded = _load(tiny, EngineSettings(n_ctx=256, n_slots=1))
    assert refusals.models == [(3,), (2,)]
    assert loaded.info.n_gpu_layers == 2
    assert "runs with 2 of 3 layers on the GPU" in caplog.text


def test_a_context_that_is_refused_gets_smaller_on_the_same_weights(
    tiny: Path, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.n_contexts_refused = 2
    with caplog.at_level(logging.WARNING, "midfill.llama"):
        loaded = _load(tiny, EngineSettings())
    assert refusals.models == [()]
    assert refusals.contexts == [(11264, "f16"), (5632, "f16"), (2816, "f16")]
    assert (loaded.context.n_cells, loaded.info.n_ctx) == (2816, 2816)
    assert len(caplog.records) == 1
    assert "no room for a context" in caplog.text


def test_without_end_the_first_reason_is_told(tiny: Path, refusals: Refusals) -> None:
    refusals.n_contexts_refused = 99
    with pytest.raises(ModelError, match="no room for a context"):
        _load(tiny, EngineSettings())
    assert [n_cells for n_cells, _ in refusals.contexts] == [11264, 5632, 2816, 1280, 1024]


def test_a_file_that_llama_refuses_is_tried_once_on_the_cpu(tiny: Path, refusals: Refusals) -> None:
    refusals.refuse_model = lambda n_layers: True
    with pytest.raises(ModelError, match="no room for weights"):
        _load(tiny, EngineSettings())
    assert refusals.models == [()]


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, refusals: Refusals
) -> None:
    monkeypatch.setattr(llama_load, "this_machine", lambda: Machine(Ram(2**19, 2**19)))
    with pytest.raises(ModelError, match=r"tiny\.gguf takes .* too much for this machine's"):
        _load(tiny, EngineSettings())
    assert refusals.models == []


@pytest.mark.parametrize(
    ("n_ctx", "n_slots", "window", "n_cells"),
    [
        pytest.param(0, 4, 8192, 11264, id="chosen"),
        pytest.param(4096, 4, 4096, 4096, id="as set"),
        pytest.param(16384, 4, 8192, 16384, id="a small window leaves cells for other files"),
        pytest.param(10**9, 4, 8192, 4 * 8192, id="never more than all slots can fill"),
        pytest.param(100, 1, 100, 256, id="llama.cpp rounds up"),
        pytest.param(4096, 0, 4096, 4096, id="there is always a slot"),
    ],
)
def test_window_and_cells(tiny: Path, n_ctx: int, n_slots: int, window: int, n_cells: int) -> None:
    loaded = _load(tiny, EngineSettings(n_ctx=n_ctx, n_slots=n_slots))
    assert (loaded.info.n_ctx, loaded.context.n_cells) == (window, n_cells)
    assert loaded.context.n_slots == max(1, n_slots)


def test_a_cache_in_q8_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_model(tmp_path / "wide.gguf", shape=Shape(n_heads=2))
    asked: list[Any] = []
    init = lc.llama_init_from_model

    def init_seen(model: Any, params: Any) -> Any:
        asked.append(params)
        return init(model, params)

    monkeypatch.setattr(lc, "llama_init_from_model", init_seen)
    _load(path, EngineSettings(kv_type="q8_0"))
    assert [(params.type_k, params.type_v) for params in asked] == [(8, 8)]
    assert asked[0].flash_attn_type == lc.LLAMA_FLASH_ATTN_TYPE_AUTO


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        pytest.param(EngineSettings(), (3, 2, 128, False), id="remembered"),
        pytest.param(EngineSettings(n_threads=5), (5, 5, 128, False), id="threads are set"),
        pytest.param(EngineSettings(n_threads=5, tune=False), (5, 5, 64, True), id="switched off"),
    ],
)
def test_what_was_measured_is_used(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: EngineSettings,
    threads: tuple[int, int, int, bool],
) -> None:
    write_tuned(tuned_path(tiny, llama_version()), Tuned(3, 2, n_batch=128, repack=False))
    seen: dict[str, Any] = {}
    init, load_model = lc.llama_init_from_model, lc.llama_model_load_from_file
    monkeypatch.setattr(
        lc, "llama_init_from_model", lambda *args: seen.update(context=args[1]) or init(*args)
    )
    monkeypatch.setattr(
        lc,
        "llama_model_load_from_file",
        lambda *args: seen.update(model=args[1]) or load_model(*args),
    )
    _load(tiny, settings)
    context = seen["context"]
    assert threads == (
        context.n_threads,
        context.n_threads_batch,
        context.n_ubatch,
        seen["model"].use_extra_bufts,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits an address space")
def test_an_address_space_that_is_too_small(tmp_path: Path) -> None:
    """For real: 512 MiB of cache are planned, of which a process with 300 more cannot have the whole."""
    path = tiny_model(tmp_path / "long.gguf", shape=Shape(n_ctx_train=2**20))
    program = """
import ctypes, logging, resource, sys
from pathlib import Path
from midfill.engines.llama_load import load
from midfill.settings import EngineSettings
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
n_pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + 300 * 2**20,) * 2)
settings = EngineSettings(n_ctx=2**20, n_slots=1, n_threads=1)
loaded = load(Path(sys.argv[1]), settings, ctypes.create_string_buffer(2), lambda: True)
print(loaded.context.n_cells)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    warning, n_cells = done.stdout.splitlines()
    assert warning.startswith(f"long.gguf runs on the CPU, {n_cells} tokens of context in f16.")
    assert int(n_cells) in (2**19, 2**18, 2**17)


def test_nothing_is_left_of_a_model_that_was_freed() -> None:
    path, process = embedded_model("midfill-nano-q8_0.gguf"), psutil.Process()
    for _ in range(2):  # What is allocated once for all.
        _load(path, EngineSettings(n_threads=1))
    before = process.memory_info().rss
    for _ in range(5):
        _load(path, EngineSettings(n_threads=1))
    # Weights and cache together take some 7 MiB.
    assert process.memory_info().rss - before < 5 << 20
