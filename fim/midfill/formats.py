"""How each model family wants its infill prompt, as token ids.

The families are data (`formats.toml`). A prompt is built from ids, never by parsing text, so that a file
that spells a control token is still only text. Code Llama's rules were checked against Meta's
`infilling_prompt_tokens` and the golden vector of llama.cpp's issue 3503.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from midfill.engine import ModelInfo
from midfill.errors import RoleError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Layout = Literal["psm", "spm"]
"""Prefix-suffix-middle, or suffix-prefix-middle: the order in which the model reads the parts."""

Tokenize = Callable[[str], Awaitable[list[int]]]
"""`Engine.tokenize`, or a cache around it."""

_BARE_MARK = "☺"
"""Put before a text and taken off its tokens again, it keeps the tokenizer's leading space away (Meta's trick)."""


@dataclass(frozen=True)
class PromptFormat:
    """One family's prompt, with the control tokens' ids in one model."""

    family: str
    orders: Mapping[Layout, tuple[str, ...]]
    ids: Mapping[str, int]
    """Id of each control token by its role: `prefix`, `suffix`, `middle`, `end`, …, and `bos` if there is one."""
    end_ids: tuple[int, ...]
    bare: frozenset[str]
    guard: re.Pattern[str]
    """Matches what spells a control token in text."""

    def layout(self, wanted: Layout) -> Layout:
        """The wanted layout if the family knows it, else the one it knows."""
        return wanted if wanted in self.orders else next(iter(self.orders))

    async def encode(self, part: str, text: str, tokenize: Tokenize) -> list[int]:
        """Token ids of one part (`PREFIX` or `SUFFIX`) of the text.

        Where the text spells a control token it is encoded in two halves: a tokenizer of SentencePiece kind
        would merge ` <PRE>` into the control token even when told not to parse them (measured).
        """
        return await encode_apart(text, self.guard, tokenize, bare=part in self.bare)

    def lay_out(self, layout: Layout, parts: Mapping[str, list[int]]) -> list[int]:
        """The whole prompt from the encoded parts."""
        prompt: list[int] = []
        for item in self.orders[layout]:
            if item in parts:
                prompt += parts[item]
            elif item.strip("{}") in self.ids:
                prompt.append(self.ids[item.strip("{}")])
        return prompt


def format_of(model: ModelInfo) -> PromptFormat:
    """The prompt format of a model.

    Raises:
        RoleError: the model has no infill tokens that any known family has.
    """
    for family, data in _families().items():
        control: dict[str, str] = data["control"]
        if all(piece in model.control_ids for piece in control.values()):
            ids = {role: model.control_ids[piece] for role, piece in control.items()}
            if model.bos_id is not None:
                ids["bos"] = model.bos_id
            return PromptFormat(
                family=family,
                orders=_orders(data, model),
                ids=ids,
                end_ids=tuple(ids[role] for role in data.get("end", ())),
                bare=frozenset(data.get("bare", ())),
                guard=_guard(control),
            )
    raise RoleError(
        f"{model.name} has no infill tokens, so it cannot complete between two texts; "
        "take a base model with infilling, such as Code Llama 7B or 13B base."
    )


def _orders(data: Mapping[str, Any], model: ModelInfo) -> dict[Layout, tuple[str, ...]]:
    """The family's orders, or those of them that the model was trained with, if it tells."""
    names: tuple[Layout, ...] = ("psm", "spm")
    known = {name: tuple(data[name]) for name in names if name in data}
    return {name: known[name] for name in known if name in model.layouts} or known


async def encode_apart(
    text: str, guard: re.Pattern[str], tokenize: Tokenize, *, bare: bool = False
) -> list[int]:
    """Token ids of a text that is encoded in two halves wherever `guard` matches; `bare`: with no leading space."""
    ids: list[int] = []
    for half in _halves(text, guard):
        ids += await (_encode_bare(half, tokenize) if bare else tokenize(half))
        bare = True
    return ids


def control_pieces() -> tuple[str, ...]:
    """Every control token that some family uses, as vocabularies spell it: what an engine looks up."""
    return tuple(
        sorted({piece for data in _families().values() for piece in data["control"].values()})
    )


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


def _guard(control: Mapping[str, str]) -> re.Pattern[str]:
    spelled = sorted((piece.lstrip("▁") for piece in control.values()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spelled)))


def _halves(text: str, guard: re.Pattern[str]) -> list[str]:
    cuts = [match.start() + 1 for match in guard.finditer(text)]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


async def _encode_bare(text: str, tokenize: Tokenize) -> list[int]:
    mark = await tokenize(_BARE_MARK)
    marked = await tokenize(_BARE_MARK + text)
    if marked[: len(mark)] != mark:
        # The mark merged with the text, so this tokenizer knows no leading space to keep away.
        return await tokenize(text)
    return marked[len(mark) :]
