"""Write the editor's settings into `package.json`, from the server's own: `python clients/vscode/generate.py`.

Only the generated parts are replaced: `contributes.configuration`, the settings that an untrusted workspace may not
make, which are all, and the version. The rest of the file is written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from midfill.settings import NO_LIMIT
from midfill.version import __version__
from midfill_server.options import STRINGS, Option, all_options

MANIFEST = Path(__file__).with_name("package.json")

_TITLE = "Midfill"
"""Heads the settings that belong to no group."""

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}

_MACHINE_GROUPS = ("server", "engine", "instruct")
"""Settings of these groups differ from machine to machine, so they are not synchronised. They also name programs to
run, files to load and addresses to send code to, so no workspace may make them."""

_OWN: Mapping[str, Mapping[str, Any]] = {
    "midfill.server.command": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "markdownDescription": "Command that starts the language server, one string for each word, such as "
        '`["/home/me/venv/bin/midfill", "serve"]`. Empty: `midfill` of the selected Python environment, or else '
        "on the path, among the tools of `uv` and `pipx`, or as this extension has installed it.",
        "scope": "machine",
    },
    "midfill.server.requirement": {
        "type": "string",
        "default": "midfill[llama]",
        "markdownDescription": "What *Install the Server* gives to `pip install`: a requirement with a version, a "
        "wheel or a folder. Where packages come from is what `pip` is configured to.",
        "scope": "machine",
    },
}
"""Settings that are the extension's own. The server passes over the group."""


def generated(manifest: str) -> str:
    """`manifest` with its generated parts made anew."""
    content = json.loads(manifest)
    configuration = _configuration(all_options())
    content["version"] = __version__
    content["contributes"]["configuration"] = configuration
    content["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"] = [
        name for part in configuration for name in part["properties"]
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _configuration(options: Iterable[Option]) -> list[dict[str, Any]]:
    properties = {f"midfill.{option.name}": _schema(option) for option in options}
    properties = {**_OWN, **properties}
    return [
        {"title": title, "properties": dict(part)}
        for title, part in groupby(properties.items(), key=lambda item: _title(item[0]))
    ]


def _schema(option: Option) -> Mapping[str, Any]:
    schema: dict[str, Any] = {}
    if get_origin(option.type) is Literal:
        schema["enum"] = list(get_args(option.type))
    elif option.type == STRINGS:
        schema |= {"type": "array", "items": {"type": "string"}}
    else:
        schema["type"] = _JSON_TYPES[option.type]
    if option.within is not None:
        schema["minimum"] = option.within.least
        if option.within.most < NO_LIMIT:
            schema["maximum"] = option.within.most
    schema["default"] = _as_npm_writes(option.default)
    schema["markdownDescription"] = option.description
    is_machines = option.name.split(".")[0] in _MACHINE_GROUPS
    schema["scope"] = "machine" if is_machines else "window"
    return schema


def _as_npm_writes(value: Any) -> Any:
    """JavaScript knows no 10.0, and npm writes the whole file anew when it changes a dependency."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _title(name: str) -> str:
    group = name.split(".")[1:-1]
    return group[0].capitalize() if group else _TITLE


if __name__ == "__main__":
    MANIFEST.write_text(generated(MANIFEST.read_text("utf-8")), "utf-8")
