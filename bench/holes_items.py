"""Holes to be filled: where they come from, and how they are cut.

A hole is cut into a whole file that no model here was trained on. Its kind decides where it begins and ends,
and nothing but the text around it is told to who fills it: no kind, no length. The same seed, sources and
count always cut the same holes, and each kind is cut from a stream of its own, so asking for one kind more
changes no other.
"""

from __future__ import annotations

import ast
import importlib.metadata
import random
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from bench.baselines.policy import OpenFile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = Literal["line", "inline", "expression", "block", "random", "crossfile"]
"""What was removed:

* `line`: from somewhere in a line to its end. Right if the same up to white space at the end.
* `inline`: from somewhere in an expression to where the expression ends, with code to the right of it. Right
  if the same to the character.
* `expression`: a whole expression of one line, whatever stands to its right. Right if the same to the character.
* `block`: the body of a compound statement, of several lines, from behind its header (or its docstring) or
  from the indented line below. Right if the same up to white space at the end.
* `random`: some characters, anywhere, over line ends too. Right if the same, as above.
* `crossfile`: from or in a name that another file of the package defines to the end of its expression; cut by
  `bench.holes_crossfile`. Right if the same, as above.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

CORPUS_RULES = Path(__file__).resolve().parents[1] / "models" / "training" / "corpus.toml"
"""Where training says which modules and packages it holds out."""

MIN_FILE_CHARS, MAX_FILE_CHARS = 1500, 400_000
"""A shorter file gives no context; a longer one is mostly tables."""

MIN_HOLE_CHARS = 3
"""White space aside. A lone bracket is no test of anything."""
MAX_EXPRESSION_CHARS = 60
MAX_RANDOM_CHARS = 60
MIN_BLOCK_LINES, MAX_BLOCK_LINES = 2, 12

_PAUSE = re.compile(r"[\s(.=,\[{:]")
"""Behind these a person is likely to pause while typing a line."""
_TRIES_PER_HOLE = 200


class Span(NamedTuple):
    """A piece of a source."""

    start: int
    end: int


@dataclass(frozen=True)
class Source:
    """A file that holes are cut into."""

    name: str
    """Where it comes from, such as `python/difflib.py`; never a path of this machine."""
    text: str

    @cached_property
    def tree(self) -> ast.Module | None:
        """Its syntax, or nothing if this Python does not understand it."""
        return parsed(self.text)

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """The offset of each line's first character."""
        return tuple(accumulate((len(line) + 1 for line in self.text.split("\n")), initial=0))

    @cached_property
    def expressions(self) -> tuple[Span, ...]:
        """Expressions of one line that are read, not assigned to; strings that stand alone are none."""
        if self.tree is None:
            return ()
        spans = {
            self._span(node, node)
            for node in _walk_code(self.tree)
            if isinstance(node, ast.expr)
            and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
            and node.lineno == node.end_lineno
        }
        return tuple(
            sorted(span for span in spans if span.end - span.start <= MAX_EXPRESSION_CHARS)
        )

    @cached_property
    def bodies(self) -> tuple[Span, ...]:
        """Bodies of compound statements, from their first statement (a docstring aside) to their last line's end."""
        if self.tree is None:
            return ()
        return tuple(
            sorted({body for node in _walk_code(self.tree) for body in self._bodies(node)})
        )

    def line_at(self, offset: int) -> Span:
        """The line around an offset, without its ending."""
        end = self.text.find("\n", offset)
        return Span(self.text.rfind("\n", 0, offset) + 1, end if end >= 0 else len(self.text))

    def _bodies(self, node: ast.AST) -> Iterator[Span]:
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if not isinstance(statements, list) or not statements or isinstance(node, ast.Module):
                continue
            if len(statements) > 1 and _is_string(statements[0]):
                statements = statements[1:]
            first, last = statements[0], statements[-1]
            decorators = getattr(first, "decorator_list", None)
            head = decorators[0] if decorators else first
            at = self._span(head, head).start
            line = self.line_at(at)
            start = line.start + _indentation(self.text[line.start : line.end])
            end = self.line_at(self._span(last, last).end).end
            behind_header = not decorators and start < at
            if behind_header or self.text.startswith("elif", start):
                continue
            if MIN_BLOCK_LINES <= self.text.count("\n", start, end) + 1 <= MAX_BLOCK_LINES:
                yield Span(start, end)

    def _span(self, first: ast.stmt | ast.expr, last: ast.stmt | ast.expr) -> Span:
        assert last.end_lineno is not None
        assert last.end_col_offset is not None
        return Span(
            self._offset(first.lineno, first.col_offset),
            self._offset(last.end_lineno, last.end_col_offset),
        )

    def _offset(self, line: int, column_bytes: int) -> int:
        """Python's parser counts lines from 1 and columns in bytes."""
        start = self.line_starts[line - 1]
        if self.text.isascii():
            return start + column_bytes
        text = self.text[start : self.line_starts[line]].encode()
        return start + len(text[:column_bytes].decode(errors="ignore"))


@dataclass(frozen=True)
class Hole:
    """What was removed from a source, and what is left around it."""

    kind: Kind
    source: str
    prefix: str
    middle: str
    """The answer; only the scoring may see it."""
    suffix: str
    others: tuple[OpenFile, ...] = ()
    """The other files that are open, the last visited last. Every system may use them."""

    @property
    def must_be_exact(self) -> bool:
        """Whether white space at the end counts, as it does where code follows on the line."""
        return bool(self.suffix.partition("\n")[0].strip())


def cut_holes(
    sources: Sequence[Source], n_per_kind: int, seed: int, kinds: Iterable[Kind] = KINDS
) -> list[Hole]:
    """Up to `n_per_kind` holes of each kind that one file is enough for, no two the same.

    Each is from a source drawn evenly.
    """
    holes = []
    for kind in (kind for kind in kinds if kind in CUTTERS):
        rng = random.Random(f"{seed}/{kind}")
        taken: set[tuple[str, Span]] = set()
        for _ in range(_TRIES_PER_HOLE * n_per_kind if sources else 0):
            if len(taken) == n_per_kind:
                break
            source = rng.choice(sources)
            span = CUTTERS[kind](source, rng)
            if span is None or (source.name, span) in taken:
                continue
            middle = source.text[span.start : span.end]
            if len(middle.strip()) < MIN_HOLE_CHARS:
                continue
            taken.add((source.name, span))
            before, after = source.text[: span.start], source.text[span.end :]
            holes.append(Hole(kind, source.name, before, middle, after))
    return holes


def cut_line(source: Source, rng: random.Random) -> Span | None:
    """From somewhere in a line to its end, white space there left in place."""
    line = source.line_at(rng.randrange(len(source.text)))
    text = source.text[line.start : line.end]
    start = line.start + _indentation(text)
    end = line.start + len(text.rstrip())
    return Span(_pause(source.text, start, end, rng), line.end) if start < end else None


def cut_inline(source: Source, rng: random.Random) -> Span | None:
    """From somewhere in an expression to its end, if code follows it on the line."""
    if not source.expressions:
        return None
    expression = rng.choice(source.expressions)
    tail = source.text[expression.end : source.line_at(expression.end).end].strip()
    if not tail or tail.startswith("#"):
        return None
    return Span(_pause(source.text, *expression, rng), expression.end)


def cut_expression(source: Source, rng: random.Random) -> Span | None:
    """A whole expression."""
    return rng.choice(source.expressions) if source.expressions else None


def cut_block(source: Source, rng: random.Random) -> Span | None:
    """A body, in half the cases with the line end before it, as if the header had just been typed."""
    if not source.bodies:
        return None
    body = rng.choice(source.bodies)
    head = source.text[: body.start].rstrip()
    behind_header = rng.random() < 0.5 and head.endswith((":", '"""', "'''"))
    return Span(len(head), body.end) if behind_header else body


def cut_random(source: Source, rng: random.Random) -> Span | None:
    """Any piece."""
    start = rng.randrange(len(source.text))
    return Span(start, min(len(source.text), start + rng.randint(MIN_HOLE_CHARS, MAX_RANDOM_CHARS)))


CUTTERS: Mapping[Kind, Callable[[Source, random.Random], Span | None]] = {
    "line": cut_line,
    "inline": cut_inline,
    "expression": cut_expression,
    "block": cut_block,
    "random": cut_random,
}


def held_out_sources(rules: Path = CORPUS_RULES) -> list[Source]:
    """What training holds out and is here: modules of this Python's own library, and installed packages.

    Packages that are not installed are left out, so compare runs by the sources that they list.
    """
    held_out = tomllib.loads(rules.read_text("utf-8"))["held_out"]
    library = Path(sysconfig.get_path("stdlib"))
    modules = [library / name for name in held_out["stdlib"]]
    sources = [source for module in modules for source in sources_in(module, "python", library)]
    for package in held_out["packages"]:
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        root = Path(str(distribution.locate_file("")))
        for file in distribution.files or ():
            if file.suffix == ".py" and ".." not in file.parts:
                sources += sources_in(root / str(file), package, root)
    return sorted(sources, key=lambda source: source.name)


def sources_in(place: Path, origin: str, root: Path) -> list[Source]:
    """The Python files at a place, a file or a folder, that holes can be cut into."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    found = (
        Source(f"{origin}/{file.relative_to(root).as_posix()}", text)
        for file in files
        if (text := _readable(file)) and MIN_FILE_CHARS <= len(text) <= MAX_FILE_CHARS
    )
    return [source for source in found if source.tree is not None]


def parsed(text: str) -> ast.Module | None:
    """The text as Python's own parser reads it, or nothing if it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of odd escapes and literals.
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _readable(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _pause(text: str, start: int, end: int, rng: random.Random) -> int:
    """A caret in a piece of a line: at its start, where a person may pause, or anywhere."""
    if rng.random() < 0.2:
        return start
    pauses = [match.end() for match in _PAUSE.finditer(text, start, end) if match.end() < end]
    if pauses and rng.random() < 0.6:
        return rng.choice(pauses)
    return rng.randrange(start, end)


def _walk_code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what is inside f-strings, whose places Python told wrongly before 3.12, and lone strings."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.JoinedStr) and not _is_string(node):
            waiting += ast.iter_child_nodes(node)


def _is_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
