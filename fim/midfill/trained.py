"""What a model was trained for: by what its file calls itself, where its tokens and its template mislead.

The names are data (`trained.toml`). A person who knows better says so in `engine.infill`, and a file by its
metadata `midfill.layouts`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from midfill.engine import ModelInfo
from midfill.errors import RoleError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Training:
    """What is known of a model besides its tokens; None: what these say holds."""

    infill: bool | None = None
    talks: bool | None = None
    thinks: bool | None = None
    python: bool = False
    """Whether it was tuned for Python."""
    why: str = ""
    """The rest of a sentence that begins with the model's name; empty where nothing is known."""
    completes: str = ""
    """A model to take instead where this one cannot complete."""
    explains: str = ""
    """A model to take instead where this one cannot explain."""


def training_of(model: ModelInfo) -> Training:
    """What is known of a model's training."""
    return _told(model, _known((model.name, *model.names)))


def is_made_to_talk(model: ModelInfo) -> bool:
    """Whether the model's ordinary text is an answer to somebody."""
    talks = training_of(model).talks
    return bool(model.chat_template) if talks is None else talks


def check_talks(model: ModelInfo) -> None:
    """Refuse a model that was not trained to hold a conversation, also where its file has a template.

    Raises:
        RoleError: it is such a model; the sentence names one that can.
    """
    training = training_of(model)
    if training.talks is False:
        raise RoleError(cannot_talk(model, training.why))


def cannot_talk(model: ModelInfo, why: str) -> str:
    """The sentence that refuses a model for explanations and edits."""
    return (
        f"{model.name} {why}, so it cannot explain or edit; name an instruct model in instruct.model, "
        f"such as {training_of(model).explains}."
    )


@lru_cache(maxsize=16)
def _known(names: tuple[str, ...]) -> Training:
    """By names alone. Kept, because every completion asks."""
    spelled = " ".join(dict.fromkeys(map(_spelled, names)))
    data: Mapping[str, Any] = next((one for one in _data()["model"] if _fits(one, spelled)), {})
    known = {key: value for key, value in data.items() if key not in ("all", "none")}
    return Training(**{**_data()["instead"], **known})


def _told(model: ModelInfo, training: Training) -> Training:
    """What a person, or the file itself, says of infilling goes before what its name says."""
    infill, why = training.infill, training.why
    if model.infill != "auto":
        infill = None if model.infill == "on" else False
        why = f"does so by the setting engine.infill ({model.infill})"
    elif model.layouts:
        infill = None if {"psm", "spm"} & set(model.layouts) else False
        why = f"says so in its file (midfill.layouts: {' '.join(model.layouts)})"
    return replace(training, infill=infill, why=why)


def _fits(data: Mapping[str, Any], names: str) -> bool:
    return all(re.search(one, names) for one in data["all"]) and not any(
        re.search(one, names) for one in data.get("none", ())
    )


def _spelled(name: str) -> str:
    """In lower case, with a hyphen for each space and underscore, and the quantization of a file apart."""
    hyphened = re.sub(r"[\s_]+", "-", name.lower())
    return re.sub(r"\.(?=[a-z])|-(?=i?q\d)", " ", hyphened)


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads(files("midfill").joinpath("trained.toml").read_text("utf-8"))
