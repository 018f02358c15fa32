"""Where a generation of several lines ends: by its indentation, and by brackets and strings where these tell more."""

from __future__ import annotations

import re

from midfill.context import CompletionContext
from midfill.languages import Language, language
from midfill.nesting import closers
from midfill.overlap import lines_below

_CLOSING = re.compile(r"[)\]}>]+[;,]?|</[\w.:-]*>?[;,)]*|\{/\w+\}")
_BEGUN = re.compile(r"<|\{(?:/\w*)?")
_BEHIND_WORD = ";,)"


def limit_scope(text: str, context: CompletionContext) -> str:
    """Cut where the block ends that the caret stands in or at the head of.

    After a head such as `if x {` the block's lines stand deeper than the head's, none less deep than the
    first, and one line level with the head that only closes belongs to the block unless it is there already.
    On a blank line they stand at least as deep as the first, and as the caret.
    """
    end = scope_end(text, context)
    return text if end is None else text[:end]


def scope_end(text: str, context: CompletionContext, *, grows: bool = False) -> int | None:
    """Where the block of a text ends, or nothing if the text does not go beyond it.

    `grows` says that more may follow; a last line that could still become the one that closes is waited for.
    """
    if context.extent == "line":
        return None
    known = language(context.document.language)
    head = context.line_head.strip()
    # Behind a docstring's quotes the block goes on at their depth.
    opened = at_head = bool(head) and head[-1] not in "\"'"
    head_depth = len(context.indent)
    min_depth = head_depth + 1 if at_head else len(context.indent if head else context.line_head)
    start = text.find("\n") + 1
    if opened and start and _body_stands_in(text[: start - 1], head, known):
        return start - 1
    if not head and (depth := _depth_of_first(text, context)) > min_depth:
        # The caret stands less deep than the body that begins there.
        opened, head_depth, min_depth = True, _depth_above(context), depth
    while start:
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)]
        content, depth = line.strip(), len(line) - len(line.lstrip())
        if content and at_head and depth >= min_depth:
            at_head, min_depth = False, depth
        elif content and depth < min_depth and not _in_string(text[:start], known):
            may_close = opened and depth == head_depth
            if may_close and grows and end < 0 and _begins_to_close(content, known):
                return None
            closes = may_close and _only_closes(content, known)
            belongs = closes and not (context.line_tail.strip() or _is_below(line, context))
            return start + len(line) if belongs else start - 1
        start = end + 1
    return None


def _depth_of_first(text: str, context: CompletionContext) -> int:
    """How deep the first line stands that holds anything, or 0 while there is none."""
    line = next((line for line in (context.line_head + text).split("\n") if line.strip()), "")
    return len(line) - len(line.lstrip())


def _depth_above(context: CompletionContext) -> int:
    """How deep the last line above the caret stands that is not blank."""
    document, line_idx = context.document, context.document.line_of(context.offset)
    above = (document.lines[idx] for idx in range(line_idx - 1, -1, -1))
    line = next((line for line in above if line.strip()), "")
    return len(line) - len(line.lstrip())


def _is_below(line: str, context: CompletionContext) -> bool:
    """Whether the next line below the caret that is not blank is this one, at the same depth."""
    below = next((found for found in lines_below(context) if found.strip()), "")
    return below.rstrip() == line.rstrip()


def _body_stands_in(line: str, head: str, known: Language) -> bool:
    """Whether the rest of a header's line holds the whole body, as in `if x: return` and `if (x) { return; }`."""
    if not line.strip():
        return False
    before, after = closers(known, head), closers(known, head + line)
    if known.style == "indent":
        return before == after and not line.lstrip().startswith(known.line_comment)
    return len(after) < len(before)


def _in_string(text: str, known: Language) -> bool:
    """Whether a string that the text has opened goes on, whose lines stand where they like."""
    return closers(known, text)[:1] in ('"', "'", "`")


def _only_closes(content: str, known: Language) -> bool:
    return bool(_CLOSING.fullmatch(content)) or content.rstrip(_BEHIND_WORD) in known.closing_words


def _begins_to_close(content: str, known: Language) -> bool:
    return bool(_BEGUN.fullmatch(content) or _only_closes(content, known)) or any(
        word.startswith(content) for word in known.closing_words
    )
