"""From what the model said to what may be shown: pure functions, in order.

What is "measured" below was seen in the answers of the embedded model to `bench.holes`, seed 1.

Each takes the text so far and the context at the caret and gives the text that is left; an empty text
shows nothing. They know nothing of how a text was made, so they hold for one from a cache as well. `overlap`,
`scope`, `noise` and `indenting` have the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from midfill.context import CompletionContext
from midfill.indenting import fit_indentation
from midfill.languages import language
from midfill.nesting import closers
from midfill.noise import (
    drop_placeholders,
    drop_repetition,
    drop_secrets,
    refuse_control_characters,
)
from midfill.overlap import (
    drop_following_lines,
    drop_rest_of_line,
    n_replaced,
    trim_group,
    trim_overlap,
)
from midfill.scope import limit_scope
from midfill.validity import fits, longest_valid

Filter = Callable[[str, CompletionContext], str]


def filtered(
    generation: str, context: CompletionContext, steps: Sequence[Filter] | None = None
) -> str:
    """What may be shown of a generation at this caret; `overlap.n_replaced` says what it takes the place of.

    The steps are `FILTERS` unless others are given, as a bench does that leaves one out.
    """
    text = generation
    for step in FILTERS if steps is None else steps:
        text = step(text, context)
        if not text:
            break
    return text


def keep_first_line(text: str, context: CompletionContext) -> str:
    """Where only the line is completed, cut at its end."""
    return text.partition("\n")[0] if context.extent == "line" else text


def close_brackets(text: str, context: CompletionContext) -> str:
    """With the closers of the line's brackets at its end, where nothing below closes them.

    Only the parser can tell that: they are added where the document has errors without them and none with them.
    A line that ends in the middle of something, such as `f(a,`, gets none.
    """
    if context.syntax is None or context.line_tail.strip() or not text.strip():
        return text
    line = (context.line_head + text).rpartition("\n")[2]
    missing = closers(language(context.document.language), line)
    end = text.rstrip()
    if not missing or missing.strip(")]}") or not (end[-1].isalnum() or end[-1] in "_)]}\"'"):
        return text
    syntax, at = context.syntax, context.offset
    is_missing = not fits(syntax, at, at, end) and fits(syntax, at, at, end + missing)
    return end + missing if is_missing else text


def cut_to_valid_syntax(text: str, context: CompletionContext) -> str:
    """The longest beginning that adds no syntax error where it would stand.

    Where nothing stands right of the caret, whole lines are left or none, unless only brackets too many are
    cut, or a comma that JSON wants before another entry alone: of 26 lines cut in the middle there none was right
    (measured).
    """
    if context.syntax is None:
        return text
    valid = text
    while valid:
        before, n_chars = valid, n_replaced(valid, context)
        valid = longest_valid(context.syntax, context.offset, context.offset + n_chars, valid)
        if n_replaced(valid, context) == n_chars:
            break
        # A shorter text may take the place of less, and is tried again in that place.
        if valid == before:
            return ""
    if context.line_tail.strip() and not (context.extent == "block" and "\n" in text):
        # What is left may end with the very closers that it took the place of.
        return trim_overlap(valid, context) if len(valid) < len(text) else valid
    if not text[len(valid) :].strip(" \t)]},"):
        return valid
    whole_lines = len(valid) if text[len(valid) :].startswith("\n") else valid.rfind("\n") + 1
    return valid[:whole_lines]


def drop_blank(text: str, context: CompletionContext) -> str:
    """White space alone is not worth showing, and none is left at the end unless a word or an operator follows, or
    a brace behind which there is some as well: `{ a }`."""
    left = text.rstrip()
    follows = context.line_tail[n_replaced(left, context) :][:1]
    is_spaced = follows == "}" and (context.line_head + left).rpartition("{")[2].startswith(" ")
    if left and follows and (is_spaced or follows not in _NO_SPACE_BEFORE):
        return text if "\n" not in text[len(left) :] else left
    return left


def set_closers_apart(text: str, context: CompletionContext) -> str:
    """A block between brackets that an editor has closed at once leaves their closers on a line of their own."""
    is_between = context.extent == "block" and "\n" in text and context.line_tail.strip()
    if not is_between or n_replaced(text, context):
        return text
    return f"{text.rstrip()}\n{context.indent}"


_NO_SPACE_BEFORE = " \t)]},;:"

FILTERS: tuple[Filter, ...] = (
    refuse_control_characters,
    keep_first_line,
    fit_indentation,
    limit_scope,
    drop_placeholders,
    drop_secrets,
    drop_repetition,
    drop_rest_of_line,
    drop_following_lines,
    trim_overlap,
    trim_group,
    drop_blank,
    close_brackets,
    cut_to_valid_syntax,
    drop_blank,
    set_closers_apart,
)
