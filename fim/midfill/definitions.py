"""What a file defines and what it imports: the rows of the workspace index.

Definitions come from the same queries that tell scopes (`midfill.syntax`); imports in their parts from
`queries/tags/<language>.scm`, which capture

    @import.module      the file or package that is named
    @import.name        what is taken from it
    @import.alias       the name it has here, where that is another
    @import.all         everything is taken from it (the node does not matter)
    @import.default     what the module's default export is called here
    @export.default     what the file itself offers as its default export
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from tree_sitter import Node, Query, QueryCursor

from midfill.languages import grammar, language
from midfill.modules import modules_of
from midfill.syntax import Definition, Syntax

MAX_WHOLE_LINES = 8
"""A definition up to this length is kept whole; of a longer one, its header, and its members' headers."""

MAX_OUTLINE_LINES = 24
"""Lines kept of a definition at most."""

ALL = "*"
"""The `name` of an import that takes everything."""

DEFAULT = "default"
"""The `name` of an import that takes a module's default export."""


class Imported(NamedTuple):
    """One name that a file takes from elsewhere, or offers as its default export."""

    module: str
    """As the file says it, without quotes; empty: this file."""
    name: str
    """What is taken: a name, `*`, `default`, or nothing for the module itself."""
    alias: str
    """What it is called in the file."""


class Symbol(NamedTuple):
    """A definition as other files get to see it."""

    name: str
    kind: str
    container: str
    """The name of the class or the like that it is a member of, or nothing."""
    line: int
    """Where it starts, from 0."""
    text: str
    """Whole lines, ending with `\\n`: the definition, or its header and its members' headers."""


def imports_of(syntax: Syntax) -> tuple[Imported, ...]:
    """A document's imports in order, also those in functions."""
    query = _tags(syntax.language.id)
    if query is None:
        return ()
    found = QueryCursor(query).matches(syntax.tree.root_node)
    imports = (_imported(captures, syntax) for _, captures in found)
    return tuple(dict.fromkeys(each for each in imports if each.module or each.alias == DEFAULT))


def symbols_of(syntax: Syntax) -> tuple[Symbol, ...]:
    """A document's definitions in order: those of the file and members of classes, not what is inside functions."""
    found: list[Symbol] = []
    around: list[Definition] = []
    definitions = syntax.definitions()
    for n, definition in enumerate(definitions):
        while around and around[-1].end <= definition.start:
            around.pop()
        inside = [outer for outer in around if outer.kind != "module"]
        around.append(definition)
        if definition.kind == "module" or any(outer.kind in _CODE for outer in inside):
            continue
        if inside and inside[-1].start == definition.start:
            continue  # A header and its body that two patterns have found.
        container = inside[-1] if inside else None
        members: list[Definition] = []
        for member in definitions[n + 1 :]:
            if member.start >= definition.end:
                break
            if not members or member.start >= members[-1].end:
                members.append(member)
        text = _text(syntax, definition, members)
        line = syntax.document.line_of(definition.start)
        if container is not None and line > syntax.document.line_of(container.start):
            text = f"{_indent_of(syntax, container)}{container.signature}{_opening(syntax)}\n{text}"
        found.append(
            Symbol(
                definition.name, definition.kind, container.name if container else "", line, text
            )
        )
    return tuple(found)


def _text(syntax: Syntax, definition: Definition, members: list[Definition]) -> str:
    first, last = _lines_of(syntax, definition)
    if last - first < MAX_WHOLE_LINES:
        return _joined(syntax, first, last + 1)
    if definition.kind in _CODE:
        return _headline(syntax, definition)
    kept: list[str] = []
    line = first
    for member in members:
        start, end = _lines_of(syntax, member)
        if start < line:
            continue
        kept += (_joined(syntax, at, at + 1) for at in range(line, start))
        short = end - start < 2 or member.kind not in _CODE
        kept.append(_joined(syntax, start, end + 1) if short else _headline(syntax, member))
        line = end + 1
    kept += (_joined(syntax, at, at + 1) for at in range(line, last + 1))
    told = [text for text in kept if text.strip()]
    return "".join("".join(told).splitlines(keepends=True)[:MAX_OUTLINE_LINES])


def _headline(syntax: Syntax, definition: Definition) -> str:
    body = {"indent": ": ...", "braces": " { ... }"}.get(syntax.language.style, "")
    return f"{_indent_of(syntax, definition)}{definition.signature}{body}\n"


def _opening(syntax: Syntax) -> str:
    return {"indent": ":", "braces": " {"}.get(syntax.language.style, "")


def _indent_of(syntax: Syntax, definition: Definition) -> str:
    line = syntax.document.lines[syntax.document.line_of(definition.start)]
    return line[: len(line) - len(line.lstrip())]


def _lines_of(syntax: Syntax, definition: Definition) -> tuple[int, int]:
    document = syntax.document
    return document.line_of(definition.start), document.line_of(
        max(definition.end - 1, definition.start)
    )


def _joined(syntax: Syntax, first: int, end: int) -> str:
    return "".join(line.rstrip("\r\n") + "\n" for line in syntax.document.lines[first:end])


def _imported(captures: dict[str, list[Node]], syntax: Syntax) -> Imported:
    def text(name: str) -> str:
        nodes = captures.get(name)
        return (nodes[0].text or b"").decode("utf-8", "replace") if nodes else ""

    module = "".join(text("import.module").split()).strip("\"'`<>")
    if "export.default" in captures:
        return Imported("", text("export.default"), DEFAULT)
    if "import.default" in captures:
        return Imported(module, DEFAULT, text("import.default"))
    if "import.all" in captures:
        return Imported(module, ALL, ALL)
    name, alias = text("import.name"), text("import.alias")
    if not name and not alias:
        rules = modules_of(syntax.language.id)
        alias = module if rules.whole_alias else module.rpartition(rules.separator)[2]
    return Imported(module, name, alias or name)


@cache
def _tags(identifier: str) -> Query | None:
    path = Path(__file__).parent / "queries" / "tags" / f"{language(identifier).query}.scm"
    tables = grammar(identifier)
    if tables is None or not path.is_file():
        return None
    return Query(tables.tables, path.read_text("utf-8"))


_CODE = frozenset(("function", "method", "macro"))
"""Kinds whose inside is no one else's business."""
