"""What fits: layers on a GPU, cells in the KV cache. Pure arithmetic over what the devices report."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from midfill.engines.llama_library import library

_GPU_RESERVE_BYTES = 512 * 2**20
"""Left free on a GPU for the driver's context, the compute buffers and the desktop. An estimate: not measured."""
_RAM_SHARE = 0.75
"""Of the machine's memory for weights and cache; the rest is for the editor and everyone else."""
_CELLS_LEAST = 256
"""llama.cpp rounds a context up to a multiple of this."""

_TYPE_CPU = 0  # ggml-backend.h, enum ggml_backend_dev_type
_TYPES_GPU = (1, 2)  # with memory of its own, and with the host's


@dataclass(frozen=True)
class Memory:
    """Bytes that the machine's devices report."""

    ram: int
    """All of the main memory: the CPU backend does not tell what is free."""
    gpu_free: int = 0
    """Free on all GPUs together; llama.cpp spreads layers by free memory."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a model takes."""

    weights: int
    n_layers: int
    kv_per_token: int
    """One cell of the KV cache, over all layers."""


def n_layers_that_fit(needs: Needs, memory: Memory, n_cells: int) -> int:
    """Layers that a GPU can take with their part of the KV cache; one more than there are: all, and the output."""
    n_most = needs.n_layers + 1
    per_layer = (needs.weights + needs.kv_per_token * n_cells) / n_most
    return max(0, min(n_most, int((memory.gpu_free - _GPU_RESERVE_BYTES) / max(per_layer, 1))))


def fallback_layers(n_gpu_layers: int) -> tuple[int, ...]:
    """What to try in turn when a load with that many layers fails: ever fewer, then the CPU alone."""
    steps = (n_gpu_layers, n_gpu_layers * 3 // 4, n_gpu_layers // 2, 0)
    return tuple(dict.fromkeys(max(0, step) for step in steps))


def n_cells_that_fit(needs: Needs, memory: Memory, n_wanted: int) -> int:
    """Cells of the KV cache: what is wanted, or what the memory can hold beside the weights; 0 if that is none.

    Weights are mapped from the file, so that a model somewhat larger than the memory would still run, page by
    page, at a speed that is of no use for completion.
    """
    n_possible = int((memory.ram * _RAM_SHARE - needs.weights) / max(needs.kv_per_token, 1))
    if n_possible < _CELLS_LEAST:
        return 0
    return max(_CELLS_LEAST, min(n_wanted, n_possible))


def device_memory() -> Memory:
    """What the devices that llama.cpp was built for report now."""
    ggml, base = library("ggml"), library("ggml-base")
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_memory.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_size_t),
    ]
    base.ggml_backend_dev_memory.restype = None
    ram = gpu_free = 0
    for device_idx in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(device_idx)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        kind = base.ggml_backend_dev_type(device)
        if kind == _TYPE_CPU:
            ram = max(ram, total.value)
        elif kind in _TYPES_GPU:
            gpu_free += free.value
    return Memory(ram=ram, gpu_free=gpu_free)
