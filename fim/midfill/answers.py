"""What is in a model's answer: the one block of code that it was asked for.

Models that were asked for one fenced block wrap it in prose, forget to close it, glue it to a sentence, or leave
code out of it with a comment that says so. What can be told apart for certain is; the rest is refused, with
a reason that the model is told when it is asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from midfill.languages import Language


@dataclass(frozen=True)
class Block:
    """A piece of code in an answer, with `\\n` line endings and one at its end."""

    code: str
    closed: bool
    """Whether a fence ends it."""


def blocks_of(answer: str) -> list[Block]:
    """The fenced blocks of an answer. A fence may follow prose on its line, and may be glued to the last line."""
    blocks: list[Block] = []
    fence, code = "", list[str]()
    for line in answer.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not fence:
            if opening := _OPENING.search(line):
                fence, code = opening["fence"], []
            continue
        stripped = line.strip()
        if set(stripped) == {fence[0]} and len(stripped) >= len(fence):
            blocks.append(_block(code, closed=True))
            fence = ""
        elif stripped.endswith(fence) and stripped.count(fence) == 1:
            code.append(line.rstrip()[: -len(fence)].rstrip())
            blocks.append(_block(code, closed=True))
            fence = ""
        else:
            code.append(line)
    if fence:
        # Python's grammar takes a fence that is too short for a string.
        whole = _SHORT_FENCE.sub("\n", "\n".join(code))
        blocks.append(_block(whole.split("\n"), closed=False))
    return [block for block in blocks if block.code.strip()]


def left_out(code: str, before: str, language: Language) -> str:
    """A line of `code` that stands for code which it leaves out, or nothing. Lines of `before` are not meant."""
    known = {line.strip() for line in before.split("\n")}
    markers = [mark for mark in (language.line_comment, *(language.block_comment or ())) if mark]
    for line in code.split("\n"):
        text = line.strip()
        if not text or text in known:
            continue
        if _DOTS.fullmatch(text):
            return text
        for marker in (*markers, "#", "//"):
            _, found, comment = text.partition(marker)
            if found and _says_left_out(comment):
                return text
    return ""


def _says_left_out(comment: str) -> bool:
    words = comment.strip(" \t*/->#!{}()[]")
    return bool(words) and bool(_ELLIPSIS.search(words) or _PHRASE.search(words))


def _block(lines: list[str], *, closed: bool) -> Block:
    code = "\n".join(lines).strip("\n")
    return Block(code.rstrip() + "\n", closed)


_OPENING = re.compile(r"(?P<fence>`{3,}|~{3,})[ \t]*[\w+#.-]{0,20}[ \t]*$")
_SHORT_FENCE = re.compile(r"\n\s*[`~]{1,2}\s*\Z")
_DOTS = re.compile(r"(?:pass\s*#\s*)?(?:\.{3,}|…)[,;]?")
_ELLIPSIS = re.compile(r"^(?:\.{3,}|…)|(?:\.{3,}|…)$")
_PHRASE = re.compile(
    r"\b(?:the )?(?:rest|remainder) (?:of|is|stays|remains|unchanged|goes)\b"
    r"|\b(?:rest|remaining|existing|previous|original|other|your|same)"
    r" (?:\w+ )?(?:code|lines|logic|implementation|body|methods|functions|imports|statements)"
    r"(?: (?:is|are|stays?|remains?|goes|here|unchanged|above|below|as before)\b|$)"
    r"|\b(?:unchanged|omitted|elided|as before|same as (?:before|above|the original))\b"
    r"|\bno (?:other )?changes?(?: (?:here|needed|below|above))\b"
    r"|\b(?:code|implementation|logic) (?:goes )?here\b",
    re.IGNORECASE,
)
"""How models were seen to say it: "rest of the code unchanged", "existing logic", "same as before"."""
