"""How much of a completion a document takes without a new syntax error.

The document is parsed again with the text in place, which reads only what the text can have touched: 0.2 to
0.5 ms in a file of 1,000 lines and 2 to 7 ms in one of 10,000 (Python, 2 cores, tree-sitter 0.26.1), and the
same for each shorter beginning that has to be tried, 0.7 to 3 ms together in the small file. But a text that
opens a string or a bracket changes the meaning of all that follows, and then everything is read again. So the
work of one call is bounded twice, in parses and in the parser's own steps, and both bounds are counts, not
times: the same text gets the same answer anywhere.

What counts as a new error: see `_Trial.faults`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from tree_sitter import Tree

from midfill.blocks import MAX_HEADER_LINES
from midfill.nesting import closers
from midfill.syntax import Syntax
from midfill.trees import Bytes, edited, encoded, errors_of, tree_of

MAX_PARSES = 32
"""Parses in one call. A text that is valid takes one, one that is cut mostly three to ten."""

MAX_STEPS_WHOLE = 5_000
"""Steps of the parser for the whole text, each of 100 of its operations and 20 microseconds: 110 ms, which
reads 10,000 lines. Python needs that much: behind a function at the top level it reads again all below."""

MAX_STEPS_CUT = 1_500
"""Steps for all the beginnings together, each of which gets at most half of what is left: 33 ms."""

STEPS_PER_REST = 100
"""Steps after which Python's lock is offered to others, 2 ms: so a thread that filters holds nobody up."""

CHILDREN_PER_FREE_STEP = 8
"""Reusing a tree takes one step for every ten children of its root (measured): those are not counted."""


def longest_valid(syntax: Syntax, start: int, end: int, text: str) -> str:
    """The longest beginning of `text` that adds no error when it replaces the document from `start` to `end`.

    It is all of `text`, or ends with a line or, in the line after that, with a token. Where the document is
    broken at this place already, as behind `x = foo(`, the longest beginning that mends it is taken; if none
    does, the longest that leaves open just what was open; if none does that either, the longest that has no
    more errors. Nothing is left where every beginning adds an error, or where it takes too long to tell.
    """
    trial = _Trial(syntax, start, end, text)
    if trial.faults(len(text)) == 0:
        return text
    lines = [found.start() for found in _LINE_END.finditer(text)]
    by_line = trial.longest_without_fault(lines)
    next_line = next((cut for cut in [*lines, len(text)] if cut > by_line), len(text))
    tokens = [found.end() for found in _TOKEN.finditer(text, by_line, next_line)]
    without_fault = trial.longest_without_fault(tokens) or by_line
    return text[: without_fault or trial.longest_no_worse([*lines, *tokens, len(text)])]


def fits(syntax: Syntax, start: int, end: int, text: str) -> bool:
    """Whether the document has no error at all at `text` when it replaces what stands from `start` to `end`."""
    return _Trial(syntax, start, end, text).faults(len(text)) == 0


def adds_errors(syntax: Syntax, start: int, end: int, text: str) -> bool:
    """Whether `text` adds an error when it replaces the document from `start` to `end`, or takes too long to tell.

    It must be whole: a block that its last line opens is an error here, which nobody will write the rest of.
    """
    trial = _Trial(syntax, start, end, text)
    faults = trial.faults_as_it_is()
    return faults is None or faults > trial.faults_before


class _Trial:
    """The beginnings of one text, each tried in place at most once; a beginning is named by its length."""

    def __init__(self, syntax: Syntax, start: int, end: int, text: str) -> None:
        self.syntax = syntax
        self.text = text
        self.start, self.end = syntax.byte_of(start), syntax.byte_of(end)
        self.head = _head_of_line(syntax, start)
        self.open_before = _open_at(syntax, start)
        n_quotes = len(self.open_before) - len(self.open_before.lstrip(_QUOTES))
        self.quote = self.open_before[:n_quotes]
        self.near_start = len(syntax.data[: self.start].rstrip())
        self.near_end = len(syntax.data) - len(syntax.data[self.end :].lstrip())
        self.errors_before = frozenset(syntax.byte_errors)
        self.faults_before = sum(
            error.start <= self.near_end and error.end >= self.near_start
            for error in self.errors_before
        )
        self.parses_left = MAX_PARSES
        self.steps_left = MAX_STEPS_CUT
        self.seen: dict[int, _Outcome | None] = {}

    def longest_without_fault(self, cuts: Iterable[int]) -> int:
        """The greatest of some ascending cuts that has no fault, or 0."""
        bound = min((seen.bound for seen in self.seen.values() if seen), default=len(self.text))
        for cut in sorted(cuts, reverse=True):
            if cut > bound:
                continue
            if self.parses_left <= 0 or not self.text[:cut].strip():
                return 0
            if not self.faults_before and self._opens_bracket(cut):
                continue
            if self.faults(cut) == 0:
                return cut
            outcome = self.seen[cut]
            bound = min(bound, outcome.bound) if outcome else bound
        return 0

    def longest_no_worse(self, cuts: Iterable[int]) -> int:
        """The greatest of some cuts that leaves the document as broken as it was, or 0.

        The number of errors alone tells little there, because the parser's recovery is a guess that every
        token changes. Adding what closes the brackets and the string that were open before the text, and
        having no error then, tells more. Text that opens brackets of its own is not judged by the number,
        and neither here nor in the whole document may there be more.
        """
        if not self.faults_before:
            return 0
        for cut in sorted(set(cuts), reverse=True):
            if self.parses_left <= 0 or not self.open_before:
                break
            text = self.text[:cut]
            outcome = self._outcome(text + self._closing(text) + self.open_before)
            if outcome and outcome.faults == 0:
                return cut
        tried = (
            cut
            for cut, seen in self.seen.items()
            if seen
            and seen.faults <= self.faults_before
            and seen.n_errors <= len(self.errors_before)
            and not self._opens_bracket(cut)
        )
        return max(tried, default=0)

    def faults(self, cut: int) -> int | None:
        """How many errors the document has because of the text up to `cut`; nothing if it takes too long to tell.

        Those are the errors that touch the text, white space aside, and others that the document did not
        have: one that stands as it stood, or that lies where a greater one has hidden it, is not the text's.
        Counting ends at one more than the document had here before.

        A text that ends with the header of a block is tried with an empty block as well, because it is for
        the next completion to write the body.
        """
        if cut not in self.seen:
            text = self.text[:cut]
            outcome = self._outcome(text, MAX_STEPS_WHOLE if cut == len(self.text) else 0)
            if outcome and outcome.faults and (closes := self._closing(text)):
                closed = self._outcome(text + closes)
                outcome = closed if closed and closed.faults == 0 else outcome
            self.seen[cut] = outcome
        found = self.seen[cut]
        return found.faults if found else None

    def faults_as_it_is(self) -> int | None:
        """The same of the whole text, with nothing added to it."""
        outcome = self._outcome(self.text, MAX_STEPS_WHOLE)
        return outcome.faults if outcome else None

    def _opens_bracket(self, cut: int) -> bool:
        """Whether a beginning leaves a bracket or a string open and does not end with the header of a block.

        Where nothing was open before, that is an error, and the dearest kind to find out by parsing.
        """
        text = self.text[:cut]
        return bool(self._opened_by(text)) and not self._closing(text)

    def _opened_by(self, text: str) -> str:
        """What closes what a text leaves open, read from inside the string that it may begin in."""
        opened = closers(self.syntax.language, self.quote + text)
        return opened.lstrip(_QUOTES) if self.quote else opened

    def _closing(self, text: str) -> str:
        """What ends the block that the last line of a text opens, and the brackets around it, or nothing."""
        line = (self.head + text).rpartition("\n")[2]
        block = self.syntax.language.block_opened_by(line + "\n")
        around = closers(self.syntax.language, self.quote + text)
        if block is None or not block.closes or (around and around[0] in _QUOTES):
            return ""  # In a string nothing is a header.
        # What ends the block may close its bracket.
        return block.closes + around[block.closes.endswith(around[:1]) :]

    def _outcome(self, text: str, max_steps: int = 0) -> _Outcome | None:
        data = encoded(text, latin_only=self.syntax.language.latin_only)
        tree = self._parse(data, max_steps)
        if tree is None:
            return None
        end, faults, bound = self.start + len(data), 0, len(self.text)
        errors = sorted(errors_of(tree))
        for error in errors:
            if error.end < self.start or error.start > end:
                touches = (
                    self.near_start <= error.end and error.start <= end + self.near_end - self.end
                )
                faults += not self._was_there(error, end, hidden=not touches)
            else:
                faults += 1
                if not self.faults_before and self.start <= error.start and error.end <= end:
                    # A beginning that holds the error and the token behind it, at which the parser stumbled
                    # at the latest, has the error too.
                    inside = len(data[: error.end - self.start].decode("utf-8", "ignore"))
                    behind = _TOKEN.search(text, inside)
                    bound = min(bound, behind.end() - 1) if behind else bound
            if faults > self.faults_before:
                break
        return _Outcome(faults, bound, len(errors))

    def _was_there(self, error: Bytes, end: int, *, hidden: bool) -> bool:
        """Whether the document had this error outside the text, or, `hidden`, a greater one over it."""
        shift = self.end - end if error.start > end else 0
        where = Bytes(error.start + shift, error.end + shift)
        return where in self.errors_before or (
            hidden
            and any(old.start <= where.start and where.end <= old.end for old in self.errors_before)
        )

    def _parse(self, text: bytes, max_steps: int) -> Tree | None:
        """The tree with `text` in place, or nothing if so many steps, or half of those left, were not enough."""
        self.parses_left -= 1
        old = self.syntax.parsed
        new = old[: self.start] + text + old[self.end :]
        tree = edited(self.syntax.tree, old, new, self.start, self.end, self.start + len(text))
        free = tree.root_node.child_count // CHILDREN_PER_FREE_STEP
        limit, steps = (max_steps or self.steps_left // 2) + free, 0

        def is_enough() -> bool:
            nonlocal steps
            steps += 1
            if steps % STEPS_PER_REST == 0:
                time.sleep(0)
            return steps > limit

        try:
            return tree_of(self.syntax.grammar.tables, new, tree, is_enough)
        finally:
            self.steps_left -= 0 if max_steps else max(steps - free, 0)


class _Outcome(NamedTuple):
    """What came of trying one beginning."""

    faults: int
    bound: int
    """No longer beginning than this can be without the first fault."""
    n_errors: int
    """In the whole document."""


def _head_of_line(syntax: Syntax, offset: int) -> str:
    line = syntax.document.line_of(offset)
    return syntax.document.lines[line][: offset - syntax.document.line_starts[line]]


def _open_at(syntax: Syntax, offset: int) -> str:
    """What closes the string and the brackets that are open on the line of an offset, or else the innermost."""
    line = syntax.document.line_of(offset)
    head = _head_of_line(syntax, offset)
    above = "".join(syntax.document.lines[max(line - MAX_HEADER_LINES, 0) : line])
    return closers(syntax.language, head) or closers(syntax.language, above + head)[:1]


_QUOTES = "\"'`"

_LINE_END = re.compile(r"(?<=\S)[^\S\r\n]*[\r\n]")
"""What follows the last character of a line that is not empty."""

_TOKEN = re.compile(r"\w+|([\"'`])\1*|[^\w\s]")
"""A word, a run of the same quote (three open one string), or any other single character."""
