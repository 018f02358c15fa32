"""What fits: tables in GiB, for a model of Code Llama 7B's shape."""

from __future__ import annotations

import pytest

from midfill.engines.llama_memory import (
    Memory,
    Needs,
    device_memory,
    fallback_layers,
    n_cells_that_fit,
    n_layers_that_fit,
)

GIB = 2**30
CODE_LLAMA_7B = Needs(weights=4 * GIB, n_layers=32, kv_per_token=512 * 1024)


@pytest.mark.parametrize(
    ("gpu_gib", "n_layers"),
    [
        pytest.param(24, 33, id="all of it and the output"),
        pytest.param(6.5, 33, id="just"),
        pytest.param(4, 19, id="a part"),
        pytest.param(0.5, 0, id="nothing beside the driver"),
        pytest.param(0, 0, id="no GPU"),
    ],
)
def test_layers_on_a_gpu_with_4096_cells(gpu_gib: float, n_layers: int) -> None:
    memory = Memory(ram=16 * GIB, gpu_free=int(gpu_gib * GIB))
    assert n_layers_that_fit(CODE_LLAMA_7B, memory, 4096) == n_layers


@pytest.mark.parametrize(
    ("ram_gib", "n_wanted", "n_cells"),
    [
        pytest.param(16, 4096, 4096, id="what is wanted"),
        pytest.param(8, 16384, 4096, id="what is left beside the weights"),
        pytest.param(16, 2**31 - 1, 16384, id="never what would hang llama.cpp"),
        pytest.param(16, 1, 256, id="llama.cpp's smallest"),
        pytest.param(4, 4096, 0, id="not even the weights"),
    ],
)
def test_cells_in_main_memory(ram_gib: int, n_wanted: int, n_cells: int) -> None:
    assert n_cells_that_fit(CODE_LLAMA_7B, Memory(ram=ram_gib * GIB), n_wanted) == n_cells


@pytest.mark.parametrize(
    ("n_gpu_layers", "steps"), [(33, (33, 24, 16, 0)), (1, (1, 0)), (0, (0,)), (2, (2, 1, 0))]
)
def test_a_failed_load_steps_down_to_the_cpu(n_gpu_layers: int, steps: tuple[int, ...]) -> None:
    assert fallback_layers(n_gpu_layers) == steps


@pytest.mark.model
def test_this_machine_reports_its_memory() -> None:
    assert device_memory().ram > GIB // 2
