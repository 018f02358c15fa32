"""Which files of the catalogue fit a machine, and which of them to take. Arithmetic, but for `machine`, which looks.

What counts is the memory that there is, not what is free just now: the model that is to be replaced may be in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from midfill.engines.fit import GIB, Gpu, Machine, Plan, plan, shares
from midfill.engines.gguf_header import read_header
from midfill.engines.needs import Needs
from midfill.engines.ram import Ram, ram
from midfill.errors import ModelError
from midfill.settings import EngineSettings
from midfill_models.catalogue import Catalogue, CatalogueFile, CatalogueModel, Role

Where = Literal["gpu", "gpu and cpu", "cpu", ""]
"""What runs a model; nothing where it does not fit."""

_DEVICES_S = 20.0
"""For a driver to start."""
_RAM_SHARE = 0.75
"""Of main memory, for the model; the rest is for the editor and everyone else, as in `fit`."""
_ON_CPU_GB: Mapping[Role, float] = {"completion": 2.0, "instruct": 5.0}
"""Weights read for each token, at most, where a processor does all the work: 4 GB take some 200 ms for a token there
(reckoned from a smaller model, not measured), and who types does not wait as long as who asked for an explanation."""
_COMPLETION_SHARE = 0.5
"""Of the memory, for the model that completes where another explains and edits."""


@dataclass(frozen=True)
class Fit:
    """How a file would be loaded."""

    where: Where
    why: str
    """In a sentence."""
    plan: Plan | None = None

    @property
    def fits(self) -> bool:
        """Whether it can be loaded at all."""
        return self.where != ""


@dataclass(frozen=True)
class Choice:
    """A file to take for a role."""

    model: CatalogueModel
    file: CatalogueFile
    fit: Fit


def machine() -> Machine:
    """This one: its devices as llama.cpp tells them, or main memory alone where that is not installed."""
    with suppress(OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        done = subprocess.run(
            [sys.executable, "-m", "midfill.engines.llama_devices"],
            capture_output=True,
            check=True,
            timeout=_DEVICES_S,
            # Python looks for modules in the folder it is started in; a person's may be anyone's work.
            cwd=sys.prefix,
            env={"GGML_NO_BACKTRACE": "1"} | os.environ,
        )
        told = json.loads(done.stdout)
        return Machine(Ram(**told["ram"]), tuple(Gpu(**gpu) for gpu in told["gpus"]))
    return Machine(ram())


def emptied(found: Machine) -> Machine:
    """The same with nothing loaded."""
    free = int(found.ram.total * _RAM_SHARE)
    gpus = tuple(replace(gpu, free=gpu.total) for gpu in found.gpus)
    return Machine(replace(found.ram, free=free), gpus)


def needs_of(model: CatalogueModel, file: CatalogueFile) -> Needs:
    """What a file takes, from its size and the model's shape: every layer as large as any other."""
    shape = model.shape
    # Two matrices of the vocabulary stand beside the layers, as large as their share of the parameters.
    vocabulary = shape.vocabulary * shape.embedding
    heads = (2 * shape.heads + 2 * shape.kv_heads) * shape.head * shape.embedding
    layer = heads + 3 * shape.feed_forward * shape.embedding
    if model.active < 1:  # The experts are most of it.
        layer = int(layer / model.active)
    edge = file.size_bytes * vocabulary // (2 * vocabulary + shape.layers * layer)
    layers = (file.size_bytes - 2 * edge) // shape.layers
    return Needs(
        layers=(layers,) * shape.layers,
        output=edge,
        input=edge,
        kv_cells=(4 * shape.kv_heads * shape.head,) * shape.layers,
        can_q8_kv=shape.head % 32 == 0,
        n_ctx_train=model.context,
        n_heads=shape.heads,
        n_vocab=shape.vocabulary,
        n_embedding=shape.embedding,
        n_feed_forward=shape.feed_forward,
        largest_tensor=edge,
    )


def fit_of(model: CatalogueModel, file: CatalogueFile, empty: Machine) -> Fit:
    """How a file would be loaded on a machine with nothing loaded, at the default settings."""
    return _fit(model.title, needs_of(model, file), empty)


def fit_of_file(path: Path, empty: Machine) -> Fit:
    """The same of a file that is here, by its header."""
    try:
        needs = Needs.of(path.stem, read_header(path))
    except ModelError as error:
        return Fit("", str(error))
    return _fit(path.stem, needs, empty)


def _fit(title: str, needs: Needs, empty: Machine) -> Fit:
    if not empty.ram.total and not empty.gpus:
        return Fit("", "How much memory there is here cannot be told.")
    try:
        chosen = plan(title, needs, empty, EngineSettings())
    except ModelError as error:
        return Fit("", str(error))
    if chosen.n_gpu_layers >= needs.n_layers_most:
        where: Where = "gpu"
    else:
        where = "gpu and cpu" if chosen.n_gpu_layers else "cpu"
        # Of a plan that reads weights from the disk again and again, nobody has any use.
        if (
            needs.weights - sum(share.weights for share in shares(needs, empty, chosen)[1:])
            > empty.ram.free
        ):
            return Fit("", f"Its weights take {needs.weights / GIB:.1f} GiB, more than there is.")
    return Fit(where, f"It would be loaded {chosen.said(needs)}.", chosen)


def recommended(known: Catalogue, empty: Machine) -> dict[Role, Choice | None]:
    """For each role the best file that fits, both at the same time.

    On a GPU one that lies there with all its layers; elsewhere one that a processor is fast enough for. A model whose
    licence is not for every use is never recommended, nor a file whose name nobody has confirmed.
    """
    completion = _best(known, "completion", _shared(empty, _COMPLETION_SHARE))
    rest = _without(empty, completion) if completion else empty
    return {"completion": completion, "instruct": _best(known, "instruct", rest)}


def _best(known: Catalogue, role: Role, empty: Machine) -> Choice | None:
    for where in ("gpu", "cpu"):
        for name in known.preferred[role]:
            model = known.models[name]
            for file in model.files if model.free else ():
                fit = fit_of(model, file, empty)
                quick = where == "gpu" or file.size_gb * model.active <= _ON_CPU_GB[role]
                if file.confirmed and fit.where == where and quick:
                    return Choice(model, file, fit)
    return None


def _shared(empty: Machine, share: float) -> Machine:
    gpus = tuple(replace(gpu, free=int(gpu.free * share)) for gpu in empty.gpus)
    memory = Ram(int(empty.ram.total * share), int(empty.ram.free * share))
    return Machine(memory, gpus)


def _without(empty: Machine, taken: Choice) -> Machine:
    """What a loaded model leaves."""
    assert taken.fit.plan is not None
    used = shares(needs_of(taken.model, taken.file), empty, taken.fit.plan)
    by_device = {share.device: share.total for share in used[1:]}
    gpus = tuple(
        replace(gpu, free=max(0, gpu.free - by_device.get(gpu.name, 0))) for gpu in empty.gpus
    )
    ram_used = 0 if taken.fit.where == "gpu" else used[0].total
    memory = Ram(empty.ram.total - ram_used, max(0, empty.ram.free - ram_used))
    return Machine(memory, gpus)


def gib(found: Machine) -> str:
    """The memory in a few words."""
    parts: Iterable[str] = (f"{gpu.name} with {gpu.total / GIB:.0f} GiB" for gpu in found.gpus)
    return ", ".join([*parts, f"main memory of {found.ram.total / GIB:.0f} GiB"])
