"""How each model family wants a conversation, as data (`chat_formats.toml`): for files without a template that works.

Also what holds whichever way a conversation is written: which control tokens end a turn, which delimiters are
ordinary text, and between which tags models put their reasoning.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from midfill.engine import ModelInfo
from midfill.trained import training_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Items = tuple[str, ...]
"""Control tokens as `{name}`, and texts in which CONTENT stands for what is said."""


@dataclass(frozen=True)
class ChatFormat:
    """One family's conversations; `chat_formats.toml` says what each field means."""

    name: str
    named: str
    control: tuple[str, ...]
    user: Items
    assistant: Items
    unless: str = ""
    begin: Items = ()
    no_system: Items = ()
    system: Items = ()
    folds: str = ""
    ask: Items = ()
    end: str = ""
    strip: bool = False
    plain: tuple[str, ...] = ()


class Tags(NamedTuple):
    """What stands before and after a model's reasoning."""

    open: str
    close: str


def chat_format_of(model: ModelInfo) -> ChatFormat | None:
    """The format of a model's family, by its name and its control tokens; None where it has none that is known."""
    for one in _formats():
        if (
            re.search(one.named, model.name, re.IGNORECASE)
            and not (one.unless and re.search(one.unless, model.name, re.IGNORECASE))
            and all(piece in model.control_ids for piece in one.control)
        ):
            return one
    return None


def can_chat(model: ModelInfo) -> bool:
    """Whether a model can be talked to."""
    return bool(model.chat_template) or model.converses or chat_format_of(model) is not None


def turn_end_ids(model: ModelInfo) -> tuple[int, ...]:
    """Tokens that end the model's turn, besides those that its file marks as its end.

    Files were made in which `<|eot_id|>` or `<step>` are not marked, so that an answer would run on into a turn of the
    user's.
    """
    known = chat_format_of(model)
    ends = {one.end for one in _formats() if one.end and one.end in model.chat_template}
    if known is not None and known.end:
        ends.add(known.end)
    ids = sorted(model.control_ids[piece] for piece in ends if piece in model.control_ids)
    return tuple(token for token in ids if token not in model.end_ids)


def plain_delimiters(model: ModelInfo) -> tuple[str, ...]:
    """The delimiters that are ordinary text for this model, longest first."""
    known = chat_format_of(model)
    found = {piece for one in _formats() for piece in one.plain if piece in model.chat_template}
    if known is not None:
        found |= set(known.plain)
    return tuple(sorted(found - model.control_ids.keys(), key=len, reverse=True))


def reasoning_tags(model: ModelInfo) -> tuple[Tags, ...]:
    """The tags that a model that thinks may open its answer with. Those of its template go before all others."""
    return tuple(sorted(all_tags(), key=lambda tags: tags.open not in model.chat_template))


def thinks(model: ModelInfo) -> bool:
    """Whether the model's name or template speaks of reasoning. A server that converses does not tell, so its model
    may."""
    return (
        model.converses
        or bool(training_of(model).thinks)
        or any(tags.open in model.chat_template for tags in all_tags())
    )


def chat_pieces() -> tuple[str, ...]:
    """Every control token that some format uses, as vocabularies spell it: what an engine looks up."""
    return tuple(sorted({piece for one in _formats() for piece in one.control}))


@cache
def all_tags() -> tuple[Tags, ...]:
    """Every pair of tags that is known."""
    return tuple(Tags(**row) for row in _data()["reasoning"])


@cache
def _formats() -> tuple[ChatFormat, ...]:
    return tuple(map(_format, _data()["format"]))


def _format(row: Mapping[str, Any]) -> ChatFormat:
    told: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    return ChatFormat(**told)


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads((files("midfill") / "chat_formats.toml").read_text("utf-8"))
