"""Which strings and brackets a piece of code leaves open, from its characters and a language's data alone.

At the caret a tree is of little use for this: a bracket that is not closed yet is what breaks it. Brackets in
strings and comments are none.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from midfill.languages import Language, language


class Nesting(NamedTuple):
    """What a piece of code does to the strings and brackets around it."""

    closers: str
    """What closes the string and the brackets that it leaves open, the innermost first."""
    n_unopened: int
    """How many brackets it closes that it has not opened."""
    in_comment: bool
    """Whether what follows on the line still belongs to a comment."""


def closers(known: Language, text: str) -> str:
    """What closes the string and the brackets that a text leaves open, the innermost first."""
    return nesting(known, text).closers


def nesting(known: Language, text: str) -> Nesting:
    """What a text leaves open, and what it closes without having opened it."""
    pairs = dict(known.brackets)
    closing, marks = frozenset(pairs.values()), _marks(known.id)
    stack, quote, n_unopened, in_comment, at = list[str](), "", 0, False, 0
    while at < len(text):
        if quote:
            at, quote = _behind_string(text, at, quote)
            continue
        found = marks.search(text, at)
        if found is None:
            break
        mark, at = found[0], found.end()
        if found.lastgroup == "comment":
            closing_mark = known.block_comment[1] if known.block_comment else ""
            is_whole = bool(closing_mark) and mark.endswith(closing_mark)
            in_comment = at == len(text) and not is_whole
        elif found.lastgroup == "quote":
            # Text between tags has apostrophes.
            quote = mark if known.style != "markup" or stack else ""
        elif mark in pairs:
            stack.append(pairs[mark])
        elif mark in closing:
            if stack and stack[-1] == mark:
                stack.pop()
            elif mark not in stack:
                n_unopened += 1
    return Nesting(quote + "".join(reversed(stack)), n_unopened, in_comment)


def _behind_string(text: str, at: int, quote: str) -> tuple[int, str]:
    """Where a string ends that goes on at `at`, and the quote it still waits for."""
    for found in _IN_STRING.finditer(text, at):
        if found[0] == "\n" and quote not in _OF_MANY_LINES:
            return found.end(), ""
        if text.startswith(quote, found.start()):
            return found.start() + len(quote), ""
    return len(text), quote


@cache
def _marks(identifier: str) -> re.Pattern[str]:
    """What matters in code: escapes, comments and lone characters are found to be passed over."""
    known = language(identifier)
    comments = []
    if known.block_comment:
        opening, closing = map(re.escape, known.block_comment)
        comments.append(rf"{opening}.*?(?:{closing}|\Z)")
    if known.line_comment:
        comments.append(rf"(?:^|(?<=[\s;{{}}():,])){re.escape(known.line_comment)}[^\n]*")
    character = [] if "'" in known.quotes else [r"'(?:\\[^\n']+|[^'\\\n])'"]
    quotes = "|".join(map(re.escape, known.quotes)) or "(?!)"
    # Between tags there may be a script, with comparisons and arrows.
    tags = [r"<(?=[\w/!?>]|\Z)|(?<![=\-])>"] if ("<", ">") in known.brackets else []
    brackets = "".join(re.escape(bracket) for pair in known.brackets for bracket in pair)
    brackets = brackets.replace("<>", "") if tags else brackets
    parts = [
        f"(?P<comment>{'|'.join(comments) or '(?!)'})",
        r"\\.",
        *character,
        f"(?P<quote>{quotes})",
        *tags,
        f"[{brackets}]",
    ]
    return re.compile("|".join(parts), re.DOTALL | re.MULTILINE)


_OF_MANY_LINES = frozenset(('"""', "'''", "`"))
"""Any other string ends with its line: it was forgotten, or is an apostrophe."""

_IN_STRING = re.compile(r"\\.|[\"'`\n]", re.DOTALL)
