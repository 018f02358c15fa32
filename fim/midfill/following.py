"""Whether anything after the caret belongs to what is written there: where nothing does, no infilling is needed."""

from __future__ import annotations

from midfill.context import CompletionContext

_CLOSERS = (")", "]", "}")
_TAB_WIDTH = 8


def nothing_follows(context: CompletionContext) -> bool:
    """Whether the caret is at the end of its line and of the file, or of its block, by the indentation of Python.

    A block ends where the next line that is not blank stands further left than what is to be written, and closes no
    bracket.
    """
    if context.line_tail.strip():
        return False
    lines = context.document.lines[context.document.line_of(context.offset) + 1 :]
    following = next((line for line in lines if line.strip()), "")
    if not following:
        return True
    if following.lstrip().startswith(_CLOSERS):
        return False
    here, there = _width(context.line_head), _width(following)
    return (
        there <= here if context.extent == "block" and context.line_head.strip() else there < here
    )


def _width(line: str) -> int:
    expanded = line.expandtabs(_TAB_WIDTH)
    return len(expanded) - len(expanded.lstrip())
