"""What can be said of a piece of code without a model: read from its tree, so it is true and there at once.

`queries/facts/<grammar>.scm` says where in a grammar's trees each fact stands:

    @function    something that is called; facts inside belong to the innermost one
    @parameter   of a function
    @type        a function's declared result
    @return      an expression that is returned or yielded
    @raise       an expression that is raised, thrown or passed on
    @call        what is called, or a call with its arguments in a field `arguments`
    @write       state that outlives the function: an attribute, an element, a global name
    @target      a bare name that is assigned to; state that outlives the function unless a @local has that name
    @local       what declares names of the function's own; its parameters do too
    @branch      a place where the path divides, as McCabe counts them ("A Complexity Measure", 1976)
    @attached    a comment, decorator or attribute that belongs to the definition right below it
    @member      the name of a field or a constant of a class, which others may use
    @doc         a string that documents what it stands in
    @unwritten   a block with nothing in it, which the parser takes and the language does not

A language without such a file, or whose file knows no functions, has a name, a kind and lines, and no more is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tree_sitter import Node, Query, QueryCursor

from midfill.languages import grammar, language
from midfill.markdown import code_span
from midfill.syntax import Syntax

MAX_LISTED = 12
"""Of each kind so many are named; the others are counted."""
MAX_CHARACTERS = 60
"""A longer expression is cut."""


@dataclass(frozen=True)
class CodeFacts:
    """Facts about one piece of code; texts are code on one line, each once, in order."""

    parameters: tuple[str, ...] = ()
    result: str = ""
    """The declared type of what is returned."""
    returns: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    complexity: int = 0
    """Independent paths through a function; 0 where the code is not one function."""
    known: bool = False
    """Whether the language has a facts query, so that "none" means that there are none."""


def facts_of(syntax: Syntax, start: int, end: int, *, is_function: bool = True) -> CodeFacts:
    """The facts about the code between two offsets. Where that is one function, those of inner ones are not its own.

    `is_function` is false where the code is known to be something else, such as a class with one method.
    """
    query = facts_query(syntax)
    if query is None or not _tells_functions(query):
        return CodeFacts()
    found = _captures(syntax, query, start, end)
    functions = found.get("function", [])
    outer = [node for node in functions if _owner(node.parent, functions) is None]
    one = outer[0] if len(outer) == 1 and is_function else None
    one = one if one is not None and _is_most_of(one, syntax, start, end) else None

    def texts(*kinds: str) -> tuple[str, ...]:
        nodes = [node for kind in kinds for node in found.get(kind, ()) if not node.is_extra]
        if one is not None:
            nodes = [node for node in nodes if _owner(node.parent, functions) == one]
        nodes.sort(key=lambda node: node.start_byte)
        return tuple(dict.fromkeys(_cut(_one_line(node)) for node in nodes))

    own = {"_"} | _names(found.get("local", [])) | _names(found.get("parameter", []))
    found["target"] = [node for node in found.get("target", ()) if not own & _names([node])]

    branches = [node for node in found.get("branch", ()) if _owner(node.parent, functions) == one]
    return CodeFacts(
        parameters=texts("parameter") if one else (),
        result=next(iter(texts("type")), "") if one else "",
        returns=texts("return") if one else (),
        raises=texts("raise"),
        calls=tuple(
            dict.fromkeys(
                _cut(name) for node in found.get("call", ()) if (name := _called(_callee(node)))
            )
        ),
        writes=texts("write", "target"),
        complexity=1 + len(branches) if one else 0,
        known=True,
    )


def facts_markdown(
    facts: CodeFacts, heading: str, problems: Sequence[str] = (), *, broken: bool = False
) -> str:
    """The facts as a list, labelled as what they are; `broken` code has syntax errors."""
    lines = [heading, ""]
    if facts.complexity:
        lines.append(f"* Parameters: {_listed(facts.parameters)}")
        declared = f" as {code_span(facts.result)}" if facts.result else ""
        # Some languages return what stands last, so that a declared result with no "return" is no "none".
        returned = f": {_listed(facts.returns)}" if facts.returns or not declared else ""
        lines.append(f"* Returns{declared}{returned}")
    if facts.known:
        lines.append(f"* Raises by itself: {_listed(facts.raises)}")
        lines.append(f"* Calls: {_listed(facts.calls)}")
        lines.append(f"* Writes beyond its own names: {_listed(facts.writes)}")
    if facts.complexity:
        paths = "path" if facts.complexity == 1 else "independent paths"
        lines.append(f"* Complexity: {facts.complexity} {paths}")
    lines += [f"* Problem: {code_span(problem)}" for problem in problems]
    label = "Read from the code itself, not by a model"
    if broken and facts.known:
        label += "; it has syntax errors, so some of this may be wrong"
    lines += ["", f"*{label}.*", ""]
    return "\n".join(lines)


def attached_from(syntax: Syntax, line: int) -> int:
    """The first line of the comments, decorators and attributes that belong to a definition beginning on `line`."""
    query = facts_query(syntax)
    if query is None or line == 0:
        return line
    document = syntax.document
    above = document.line_starts[max(0, line - _MAX_ATTACHED_LINES)]
    first_lines = {}
    for node in _captures(syntax, query, above, document.line_starts[line]).get("attached", ()):
        begin, last = syntax.offset_of(node.start_byte), syntax.offset_of(node.end_byte)
        first = document.line_of(begin)
        if not document.lines[first][: begin - document.line_starts[first]].strip():
            # A comment that takes its line's end with it ends where the next line begins.
            ends_before = last > begin and document.text[last - 1] in "\r\n"
            first_lines[document.line_of(last - ends_before)] = first
    while line - 1 in first_lines:
        line = first_lines[line - 1]
    return line


def documentation(syntax: Syntax, start: int, end: int) -> frozenset[tuple[int, int]]:
    """The bytes of comments and of strings that document, between two offsets."""
    places = QueryCursor(syntax.grammar.places)
    first, last = syntax.byte_of(start), syntax.byte_of(end)
    places.set_byte_range(first, last)
    nodes = list(places.captures(syntax.tree.root_node).get("comment", ()))
    query = facts_query(syntax)
    if query is not None:
        nodes += _captures(syntax, query, start, end).get("doc", ())
    return frozenset(node.byte_range for node in nodes)


def n_unwritten(syntax: Syntax, start: int, end: int) -> int:
    """How many blocks have nothing in them, in the lines between two offsets and up to the next code."""
    query = facts_query(syntax)
    if query is None:
        return 0
    cursor = QueryCursor(query)
    behind = len(syntax.data) - len(syntax.data[syntax.byte_of(end) :].lstrip())
    cursor.set_byte_range(syntax.byte_of(start), behind + 1)
    return len(cursor.captures(syntax.tree.root_node).get("unwritten", ()))


def facts_query(syntax: Syntax) -> Query | None:
    """The facts query of a document's language, compiled at its first use; None where it has none."""
    return _query(syntax.language.id)


@cache
def _tells_functions(query: Query) -> bool:
    names = (query.capture_name(idx) for idx in range(query.capture_count))
    return "function" in names


@cache
def _query(identifier: str) -> Query | None:
    known = grammar(identifier)
    path = _FACTS / f"{language(identifier).query}.scm"
    if known is None or not path.exists():
        return None
    return Query(known.tables, path.read_text("utf-8"))


def _captures(syntax: Syntax, query: Query, start: int, end: int) -> dict[str, list[Node]]:
    """What the query captures of nodes that lie between two offsets, each kind in the text's order."""
    first, last = syntax.byte_of(start), syntax.byte_of(end)
    cursor = QueryCursor(query)
    cursor.set_byte_range(first, last)
    return {
        kind: sorted(
            (node for node in nodes if first <= node.start_byte and node.start_byte < last),
            key=lambda node: (node.start_byte, -node.end_byte),
        )
        for kind, nodes in cursor.captures(syntax.tree.root_node).items()
    }


def _owner(node: Node | None, functions: Iterable[Node]) -> Node | None:
    """The innermost of some functions that a node is or stands in."""
    known = {function.id for function in functions}
    while node is not None and node.id not in known:
        node = node.parent
    return node


def _is_most_of(function: Node, syntax: Syntax, start: int, end: int) -> bool:
    """Whether a function is what the piece consists of, besides what is attached to it and around it on its lines."""
    document = syntax.document
    first = attached_from(syntax, document.line_of(syntax.offset_of(function.start_byte)))
    last = document.line_of(max(0, syntax.offset_of(function.end_byte) - 1))
    return first <= document.line_of(start) and last >= document.line_of(max(start, end - 1))


def _names(nodes: Iterable[Node]) -> set[str]:
    """The words in some code: more than the names that it declares, so that what is said of other names is true."""
    return {word for node in nodes for word in re.findall(r"\w+", _one_line(node))}


def _one_line(node: Node) -> str:
    return _joined(node.text or b"")


def _joined(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())


def _callee(node: Node) -> str:
    """A call without its last arguments."""
    arguments, text = node.child_by_field_name("arguments"), node.text or b""
    if arguments is None:
        return _joined(text)
    return _joined(text[: arguments.start_byte - node.start_byte])


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def _called(text: str) -> str:
    """The name that a call says, without what earlier calls of a chain are given."""
    first, bracket, _ = text.partition("(")
    last = text.rpartition(")")[2]
    return (
        f"…{last}" if last.startswith((".", "?.", "->", "::")) else first if not bracket else ""
    ).strip()


def _listed(texts: Sequence[str]) -> str:
    if not texts:
        return "none"
    more = f" and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return ", ".join(code_span(text) for text in texts[:MAX_LISTED]) + more


_MAX_ATTACHED_LINES = 200
_FACTS = Path(__file__).parent / "queries" / "facts"
