"""What the devices tell, and that the estimates are near what llama.cpp then takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gguf_models import Shape, tiny_model
from midfill.engines import llama_memory
from midfill.engines.fit import GIB, MIB, Gpu
from midfill.engines.gguf_header import read_header
from midfill.engines.llama_library import lc
from midfill.engines.llama_memory import this_machine
from midfill.engines.llama_model import LlamaModel
from midfill.engines.needs import Needs
from midfill.engines.ram import Ram

pytestmark = pytest.mark.model

CPU, GPU, INTEGRATED = 0, 1, 2


def test_this_machine_reports_its_memory() -> None:
    assert this_machine().ram.total > GIB // 2


@pytest.mark.parametrize(
    ("devices", "free"),
    [
        pytest.param([(GPU, 8), (GPU, 4), (INTEGRATED, 9), (CPU, 16)], [8, 4], id="each by itself"),
        pytest.param([(INTEGRATED, 20), (CPU, 16)], [6], id="an integrated one has main memory"),
        pytest.param([(GPU, 0), (CPU, 16)], [6], id="one that tells nothing"),
        pytest.param([(CPU, 16)], [], id="none"),
    ],
)
def test_gpus_that_llama_would_use(
    monkeypatch: pytest.MonkeyPatch, devices: list[tuple[int, int]], free: list[int]
) -> None:
    told = [(kind, Gpu(str(kind), gib * GIB, gib * GIB)) for kind, gib in devices]
    monkeypatch.setattr(llama_memory, "_devices", lambda: told)
    monkeypatch.setattr(llama_memory, "ram", lambda: Ram(16 * GIB, 6 * GIB))
    monkeypatch.setattr(lc, "llama_supports_gpu_offload", lambda: True)
    assert [gpu.free for gpu in this_machine().gpus] == [gib * GIB for gib in free]
    monkeypatch.setattr(lc, "llama_supports_gpu_offload", lambda: False)
    assert this_machine().gpus == ()


def test_main_memory_that_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_memory, "ram", lambda: Ram(0, 0))
    monkeypatch.setattr(llama_memory, "_devices", lambda: [(CPU, Gpu("CPU", 0, 16 * GIB))])
    assert this_machine().ram == Ram(16 * GIB, 16 * GIB)


@pytest.fixture
def buffers(caplog: pytest.LogCaptureFixture) -> Callable[[str], float]:
    """Size in bytes of a kind of buffer in llama.cpp's own log."""

    def size(kind: str) -> float:
        found = re.findall(rf"CPU\w* +{kind} buffer size = +([\d.]+) MiB", caplog.text)
        return float(found[-1]) * MIB

    return size


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape(), id="logits"),
        pytest.param(Shape(dim=512, n_layers=1, n_heads=4, ffn=2048), id="feed-forward"),
        pytest.param(Shape(dim=256, n_layers=1, n_heads=16), id="attention"),
    ],
)
def test_estimates_are_what_llama_takes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    buffers: Callable[[str], float],
    shape: Shape,
    flash: bool,
) -> None:
    path = tiny_model(tmp_path / "tiny.gguf", shape=shape)
    needs = Needs.of("tiny", read_header(path))
    params = lc.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 4096, 64, 64, 4
    params.kv_unified = params.swa_full = True
    params.flash_attn_type = 1 if flash else 0
    with caplog.at_level(logging.DEBUG, "midfill.llama"):
        model = LlamaModel.load(path)
        with model.in_use() as handle:
            context = lc.llama_init_from_model(handle, params)
        assert context is not None
        assert buffers("KV") == pytest.approx(needs.kv_bytes(4096, "f16"), rel=0.01)
        assert buffers("model") == pytest.approx(needs.weights, rel=0.01)
        taken = buffers("compute")
        lc.llama_free(context)
        model.free()
    assert 0.95 * taken <= needs.compute_bytes(4096, 64, flash=flash) <= 1.6 * taken
