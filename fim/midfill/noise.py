"""What nobody wants to be shown, whatever the place: invisible characters, loops, placeholders, secrets."""

from __future__ import annotations

import math
import re
from collections import Counter

from midfill.context import CompletionContext
from midfill.languages import language

_REFUSED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and newline; ESC begins terminal commands
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # drawn as nothing
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0e\ufeff\ufff9-\ufffd"  # zero width, bidi, U+FFFD
    "\U000e0000-\U000e0fff\ud800-\udfff]"  # tags, variation selectors, lone surrogates
)
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
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    r"|\bgh[oprsu]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|\bglpat-[\w-]{20}"  # GitHub, GitLab
    r"|\bsk-[\w-]{20}|\bAIza[\w-]{35}|\bxox[abprs]-[\w-]{10}|\bhf_[A-Za-z]{30}"  # model hosts, Google, Slack
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_LITERAL = re.compile(r"[\"'`]([A-Za-z0-9+/=_\-]{20,})[\"'`]")
_MIN_BITS = 3.9
"""Bits per character above which a literal of digits, small and capital letters reads as a key. Of 2,552 literals
of such a shape in Python's library and seven packages two have more, both alphabets; of random ones, 24 characters
long, 99 % have (measured)."""
_HEX = re.compile(r"[0-9a-fA-F]{32,}")


def refuse_control_characters(text: str, context: CompletionContext) -> str:
    """Cut before the first character that could hide something from a reader or steer a terminal."""
    refused = _REFUSED.search(text)
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
    for found in (*_SECRET.finditer(text), *filter(_is_random, _LITERAL.finditer(text))):
        if found[0].strip("\"'`") not in context.document.text:
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


def _is_random(literal: re.Match[str]) -> bool:
    value = literal[1]
    if _HEX.fullmatch(value):
        return len(set(value.lower())) > 8
    kinds = sum(any(map(kind, value)) for kind in (str.isdigit, str.islower, str.isupper))
    counts = Counter(value).values()
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
    return kinds == 3 and bits >= _MIN_BITS
