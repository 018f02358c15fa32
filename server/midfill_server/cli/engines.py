"""The options that name a model, or servers instead, as all commands have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from midfill.engine import Role

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Gives a command an option."""


def _chosen(role: Role) -> Callable[[], str]:
    def chosen() -> str:
        # A server that is started answers its editor before it looks.
        from midfill.engines.model_files import chosen_model  # noqa: PLC0415

        return chosen_model(role)

    return chosen


MODEL_HELP = (
    "A model's name or a GGUF file's path; by default the chosen one, else the embedded one."
)
MODEL: Option = click.option("--model", default=_chosen("completion"), help=MODEL_HELP)
URLS: Option = click.option(
    "--url",
    "urls",
    multiple=True,
    help="Address of a running server to use instead; may be repeated.",
)
INSTRUCT: Option = click.option(
    "--instruct",
    default=_chosen("instruct"),
    help="The same for the one that explains and edits.",
)
