"""Too little memory: how that is told, at whichever step it is seen, and what to say to a person."""

from __future__ import annotations

import re
from pathlib import Path

_TOLD = re.compile(
    r"MemoryError|bad_alloc|can't start new thread|failed to map segment|"
    r"[Mm]emory allocation still failed|[Cc]annot allocate memory"
)
"""As Python, C++, the loader of libraries, OpenBLAS and the system say it (all seen)."""


def is_about_memory(said: str) -> bool:
    """Whether a log, or an error with its type, tells that there was no memory for something."""
    return _TOLD.search(said) is not None


def too_little_memory(model: str) -> str:
    """What to say where a model cannot be run."""
    return (
        f"There is too little memory to run {Path(model).name}; close what is not needed, or take "
        "a smaller model."
    )
