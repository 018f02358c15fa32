"""What an edit must keep, held against what it replaces.

Each check gives a reason why an edit will not do, or nothing. A reason is half a sentence about "it", the answer: the
model is told when it is asked again, and the user when nothing came of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from tree_sitter import Node, QueryCursor

from midfill.code_facts import documentation, facts_of, facts_query, n_unwritten
from midfill.subject import Subject
from midfill.syntax import Definition, Syntax


@dataclass(frozen=True)
class Rules:
    """What a kind of edit must keep."""

    signature: Literal["keep", "extend", "free"] = "keep"
    """`extend`: as many parameters with the same names, to which types may be added."""
    comments: Literal["keep", "inside", "free"] = "keep"
    """`inside`: those above a definition and its documentation may change, those in its body may not."""
    code: Literal["free", "keep", "add", "rename"] = "free"
    """Comments and documentation aside, `keep`: it stays as it is; `add`: nothing is taken away or moved;
    `rename`: nothing but local names changes, each into one that was not there."""
    adds: bool = False
    """Whether there may be definitions that were not there."""
    least_size: float = 0.3
    """Of the code's tokens so many must be there afterwards, as a share."""
    most_size: float = 2.0


def why_not(replacement: Replacement) -> str:
    """The first reason why an edit will not do, or nothing."""
    return next((reason for check in CHECKS if (reason := check(replacement))), "")


@dataclass(frozen=True)
class Replacement:
    """The subject before and after."""

    subject: Subject
    old: State
    new: State
    rules: Rules

    @property
    def adds_imports(self) -> bool:
        """Whether there are more imports than before. They belong to the head of the file, not to the subject."""
        return len(self.new.syntax.imports()) > len(self.old.syntax.imports())


@dataclass(frozen=True)
class State:
    """A version of the document and the range of the subject in it."""

    syntax: Syntax
    start: int
    end: int

    @cached_property
    def inside(self) -> list[Definition]:
        """The definitions in the range, the outer ones before those in them."""
        return [one for one in self.syntax.definitions() if self.start <= one.start < self.end]

    @cached_property
    def outside(self) -> list[tuple[str, str, int]]:
        """The definitions around the range, by what comes after it from the text's end."""
        size = len(self.syntax.document.text)
        return [
            (one.name, one.signature, one.start if one.start < self.start else one.start - size)
            for one in self.syntax.definitions()
            if not self.start <= one.start < self.end
        ]

    @cached_property
    def literals_outside(self) -> list[tuple[int, int]]:
        """The bytes of the comments and strings around the range, those after it counted from the text's end."""
        first, last = self.syntax.byte_of(self.start), self.syntax.byte_of(self.end)
        found = QueryCursor(self.syntax.grammar.places).captures(self.syntax.tree.root_node)
        size = len(self.syntax.data)
        return sorted(
            (a, b) if a < first else (a - size, b - size)
            for a, b in (node.byte_range for nodes in found.values() for node in nodes)
            if a < first or b > last
        )

    def kinds_down_to(self, depth: int) -> Counter[tuple[int, str]]:
        """Depth and kind of the nodes that stand no deeper than that, comments aside."""
        return Counter((item.depth, item.kind) for item in self.structure if item.depth <= depth)

    @cached_property
    def signatures(self) -> dict[str, list[Definition]]:
        """The outermost definitions and the members of classes, by their dotted names."""
        found: dict[str, list[Definition]] = {}
        for one in self.inside:
            holders = [
                other for other in self.inside if other.start <= one.start and one.end <= other.end
            ]
            holders.remove(one)
            if all(holder.kind in _HOLDERS for holder in holders):
                path = ".".join(part.name for part in [*holders, one])
                found.setdefault(path, []).append(one)
        return found

    @cached_property
    def documented(self) -> frozenset[tuple[int, int]]:
        return documentation(self.syntax, self.start, self.end)

    @cached_property
    def structure(self) -> list[_Item]:
        """What the parser made of the code, without comments and documentation."""
        first, last = self.syntax.byte_of(self.start), self.syntax.byte_of(self.end)
        return list(_walk(self.syntax.tree.root_node, first, last, self.documented))

    @cached_property
    def tokens(self) -> Counter[str]:
        return Counter(item.text for item in self.structure if item.text)

    def remarks(self, *, body_only: bool) -> Counter[str]:
        """The comments and, unless `body_only`, documenting strings and what stands above a definition."""
        places = QueryCursor(self.syntax.grammar.places)
        first, last = self.syntax.byte_of(self.start), self.syntax.byte_of(self.end)
        places.set_byte_range(first, last)
        comments = {
            node.byte_range
            for node in places.captures(self.syntax.tree.root_node).get("comment", ())
        }
        begins = min((one.start for one in self.inside), default=self.start)
        return Counter(
            " ".join(self.syntax.data[a:b].decode("utf-8", "replace").split())
            for a, b in (comments if body_only else self.documented)
            if first <= a < last and not (body_only and a < self.syntax.byte_of(begins))
        )

    def decorators(self) -> list[str]:
        """In their order, which matters."""
        return [text for where, text in self._captured("attached") if where not in self.documented]

    def members(self) -> Counter[str]:
        """The names of the fields of classes."""
        return Counter(text for _, text in self._captured("member"))

    def _captured(self, kind: str) -> list[tuple[tuple[int, int], str]]:
        """What the facts query captures in the range, in order: bytes, and text without white space."""
        query = facts_query(self.syntax)
        if query is None:
            return []
        cursor = QueryCursor(query)
        first, last = self.syntax.byte_of(self.start), self.syntax.byte_of(self.end)
        cursor.set_byte_range(first, last)
        nodes = cursor.captures(self.syntax.tree.root_node).get(kind, ())
        return sorted(
            (node.byte_range, "".join((node.text or b"").decode("utf-8", "replace").split()))
            for node in nodes
            if first <= node.start_byte < last
        )


def _writes_every_block(replacement: Replacement) -> str:
    old, new = (
        n_unwritten(state.syntax, state.start, state.end)
        for state in (replacement.old, replacement.new)
    )
    return "it leaves a block without code" if new > old else ""


def _keeps_what_is_around(replacement: Replacement) -> str:
    old, new = replacement.old, replacement.new
    if old.outside != new.outside or old.literals_outside != new.literals_outside:
        return "it changes the meaning of what stands around it"
    return ""


def _keeps_to_itself(replacement: Replacement) -> str:
    scope = replacement.subject.scope
    if scope is None:
        return ""
    depth = _depth(replacement.old.syntax, scope.start, scope.end)
    old, new = (state.kinds_down_to(depth) for state in (replacement.old, replacement.new))
    added = new - old
    # A definition may be added, a statement that runs when the file is loaded may not.
    runs = any(kind == "expression_statement" for _, kind in added)
    if added and (not replacement.rules.adds or replacement.adds_imports or runs):
        return "it holds more than it was asked for"
    return ""


def _depth(syntax: Syntax, start: int, end: int) -> int:
    """How many nodes hold the outermost one that stands between two offsets exactly."""
    where = (syntax.byte_of(start), syntax.byte_of(end))
    node = syntax.tree.root_node.descendant_for_byte_range(*where)
    depths = []
    while node is not None:
        depths.append(node.byte_range == where)
        node = node.parent
    return len(depths) - 1 - max((idx for idx, is_it in enumerate(depths) if is_it), default=0)


def _keeps_definitions(change: Replacement) -> str:
    old, new, rules = change.old.signatures, change.new.signatures, change.rules
    if rules.signature == "free":
        return ""
    for path, definitions in old.items():
        if len(new.get(path, ())) < len(definitions):
            return f"it leaves out {path}"
        for before, after in zip(definitions, new[path], strict=False):
            if not _is_same_signature(change, before, after):
                return f"it changes the signature of {path}"
    added = [path for path in new if len(new[path]) > len(old.get(path, ()))]
    if added and not rules.adds:
        return f"it adds {added[0]}, which was not there"
    return ""


def _is_same_signature(change: Replacement, before: Definition, after: Definition) -> bool:
    old, new = _signature_tokens(before.signature), _signature_tokens(after.signature)
    if old == new:
        return True
    if change.rules.signature == "keep" or before.kind not in ("function", "method"):
        return before.kind == "constant"  # Its "signature" is its value.
    rest = iter(new)
    n_old, n_new = (
        len(facts_of(state.syntax, one.start, one.end).parameters)
        for state, one in ((change.old, before), (change.new, after))
    )
    same_defaults = _n_defaults(old) == _n_defaults(new)
    return n_old == n_new and same_defaults and all(token in rest for token in old)


def _n_defaults(signature: list[str]) -> int:
    """Equals signs, but not those of the arrows that types of functions are written with."""
    following = [*signature[1:], ""]
    return sum(a == "=" and b not in (">", "=") for a, b in zip(signature, following, strict=True))


def _keeps_decorators(change: Replacement) -> str:
    if change.rules.signature == "free":
        return ""
    old, new = change.old.decorators(), change.new.decorators()
    changed = [*(Counter(old) - Counter(new)), *(Counter(new) - Counter(old))]
    if changed:
        return f"it changes the decorator {changed[0]}"
    return "it changes the order of the decorators" if old != new else ""


def _keeps_members(change: Replacement) -> str:
    if change.rules.signature == "free":
        return ""
    lost = change.old.members() - change.new.members()
    return f"it leaves out {min(lost)}" if lost else ""


def _keeps_comments(change: Replacement) -> str:
    kept = change.rules.comments
    if kept == "free":
        return ""
    body_only = kept == "inside"
    lost = change.old.remarks(body_only=body_only) - change.new.remarks(body_only=body_only)
    return f"it drops the comment “{next(iter(lost))[:60]}”" if lost else ""


def _keeps_code(change: Replacement) -> str:
    old, new, kept = change.old.structure, change.new.structure, change.rules.code
    if kept == "keep" and old != new:
        return "it changes code besides its documentation"
    if kept == "add":
        rest = iter([item.text for item in new if item.text])
        if not all(item.text in rest for item in old if item.text):
            return "it changes code where it was only to add to it"
    return _renames_only(change) if kept == "rename" else ""


def _renames_only(change: Replacement) -> str:
    old, new = change.old.structure, change.new.structure
    if [item[::2] for item in old] != [item[::2] for item in new]:
        return "it changes more than names"
    around = {name for name, _, _ in change.old.outside} | set(
        re.findall(r"\w+", change.subject.imports())
    )
    names: dict[str, str] = {}
    for idx, (before, after) in enumerate(zip(old, new, strict=True)):
        if _is_variable(old, idx):
            if names.setdefault(before.text, after.text) != after.text:
                return f"it renames {before.text} in some places only"
        elif before.text != after.text:
            return f"it changes {before.text}, which is no local name"
    renamed = {before: after for before, after in names.items() if before != after}
    if lost := renamed.keys() & around:
        return f"it renames {min(lost)}, which others use"
    if len(set(names.values())) < len(names):
        return "it gives two things one name"
    return ""


def _is_variable(structure: list[_Item], idx: int) -> bool:
    """Whether an item is a name that stands alone: no member of something, no name of an argument."""
    before = structure[idx - 1] if idx else None
    return structure[idx].kind == "identifier" and (
        before is None
        or (before.text not in (".", "?.", "->", "::") and before.kind != "keyword_argument")
    )


def _keeps_size(change: Replacement) -> str:
    rules, old, new = change.rules, change.old.tokens, change.new.tokens
    n_old, n_new = old.total(), new.total()
    if n_new + _FEW_TOKENS < n_old * rules.least_size or (n_old and not n_new):
        return f"it leaves most of the code out ({n_new} tokens instead of {n_old})"
    if n_new > n_old * rules.most_size + 2 * _FEW_TOKENS:
        return f"it is far longer than what it replaces ({n_new} tokens instead of {n_old})"
    if (old & new).total() < _LEAST_SHARED * min(n_old, n_new):
        return "it has little to do with what it replaces"
    return ""


CHECKS: tuple[Callable[[Replacement], str], ...] = (
    _writes_every_block,
    _keeps_what_is_around,
    _keeps_definitions,
    _keeps_decorators,
    _keeps_members,
    _keeps_to_itself,
    _keeps_code,
    _keeps_comments,
    _keeps_size,
)


class _Item(NamedTuple):
    """A node of the tree. Tokens have a text."""

    depth: int
    text: str
    kind: str


def _walk(
    root: Node, first: int, last: int, skipped: frozenset[tuple[int, int]]
) -> Iterator[_Item]:
    """The nodes that begin between two bytes, each before its children."""
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if node.end_byte <= first or node.start_byte >= last or node.byte_range in skipped:
            continue
        is_token = node.child_count == 0 or node.type in _WHOLE
        if first <= node.start_byte:
            text = (node.text or b"").decode("utf-8", "replace") if is_token else ""
            if text.strip() or not is_token:
                yield _Item(depth, text, node.type)
        if not is_token or node.start_byte < first:
            waiting += [(child, depth + 1) for child in reversed(node.children)]


def _signature_tokens(signature: str) -> list[str]:
    """A signature without white space and without a comma before a closing bracket."""
    return re.findall(r"\w+|[^\w\s]", re.sub(r",\s*(?=[)\]}>])", "", signature))


_WHOLE = ("string", "string_literal", "interpreted_string_literal", "char_literal")
"""Nodes that are taken as one token."""

_HOLDERS = ("class", "interface", "implementation", "enum", "module")

_FEW_TOKENS = 20
"""In code of a line or two a share says little."""

_LEAST_SHARED = 0.25
"""Of the shorter one's tokens at least so many must be the other's, or it is about something else."""
