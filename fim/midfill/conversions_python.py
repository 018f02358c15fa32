"""What libcst does for `conversions`: its scopes and one of its codemods. Imported when it is asked for."""

from __future__ import annotations

import builtins
import keyword
import re
import string
from collections.abc import Callable, Mapping, Sequence

import libcst
import libcst.matchers as m
from libcst.codemod import CodemodContext
from libcst.codemod.commands.convert_format_to_fstring import ConvertFormatStringCommand
from libcst.metadata import Assignment, FunctionScope, MetadataWrapper, ScopeProvider


def applied(code: str, name: str, asked: Mapping[str, str]) -> str:
    """The code after a conversion, one of `_CONVERSIONS`; empty where that is not sure or changes nothing."""
    head = _HEAD if code[:1].isspace() else ""
    try:
        before = libcst.parse_module(f"{head}{code}\n")
        after = _CONVERSIONS[name](before, asked)
    except (
        *(libcst.ParserSyntaxError, libcst.CSTValidationError, libcst.CSTLogicError),
        *(ValueError, RecursionError),
    ):
        return ""
    text = "" if after is None else after.code.removeprefix(head).removesuffix("\n")
    return "" if text == code else text


def _renamed(module: libcst.Module, asked: Mapping[str, str]) -> libcst.Module | None:
    """A variable of one function by another name, in it and in what stands in it."""
    old, new = asked["old"], asked["new"]
    if not new.isidentifier() or keyword.iskeyword(new) or hasattr(builtins, new):
        return None
    wrapper = MetadataWrapper(module)
    owner = _owner_of(wrapper, old, new)
    return None if owner is None else wrapper.module.visit(_Renamer(owner, old, new))


def _with_f_strings(module: libcst.Module, _: Mapping[str, str]) -> libcst.Module | None:
    """Calls of a text's `format` as f-strings: all of them, or none."""
    text = m.SimpleString() | m.ConcatenatedString() | m.FormattedString()
    formats = m.Call(func=m.Attribute(value=text, attr=m.Name("format")))
    # libcst has a codemod for `%` too, but what stands right of it may be a tuple, whose parts are meant.
    if m.findall(module, m.BinaryOperation(left=text, operator=m.Modulo())):
        return None
    for call in m.findall(module, formats):
        assert isinstance(call, libcst.Call)
        assert isinstance(call.func, libcst.Attribute)
        if not _is_plain(module.code_for_node(call.func.value), call.args):
            return None
    after = ConvertFormatStringCommand(CodemodContext()).transform_module(module)
    return None if m.findall(after, formats) else after


def _is_plain(text: str, arguments: Sequence[libcst.Arg]) -> bool:
    """Whether a text with `{}` means what it means as an f-string with the arguments in it."""
    try:
        parsed = [part for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        return False
    fields = [name or "" for _, name, _, _ in parsed]
    # `{0[key]}` names a text, as an f-string a variable; and `:` would end a lambda.
    if any("[" in name for name in fields) or any(m.findall(one, m.Lambda()) for one in arguments):
        return False
    # An argument that is shown twice, in another order or not at all: what a call in it does would be done so too.
    acts = m.Call() | m.Await() | m.Yield() | m.NamedExpr()
    if not any(m.findall(one, acts) for one in arguments):
        return True
    names_none = all(one.keyword is None and not one.star for one in arguments)
    has_fields_within = any("{" in (spec or "") for _, _, spec, _ in parsed)
    return fields == [""] * len(arguments) and names_none and not has_fields_within


def _owner_of(wrapper: MetadataWrapper, old: str, new: str) -> libcst.CSTNode | None:
    """The body of the function whose variable `old` is; None where it is none's, several's, or more than a variable.

    Defaults and decorators of that function are not in it: there the name is another's. `new` may stand nowhere in the
    code, and nothing in it may look names up by their text.
    """
    names = _Names(old)
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
    body = getattr(scope.node, "body", None)
    return body if are_variables and not is_shared and isinstance(body, libcst.CSTNode) else None


class _Renamer(libcst.CSTTransformer):
    """`old` by `new` within a function's body, but for attributes and keywords that are spelled alike."""

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

    def __init__(self, old: str) -> None:
        super().__init__()
        self._old = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)")
        self.found: set[str] = set()
        self.shared: set[str] = set()
        """Declared global or nonlocal."""
        self.shows_text = False
        """Whether a name's own text stands in a string, is shown (`f"{x=}"`), or a pattern of `match` may bind it."""

    def visit_Name(self, node: libcst.Name) -> None:  # noqa: N802 - libcst's name
        self.found.add(node.value)

    def visit_NameItem(self, node: libcst.NameItem) -> None:  # noqa: N802
        self.shared.add(node.name.value)

    def visit_FormattedStringExpression(  # noqa: N802
        self, node: libcst.FormattedStringExpression
    ) -> None:
        self.shows_text = self.shows_text or node.equal is not None

    def visit_SimpleString(self, node: libcst.SimpleString) -> None:  # noqa: N802
        # Some libraries look variables up by what a string says, as pandas' `query("a > @b")`.
        self.shows_text = self.shows_text or bool(self._old.search(node.value))

    def visit_Match(self, node: libcst.Match) -> None:  # noqa: N802
        self.shows_text = True


def _holds(scope: object, name: str) -> bool:
    assignments = getattr(scope, "assignments", None)
    return assignments is not None and any(one.name == name for one in assignments)


_BY_TEXT = {"locals", "vars", "eval", "exec"}


_HEAD = "if True:\n"
"""What indented lines are read under: to take their indentation away would change texts of several lines."""

_CONVERSIONS: Mapping[str, Callable[[libcst.Module, Mapping[str, str]], libcst.Module | None]] = {
    "rename": _renamed,
    "f-strings": _with_f_strings,
}
