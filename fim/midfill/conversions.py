"""Edits of Python that are exact, so that no model is asked: a local name by another, and format conversions.

libcst makes them (its codemods and scopes). Which words ask for which is data, `[[conversion]]` in `tasks.toml`. What
is not sure to mean the same is left to the model: a parameter, a name that others hold, text that libcst cannot read.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst


def converted(code: str, instruction: str, known: Sequence[Mapping[str, str]]) -> str:
    """Whole lines of Python after what an instruction asks for; empty where that is no conversion, or changes nothing.

    `code` has `\\n` line endings and may be indented. `known` are the rows of `tasks.toml`.
    """
    for row in known:
        if asked := re.fullmatch(row["asks"], instruction.strip()):
            return _applied(code, _CONVERSIONS[row["does"]], asked.groupdict())
    return ""


_Conversion = Callable[["libcst.Module", Mapping[str, str]], "libcst.Module | None"]

_HEAD = "if True:\n"
"""What indented lines are read under: to take their indentation away would change texts of several lines."""


def _applied(code: str, conversion: _Conversion, asked: Mapping[str, str]) -> str:
    import libcst  # noqa: PLC0415 - a third of a second, for what is seldom asked

    head = _HEAD if code[:1].isspace() else ""
    try:
        before = libcst.parse_module(f"{head}{code}\n")
        after = conversion(before, asked)
    except (libcst.ParserSyntaxError, libcst.CSTValidationError, RecursionError):
        return ""
    text = "" if after is None else after.code.removeprefix(head).removesuffix("\n")
    return "" if text == code else text


def _renamed(module: libcst.Module, asked: Mapping[str, str]) -> libcst.Module | None:
    """A variable of one function by another name, in it and in what stands in it."""
    from libcst.metadata import MetadataWrapper  # noqa: PLC0415

    from midfill.conversions_rename import Renamer, owner_of  # noqa: PLC0415

    old, new = asked["old"], asked["new"]
    if not new.isidentifier() or keyword.iskeyword(new) or hasattr(builtins, new):
        return None
    wrapper = MetadataWrapper(module)
    owner = owner_of(wrapper, old, new)
    return None if owner is None else wrapper.module.visit(Renamer(owner, old, new))


def _with_f_strings(module: libcst.Module, _: Mapping[str, str]) -> libcst.Module | None:
    """Calls of a text's `format` as f-strings: all of them, or none."""
    import libcst.matchers as m  # noqa: PLC0415
    from libcst.codemod import CodemodContext  # noqa: PLC0415
    from libcst.codemod.commands.convert_format_to_fstring import (  # noqa: PLC0415
        ConvertFormatStringCommand,
    )

    text = m.SimpleString() | m.ConcatenatedString() | m.FormattedString()
    # libcst has a codemod for `%` too, but what stands right of it may be a tuple, whose parts are meant.
    if m.findall(module, m.BinaryOperation(left=text, operator=m.Modulo())):
        return None
    after = ConvertFormatStringCommand(CodemodContext()).transform_module(module)
    left = m.findall(after, m.Call(func=m.Attribute(value=text, attr=m.Name("format"))))
    return None if left else after


_CONVERSIONS: Mapping[str, _Conversion] = {"rename": _renamed, "f-strings": _with_f_strings}
