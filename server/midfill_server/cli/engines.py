"""The options that name a model, or servers instead, as all commands have them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from midfill.engines.model_files import chosen_model

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Gives a command an option."""

MODEL: Option = click.option(
    "--model",
    default=partial(chosen_model, "completion"),
    help="A model's name or a GGUF file's path; by default the chosen one, else the embedded one.",
)
URLS: Option = click.option(
    "--url",
    "urls",
    multiple=True,
    help="Address of a running server to use instead; may be repeated.",
)
INSTRUCT: Option = click.option(
    "--instruct",
    default=partial(chosen_model, "instruct"),
    help="The same for the one that explains and edits.",
)
