"""What a model can do, and why that is believed: each ability with one phrase of evidence.

Pure: from what is known of a model (`ModelInfo`), however that was read, and from what a catalogue says of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from midfill.chat import Message, rendered
from midfill.chat_formats import can_chat, chat_format_of
from midfill.engine import ModelInfo, Role
from midfill.errors import MidfillError, RoleError
from midfill.formats import Order, format_of, infill_format
from midfill.trained import check_talks, is_made_to_talk, training_of


class Listed(NamedTuple):
    """What a catalogue says of a file."""

    names: tuple[str, ...] = ()
    """What the model is called there: known training goes by it too."""
    licence: str = ""
    licence_source: str = ""
    """Where that was seen."""


@dataclass(frozen=True)
class Ability:
    """One of them."""

    has: bool
    what: str
    """What it is, in some words; empty where there is none."""
    why: str
    """The evidence, a phrase without a full stop."""


@dataclass(frozen=True)
class Abilities:
    """What a model can do."""

    infill: Ability
    prefix: Ability
    """Going on from what stands before the caret alone; a model that infills is never asked so."""
    chat: Ability
    thinking: Ability
    context: Ability
    licence: Ability
    orders: tuple[Order, ...] = ()
    """In which the prompt of a completion may be, the usual one first."""
    family: str = ""
    """Of `formats.toml`; empty for a model that does not complete."""
    python: bool = False
    """Whether it was tuned for Python."""
    refusals: tuple[str, ...] = ()
    """For each role that it does not serve one sentence, which names a model that does."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """What it can be set to: `completion` in `engine.model`, `instruct` in `instruct.model`, `python` in
        `engine.pythonModel`."""
        completes = self.infill.has or self.prefix.has
        served: tuple[tuple[Role, bool], ...] = (
            ("completion", completes),
            ("instruct", self.chat.has),
            ("python", self.prefix.has and self.python),
        )
        return tuple(role for role, serves in served if serves)


def abilities_of(
    model: ModelInfo, *, n_ctx: int = 0, licence: str = "", listed: Listed | None = None
) -> Abilities:
    """What a model can do. `n_ctx` is how many tokens it was trained with, `licence` what its file says."""
    listed = listed or Listed()
    model = replace(model, names=(*model.names, *listed.names))
    refusals = tuple(filter(None, (_refusal(format_of, model), chat_refusal(model))))
    try:
        form = format_of(model)
    except RoleError:
        form = None
    infills = form is not None and form.infills
    return Abilities(
        infill=_infill(model, infills),
        prefix=_prefix(model, form is not None, infills),
        chat=_chat(model),
        thinking=_thinking(model),
        context=_context(n_ctx or model.n_ctx),
        licence=_licence(licence, listed),
        orders=tuple(form.orders) if form else (),
        family=form.family if form else "",
        python=training_of(model).python,
        refusals=refusals,
    )


def chat_refusal(model: ModelInfo) -> str:
    """Why the model cannot explain or edit, in a sentence that names one that can; empty where it can."""
    if why := _refusal(check_talks, model):
        return why
    return _refusal(lambda model: rendered(model, _TRIED), model)


def _infill(model: ModelInfo, infills: bool) -> Ability:
    form, training = infill_format(model), training_of(model)
    if form is None:
        return Ability(False, "", "its vocabulary has the infill tokens of no known family")
    controls = {token: piece for piece, token in model.control_ids.items()}
    roles = ("prefix", "suffix", "middle", "end")
    pieces = [controls[form.ids[role]].lstrip("▁") for role in roles if role in form.ids]
    has = f"has {', '.join(pieces)}"
    if not infills:
        return Ability(False, "", f"{has}, but {training.why}")
    orders = " and ".join(order.upper() for order in form.orders)
    known = f"; {training.why}" if training.infill else ""
    return Ability(True, f"{orders}, as {form.family} is asked", f"{has}{known}")


def _prefix(model: ModelInfo, completes: bool, infills: bool) -> Ability:
    if infills:
        return Ability(False, "", "it infills, which is more")
    if completes:
        return Ability(True, "at the ends of lines", "it does not infill, and is not made to talk")
    return Ability(False, "", "it is made to talk")


def _chat(model: ModelInfo) -> Ability:
    training = training_of(model)
    if training.talks is False:
        template = ", whatever its template says" if model.chat_template else ""
        return Ability(False, "", training.why + template)
    if not can_chat(model):
        known = f"{training.why}, but " if is_made_to_talk(model) and training.why else ""
        return Ability(False, "", f"{known}its file has no chat template")
    if why := chat_refusal(model):
        return Ability(False, "", why.rstrip("."))
    form = chat_format_of(model)
    if not model.chat_template and form is not None:
        return Ability(
            True, f"as {form.name} writes conversations", "its file has no chat template"
        )
    style = next((name for name, sign in _STYLES.items() if sign in model.chat_template), "its own")
    return Ability(True, f"the template of its file ({style})", "a conversation was laid out by it")


def _thinking(model: ModelInfo) -> Ability:
    training = training_of(model)
    if training.thinks:
        return Ability(True, "it reasons before it answers", training.why)
    if re.search(r"</?think>", model.chat_template):
        return Ability(True, "it reasons before it answers", "its template has <think>")
    if "<think>" in model.control_ids:
        return Ability(False, "", "it has <think>, which its template does not use")
    return Ability(False, "", "its template has no <think>")


def _context(n_ctx: int) -> Ability:
    if not n_ctx:
        return Ability(False, "", "its file does not tell")
    return Ability(True, f"{n_ctx} tokens", "its file names them (context_length)")


def _licence(of_file: str, listed: Listed) -> Ability:
    if of_file:
        return Ability(True, of_file, "its file names it (general.license)")
    if listed.licence:
        seen = f", seen in {listed.licence_source}" if listed.licence_source else ""
        return Ability(True, listed.licence, f"the catalogue names it{seen}")
    return Ability(False, "", "its file does not tell; see where it came from")


def _refusal(check: Callable[[ModelInfo], object], model: ModelInfo) -> str:
    try:
        check(model)
    except MidfillError as error:
        return str(error)
    return ""


_TRIED = (Message("user", "Hello"),)
_STYLES = {
    "ChatML": "<|im_start|>",
    "Llama 3": "<|start_header_id|>",
    "Llama 2 or Mistral": "[INST]",
    "Gemma": "<start_of_turn>",
    "DeepSeek": "<｜User｜>",
    "Alpaca": "### Instruction:",
    "Phi": "<|user|>",
}
"""What a template is called, by a text that it writes."""
