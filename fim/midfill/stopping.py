"""While a generation streams: whether anything that could still follow would be shown."""

from __future__ import annotations

from midfill.context import CompletionContext
from midfill.engine import StopReason
from midfill.indenting import fit_indentation
from midfill.noise import goes_round, is_stuck
from midfill.overlap import drop_following_lines, drop_rest_of_line
from midfill.scope import scope_end


def stop_reason(text: str, context: CompletionContext) -> StopReason:
    """Why nothing that follows `text` would be shown, or an empty string to go on.

    It asks the filters' own rules about what has been said and can no longer change: lines that have ended, and
    of the last line its depth and what it says already.
    """
    if context.extent == "line":
        if "\n" in text:
            return "line"
    elif scope_end(fit_indentation(text, context), context, grows=True) is not None:
        return "block"
    if _says_suffix(text, context):
        return "suffix"
    if goes_round(text) or is_stuck(text[: text.rfind("\n") + 1]):
        return "repetition"
    return ""


def _says_suffix(text: str, context: CompletionContext) -> bool:
    """Whether the rest of the caret's line is said again, or a line below it."""
    if drop_rest_of_line(text, context) != text:
        return True
    # A last line may begin as the one below and go on: `x = 1` to `x = 10`.
    ended = text[: text.rfind("\n") + 1]
    return drop_following_lines(ended, context) != ended
