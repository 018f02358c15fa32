"""Where the next request will be, as far as that is known before it is made."""

from __future__ import annotations

from collections.abc import Callable

from midfill.context import CompletionContext, gather
from midfill.generation import Generation
from midfill.syntax import parse
from midfill.text import Edit


def as_if_taken(
    context: CompletionContext,
    said: Generation,
    text: str,
    n_replaced: int,
    on_step: Callable[[], bool] | None = None,
) -> CompletionContext | None:
    """The caret after a completion is taken, or None where nothing more is to be said. `on_step` is as for `parse`.

    Where the model ended the line with it, nothing would be said at its end: there it is the caret after the Return
    key, which keeps the depth of the line before in every editor, but where a block opens or ends.
    """
    document = context.document
    end = context.offset + n_replaced
    left = said.text.removeprefix(text.replace(context.line_ending, "\n"))
    if _ends_line(left, said):
        if context.line_tail[n_replaced:].strip():
            return None
        line = (context.line_head + text).rpartition("\n")[2]
        text += context.line_ending + line[: len(line) - len(line.lstrip())]
    edit = Edit(document.position(context.offset), document.position(end), text)
    taken = document.edited([edit], document.version)
    syntax = parse(taken, context.syntax, on_step) if context.syntax else None
    return gather(taken, context.offset + len(text), syntax, context.path, context.snippets)


def _ends_line(left: str, said: Generation) -> bool:
    blank = left.lstrip(" \t")
    return blank.startswith("\n") or (not blank and said.stop_reason in ("eot", "block"))
