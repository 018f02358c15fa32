"""From a path and settings to a model that is ready to compute, on as much of a GPU as there is."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from midfill.engine import ModelInfo
from midfill.engines.llama_context import LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.llama_memory import (
    Needs,
    device_memory,
    fallback_layers,
    n_cells_that_fit,
    n_layers_that_fit,
)
from midfill.engines.llama_model import LlamaModel
from midfill.errors import ModelError
from midfill.settings import EngineSettings

_log = logging.getLogger("midfill.llama")

_SLOTS_MOST = 64
"""llama.cpp refuses more than 256 sequences; far fewer files are edited at a time."""


class Loaded(NamedTuple):
    """A model with its context. Freed in the order context, model."""

    model: LlamaModel
    context: LlamaContext
    info: ModelInfo


class _Plan(NamedTuple):
    n_ctx: int
    """Tokens that one text may take."""
    n_cells: int
    """Tokens of all slots together."""
    n_gpu_layers: int


def load(
    path: Path,
    settings: EngineSettings,
    abort: ctypes.Array[ctypes.c_char],
    go_on: Callable[[], bool],
    on_progress: Callable[[float], None] = lambda share: None,
) -> Loaded:
    """Load a model in the calling thread, which is from then on the context's only one.

    Where a GPU has too little memory after all, fewer layers are tried, and the CPU at last.

    Raises:
        ModelError: the file cannot be used, or the memory does not suffice.
        EngineGone: `go_on` said no.
    """
    plan = _plan(path, settings, go_on)
    attempts = fallback_layers(plan.n_gpu_layers)
    for attempt_idx, n_gpu_layers in enumerate(attempts):
        try:
            return _load_with(path, settings, plan, n_gpu_layers, abort, go_on, on_progress)
        except ModelError as error:
            if attempt_idx + 1 == len(attempts):
                raise
            _log.warning("%d layers do not fit on the GPU (%s); trying fewer.", n_gpu_layers, error)
    raise AssertionError("there is always an attempt")


def _plan(path: Path, settings: EngineSettings, go_on: Callable[[], bool]) -> _Plan:
    # The vocabulary alone loads in some milliseconds and brings all of the metadata.
    model = LlamaModel.load(path, vocabulary_only=True, go_on=go_on)
    try:
        needs = Needs(path.stat().st_size, model.n_layers, model.kv_bytes_per_token)
        n_ctx_train = model.n_ctx_train
    finally:
        model.free()
    n_ctx = max(1, min(settings.n_ctx, n_ctx_train or settings.n_ctx))
    memory = device_memory()
    # A small window leaves cells to spare: they keep other files warm.
    n_wanted = max(n_ctx, min(settings.n_ctx, n_ctx * _n_slots(settings)))
    n_cells = n_cells_that_fit(needs, memory, n_wanted)
    on_gpu = lc.llama_supports_gpu_offload() and settings.n_gpu_layers != 0
    if on_gpu and memory.gpu_free > needs.weights:
        n_cells = n_cells or n_wanted
    if n_cells == 0:
        raise ModelError(
            f"{path} takes {needs.weights / 2**30:.1f} GiB, too much for this machine's "
            f"{memory.ram / 2**30:.1f} GiB of memory; take a smaller model or a smaller quantization."
        )
    n_gpu_layers = 0
    if on_gpu:
        n_all = needs.n_layers + 1
        n_fit = n_layers_that_fit(needs, memory, n_cells)
        n_gpu_layers = n_fit if settings.n_gpu_layers < 0 else min(settings.n_gpu_layers, n_all)
    return _Plan(min(n_ctx, n_cells), n_cells, n_gpu_layers)


def _load_with(
    path: Path,
    settings: EngineSettings,
    plan: _Plan,
    n_gpu_layers: int,
    abort: ctypes.Array[ctypes.c_char],
    go_on: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> Loaded:
    model = LlamaModel.load(path, n_gpu_layers=n_gpu_layers, go_on=go_on, on_progress=on_progress)
    try:
        context = LlamaContext(
            model,
            n_cells=plan.n_cells,
            n_slots=_n_slots(settings),
            n_threads=_n_threads(settings),
            on_gpu=n_gpu_layers > 0,
            abort=abort,
        )
    except BaseException:
        model.free()
        raise
    info = model.info(plan.n_ctx, n_gpu_layers)
    _log.info(
        "%s: %s, window %d, %d cells, %d slots, %d layers on the GPU.",
        info.name,
        info.architecture,
        info.n_ctx,
        context.n_cells,
        context.n_slots,
        n_gpu_layers,
    )
    return Loaded(model, context, info)


def _n_slots(settings: EngineSettings) -> int:
    return max(1, min(settings.n_slots, _SLOTS_MOST))


def _n_threads(settings: EngineSettings) -> int:
    if settings.n_threads > 0:
        return settings.n_threads
    affinity = getattr(os, "sched_getaffinity", None)
    n_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, n_cores - 1)
