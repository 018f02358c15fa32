"""The manual's page of settings, made from the settings themselves: `python -m midfill_server.manual`."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal, get_args, get_origin

from midfill_server.options import STRINGS, Option, all_options

_HEAD = """\
# Settings

An editor sends them as `initializationOptions`, nested as the dots say: `{"completion": {"debounceMs": 20}}`.
A value that has no meaning is reported once, its default is used, and the rest holds.
This page is made from `fim/midfill/settings.py` by `python -m midfill_server.manual`.

| setting | type | default | what it does |
|---|---|---|---|
"""


def settings_page() -> str:
    """The whole page, in Markdown."""
    return _HEAD + "".join(map(_row, all_options()))


def _row(option: Option) -> str:
    default = json.dumps(option.default)
    return f"| `{option.name}` | {_type(option.type)} | `{default}` | {option.description} |\n"


def _type(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(wanted))
    names = {bool: "true or false", int: "whole number", float: "number", STRINGS: "list of texts"}
    return names.get(wanted, "text")


if __name__ == "__main__":
    sys.stdout.write(settings_page())
