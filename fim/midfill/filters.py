"""From what the model said to what may be shown: pure functions, in order.

What is "measured" below was seen in the answers of the embedded model to `bench.holes`, seed 1.

Each takes the text so far and the context at the caret and gives the text that is left; an empty text
shows nothing. The regular expressions and distances with a name behind them come from Tabby's filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from midfill.context import CompletionContext
from midfill.validity import longest_valid

Filter = Callable[[str, CompletionContext], str]

_REFUSED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 but tab and newline; ESC begins terminal commands
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffd"  # zero width, bidi, U+FFFD
    "\U000e0000-\U000e007f\ud800-\udfff]"  # tags, lone surrogates
)
_REPEATED_TAIL = (re.compile(r"(.{3,}?)\1{5,}$", re.S), re.compile(r"(.{10,}?)\1{3,}$", re.S))
"""Something said six times, or something long said four times, up to the end (Tabby)."""
_MAX_SAME_LINES = 3
_CLOSING_LINE = re.compile(r"[)\]}>]+[;,]?|end[;,)]*|fi|done|esac")
_CLOSERS = {")": "(", "]": "[", "}": "{"}


def filtered(generation: str, context: CompletionContext) -> str:
    """What may be shown of a generation at this caret."""
    text = generation
    for step in FILTERS:
        text = step(text, context)
        if not text:
            break
    return text


def refuse_control_characters(text: str, context: CompletionContext) -> str:
    """Cut before the first character that could hide something from a reader or steer a terminal."""
    refused = _REFUSED.search(text)
    return text[: refused.start()] if refused else text


def keep_first_line(text: str, context: CompletionContext) -> str:
    """Where only the line is completed, cut at its end."""
    return text.partition("\n")[0] if context.extent == "line" else text


def limit_scope(text: str, context: CompletionContext) -> str:
    """Cut where the block ends that the caret stands in or at the head of.

    After a head such as `if x {` the block's lines stand deeper than the head's, none less deep than the
    first, and one line level with the head that only closes belongs to the block unless it is there already.
    On a blank line they stand at least as deep as the caret.
    """
    if context.extent == "line":
        return text
    head = context.line_head.strip()
    # Behind a docstring's quotes the block goes on at their depth.
    opened = at_head = bool(head) and head[-1] not in "\"'"
    head_depth = len(context.indent)
    min_depth = head_depth + 1 if at_head else len(context.indent if head else context.line_head)
    lines = text.split("\n")
    for line_idx, line in enumerate(lines[1:], start=1):
        content = line.strip()
        depth = len(line) - len(line.lstrip())
        if content and at_head and depth >= min_depth:
            at_head, min_depth = False, depth
        elif content and depth < min_depth:
            closes = opened and depth == head_depth and _CLOSING_LINE.fullmatch(content)
            belongs = bool(closes) and _next_line(context) != content
            return "\n".join(lines[: line_idx + belongs])
    return text


def drop_repeat_of_suffix(text: str, context: CompletionContext) -> str:
    """Cut where the text begins to say again what already stands after the caret."""
    tail = context.line_tail.rstrip()
    text = _trim_overlap(text, tail or context.suffix)
    text = _trim_group(text, tail)
    if len(tail) >= _TELLING_CHARS and (again := text.find(tail[:_TELLING_CHARS])) >= 0:
        text = text[:again]
    following = _next_line(context)
    if not following:
        return text
    lines = text.split("\n")
    for line_idx, line in enumerate(lines):
        whole = (context.line_head + line if line_idx == 0 else line).strip()
        if whole == following and len(whole) > _TRIVIAL_CHARS:
            return "\n".join(lines[:line_idx])
    return text


def drop_repetition(text: str, context: CompletionContext) -> str:
    """A model that got stuck had nothing to say: of 26 texts cut back to one repetition none was right (measured)."""
    if any(pattern.search(text) for pattern in _REPEATED_TAIL):
        return ""
    lines = text.split("\n")
    for line_idx in range(_MAX_SAME_LINES, len(lines)):
        if (
            lines[line_idx].strip()
            and len({*lines[line_idx - _MAX_SAME_LINES : line_idx + 1]}) == 1
        ):
            return ""
    return text


def cut_to_valid_syntax(text: str, context: CompletionContext) -> str:
    """The longest beginning that adds no syntax error where it would stand.

    Where nothing stands right of the caret, whole lines are left or none, unless only brackets too many are
    cut: of 26 lines cut in the middle there none was right (measured).
    """
    if context.syntax is None:
        return text
    valid = longest_valid(context.syntax, context.offset, context.offset, text)
    if not text[len(valid) :].strip(" \t)]}") or context.line_tail.strip():
        return valid
    whole_lines = len(valid) if text[len(valid) :].startswith("\n") else valid.rfind("\n") + 1
    return valid[:whole_lines]


def drop_blank(text: str, context: CompletionContext) -> str:
    """White space alone is not worth showing, and none is left at the end."""
    return text.rstrip()


FILTERS: tuple[Filter, ...] = (
    refuse_control_characters,
    keep_first_line,
    limit_scope,
    drop_repeat_of_suffix,
    drop_repetition,
    cut_to_valid_syntax,
    drop_blank,
)

_TELLING_CHARS = 8
"""So many characters of the rest of the line, found in the text, are its repetition (10 cuts, 6 right, 0 lost)."""

_TRIVIAL_CHARS = 3
"""A line no longer than this, such as a closing bracket, may well come twice."""


def _trim_group(text: str, tail: str) -> str:
    """`text` without a bracketed group at its end, where such a group stands right of the caret already.

    At `self.║(a, b)` the text `register(a, b)` is cut to `register`.
    """
    closer = next((closer for closer, opener in _CLOSERS.items() if tail.startswith(opener)), "")
    if not closer or not text.rstrip().endswith(closer):
        return text
    depth = 0
    for idx in range(len(text.rstrip()) - 1, -1, -1):
        depth += (text[idx] == closer) - (text[idx] == _CLOSERS[closer])
        if depth == 0:
            return text[:idx]
    return text


def _next_line(context: CompletionContext) -> str:
    """The first line after the caret's that is not blank, without its white space."""
    lines = context.suffix.split("\n")[1:]
    return next((line.strip() for line in lines if line.strip()), "")


def _trim_overlap(text: str, after: str) -> str:
    """`text` without the end that is also the beginning of `after`.

    A closer that belongs to an opener inside the text stays: at `f(║)` the text `g(1)` needs its own.
    """
    for length in range(min(len(text), len(after)), 0, -1):
        if text.endswith(after[:length]):
            rest = text[:-length]
            if after[:length].strip() and _unclosed(rest) <= _unclosed(text):
                return rest
    return text


def _unclosed(text: str) -> int:
    """How many brackets are opened and not closed. Brackets in strings count too: they come in pairs."""
    stack: list[str] = []
    for char in text:
        if char in "([{":
            stack.append(char)
        elif char in _CLOSERS and stack and stack[-1] == _CLOSERS[char]:
            stack.pop()
    return len(stack)
