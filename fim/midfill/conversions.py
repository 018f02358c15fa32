"""Edits of Python that are exact, so that no model is asked: a local name by another, and format conversions.

Which words ask for which is data, `[[conversion]]` in `tasks.toml`. What is not sure to mean the same is left to the
model: a parameter, a name that others hold, text that libcst cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def converted(code: str, instruction: str, known: Sequence[Mapping[str, str]]) -> str:
    """Whole lines of Python after what an instruction asks for; empty where that is no conversion, or changes nothing.

    `code` has `\\n` line endings and may be indented. `known` are the rows of `tasks.toml`.
    """
    for row in known:
        if asked := re.fullmatch(row["asks"], instruction.strip()):
            # A third of a second, for what is seldom asked.
            from midfill.conversions_python import applied  # noqa: PLC0415

            return applied(code, row["does"], asked.groupdict())
    return ""
