"""From settings to a loaded model: what fits, and the steps down where it does not after all."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path
from typing import Any

import pytest

from gguf_models import tiny_model
from midfill.engines import llama_load
from midfill.engines.llama_library import lc
from midfill.engines.llama_load import Loaded, load
from midfill.engines.llama_memory import Memory
from midfill.engines.llama_model import LlamaModel
from midfill.errors import ModelError
from midfill.settings import EngineSettings

pytestmark = pytest.mark.model

GIB = 2**30
A_GPU = Memory(ram=16 * GIB, gpu_free=8 * GIB)


def _load(path: Path, settings: EngineSettings) -> Loaded:
    loaded = load(path, settings, ctypes.create_string_buffer(2), lambda: True)
    loaded.context.free()
    loaded.model.free()
    return loaded


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, as far as the planning goes: llama.cpp itself then ignores the layers it is given."""
    monkeypatch.setattr(lc, "llama_supports_gpu_offload", lambda: True)
    monkeypatch.setattr(llama_load, "device_memory", lambda: A_GPU)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("wanted", "in_force"), [(-1, 3), (0, 0), (2, 2), (99, 3)])
def test_layers_on_the_gpu(tiny: Path, wanted: int, in_force: int) -> None:
    loaded = _load(tiny, EngineSettings(n_gpu_layers=wanted))
    assert loaded.info.n_gpu_layers == in_force
    assert loaded.context.n_batch == (256 if in_force else 64)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_refuses_gets_fewer_layers_and_at_last_none(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []
    load_model = LlamaModel.load

    def refuse_layers(path: Path, *, n_gpu_layers: int = 0, **others: Any) -> LlamaModel:
        asked.append(n_gpu_layers)
        if n_gpu_layers > 0:
            raise ModelError("no room")
        return load_model(path, **others)

    monkeypatch.setattr(LlamaModel, "load", refuse_layers)
    with caplog.at_level(logging.WARNING, "midfill.llama"):
        assert _load(tiny, EngineSettings()).info.n_gpu_layers == 0
    assert asked == [0, 3, 2, 1, 0]  # The first reads the metadata only.
    assert len(caplog.records) == 3


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_load, "device_memory", lambda: Memory(ram=2**19))
    with pytest.raises(ModelError, match=r"tiny\.gguf takes .* too much for this machine's"):
        _load(tiny, EngineSettings())


@pytest.mark.parametrize(
    ("n_ctx", "n_slots", "window", "n_cells"),
    [
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
