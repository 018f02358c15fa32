"""Holes whose answer is defined in another file of the same package, and which files are open then.

A hole of this kind begins where a name stands that one other file of the package defines, and nothing else in the
hole's own file speaks of it but its imports: so what a call takes can only be known from elsewhere. In half of the
cases some of the name is typed already. It ends with the expression. Open are the file that defines the name, its
caret at the definition, and up to four others of the package with their carets anywhere; in which order they were
visited is drawn. So a program that only looks at open files has what it needs, and must find it.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.baselines.policy import OpenFile
from bench.holes_items import MIN_HOLE_CHARS, Hole, Source, Span

N_OTHERS = 4
MIN_NAME_CHARS = 4
"""A shorter name may mean anything."""

_BUILT_IN = frozenset(name for kind in (str, bytes, list, dict, set, object) for name in dir(kind))
"""A method of this name may be anybody's."""

_NAME = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?=\(|$)")


@dataclass(frozen=True)
class Definition:
    """Where a package defines a name."""

    name: str
    source: Source
    line_idx: int


def cut_across_files(sources: Sequence[Source], n_holes: int, seed: int) -> list[Hole]:
    """Up to `n_holes` holes, no two the same, evenly over the files that have any."""
    packages: defaultdict[str, list[Source]] = defaultdict(list)
    for source in sources:
        packages[package_of(source.name)].append(source)
    places = [
        (source, span, definition, package)
        for package in packages.values()
        if len(package) > 1
        for source, span, definition in _uses(package)
    ]
    rng = random.Random(f"{seed}/crossfile")
    by_file: defaultdict[str, list[Hole]] = defaultdict(list)
    for source, span, definition, package in places:
        by_file[source.name].append(_hole(source, span, definition, package, rng))
    result: list[Hole] = []
    waiting = [rng.sample(holes, len(holes)) for holes in by_file.values()]
    rng.shuffle(waiting)
    while waiting and len(result) < n_holes:
        result += [holes.pop() for holes in waiting][: n_holes - len(result)]
        waiting = [holes for holes in waiting if holes]
    return result


def package_of(name: str) -> str:
    """What a source of this name belongs to: the first folder of its distribution, or where it comes from.

    A module that is one file belongs to itself.
    """
    *folders, _ = name.split("/")
    return name if len(folders) < 2 else "/".join(folders[:2])


def definitions(package: Sequence[Source]) -> dict[str, Definition]:
    """Functions, methods and classes by their names, where one file alone defines the name."""
    found: defaultdict[str, list[Definition]] = defaultdict(list)
    for source in package:
        for node in ast.walk(source.tree) if source.tree else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[node.name].append(Definition(node.name, source, node.lineno - 1))
    return {
        name: places[0]
        for name, places in found.items()
        if len(name) >= MIN_NAME_CHARS
        and not name.startswith("__")
        and name not in _BUILT_IN
        and len({place.source.name for place in places}) == 1
    }


def _uses(package: Sequence[Source]) -> Iterator[tuple[Source, Span, Definition]]:
    known = definitions(package)
    for source in package:
        words = Counter(re.findall(r"\w+", _without_imports(source)))
        for name, span in _named(source):
            definition = known.get(name)
            if definition and definition.source is not source and words[name] == 1:
                yield source, span, definition


def _named(source: Source) -> Iterator[tuple[str, Span]]:
    """Names in expressions of one line, each from where it begins to the end of the call that it is called in."""
    longest = {
        span.start: span for span in source.expressions
    }  # They are sorted, so a call is its name's last.
    for span in longest.values():
        text = source.text[span.start : span.end]
        match = _NAME.match(text)
        if match and len(text) - match.start(1) >= MIN_HOLE_CHARS and _is_one_call(text):
            yield match[1], Span(span.start + match.start(1), span.end)


def _is_one_call(text: str) -> bool:
    """Whether an expression is a name or attribute, or one call of it, and no more."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:  # In f-strings Python told places wrongly before 3.12.
        return False
    called = tree.func if isinstance(tree, ast.Call) else tree
    while isinstance(called, ast.Attribute):
        called = called.value
    return isinstance(called, ast.Name)


def _without_imports(source: Source) -> str:
    imports: set[int] = set()
    for node in ast.walk(source.tree) if source.tree else ():
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.text.split("\n"), start=1)
    return "\n".join(line for number, line in lines if number not in imports)


def _hole(
    source: Source,
    span: Span,
    definition: Definition,
    package: Sequence[Source],
    rng: random.Random,
) -> Hole:
    rest = [other for other in package if other is not source and other is not definition.source]
    n_typed = rng.randint(1, max(1, len(definition.name) // 2)) if rng.random() < 0.5 else 0
    start = min(span.start + n_typed, span.end - MIN_HOLE_CHARS)
    others = [_open(definition.source, definition.line_idx)]
    for other in rng.sample(rest, min(N_OTHERS, len(rest))):
        others.append(_open(other, rng.randrange(other.text.count("\n") + 1)))
    rng.shuffle(others)
    text = source.text
    before, middle, after = text[:start], text[start : span.end], text[span.end :]
    return Hole("crossfile", source.name, before, middle, after, tuple(others))


def _open(source: Source, line_idx: int) -> OpenFile:
    return OpenFile(source.name.partition("/")[2], source.text, line_idx)
