"""What was measured to be fastest for a model on this machine, remembered in a small file.

Wrong choices cost a factor of 2 to 4, and none is right everywhere (measured: the order of weights that
llama.cpp takes by default halves the speed at which Q4_K_M reads on one processor, and doubles that of Q4_0).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import platformdirs

from midfill.engines.fit import N_BATCH_CPU
from midfill.engines.ram import cpu_name, n_cores
from midfill.engines.state import FOLDER_VARIABLE
from midfill.private_file import write_private


@dataclass(frozen=True)
class Tuned:
    """How a model is computed on the CPU."""

    n_threads: int
    """That generate, one token at a time."""
    n_threads_batch: int
    """That read a prompt."""
    n_batch: int = N_BATCH_CPU
    """Tokens read per call."""
    repack: bool = True
    """Whether llama.cpp copies weights into an order of its own."""
    ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What was measured, in milliseconds, by what was tried."""


def default_threads() -> int:
    """Before anything is measured: one core stays free for the editor."""
    return max(1, n_cores() - 1)


def tuned_path(model: Path, llama_version: str, folder: Path | None = None) -> Path:
    """Where the choice for a model file is kept: another llama.cpp or processor is measured anew.

    Raises:
        OSError: there is no such model file.
    """
    status = model.stat()
    parts = (model.name, status.st_size, status.st_mtime_ns, llama_version, cpu_name(), n_cores())
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return (folder or cache_folder()) / f"tuned-{key}.json"


def cache_folder() -> Path:
    """The user's cache folder, or what the environment names for all of Midfill's own files."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("midfill", appauthor=False)


def read_tuned(path: Path) -> Tuned | None:
    """What was remembered; None if nothing was, or nothing that makes sense."""
    try:
        tuned = Tuned(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    counts = (tuned.n_threads, tuned.n_threads_batch, tuned.n_batch)
    sound = all(type(count) is int and 0 < count <= 1024 for count in counts)
    sound = sound and type(tuned.repack) is bool and isinstance(tuned.ms, dict)
    return tuned if sound else None


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Remember; whoever reads meanwhile sees the old or the new. Where it cannot be written it is measured again."""
    text = json.dumps({**vars(tuned), "ms": dict(tuned.ms)})
    with suppress(OSError):
        write_private(path, text)
