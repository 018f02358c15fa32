"""The devices that llama.cpp computes on, and what they tell of their memory."""

from __future__ import annotations

import ctypes
from dataclasses import replace

from midfill.engines.fit import Gpu, Machine
from midfill.engines.llama_library import lc, library
from midfill.engines.ram import Ram, ram

_TYPE_CPU, _TYPE_GPU, _TYPE_INTEGRATED = 0, 1, 2  # ggml-backend.h, enum ggml_backend_dev_type


def this_machine() -> Machine:
    """What the devices tell now. Without a GPU that llama.cpp was built for there is none."""
    main = ram()
    by_type: dict[int, list[Gpu]] = {}
    for kind, device in _devices():
        by_type.setdefault(kind, []).append(device)
    if main.total == 0:
        # llama.cpp knows the whole, if not what is free.
        main = max(
            (Ram(cpu.total, cpu.total) for cpu in by_type.get(_TYPE_CPU, [])),
            key=lambda known: known.total,
            default=main,
        )
    if not lc.llama_supports_gpu_offload():
        return Machine(main)
    # As llama.cpp does: integrated ones only where there are no others.
    gpus = by_type.get(_TYPE_GPU) or [
        replace(gpu, free=min(gpu.free, main.free)) for gpu in by_type.get(_TYPE_INTEGRATED, [])
    ]
    return Machine(main, tuple(_with_memory(gpu, main) for gpu in gpus))


def _with_memory(gpu: Gpu, main: Ram) -> Gpu:
    # A device that reports nothing shares the main memory, as llama.cpp takes it too.
    return gpu if gpu.total else replace(gpu, free=main.free, total=main.total)


def _devices() -> list[tuple[int, Gpu]]:
    """Kind and memory of each device."""
    ggml, base = library("ggml"), library("ggml-base")
    size = ctypes.POINTER(ctypes.c_size_t)
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    base.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    base.ggml_backend_dev_memory.restype = None
    for name in ("name", "description"):
        function = getattr(base, f"ggml_backend_dev_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_type.restype = ctypes.c_int
    found = []
    for device_idx in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(device_idx)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        gpu = Gpu(
            name=base.ggml_backend_dev_name(device).decode("utf-8", "replace"),
            free=free.value,
            total=total.value,
            description=base.ggml_backend_dev_description(device).decode("utf-8", "replace"),
        )
        found.append((base.ggml_backend_dev_type(device), gpu))
    return found
