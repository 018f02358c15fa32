"""How each model family wants its infill prompt, as token ids.

The families are data (`formats.toml`). A prompt is built from ids, never by parsing text, so that a file
that spells a control token is still only text. Code Llama's rules were checked against Meta's
`infilling_prompt_tokens` and the golden vector of llama.cpp's issue 3503.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from midfill.engine import ModelInfo
from midfill.errors import RoleError
from midfill.trained import is_made_to_talk, training_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Layout = Literal["psm", "spm"]
"""Prefix-suffix-middle, or suffix-prefix-middle: the order in which a model that infills reads the parts."""

Order = Literal["psm", "spm", "prefix"]
"""A layout, or the prefix alone: for models that were never taught to infill."""

Tokenize = Callable[[str], Awaitable[list[int]]]
"""`Engine.tokenize`, or a cache around it."""

_ORDERS: tuple[Order, ...] = ("psm", "spm", "prefix")

_GENERIC, _PLAIN = "generic", "plain"
"""The families that a model has where it has no other."""

_BARE_MARK = "☺"
"""Put before a text and taken off its tokens again, it keeps the tokenizer's leading space away (Meta's trick)."""


@dataclass(frozen=True)
class PromptFormat:
    """One family's prompt, with the control tokens' ids in one model."""

    family: str
    orders: Mapping[Order, tuple[str, ...]]
    ids: Mapping[str, int]
    """Id of each control token by its role: `prefix`, `suffix`, `middle`, `end`, …, and `bos` if there is one."""
    end_ids: tuple[int, ...]
    bare: frozenset[str]
    guard: re.Pattern[str] | None
    """Matches what spells a control token in text; None where there are no such tokens."""
    files: tuple[str, ...] = ()
    """What stands before the first file from elsewhere."""
    file: tuple[str, ...] = ()
    """One file from elsewhere."""
    here: str = ""
    """What names the file itself, where there are others."""

    @property
    def infills(self) -> bool:
        """Whether the model reads what stands after the caret."""
        return "prefix" not in self.orders

    @property
    def prefix_follows_text(self) -> bool:
        """Whether what names the file stands right before the text before the caret, with no token between."""
        order = next(iter(self.orders.values()))
        return order[order.index("PREFIX") - 1] == "HERE"

    def layout(self, wanted: Order) -> Order:
        """The wanted layout if the family knows it, else the one it knows."""
        return wanted if wanted in self.orders else next(iter(self.orders))

    async def encode(
        self, part: str, text: str, tokenize: Tokenize, *, goes_on: bool = False
    ) -> list[int]:
        """Token ids of one part (`PREFIX` or `SUFFIX`) of the text, or of what `goes_on` after other text.

        Where the text spells a control token it is encoded in two halves: a tokenizer of SentencePiece kind
        would merge ` <PRE>` into the control token even when told not to parse them (measured).
        """
        return await encode_apart(text, self.guard, tokenize, bare=goes_on or part in self.bare)

    def lay_out(self, layout: Order, parts: Mapping[str, list[int]]) -> list[int]:
        """The whole prompt from the encoded parts: `PREFIX`, `SUFFIX`, and `FILES` and `HERE` if there are any."""
        prompt: list[int] = []
        for item in self.orders[layout]:
            if item in parts:
                prompt += parts[item]
            elif (token := self.control(item)) is not None:
                prompt.append(token)
        return prompt

    def control(self, item: str) -> int | None:
        """The control token that an item of an order stands for, if it is one that the model has."""
        return self.ids.get(item[1:-1]) if item[:1] + item[-1:] == "{}" else None


def format_of(model: ModelInfo) -> PromptFormat:
    """The prompt format of a model.

    A model that does not infill is asked to go on from the text before the caret, unless it is made to talk.

    Raises:
        RoleError: the model does not infill, and is made to talk.
    """
    training = training_of(model)
    has_tokens = infill_format(model)
    if has_tokens is not None and training.infill is not False:
        return has_tokens
    if not is_made_to_talk(model):
        return _format(_PLAIN, _families()[_PLAIN], model, {}, _spelled_in(has_tokens, model))
    why = training.why if has_tokens else "has no infill tokens and is made to talk"
    knows_better = ", or set engine.infill to on" if has_tokens and model.infill == "auto" else ""
    raise RoleError(
        f"{model.name} {why}, so it cannot complete; "
        f"take a base model with infilling, such as {training.completes}{knows_better}."
    )


def infill_format(model: ModelInfo) -> PromptFormat | None:
    """The format whose infill tokens a model has, whether it was trained on them or not."""
    for family, data in _families().items():
        control: dict[str, str] = data["control"]
        if control and _fits(data, model):
            pieces = {**control, **data.get("also", {})}
            ids = {
                role: model.control_ids[piece]
                for role, piece in pieces.items()
                if piece in model.control_ids
            }
            return _format(family, data, model, ids, tuple(pieces.values()))
    if {"prefix", "suffix", "middle"} <= model.fim_ids.keys():
        spelled = tuple(p for p, t in model.control_ids.items() if t in model.fim_ids.values())
        return _format(_GENERIC, _families()[_GENERIC], model, dict(model.fim_ids), spelled)
    return None


def nearly_formats(model: ModelInfo) -> list[tuple[str, tuple[str, ...]]]:
    """The families of which a model has more than one infill token but not all, and what it lacks of each."""
    found = []
    for family, data in _families().items():
        pieces = tuple(data["control"].values())
        missing = tuple(piece for piece in pieces if piece not in model.control_ids)
        if missing and len(pieces) - len(missing) > 1:
            found.append((family, missing))
    return found


def limits_of(model: ModelInfo) -> str:
    """What a person should know of how a model completes, in one sentence; empty where there is nothing.

    Raises:
        RoleError: as for `format_of`.
    """
    if format_of(model).infills:
        return ""
    training = training_of(model)
    why = training.why if infill_format(model) else "has no infill tokens"
    return (
        f"{model.name} {why}: it completes at the ends of lines only and does not see what stands after "
        f"the caret; {training.completes} would."
    )


async def encode_apart(
    text: str, guard: re.Pattern[str] | None, tokenize: Tokenize, *, bare: bool = False
) -> list[int]:
    """Token ids of a text that is encoded in two halves wherever `guard` matches; `bare`: with no leading space."""
    cuts = [match.start() + 1 for match in guard.finditer(text)] if guard else []
    return await encode_cut(text, cuts, tokenize, bare=bare)


async def encode_cut(
    text: str, cuts: Sequence[int], tokenize: Tokenize, *, bare: bool = False
) -> list[int]:
    """Token ids of a text whose parts between the offsets `cuts` are encoded apart; `bare`: with no leading space."""
    ids: list[int] = []
    known: dict[tuple[str, bool], list[int]] = {}
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        part = (text[start:end], bare)
        if part not in known:
            known[part] = await (_encode_bare(part[0], tokenize) if bare else tokenize(part[0]))
        ids += known[part]
        bare = True
    return ids


def control_pieces() -> tuple[str, ...]:
    """Every control token that some family uses, as vocabularies spell it: what an engine looks up."""
    found = {
        piece
        for data in _families().values()
        for piece in (*data["control"].values(), *data.get("also", {}).values())
    }
    return tuple(sorted(found))


def pieces_by_name(name: str) -> tuple[str, ...]:
    """The control tokens of the family that a model's name speaks of; none if it is no known family's."""
    for data in _families().values():
        if "named" in data and re.search(data["named"], name, re.IGNORECASE):
            return tuple(data["control"].values())
    return ()


@cache
def _families() -> Mapping[str, dict[str, Any]]:
    text = files("midfill").joinpath("formats.toml").read_text("utf-8")
    return tomllib.loads(text)


def _spelled_in(form: PromptFormat | None, model: ModelInfo) -> tuple[str, ...]:
    """The infill tokens of a model that is not asked by them: no text may become one."""
    ids = set(form.ids.values()) - {model.bos_id} if form else set()
    return tuple(piece for piece, token in model.control_ids.items() if token in ids)


def _fits(data: Mapping[str, Any], model: ModelInfo) -> bool:
    if not all(piece in model.control_ids for piece in data["control"].values()):
        return False
    names = f"{model.name} {model.architecture}"
    return "only" not in data or re.search(data["only"], names, re.IGNORECASE) is not None


def _format(
    family: str,
    data: Mapping[str, Any],
    model: ModelInfo,
    ids: dict[str, int],
    spelled: tuple[str, ...],
) -> PromptFormat:
    ends = tuple(ids[role] for role in data.get("end", ()) if role in ids)
    if model.bos_id is not None:
        ids["bos"] = model.bos_id
    return PromptFormat(
        family=family,
        orders=_orders(data, model),
        ids=MappingProxyType(ids),
        end_ids=ends,
        bare=frozenset(data.get("bare", ())),
        guard=_guard(spelled),
        files=tuple(data.get("files", ())),
        file=tuple(data["file"]),
        here=data["here"],
    )


def _orders(data: Mapping[str, Any], model: ModelInfo) -> dict[Order, tuple[str, ...]]:
    """The family's orders, or those of them that the model was trained with, if it tells."""
    known = {name: tuple(data[name]) for name in _ORDERS if name in data}
    return {name: known[name] for name in known if name in model.layouts} or known


def _guard(pieces: tuple[str, ...]) -> re.Pattern[str] | None:
    spelled = sorted((piece.lstrip("▁") for piece in pieces), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spelled))) if spelled else None


async def _encode_bare(text: str, tokenize: Tokenize) -> list[int]:
    mark = await tokenize(_BARE_MARK)
    if await tokenize(2 * _BARE_MARK) == 2 * mark:
        return await tokenize(text)  # This tokenizer knows no leading space to keep away.
    marked = await tokenize(_BARE_MARK + text)
    # Where the mark merged with the text it cannot be taken off again.
    return marked[len(mark) :] if marked[: len(mark)] == mark else await tokenize(text)
