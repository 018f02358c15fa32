"""Model files that others publish: where they lie on the hub, how large they are, and what they are for.

The data is `catalogue.toml`; this only reads it. Nothing here looks at a file or at the network.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

Role = Literal["completion", "instruct"]
Confirmed = Literal["hub listing", "model card", "public code", ""]
"""Where the repository and the file's name were seen together: on the hub's own page of the repository's files, in
the text of its card, or in programs that fetch it. Empty: nowhere."""


@dataclass(frozen=True)
class Shape:
    """What the memory beside the weights follows from, as the model's `config.json` says it."""

    layers: int
    heads: int
    kv_heads: int
    head: int
    """Width of a head."""
    embedding: int
    feed_forward: int
    vocabulary: int


@dataclass(frozen=True)
class Sources:
    """Where the facts about a family of models were seen, such as "README of facebookresearch/codellama"."""

    licence: str
    context: str
    shape: str


@dataclass(frozen=True)
class CatalogueFile:
    """One file of a model."""

    repository: str
    """On the hub, such as `TheBloke/CodeLlama-7B-GGUF`."""
    name: str
    quantization: str
    size_gb: float
    """In 10⁹ bytes, as the hub's page rounds it: to three digits."""
    confirmed: Confirmed
    sizes_confirmed: bool
    """Whether the size was read, and not computed from that of a model of the same shape."""

    @property
    def size_bytes(self) -> int:
        """The size, as far as it is known."""
        return round(self.size_gb * 1e9)


@dataclass(frozen=True)
class CatalogueModel:
    """A model and the files it comes in, the one to take first where there is room for it first."""

    name: str
    """What it is called on the command line and in the settings, such as `codellama-7b`."""
    title: str
    roles: tuple[Role, ...]
    infill: bool
    """Whether a completion sees what stands behind the caret."""
    thinking: bool
    """Whether it writes down its reasoning before it answers."""
    format: str
    """The family in `formats.toml` that completions are asked in; empty where it completes nothing."""
    chat: str
    """What its conversations look like; empty where it holds none."""
    licence: str
    free: bool
    """Whether the licence allows any use, also at work. What it asks for besides is in its text."""
    context: int
    """Tokens that it was trained with, as published."""
    unconfirmed: tuple[str, ...]
    """What of this was not seen in `sources`: `context` or nothing. A licence is never a guess."""
    sources: Sources
    active: float
    """The share of the weights that a token is computed with: less than 1 for a mixture of experts."""
    note: str
    shape: Shape
    files: tuple[CatalogueFile, ...]


@dataclass(frozen=True)
class Catalogue:
    """All of them."""

    models: Mapping[str, CatalogueModel]
    """By name."""
    preferred: Mapping[Role, tuple[str, ...]]
    """Names of models by role, the best one first."""


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """What this version of Midfill knows."""
    # Imported here, since who names a file by its path needs none of it.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    text = (
        resources.files(__package__ or "midfill_models")
        .joinpath("catalogue.toml")
        .read_text("utf-8")
    )
    told = tomllib.loads(text)
    models = {name: _model(name, entry, told) for name, entry in told["models"].items()}
    preferred: Mapping[Role, tuple[str, ...]] = {
        "completion": tuple(told["preferred"]["completion"]),
        "instruct": tuple(told["preferred"]["instruct"]),
    }
    return Catalogue(models, preferred)


def find_model(name: str) -> CatalogueModel | None:
    """The model of that name, in any case of letters."""
    return catalogue().models.get(name.lower())


def find_file(name: str) -> tuple[CatalogueModel, CatalogueFile] | None:
    """The file of that name, and its model."""
    for model in catalogue().models.values():
        for file in model.files:
            if file.name == name:
                return model, file
    return None


def _model(name: str, entry: Mapping[str, Any], told: Mapping[str, Any]) -> CatalogueModel:
    return CatalogueModel(
        name=name,
        title=entry["title"],
        roles=tuple(entry["roles"]),
        infill=entry.get("infill", False),
        thinking=entry.get("thinking", False),
        format=entry.get("format", ""),
        chat=entry.get("chat", ""),
        licence=entry["licence"],
        free=entry.get("free", True),
        context=entry["context"],
        unconfirmed=tuple(entry.get("unconfirmed", ())),
        sources=Sources(**told["sources"][entry["source"]]),
        active=entry.get("active", 1.0),
        note=entry.get("note", ""),
        shape=Shape(**told["shapes"][entry["shape"]]),
        files=tuple(
            CatalogueFile(
                repository=file.get("repository", entry["repository"]),
                name=file["name"],
                quantization=file["quantization"],
                size_gb=file["gb"],
                confirmed=file.get("confirmed", entry["confirmed"]),
                sizes_confirmed=not file.get("computed", False),
            )
            for file in entry["files"]
        ),
    )
