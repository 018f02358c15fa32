"""Whether a model that was loaded is what it seems: its tokens, and one infill that must come to an end.

A file that was converted wrongly completes badly and says nothing of it. What is tried is data (`selftest.toml`).
A model that is asked for what follows the prefix alone, or that only talks, is looked at but not tried.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from midfill.engine import Engine, ModelInfo, Sampling, Usage
from midfill.errors import RoleError
from midfill.formats import (
    PromptFormat,
    Tokenize,
    format_of,
    infill_format,
    nearly_formats,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Detokenize = Callable[[Sequence[int]], Awaitable[str]]


@dataclass(frozen=True)
class SelfTest:
    """What came of it."""

    right: tuple[str, ...] = ()
    """What was tried and is as it must be, each a phrase."""
    defects: tuple[str, ...] = ()
    """What is wrong with the model, each a sentence."""
    ms: float = 0.0


async def self_test(engine: Engine) -> SelfTest:
    """Try a loaded model. It yields to every other request, and never raises for what is wrong with the model.

    Raises:
        EngineError: the engine went away meanwhile.
    """
    began = time.perf_counter()
    model = await engine.info()
    right, defects = await token_test(model, engine.tokenize, engine.detokenize)
    form = _asked_by(model)
    if form is not None and form.infills:
        ended = await _infill_ends(form, engine)
        (defects if "did not end" in ended else right).append(ended)
    return SelfTest(tuple(right), tuple(defects), 1000 * (time.perf_counter() - began))


async def token_test(
    model: ModelInfo, tokenize: Tokenize, detokenize: Detokenize
) -> tuple[list[str], list[str]]:
    """What is right with a model's tokens, and what is wrong: needs its vocabulary only."""
    right: list[str] = []
    defects: list[str] = []
    if not model.end_ids:
        defects.append(f"{model.name} names no token that ends a generation.")
    form = infill_format(model)
    if form is None or form.family == "generic":
        for family, missing in nearly_formats(model):
            defects.append(
                f"{model.name} has tokens of {family} but not {', '.join(missing)}, so it is not asked as one."
            )
    if form is None:
        return right, defects
    found = [
        *await _control_defects(form, model, tokenize, detokenize),
        *_end_defects(form, model),
    ]
    if not found:
        right.append(f"the control tokens of {form.family} are single, and end what they must")
    for golden in _data()["golden"]:
        if (golden["family"], golden["n_vocab"]) == (form.family, model.n_vocab):
            prompt = await _prompt(form, golden["prefix"], golden["suffix"], tokenize)
            if prompt == golden["ids"]:
                right.append(f"text is cut into tokens as by {golden['source']}")
            else:
                found.append(
                    f"{model.name} cuts text into other tokens than {golden['source']}: "
                    "its file was converted wrongly."
                )
    return right, defects + found


async def _control_defects(
    form: PromptFormat, model: ModelInfo, tokenize: Tokenize, detokenize: Detokenize
) -> list[str]:
    spelling = {token: piece for piece, token in model.control_ids.items()}
    control = {role: token for role, token in form.ids.items() if role != "bos"}
    defects = []
    if len(set(control.values())) < len(control):
        defects.append(f"{model.name} has one token for two control tokens of {form.family}.")
    for role, token in control.items():
        piece = spelling[token]
        named = model.fim_ids.get(role, token)
        if named != token:
            defects.append(f"{model.name} names token {named} as {role}, and {piece} is {token}.")
        if await detokenize([token]):
            defects.append(f"{model.name} has {piece} as ordinary text.")
        if set(control.values()) & set(await tokenize(f"x {piece.lstrip('▁')}")):
            defects.append(f"{model.name} makes the control token {piece} of text that spells it.")
    return defects


def _end_defects(form: PromptFormat, model: ModelInfo) -> list[str]:
    end = form.ids.get("end")
    if end is None or end in model.end_ids or end in form.end_ids:
        return []
    return [f"{model.name} does not end a generation at its token {end}."]


async def _infill_ends(form: PromptFormat, engine: Engine) -> str:
    asked = _data()["infill"]
    prompt = await _prompt(form, asked["prefix"], asked["suffix"], engine.tokenize)
    sampling = Sampling(
        asked["most_tokens"], stop_ids=form.end_ids, copy=False, draft=False, yields=True
    )
    usage = Usage()
    async with aclosing(engine.generate(prompt, sampling)) as pieces:
        async for piece in pieces:
            usage = piece.usage
    if usage.stop_reason == "budget":
        name = (await engine.info()).name
        return (
            f"{name} did not end an infill of one name within {asked['most_tokens']} tokens: it was not trained "
            "to infill, or its end token is wrong."
        )
    return f"an infill ended after {usage.tokens_generated} tokens"


async def _prompt(form: PromptFormat, prefix: str, suffix: str, tokenize: Tokenize) -> list[int]:
    parts = {
        "PREFIX": await form.encode("PREFIX", prefix, tokenize),
        "SUFFIX": await form.encode("SUFFIX", suffix, tokenize),
    }
    return form.lay_out(form.layout("psm"), parts)


def _asked_by(model: ModelInfo) -> PromptFormat | None:
    try:
        return format_of(model)
    except RoleError:
        return None


@cache
def _data() -> Mapping[str, Any]:
    return tomllib.loads(files("midfill").joinpath("selftest.toml").read_text("utf-8"))
