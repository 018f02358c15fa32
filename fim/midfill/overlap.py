"""What a text repeats of what stands right of the caret: taken away, or put in its place, never doubled.

The distances have their source in Tabby's filters; what is "measured" was seen in the answers of the embedded
model to `bench.holes`, seed 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from midfill.context import CompletionContext
from midfill.languages import language
from midfill.nesting import Nesting, nesting

MAX_FOLLOWING_LINES = 3
"""So many lines below the caret are compared (Tabby)."""
NEAR_SHARE = 0.05
"""Several lines are the same if no more of their characters differ (Tabby)."""
TELLING_CHARS = 8
"""So many characters of the rest of the line, found in the text, are its repetition (10 cuts, 6 right, 0 lost,
measured)."""
TRIVIAL_CHARS = 3
"""A line no longer than this, such as a closing bracket, may well come twice."""

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_CLOSING_RUN = re.compile(r"(?:[ \t]*[)\]}>\"'`])+")
_QUOTES = "\"'`"


def trim_overlap(text: str, context: CompletionContext) -> str:
    """Without the end that is also the beginning of what stands right of the caret.

    A closer that belongs to an opener inside the text stays: at `f(║)` the text `g(1)` needs its own.
    """
    tail = context.line_tail.rstrip()
    if not tail:
        return _without_overlap(text, context.suffix, context)
    rest = _without_overlap(text, tail, context)
    n_chars = n_replaced(rest, context)
    # Behind what is replaced the line goes on, and what is replaced may stand at the text's end.
    return _without_overlap(
        _without_overlap(rest, tail[n_chars:], context), tail[:n_chars], context
    )


def trim_group(text: str, context: CompletionContext) -> str:
    """Without a bracketed group at the end, where such a group stands right of the caret already.

    At `self.║(a, b)` the text `register(a, b)` is cut to `register`.
    """
    tail = context.line_tail
    closer = next((closer for closer, opener in _CLOSERS.items() if tail.startswith(opener)), "")
    if not closer or not text.rstrip().endswith(closer):
        return text
    depth = 0
    for idx in range(len(text.rstrip()) - 1, -1, -1):
        depth += (text[idx] == closer) - (text[idx] == _CLOSERS[closer])
        if depth == 0:
            return text[:idx]
    return text


def drop_rest_of_line(text: str, context: CompletionContext) -> str:
    """Cut where the text says the rest of the caret's line on its way to something else."""
    tail = context.line_tail.rstrip()
    if len(tail) >= TELLING_CHARS and (again := text.find(tail[:TELLING_CHARS])) >= 0:
        return text[:again]
    return text


def drop_following_lines(text: str, context: CompletionContext) -> str:
    """Cut where the text goes on with the lines that stand below the caret.

    One line has to be the same, or longer ones that differ in a number would be lost; of two or three together
    one character in twenty may differ.
    """
    following = following_lines(context)
    lines = text.split("\n")
    # What stands before the caret is not said by the text, but goes with what it says.
    first = context.line_head + lines[0] if lines[0].strip() else ""
    said = [line.strip() for line in (first, *lines[1:])]
    for idx, line in enumerate(said):
        if line and is_repeat([line, *filter(None, said[idx + 1 :])], following):
            return "\n".join(lines[:idx])
    return text


def is_repeat(said: list[str], following: list[str]) -> bool:
    """Whether some lines begin as the lines below the caret do; white space at their ends aside."""
    if not said or not following:
        return False
    if said[0] == following[0] and len(said[0]) > TRIVIAL_CHARS:
        return True
    for n_lines in range(2, min(len(said), len(following)) + 1):
        ours, theirs = "\n".join(said[:n_lines]), "\n".join(following[:n_lines])
        most = max(1, int(NEAR_SHARE * len(theirs)))
        if abs(len(ours) - len(theirs)) <= most and distance(ours, theirs) <= most:
            return True
    return False


def n_replaced(text: str, context: CompletionContext) -> int:
    """How many characters right of the caret, on its line, a text takes the place of.

    They are closers that an editor has put there and the text says itself: at `foo(║)` the text `a).b` takes the
    place of `)`. As many are replaced as leave the line's brackets and strings as they were, and each is in the
    text again, in order, so that nothing which a person wrote is lost. Where nothing but punctuation is left
    of the line and the text has that too, all of it is replaced.
    """
    tail = context.line_tail
    run = _CLOSING_RUN.match(tail)
    if run is None or not text:
        return 0
    known, head = language(context.document.language), context.line_head
    if nesting(known, head).in_comment:
        return 0
    before, in_comment = nesting(known, head + tail), nesting(known, head + text).in_comment

    def change(n_chars: int) -> int:
        # What stands behind a comment would be lost in it.
        lost = len(tail[n_chars:].strip()) if in_comment else 0
        return lost + _difference(nesting(known, head + text + tail[n_chars:]), before)

    ends = [idx + 1 for idx, char in enumerate(run[0]) if not char.isspace()]
    n_chars = min((0, *(end for end in ends if _in_order(tail[:end], text))), key=change)
    if n_chars:
        whole = len(tail.rstrip())
        if not re.search(r"\w", tail) and _in_order(tail[:whole], text):
            return whole
    return n_chars


def following_lines(context: CompletionContext) -> list[str]:
    """The next lines below the caret that are not blank, without the white space at their ends."""
    lines = (line.strip() for line in lines_below(context))
    return list(islice(filter(None, lines), MAX_FOLLOWING_LINES))


def lines_below(context: CompletionContext) -> Iterator[str]:
    """The lines below the caret, one at a time: the suffix may be long, and few are looked at."""
    start = context.suffix.find("\n") + 1
    while start:
        end = context.suffix.find("\n", start)
        yield context.suffix[start : end if end >= 0 else len(context.suffix)]
        start = end + 1


def distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions between two texts: a column of the table is one integer.

    G. Myers, A fast bit-vector algorithm for approximate string matching (1999), as Hyyrö (2003) has it.
    """
    if not a or not b:
        return len(a) + len(b)
    places: dict[str, int] = {}
    for place, char in enumerate(a):
        places[char] = places.get(char, 0) | 1 << place
    mask, last = (1 << len(a)) - 1, 1 << len(a) - 1
    plus, minus, found = mask, 0, len(a)
    for char in b:
        match = places.get(char, 0)
        zero = (((match & plus) + plus) ^ plus) | match | minus
        up, down = minus | ~(zero | plus) & mask, plus & zero
        found += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        plus, minus = (down | ~(zero | up)) & mask, up & zero & mask
    return found


def _without_overlap(text: str, after: str, context: CompletionContext) -> str:
    for length in range(min(len(text), len(after)), 0, -1):
        if text.endswith(after[:length]) and after[:length].strip():
            rest = text[:-length]
            if _n_open(rest, context) <= _n_open(text, context):
                return rest
    return text


def _n_open(text: str, context: CompletionContext) -> int:
    """How many brackets a text opens and leaves open, read from inside the string that the caret stands in."""
    known = language(context.document.language)
    head = nesting(known, context.line_head).closers
    quote = head[: len(head) - len(head.lstrip(_QUOTES))]
    return len(nesting(known, quote + text).closers.lstrip(_QUOTES))


def _difference(a: Nesting, b: Nesting) -> int:
    closers = 0 if a.closers == b.closers else max(1, abs(len(a.closers) - len(b.closers)))
    return closers + abs(a.n_unopened - b.n_unopened)


def _in_order(part: str, text: str) -> bool:
    """Whether the characters of `part`, white space aside, are in `text` in this order."""
    rest = iter(text)
    return all(char in rest for char in part if not char.isspace())
