"""The manual's page of settings, made from the settings themselves: `python -m midfill_server.manual`."""

from __future__ import annotations

import json
import sys
from typing import Literal, get_args, get_origin

from midfill_server.options import STRINGS, Option, all_options, range_of

_HEAD = """\
# Settings

A setting comes from these, the later over the earlier:

1. the command line of `midfill serve`;
2. the editor: its `initializationOptions`, nested as the dots say, `{"completion": {"debounceMs": 20}}`, and then what
   it answers to `workspace/configuration` for the section `midfill`, or sends with `workspace/didChangeConfiguration`;
3. for the files of a project, a `midfill.toml` at the root of the workspace's folder:

   ```toml
   [completion]
   maxTokensBlock = 80
   ignore = ["vendor/", "*.min.js"]
   ```

   A project may set only what is marked with a ●, and can turn completion off but not on: the file comes with other
   people's code. It never names a program, a model, an address or a key.

A value that has no meaning is reported once, its default is used, and the rest holds. A change holds from the next
request; one of `engine` or `instruct` loads the model anew, and whatever is being asked meanwhile is answered empty.
One of `index` or `completion.ignore` has the folders' index brought in line with it at once.
This page is made from `fim/midfill/settings.py` by `python -m midfill_server.manual`.

| setting | type | default | ● | what it does |
|---|---|---|---|---|
"""


def settings_page() -> str:
    """The whole page, in Markdown."""
    return _HEAD + "".join(map(_row, all_options()))


def _row(option: Option) -> str:
    default, mark = json.dumps(option.default), "●" if option.by_project else ""
    return f"| `{option.name}` | {_type(option)} | `{default}` | {mark} | {option.description} |\n"


def _type(option: Option) -> str:
    if get_origin(option.type) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(option.type))
    names = {bool: "true or false", int: "whole number", float: "number", STRINGS: "list of texts"}
    within = f" {range_of(option.within)}" if option.within else ""
    return names.get(option.type, "text") + within


if __name__ == "__main__":
    sys.stdout.write(settings_page())
