"""From what a client or a project says to `Settings`, and from `Settings` to what people read about them.

Clients write camelCase, as their own settings are; a value that has no meaning is reported once and its
default is used, and the valid rest holds.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from midfill.hidden import quoted
from midfill.ignored import means_something
from midfill.settings import NO_LIMIT, PATTERNS, PROJECT, Settings, Within

S = TypeVar("S")

STRINGS = tuple[str, ...]
"""The type of a setting that is a list of strings; a single one may be written without the list."""

_CLIENTS_OWN = ("server", "trace")
"""Groups below `midfill` that are for the client itself; one that is asked for all of them sends these too."""


@dataclass(frozen=True)
class Option:
    """One setting as a person sees it."""

    name: str
    """Dotted, in camelCase, such as `completion.debounceMs`."""
    type: Any
    default: Any
    description: str
    within: Within | None = None
    """What a number may be."""
    by_project: bool = False
    """Whether a project's own `midfill.toml` may set it."""


def settings_from_client(options: Any, base: Settings, *more: Any) -> tuple[Settings, list[str]]:
    """`base`, which is the command line's, with a client's options laid over it, later ones over earlier ones.

    With it comes one sentence for each that has no meaning. A value that is the default leaves the command line's:
    some clients send the defaults of all that nobody has set.
    """
    problems: list[str] = []
    merged: dict[str, Any] = {}
    for each in (options, *more):
        if isinstance(each, Mapping):
            merged = _merged(merged, each)
        elif each is not None:
            problems.append(_no_object(""))
    for name in _CLIENTS_OWN:
        merged.pop(name, None)
    return _overlaid(base, merged, _Overlay(problems, from_project=False)), problems


def settings_from_project(options: Any, base: Settings) -> tuple[Settings, list[str]]:
    """`base`, which is a person's, with a project's options laid over it as far as a project may, and its mistakes."""
    problems: list[str] = []
    return _overlaid(base, options, _Overlay(problems, from_project=True)), problems


def all_options() -> list[Option]:
    """Every setting with its default and description, in the order in which they are declared."""
    return list(_options(Settings(), ""))


@dataclass(frozen=True)
class _Overlay:
    problems: list[str]
    from_project: bool


def _overlaid(base: S, options: Any, how: _Overlay, path: str = "") -> S:
    if not isinstance(options, Mapping):
        how.problems.append(_no_object(path))
        return base
    hints = get_type_hints(type(base), include_extras=True)
    names = {_camel(name): name for name in hints}
    defaults = type(base)()
    changed: dict[str, Any] = {}
    for key, value in options.items():
        # A project's file can hold any name, and what is wrong with it is shown to people, also in terminals.
        where = quoted(f"{path}.{key}" if path else str(key)) or '""'
        name = names.get(key)
        if name is None:
            how.problems.append(f"{where} is not a setting.")
            continue
        wanted, within, by_project = _declared(hints[name])
        if is_dataclass(current := getattr(base, name)):
            changed[name] = _overlaid(current, value, how, where)
        elif how.from_project and not by_project:
            how.problems.append(f"{where} is not for a project to set; it belongs in the editor.")
        elif not _fits(value, wanted, within):
            used = json.dumps(current)
            how.problems.append(
                f"{where} must be {_wanted(wanted, within)}; {used} is used instead."
            )
        elif idle := _meaningless(value, hints[name]):
            how.problems.append(
                f"{where} has a pattern that means nothing, {idle}; it is left out."
            )
            changed[name] = tuple(each for each in _as(wanted, value) if means_something(each))
        elif how.from_project or (value := _as(wanted, value)) != getattr(defaults, name):
            changed[name] = _as(wanted, value)
    return replace(base, **changed)  # type: ignore[type-var]  # always one of the settings classes


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(known, value)
        elif value is not None:  # Which is how a client says that nobody has set it.
            merged[key] = value
    return merged


def _no_object(path: str) -> str:
    return f"{path or 'the settings'} must be an object; its defaults are used."


def _declared(hint: Any) -> tuple[Any, Within | None, bool]:
    """A setting's type, what a number may be, and whether a project may set it."""
    if get_origin(hint) is not Annotated:
        return hint, None, False
    wanted, *beside = get_args(hint)
    within = next((each for each in beside if isinstance(each, Within)), None)
    return wanted, within, PROJECT in beside


def _fits(value: Any, wanted: Any, within: Within | None) -> bool:
    if get_origin(wanted) is Literal:
        return isinstance(value, str) and value in get_args(wanted)
    if wanted in (int, float):
        fits = type(value) is int or (wanted is float and type(value) is float)
        within = within or Within(-NO_LIMIT)
        return fits and within.least <= value <= within.most
    if wanted == STRINGS:
        listed = [value] if isinstance(value, str) else value
        return isinstance(listed, list | tuple) and all(type(item) is str for item in listed)
    return type(value) is wanted


def _meaningless(value: Any, hint: Any) -> str:
    """The first that is no pattern of a list of patterns, quoted."""
    if PATTERNS not in getattr(hint, "__metadata__", ()):
        return ""
    lost = (each for each in _as(STRINGS, value) if not means_something(each))
    return next((json.dumps(each[:80]) for each in lost), "")


def _as(wanted: Any, value: Any) -> Any:
    if wanted == STRINGS:
        return (value,) if isinstance(value, str) else tuple(value)
    return float(value) if wanted is float else value


def _wanted(wanted: Any, within: Within | None) -> str:
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(repr, get_args(wanted)))
    names = {bool: "true or false", int: "a whole number", float: "a number", STRINGS: "strings"}
    return names.get(wanted, "a string") + (f" {range_of(within)}" if within else "")


def range_of(within: Within) -> str:
    """What a number may be, in words."""
    least, most = f"{within.least:g}", f"{within.most:.10g}"
    return f"from {least} to {most}" if within.most < NO_LIMIT else f"of {least} or more"


def _options(settings: Any, path: str) -> Iterator[Option]:
    hints = get_type_hints(type(settings), include_extras=True)
    docs = _field_docs(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        name = f"{path}{_camel(field.name)}"
        if is_dataclass(value):
            yield from _options(value, f"{name}.")
        else:
            wanted, within, by_project = _declared(hints[field.name])
            yield Option(name, wanted, value, docs[field.name], within, by_project)


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
