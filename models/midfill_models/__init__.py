"""The model files that travel with Midfill, and where to find them.

A package of its own, so that a model can be replaced without touching the library or the server.
It imports nothing but the standard library and loads no weights: callers get paths.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["DEFAULT_MODEL", "TEST_INSTRUCT_MODEL", "embedded_model", "embedded_models"]

DEFAULT_MODEL = "midfill-small-q8_0.gguf"
"""File name of the model that completes code when the user has named no other."""

TEST_INSTRUCT_MODEL = "midfill-nano-instruct-q4_0.gguf"
"""File name of the model that answers questions, for tests. It is used where somebody names it, and nowhere else."""


def embedded_model(name: str = DEFAULT_MODEL) -> Path:
    """Return the path of an embedded model, by default the one used for completion.

    Raises:
        FileNotFoundError: This installation does not contain the file.
    """
    path = _folder() / name
    if not path.is_file():
        present = ", ".join(model.name for model in embedded_models()) or "none"
        raise FileNotFoundError(
            f"The embedded model {name!r} is missing from {path.parent} (models present: {present}). "
            "Reinstall midfill, or name a GGUF file of your own."
        )
    return path


def embedded_models() -> tuple[Path, ...]:
    """Return the paths of every model in this installation, sorted by file name."""
    return tuple(sorted(_folder().glob("*.gguf")))


def _folder() -> Path:
    # llama.cpp maps model files into memory, so the package must lie unpacked on a disk.
    # Every installer of wheels unpacks them; a zip import would fail here, at once and by name.
    folder = resources.files(__name__)
    if not isinstance(folder, Path):
        raise FileNotFoundError(f"{__name__} is not installed as plain files, so it has no path.")
    return folder
