"""From a path and settings to a model that is ready to compute, on as much of a GPU as there is."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from midfill.engine import ModelInfo
from midfill.engines.fit import N_SLOTS_MOST, Plan, for_completion, plan, steps_down
from midfill.engines.gguf_header import read_header
from midfill.engines.llama_context import N_SPARE, LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.llama_memory import this_machine
from midfill.engines.llama_model import LlamaModel, check_file
from midfill.engines.needs import Needs
from midfill.engines.tuned import Tuned, default_threads, read_tuned, tuned_path
from midfill.errors import ModelError
from midfill.settings import EngineSettings

_SMALL_WINDOW = 2048
"""Tokens. Cells of their own for each slot and each candidate then take little memory."""

_log = logging.getLogger("midfill.llama")


class Loaded(NamedTuple):
    """A model with its context. Freed in the order context, model."""

    model: LlamaModel
    context: LlamaContext
    info: ModelInfo
    plan: Plan
    """As it was loaded, which is not as it was planned where less memory could be had."""
    tuned: Tuned | None
    """What was measured for it before, if anything was."""


def load(
    path: Path,
    settings: EngineSettings,
    abort: ctypes.Array[ctypes.c_char],
    go_on: Callable[[], bool],
    on_progress: Callable[[float], None] = lambda share: None,
    *,
    only_completes: bool = False,
    less_than: Plan | None = None,
) -> Loaded:
    """Load a model in the calling thread, which is from then on the context's only one.

    Where there is too little memory after all, it is tried with less, step by step; what came of it is one
    warning in the log.

    Args:
        only_completes: whether no text is longer than a completion's at the default settings.
        less_than: how it was loaded when it ran out of memory later, while it computed: it gets less.

    Raises:
        ModelError: the file cannot be used, or the memory does not suffice.
        EngineGone: `go_on` said no.
    """
    check_file(path)
    needs = Needs.of(str(path), read_header(path))
    tuned = read_tuned(tuned_path(path, llama_version())) if settings.tune else None
    failed: list[tuple[Plan, ModelError]] = []
    if less_than is not None:
        failed.append((less_than, ModelError(f"{path} ran out of memory; take a smaller model.")))
    model: LlamaModel | None = None
    try:
        for planned in _plans(path, needs, settings):
            chosen = for_completion(planned, settings) if only_completes else planned
            if any(chosen.alike(other) for other, _ in failed):
                continue
            if less_than is not None and not chosen.takes_less_than(less_than, needs):
                continue
            try:
                if model is not None and failed[-1][0].gpu_layers != chosen.gpu_layers:
                    model.free()
                    model = None
                if model is None:
                    model = _model(path, chosen, tuned, go_on, on_progress)
                context = _context(model, chosen, settings, tuned, abort)
            except ModelError as error:
                failed.append((chosen, error))
                if model is None and chosen.n_gpu_layers == 0:
                    break  # A smaller context does not mend what the weights are missing.
                continue
            if failed:
                _warn(path, needs, chosen, failed[0])
            loaded, model = (
                Loaded(model, context, _info(model, chosen, settings), chosen, tuned),
                None,
            )
            return loaded
    finally:
        if model is not None:
            model.free()
    # What the CPU lacks is what a person can mend; the steps always end there.
    raise next((error for chosen, error in failed if chosen.n_gpu_layers == 0), failed[-1][1])


def llama_version() -> str:
    """Of the library, such as `0.5.0-dev`."""
    return str(lc.llama_version().decode("utf-8", "replace"))


def n_slots(settings: EngineSettings) -> int:
    """Texts that the cache keeps apart."""
    return max(1, min(settings.n_slots, N_SLOTS_MOST))


def threads(settings: EngineSettings, tuned: Tuned | None) -> tuple[int, int]:
    """How many generate, and how many read a prompt."""
    if settings.n_threads > 0:
        return settings.n_threads, settings.n_threads
    if tuned is not None:
        return tuned.n_threads, tuned.n_threads_batch
    return default_threads(), default_threads()


def _plans(path: Path, needs: Needs, settings: EngineSettings) -> Iterator[Plan]:
    yield plan(str(path), needs, this_machine(), settings)
    # Asked again: another program may have taken memory since.
    yield from steps_down(str(path), needs, this_machine(), settings)


def _warn(path: Path, needs: Needs, chosen: Plan, first: tuple[Plan, ModelError]) -> None:
    planned, error = first
    _log.warning(
        "%s runs %s. It could not be loaded %s: %s.",
        path.name,
        chosen.said(needs),
        planned.said(needs),
        str(error).partition(";")[0].rstrip("."),
    )


def _model(
    path: Path,
    chosen: Plan,
    tuned: Tuned | None,
    go_on: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> LlamaModel:
    return LlamaModel.load(
        path,
        n_gpu_layers=chosen.n_gpu_layers,
        gpu_layers=chosen.gpu_layers,
        repack=tuned.repack if tuned and chosen.n_gpu_layers == 0 else True,
        go_on=go_on,
        on_progress=on_progress,
    )


def _context(
    model: LlamaModel,
    chosen: Plan,
    settings: EngineSettings,
    tuned: Tuned | None,
    abort: ctypes.Array[ctypes.c_char],
) -> LlamaContext:
    on_gpu = chosen.n_gpu_layers > 0
    n_threads, n_threads_batch = threads(settings, tuned)
    small_cells = _small_cells(chosen, n_slots(settings))
    return LlamaContext(
        model,
        n_cells=chosen.n_cells,
        slot_cells=small_cells or chosen.slot_cells,
        n_slots=n_slots(settings),
        # Where each needs cells of its own that are not small, candidates take the place of other texts.
        n_spare=N_SPARE if small_cells or not chosen.slot_cells else 0,
        n_threads=n_threads,
        n_threads_batch=n_threads_batch,
        on_gpu=on_gpu,
        n_batch=tuned.n_batch if tuned and not on_gpu else chosen.n_batch,
        kv_type=chosen.kv_type,
        flash=chosen.flash,
        abort=abort,
    )


def _small_cells(chosen: Plan, n_slots: int) -> int:
    """Cells of its own for each slot, where a small window leaves a whole one for each; else 0."""
    has_room = n_slots > 1 and chosen.n_ctx * n_slots <= chosen.n_cells
    return chosen.n_ctx if has_room and chosen.n_ctx <= _SMALL_WINDOW else 0


def _info(model: LlamaModel, chosen: Plan, settings: EngineSettings) -> ModelInfo:
    info = replace(model.info(chosen.n_ctx, chosen.n_gpu_layers), infill=settings.infill)
    _log.info("%s (%s): %s", info.name, info.architecture, " ".join(chosen.reasons))
    return info
