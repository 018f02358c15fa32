"""A local name by another, where that is sure to mean the same. Imports libcst, so it is imported when it is needed."""

from __future__ import annotations

import libcst
from libcst.metadata import (
    Assignment,
    FunctionScope,
    MetadataWrapper,
    ScopeProvider,
)


def owner_of(wrapper: MetadataWrapper, old: str, new: str) -> libcst.CSTNode | None:
    """The function whose variable `old` is; None where it is none's, several's, or more than a variable.

    `new` may stand nowhere in the code, and nothing in it may look names up by their text.
    """
    names = _Names()
    wrapper.module.visit(names)
    if new in names.found or names.found & _BY_TEXT or names.shows_text:
        return None
    scopes = {scope for scope in wrapper.resolve(ScopeProvider).values() if scope is not None}
    holding = [scope for scope in scopes if _holds(scope, old)]
    if len(holding) != 1 or not isinstance(scope := holding[0], FunctionScope):
        return None
    # A parameter is part of the signature, an imported name is another's, and a function's or class' name too much.
    are_variables = all(
        isinstance(one, Assignment) and isinstance(one.node, libcst.Name) for one in scope[old]
    )
    is_shared = old in names.shared
    node = getattr(scope, "node", None)
    return node if are_variables and not is_shared and isinstance(node, libcst.CSTNode) else None


class Renamer(libcst.CSTTransformer):
    """`old` by `new` within a function, but for attributes and keywords that are spelled alike."""

    def __init__(self, owner: libcst.CSTNode, old: str, new: str) -> None:
        super().__init__()
        self._owner, self._old, self._new = owner, old, new
        self._is_inside = False
        self._other: set[libcst.CSTNode] = set()

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if node is self._owner:
            self._is_inside = True
        if isinstance(node, libcst.Attribute):
            self._other.add(node.attr)
        if isinstance(node, libcst.Arg) and node.keyword is not None:
            self._other.add(node.keyword)
        return True

    def on_leave(  # type: ignore[override]
        self, original_node: libcst.CSTNode, updated_node: libcst.CSTNode
    ) -> libcst.CSTNode:
        if original_node is self._owner:
            self._is_inside = False
        if (
            self._is_inside
            and isinstance(updated_node, libcst.Name)
            and updated_node.value == self._old
            and original_node not in self._other
        ):
            return updated_node.with_changes(value=self._new)
        return updated_node


class _Names(libcst.CSTVisitor):
    """Every name in the code, and what of it cannot be renamed by its places."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.shared: set[str] = set()
        """Declared global or nonlocal."""
        self.shows_text = False
        """Whether a name's own text is shown (`f"{x=}"`), or a pattern of `match` may bind or name it."""

    def visit_Name(self, node: libcst.Name) -> None:  # noqa: N802 - libcst's name
        self.found.add(node.value)

    def visit_NameItem(self, node: libcst.NameItem) -> None:  # noqa: N802
        self.shared.add(node.name.value)

    def visit_FormattedStringExpression(  # noqa: N802
        self, node: libcst.FormattedStringExpression
    ) -> None:
        self.shows_text = self.shows_text or node.equal is not None

    def visit_Match(self, node: libcst.Match) -> None:  # noqa: N802
        self.shows_text = True


def _holds(scope: object, name: str) -> bool:
    assignments = getattr(scope, "assignments", None)
    return assignments is not None and any(one.name == name for one in assignments)


_BY_TEXT = {"locals", "vars", "eval", "exec"}
