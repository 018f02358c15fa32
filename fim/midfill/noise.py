"""What nobody wants to be shown, whatever the place: invisible characters, loops, placeholders, secrets."""

from __future__ import annotations

import re

from midfill.context import CompletionContext
from midfill.hidden import HIDDEN
from midfill.languages import language
from midfill.masking import MASK, masked

_LOOPS = ((3, 6), (10, 4))
"""So many characters said so many times on end, up to the end, are a loop (Tabby)."""
_MAX_SAME_LINES = 3
_PLACEHOLDER = re.compile(
    r"\b(?:your|the|some|more|actual|remaining|rest of (?:the|your)?|existing) ?"
    r"(?:\w+ )?(?:code|logic|implementation|function|method)\b.{0,20}\bhere\b"
    r"|^\W*(?:add|put|insert|write|implement|fill in|complete)\b(?: \w+){0,3} (?:code|logic|implementation|here|me)\W*$"
    r"|^\W*implement(?: me| this)?\W*$"
    r"|\btodo\b\W*(?:implement|add|fill|write|complete|your)\b"
    r"|^\W*(?:\.\.\.|…)?\W*(?:rest|remainder) of (?:the |your )?(?:code|file|function|class|method|implementation)"
    r"|^\W*(?:\.\.\.|…) ?(?:existing|other|more|rest)\b",
    re.IGNORECASE,
)


_MASKED = re.compile(rf"{re.escape(MASK)}+")


def refuse_control_characters(text: str, context: CompletionContext) -> str:
    """Cut before the first character that could hide something from a reader or steer a terminal."""
    refused = HIDDEN.search(text)
    return text[: refused.start()] if refused else text


def drop_repetition(text: str, context: CompletionContext) -> str:
    """A model that got stuck had nothing to say: of 26 texts cut back to one repetition none was right (measured)."""
    return "" if is_stuck(text) or _unit_of_loop(text) else text


def is_stuck(text: str) -> bool:
    """Whether the same line, not a blank one, was said four times on end."""
    same, before = 0, ""
    for line in text.split("\n"):
        same = same + 1 if line == before and line.strip() else 0
        before = line
        if same >= _MAX_SAME_LINES:
            return True
    return False


def goes_round(text: str) -> bool:
    """Whether a growing text is in a loop: what comes again has a letter, unlike rules, tables and indentation."""
    return any(map(str.isalpha, _unit_of_loop(text)))


def drop_placeholders(text: str, context: CompletionContext) -> str:
    """Cut before a comment that only says that code should stand there, and before an ellipsis that is no code.

    `pass` and Python's `...` are code. Inside a comment nothing is cut: there a person may be writing just that.
    """
    known = language(context.document.language)
    starts = [known.line_comment, known.block_comment[0] if known.block_comment else ""]
    marks = "|".join(re.escape(start) for start in starts if start)
    if not marks:
        return text
    if re.search(rf"(?:^|\s)(?:{marks})", context.line_head):
        return text
    for comment in re.finditer(rf"(?:^|(?<=\s))(?:{marks})(.*)", text):
        if _PLACEHOLDER.search(comment[1].strip()):
            return text[: comment.start()].rstrip()
    if known.style != "indent" and text.strip() in ("...", "…"):
        return ""
    return text


def drop_secrets(text: str, context: CompletionContext) -> str:
    """Cut before the line in which a key or a token seems to be made up, or remembered from another's code.

    What the document says itself may be said again.
    """
    covered = masked(text)
    for found in _MASKED.finditer(covered):
        said = text[found.start() : found.end()]
        if said != found[0] and said not in context.document.text:
            return text[: text.rfind("\n", 0, found.start()) + 1]
    return text


def _unit_of_loop(text: str) -> str:
    """What is said over and over at the end of a text, or nothing."""
    for length in range(_LOOPS[0][0], len(text) // _LOOPS[-1][1] + 1):
        times = next(times for least, times in reversed(_LOOPS) if length >= least)
        end = text[-times * length :]
        if len(end) == times * length and end[length:] == end[:-length]:
            return end[:length]
    return ""
