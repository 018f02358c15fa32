"""Which licence a package's metadata names, and whether it is among those that the corpus allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_LICENCE_NAME_CHARS = 60
"""A longer free-text licence field holds the licence itself, not its name."""


def licence_of(
    metadata: Mapping[str, Any], classifiers: Iterable[str], rules: Mapping[str, Any]
) -> str:
    """The package's licence as an SPDX expression, or "" when its metadata names none that we know.

    Three fields may hold it. The expression is exact; classifiers come next, since the free-text field may
    hold a whole licence.
    """
    expression = (metadata.get("License-Expression") or "").strip()
    if expression:
        return expression
    spelled: Mapping[str, str] = rules["licences"]["spelled"]
    allowed: list[str] = rules["licences"]["allowed"]

    def spdx(words: str) -> str:
        return words if words in allowed else spelled.get(words.lower(), "")

    text = (metadata.get("License") or "").strip()
    if len(text) > MAX_LICENCE_NAME_CHARS:
        text = ""
    if " AND " in text or " OR " in text:
        return text
    named = [name.split("::")[-1].strip() for name in classifiers if name.startswith("License ::")]
    # A classifier such as "BSD License" names a family; an exact identifier beside it is better.
    if text in allowed:
        return text
    found = [spdx(name) or name for name in named if name != "OSI Approved"]
    return " AND ".join(sorted(set(found))) if found else spdx(text)


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Whether an SPDX expression can be satisfied with allowed licences alone: all sides of AND, one side of OR."""
    names = {name.lower() for name in allowed}
    tokens = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression)
    position = 0

    def either() -> bool:
        nonlocal position
        result = both()
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            result = both() or result
        return result

    def both() -> bool:
        nonlocal position
        result = one()
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            result = one() and result
        return result

    def one() -> bool:
        nonlocal position
        if position >= len(tokens):
            return False
        token = tokens[position]
        position += 1
        if token == "(":
            result = either()
            position += 1
            return result
        return token.lower() in names

    result = either()
    return result and position == len(tokens)
