"""What a parser knows about a document: scopes, imports, definitions, comments, and where a block opens.

A `Syntax` is one version of a document and its tree, and never changes; the next version is made from it by
`parse(document, previous)`, which reads again only what an edit can have touched (2 cores, tree-sitter 0.26.1,
Python sources): 10 ms for 1,000 lines at first and 0.3 to 0.6 ms after a key; 70 to 110 ms and 2 to 6 ms for
10,000 lines, and all of them again where a bracket is opened far above. Parsing holds Python's lock, also in a
thread, but for the `on_step` that it is given: what sleeps there lets others run.

A document is broken at the caret most of the time. What is asked of the tree is therefore asked so that an
error near the caret costs little: comments and strings are found inside errors too, headers are read from
the text, and scopes are read from the indentation where an error has swallowed them.

tree-sitter counts bytes of UTF-8. Everything in here that has `byte` in its name does too; all else is
offsets in code points, as in `midfill.text`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

from tree_sitter import Node, QueryCursor, Tree

from midfill import blocks
from midfill.languages import Grammar, Language, grammar, language
from midfill.text import Document
from midfill.trees import Bytes, edited_to, encoded, errors_of, tree_of

MAX_CHARACTERS = 1_000_000
"""Larger documents are not parsed: some 25,000 lines, 250 ms for the first parse and 50 MB for the tree."""

Place = Literal["code", "comment", "string"]


class Span(NamedTuple):
    """A piece of a document."""

    start: int
    end: int


class Scope(NamedTuple):
    """Something that encloses code, such as a class or a function."""

    kind: str
    """As the language's query says: `function`, `method`, `class` …; `block` where only the text was read."""
    name: str
    start: int
    header_end: int
    """The end of the last line of the header, at most the scope's own end."""
    end: int


class Definition(NamedTuple):
    """Something with a name that other code may use."""

    name: str
    kind: str
    signature: str
    """The header without its opening bracket, on one line."""
    start: int
    end: int


class ParsingStopped(Exception):
    """A parse was given up because its `on_step` said so."""


def parse(
    document: Document,
    previous: Syntax | None = None,
    on_step: Callable[[], bool] | None = None,
) -> Syntax | None:
    """The syntax of a document, or nothing where the language has no grammar or the document is too large.

    `previous` is the syntax of an earlier version; what both have in common is not parsed again. `on_step` is
    called every hundred operations of the parser, some 20 microseconds, and tells whether to stop.

    Raises:
        ParsingStopped: `on_step` has stopped it.
    """
    known = language(document.language)
    if not known.grammar or sum(map(len, document.lines)) > MAX_CHARACTERS:
        return None
    tables = grammar(known.id)
    assert tables is not None
    data = document.text.encode("utf-8", "surrogatepass")
    parsed = encoded(document.text, latin_only=known.latin_only)
    old = None
    if previous is not None and previous.language is known:
        old = edited_to(previous.tree, previous.parsed, parsed)
    tree = tree_of(tables.tables, parsed, old, on_step)
    if tree is None:
        raise ParsingStopped
    return Syntax(document, known, tables, tree, data, parsed)


def opens_block_by_text(document: Document, offset: int) -> bool:
    """`Syntax.opens_block` from the text alone, for documents without a tree."""
    known = language(document.language)
    if blocks.comment_alone(document, known, document.line_of(offset)):
        return False
    return blocks.opens_block(
        document, known, offset, lambda line: blocks.comment_alone(document, known, line)
    )


@dataclass(frozen=True, eq=False)
class Syntax:
    """One version of a document and its tree. Not to be changed, so any thread may ask it."""

    document: Document
    language: Language
    grammar: Grammar
    tree: Tree
    data: bytes
    """The document's text."""
    parsed: bytes
    """The text as the parser saw it: as long, with other characters where a scanner could not bear them."""

    def scopes(self, offset: int) -> tuple[Scope, ...]:
        """What encloses an offset, the outermost first.

        Where only indentation ends a block, the caret's column tells which of the blocks that end above it go
        on. Where an error touches the caret, headers of the text count too, because the tree has lost some.
        """
        closed = self.language.style != "indent"
        found = {
            scope
            for scope in self._scopes_touching(offset)
            if scope.start < offset and not (closed and scope.end == offset)
        }
        if not closed:
            found.update(self._scopes_going_on(offset))
        if self.errors_in(offset, offset):
            known = {self.document.line_of(scope.start) for scope in found}
            found.update(
                self._scope_of(header, offset)
                for header in blocks.headers_above(self.document, self.language, offset)
                if known.isdisjoint(range(header.first_line, header.last_line + 1))
            )
        return tuple(sorted(found, key=lambda scope: (scope.start, -scope.end)))

    def scopes_begun(self, start: int, end: int) -> tuple[Scope, ...]:
        """What begins between two offsets and encloses code, the outermost first; costs by the text between them."""
        matches = self._matches(self.byte_of(start), self.byte_of(end))
        found = {scope for scope in self._scopes_of(matches) if start <= scope.start < end}
        return tuple(sorted(found, key=lambda scope: (scope.start, -scope.end)))

    def imports(self, before: int | None = None) -> tuple[Span, ...]:
        """The document's imports in order, also those in a guard, a namespace or a `try`, but not in functions;
        or those alone that begin before an offset, which costs by the text up to there."""
        return self._imports if before is None else self._imports_before(self.byte_of(before))

    def in_import(self, offset: int) -> bool:
        """Whether an offset lies in an import, or at its end on the same line."""
        at = self.byte_of(offset)
        cursor = QueryCursor(self.grammar.imports)
        cursor.set_byte_range(max(at - 1, 0), at + 1)
        cursor.set_max_start_depth(_IMPORT_DEPTH)
        found = cursor.captures(self.tree.root_node).get("import", ())
        return any(
            node.start_byte < at <= node.end_byte and self.data[at - 1 : at] != b"\n"
            for node in found
        )

    def definitions(self) -> tuple[Definition, ...]:
        """The document's definitions in order."""
        return self._definitions

    def place(self, offset: int) -> Place:
        """Whether text typed at an offset is code, or part of a comment or a string."""
        return self._literal(offset)[0]

    def opens_block(self, offset: int) -> bool:
        """Whether a block begins at the caret, so that a completion of several lines is wanted.

        It does when nothing but white space, or what closes the header's own brackets, stands to the right on the
        caret's line, the nearest line of code up to the caret is a header that opens a block, and the next line
        below is not indented deeper than that header, so the body is still empty. Comments alone on their lines
        are no code, and neither are such strings where indentation makes the blocks: a body that has only its
        docstring is empty.
        """
        if self.place(offset) != "code":
            return False
        return blocks.opens_block(self.document, self.language, offset, self._stands_alone)

    def errors_in(self, start: int, end: int) -> int:
        """How many errors touch the piece from `start` to `end`: text that fits nowhere, or missing tokens."""
        first, last = self.byte_of(start), self.byte_of(end)
        return sum(error.start <= last and error.end >= first for error in self.byte_errors)

    @cached_property
    def byte_errors(self) -> tuple[Bytes, ...]:
        """Where the errors of the tree are, in bytes."""
        return tuple(errors_of(self.tree))

    def byte_of(self, offset: int) -> int:
        """The byte at which the character at `offset` starts."""
        if self._ascii:
            return offset
        line = self.document.line_of(offset)
        head = self.document.lines[line][: offset - self.document.line_starts[line]]
        return self._byte_starts[line] + len(head.encode("utf-8", "surrogatepass"))

    def offset_of(self, byte: int) -> int:
        """The offset of the character that holds `byte`."""
        if self._ascii:
            return byte
        line = bisect_right(self._byte_starts, byte) - 1
        start = self._byte_starts[line]
        while start < byte < len(self.data) and self.data[byte] & 0xC0 == 0x80:
            byte -= 1
        head = self.data[start:byte].decode("utf-8", "surrogatepass")
        return self.document.line_starts[line] + len(head)

    @cached_property
    def _ascii(self) -> bool:
        return len(self.data) == len(self.document.text)

    @cached_property
    def _byte_starts(self) -> tuple[int, ...]:
        lengths = (
            len(line) if line.isascii() else len(line.encode("utf-8", "surrogatepass"))
            for line in self.document.lines[:-1]
        )
        return tuple(accumulate(lengths, initial=0))

    @cached_property
    def _imports(self) -> tuple[Span, ...]:
        return self._imports_before(len(self.data))

    def _imports_before(self, end_byte: int) -> tuple[Span, ...]:
        found = QueryCursor(self.grammar.imports)
        found.set_byte_range(0, end_byte)
        found.set_max_start_depth(_IMPORT_DEPTH)
        ends: dict[int, int] = {}
        for node in found.captures(self.tree.root_node).get("import", ()):
            end = node.start_byte + len(self.data[node.start_byte : node.end_byte].rstrip())
            ends[node.start_byte] = max(end, ends.get(node.start_byte, 0))
        return tuple(Span(self.offset_of(a), self.offset_of(b)) for a, b in sorted(ends.items()))

    @cached_property
    def _definitions(self) -> tuple[Definition, ...]:
        found: dict[tuple[int, int], Definition] = {}
        for match in self._matches():
            where = (match.node.start_byte, match.node.end_byte)
            if match.definition and where not in found:
                found[where] = Definition(
                    self._one_line(match.name.start_byte, match.name.end_byte),
                    match.definition,
                    self._signature(match),
                    self.offset_of(match.node.start_byte),
                    self.offset_of(match.node.end_byte),
                )
        return tuple(found[where] for where in sorted(found))

    def _scopes_touching(self, offset: int) -> Iterator[Scope]:
        at = self.byte_of(offset)
        matches = self._matches(max(at - 1, 0), at + 1)
        return self._scopes_of(
            match for match in matches if match.node.start_byte <= at <= match.node.end_byte
        )

    def _scopes_of(self, matches: Iterable[_Match]) -> Iterator[Scope]:
        seen = set()
        for match in matches:
            node = match.node
            if match.scope and node.id not in seen:
                seen.add(node.id)
                end = self.offset_of(node.end_byte)
                yield Scope(
                    match.definition or match.scope,
                    self._one_line(match.name.start_byte, match.name.end_byte),
                    self.offset_of(node.start_byte),
                    min(self._line_end(self.offset_of(self._header_byte(match))), end),
                    end,
                )

    def _scopes_going_on(self, offset: int) -> Iterator[Scope]:
        """The scopes that end above a caret with only white space to its left, but are indented less than it."""
        line = self.document.line_of(offset)
        column = offset - self.document.line_starts[line]
        head = self.document.lines[line][:column]
        above = next((n for n in range(line - 1, -1, -1) if self.document.lines[n].strip()), None)
        if head.strip() or above is None:
            return
        width = len(head.expandtabs(blocks.TAB))
        for scope in self._scopes_touching(self._line_end(self.document.line_starts[above])):
            scope_line = self.document.line_of(scope.start)
            if scope.end < offset and blocks.indentation(self.document, scope_line) < width:
                yield scope

    def _scope_of(self, header: blocks.Header, offset: int) -> Scope:
        first, last = (self.document.line_starts[line] for line in header)
        text = self.document.lines[header.first_line]
        start = first + len(text) - len(text.lstrip())
        end = blocks.body_end(self.document, header, self.document.line_of(offset))
        return Scope("block", "", start, self._line_end(last), end)

    def _matches(self, first: int = 0, last: int | None = None) -> Iterator[_Match]:
        """What the structure query finds between two bytes, with the first patterns' matches first."""
        cursor = QueryCursor(self.grammar.structure)
        cursor.set_byte_range(first, len(self.data) if last is None else last)
        for _, captures in sorted(cursor.matches(self.tree.root_node), key=lambda match: match[0]):
            yield _Match.of(captures)

    def _header_byte(self, match: _Match) -> int:
        """A byte of the last line of a header, which holds the bracket that opens the body if there is one."""
        if match.body is None:
            return match.node.start_byte
        if self.data[match.body.start_byte : match.body.start_byte + 1] in (b"{", b"[", b"("):
            return match.body.start_byte
        return max(_end_before(match.body) - 1, match.node.start_byte)

    def _signature(self, match: _Match) -> str:
        start, end = match.node.byte_range
        if match.body is None:
            end = self.byte_of(min(self._line_end(self.offset_of(start)), self.offset_of(end)))
        else:
            end = max(_end_before(match.body), start)
        return self._one_line(start, end).rstrip("{: ")

    def _literal(self, offset: int) -> tuple[Place, Bytes]:
        """The innermost comment, string, or code inside a string that holds an offset, in bytes."""
        at = self.byte_of(offset)
        cursor = QueryCursor(self.grammar.places)
        cursor.set_byte_range(max(at - 1, 0), at + 1)
        found: tuple[Place, Bytes] = ("code", Bytes(0, len(self.data)))
        captures = cursor.captures(self.tree.root_node)
        for kind in _PLACES:
            for node in captures.get(kind, ()):
                start, end = node.byte_range
                holds = start < at and (at < end or (kind == "comment" and self._goes_on(node, at)))
                if holds and (start, -end) >= (found[1].start, -found[1].end):
                    found = (kind, Bytes(start, end))
        return found

    def _stands_alone(self, line: int) -> bool:
        """Whether a line holds nothing but a comment, or a docstring."""
        text = self.document.lines[line]
        start = self.document.line_starts[line]
        first, last = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
        kind, span = self._literal(first + 1)
        if kind == "code" or (kind == "string" and self.language.style != "indent"):
            return False
        return span.start <= self.byte_of(first) and self.byte_of(last) <= span.end

    def _goes_on(self, comment: Node, at: int) -> bool:
        """Whether text typed at the end of a comment still belongs to it, as it does up to the line's end."""
        if at != comment.end_byte or self.data[at - 1 : at] in (b"\n", b"\r"):
            return False
        opening, closing = (part.encode() for part in self.language.block_comment or ("", ""))
        is_block = bool(opening) and self.data.startswith(opening, comment.start_byte)
        return not (is_block and self.data.endswith(closing, 0, at))

    def _line_end(self, offset: int) -> int:
        """The end of the line that holds an offset, before its line ending."""
        line = self.document.line_of(offset)
        return self.document.line_starts[line] + len(self.document.lines[line].rstrip("\r\n"))

    def _one_line(self, start: int, end: int) -> str:
        """The text between two bytes with each run of white space as one space."""
        return " ".join(self.data[start:end].decode("utf-8", "replace").split())


class _Match(NamedTuple):
    """One match of a structure query."""

    node: Node
    definition: str
    """Its kind as a definition, or nothing."""
    scope: str
    """Its kind as a scope that is no definition, `block` where the query gives none, or nothing."""
    name: Node
    body: Node | None

    @classmethod
    def of(cls, captures: dict[str, list[Node]]) -> _Match:
        definition = scope = ""
        node = name = body = None
        for capture, nodes in captures.items():
            first, _, kind = capture.partition(".")
            if capture == "scope.body":
                body = nodes[0]
            elif capture == "name":
                name = nodes[0]
            elif first == "definition":
                node, definition = nodes[0], kind
            elif first == "scope":
                node, scope = nodes[0], kind or "block"
        assert node is not None, (
            f"a structure pattern without definition or scope: {list(captures)}"
        )
        return cls(node, definition, scope, name or node, body)


def _end_before(node: Node) -> int:
    """Where the token before a node ends, comments aside; the node's own start if it is the first."""
    before = node.prev_sibling
    while before is not None and before.is_extra:
        before = before.prev_sibling
    return node.start_byte if before is None else before.end_byte


_IMPORT_DEPTH = 3
"""A statement in `try:` or in a namespace is so far below the root. Without a limit the query takes 50 ms for
10,000 lines."""

_PLACES: tuple[Place, ...] = ("comment", "string", "code")
