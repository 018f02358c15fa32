"""From what a client sent to `Settings`, and from `Settings` to what people read about them.

Clients write camelCase, as their own settings are; a value that has no meaning is reported once and its
default is used, and the valid rest holds.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from midfill.settings import Settings

S = TypeVar("S")

STRINGS = tuple[str, ...]
"""The type of a setting that is a list of strings; a single one may be written without the list."""


@dataclass(frozen=True)
class Option:
    """One setting as a person sees it."""

    name: str
    """Dotted, in camelCase, such as `completion.debounceMs`."""
    type: Any
    default: Any
    description: str


def settings_from_client(options: Any, base: Settings) -> tuple[Settings, list[str]]:
    """`base` with a client's options laid over it, and one sentence for each that has no meaning."""
    problems: list[str] = []
    if options is None:
        return base, problems
    return _overlaid(base, options, "", problems), problems


def all_options() -> list[Option]:
    """Every setting with its default and description, in the order in which they are declared."""
    return list(_options(Settings(), ""))


def _overlaid(base: S, options: Any, path: str, problems: list[str]) -> S:
    if not isinstance(options, Mapping):
        problems.append(f"{path or 'the settings'} must be an object; its defaults are used.")
        return base
    hints = get_type_hints(type(base))
    names = {_camel(name): name for name in hints}
    changed: dict[str, Any] = {}
    for key, value in options.items():
        where = f"{path}.{key}" if path else str(key)
        name = names.get(key)
        if name is None:
            problems.append(f"{where} is not a setting.")
        elif is_dataclass(current := getattr(base, name)):
            changed[name] = _overlaid(current, value, where, problems)
        elif _fits(value, hints[name]):
            changed[name] = _as(hints[name], value)
        else:
            problems.append(f"{where} must be {_wanted(hints[name])}; {current!r} is used instead.")
    return replace(base, **changed)  # type: ignore[type-var]  # always one of the settings classes


def _fits(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted == STRINGS:
        listed = [value] if isinstance(value, str) else value
        return isinstance(listed, list | tuple) and all(type(item) is str for item in listed)
    return type(value) is wanted


def _as(wanted: Any, value: Any) -> Any:
    if wanted == STRINGS:
        return (value,) if isinstance(value, str) else tuple(value)
    return float(value) if wanted is float else value


def _wanted(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(repr, get_args(wanted)))
    names = {bool: "true or false", int: "a whole number", float: "a number", STRINGS: "strings"}
    return names.get(wanted, "a string")


def _options(settings: Any, path: str) -> Iterator[Option]:
    hints, docs = get_type_hints(type(settings)), _field_docs(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        name = f"{path}{_camel(field.name)}"
        if is_dataclass(value):
            yield from _options(value, f"{name}.")
        else:
            yield Option(name, hints[field.name], value, docs[field.name])


def _field_docs(settings_class: type) -> Mapping[str, str]:
    """The docstring below each field."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings_class)))
    body = tree.body[0].body  # type: ignore[attr-defined]  # a class has one
    docs: dict[str, str] = {}
    for declared, below in pairwise(body):
        if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name):
            is_doc = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            docs[declared.target.id] = " ".join(below.value.value.split()) if is_doc else ""
    return docs


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
