"""What differs from one programming language to the next, as data.

`languages.toml` has one table per language and `queries/<language>.scm` one query per grammar, so adding a
language touches no Python. Both are read at their first use, grammars one at a time: loading all seventeen
takes 20 to 35 ms (measured with tree-sitter 0.26.1), which a server that is about to answer `initialize`
does not have.

What a query may capture:

    @import                 a statement that names other files or packages
    @definition.<kind>      something with a name that other code may use; its name is @name
    @scope                  something that encloses code, of the definition's kind
    @scope.<kind>           the same where it is no definition
    @scope.body             the body of the definition or scope; what stands before is its header
    @comment, @string       places where no code is
    @code                   code inside a string, such as an interpolation

When two patterns of a file match the same node as a definition, the first one counts. Patterns with
`@import` are tried in the upper levels of the tree only. A blank line ends a group of patterns of one
purpose (imports; structure; places): the groups are compiled apart.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import tree_sitter

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Style = Literal["indent", "braces", "end", "markup", "none"]
"""How blocks are marked: by indentation alone, braces, a closing keyword, tags, or in no known way."""


class Block(NamedTuple):
    """One way in which a line opens a block."""

    opens: re.Pattern[str]
    """Found in a header that opens such a block."""
    closes: str
    """What ends the block right after its header, or nothing where the grammar takes it without."""


@dataclass(frozen=True)
class Language:
    """One programming language."""

    ids: tuple[str, ...]
    """The identifiers that editors send for it; the first one names it."""
    extensions: Mapping[str, str]
    """File endings (with the dot) and whole file names, and the identifier each stands for."""
    grammar: str
    """The grammar's module and function, `module:function`, or nothing."""
    query: str
    """The name of its file in `queries`."""
    line_comment: str
    """What starts a comment that ends with its line, or nothing."""
    block_comment: tuple[str, str] | None
    """What starts and what ends a comment of any length."""
    style: Style
    brackets: tuple[tuple[str, str], ...]
    quotes: tuple[str, ...]
    """What opens and closes a string, the longest first."""
    blocks: tuple[Block, ...]
    closing_words: tuple[str, ...]
    """The words that end a block."""
    import_line: re.Pattern[str]
    """Found in a line that imports, also while it is being typed and the tree does not know it yet."""
    ended: re.Pattern[str]
    """Found in a line, without the space at its end, behind which a statement is over and nothing more is wanted."""
    member: tuple[str, ...]
    """What stands between a thing and the name of one of its members."""
    latin_only: bool
    """Whether the grammar's scanner must see no character above U+00FF (see `trees.encoded`)."""

    @property
    def id(self) -> str:
        """The identifier that names the language."""
        return self.ids[0]

    def block_opened_by(self, header: str) -> Block | None:
        """The block that a header opens."""
        return next((block for block in self.blocks if block.opens.search(header)), None)


@dataclass(frozen=True)
class Grammar:
    """A language's parser tables and its query.

    The query is compiled in three parts, each when first asked for: compiling takes up to 45 ms (TypeScript,
    2 cores, tree-sitter 0.26.1), nearly all of it for the structure, and running it costs by its patterns.
    """

    tables: tree_sitter.Language
    source: str

    @cached_property
    def imports(self) -> tree_sitter.Query:
        """Imports alone."""
        return self._query("@import")

    @cached_property
    def structure(self) -> tree_sitter.Query:
        """Scopes and definitions."""
        return self._query("@definition", "@scope")

    @cached_property
    def places(self) -> tree_sitter.Query:
        """Comments, strings, and code inside strings."""
        return self._query("@comment", "@string", "@code")

    def prepare(self) -> None:
        """Compile all of it now, as in a thread while nobody waits."""
        for _ in (self.imports, self.places, self.structure):
            pass

    def _query(self, *captures: str) -> tree_sitter.Query:
        kept = [
            part
            for part in self.source.split("\n\n")
            if any(capture in part for capture in captures)
        ]
        return tree_sitter.Query(self.tables, "\n\n".join(kept))


def language(identifier: str) -> Language:
    """The language an editor calls `identifier`; an unknown one has no grammar."""
    return _languages().get(identifier, _languages()[""])


def languages() -> tuple[Language, ...]:
    """All languages that have a grammar."""
    return tuple({each.id: each for each in _languages().values() if each.grammar}.values())


def language_of(path: str | PurePath) -> str:
    """The language identifier of a file by its name, or nothing when the name does not tell."""
    path = PurePath(path)
    return _extensions().get(path.name) or _extensions().get(path.suffix.lower(), "")


@cache
def grammar(identifier: str) -> Grammar | None:
    """The grammar of the language an editor calls `identifier`, loaded at the first call."""
    known = language(identifier)
    if not known.grammar:
        return None
    if identifier != known.id:
        return grammar(known.id)
    module, function = known.grammar.split(":")
    tables = tree_sitter.Language(getattr(import_module(module), function)())
    return Grammar(tables, (_HERE / "queries" / f"{known.query}.scm").read_text("utf-8"))


@cache
def _languages() -> dict[str, Language]:
    read = tomllib.loads((_HERE / "languages.toml").read_text("utf-8"))
    texts = [{**row, "ids": [each]} for row in read["text"] for each in row["ids"]]
    found = [_language(row) for row in [*read["language"], *texts, read["default"]]]
    return {identifier: each for each in found for identifier in each.ids}


@cache
def _extensions() -> dict[str, str]:
    known = _languages().values()
    return {end: name for each in known for end, name in each.extensions.items()}


def _language(row: Mapping[str, Any]) -> Language:
    comment = row.get("block_comment")
    return Language(
        ids=tuple(row["ids"]),
        extensions=row.get("extensions", {}),
        grammar=row.get("grammar", ""),
        query=row.get("query", ""),
        line_comment=row.get("line_comment", ""),
        block_comment=(comment[0], comment[1]) if comment else None,
        style=row["style"],
        brackets=tuple((pair[0], pair[1]) for pair in row["brackets"]),
        blocks=tuple(
            Block(re.compile(block["opens"], re.DOTALL), block.get("closes", ""))
            for block in row["blocks"]
        ),
        quotes=tuple(row.get("quotes", ('"', "'"))),
        closing_words=tuple(row.get("closing_words", ())),
        import_line=re.compile(row.get("import_line", r"(?!)"), re.DOTALL),
        ended=re.compile(row.get("ended", r";$")),
        member=tuple(row.get("member", ("."))),
        latin_only=row.get("latin_only", False),
    )


_HERE = Path(__file__).parent
