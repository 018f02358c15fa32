"""Runs a chat template: a program in Jinja, by whoever made the model's file.

It runs in Jinja's sandbox, within a size and a time. It is imported when the first conversation begins: Jinja
takes as long to import as the rest of the host.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import datetime
from types import FrameType
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from midfill.errors import EngineRefused, RoleError

LONGEST_TEMPLATE = 1 << 16
"""Characters. The longest that are in use, with tools and reasoning, take some 15,000."""
LONGEST_TEXT = 1 << 20
"""Characters that a template may print besides the contents: a thousand long turns' worth."""
TIME_LIMIT_S = 2.0
"""A template of any family takes under a millisecond a message."""


def run_template(name: str, template: str, variables: Mapping[str, Any]) -> str:
    """What the template of the model called `name` prints.

    Raises:
        RoleError: it does not work.
        EngineRefused: it refuses the conversation.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise RoleError(f"The chat template of {name} is too long; use another model.")
    sandbox = _Sandbox(
        # As the templates' own authors run them (transformers, chat_template_utils).
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
    )
    sandbox.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    printed: list[str] = []
    n_printed = 0
    before = sys.gettrace()
    sys.settrace(_limit(time.monotonic() + TIME_LIMIT_S))
    try:
        for part in sandbox.from_string(template).generate(variables):
            printed.append(part)
            n_printed += len(part)
            if n_printed > LONGEST_TEXT:
                raise SecurityError("it prints too much")
    except _Refused as refused:
        raise EngineRefused(
            f"The chat template of {name} refuses this conversation: {refused}"
        ) from None
    except TimeoutError:
        raise RoleError(f"The chat template of {name} does not end; use another model.") from None
    except (
        # What running a program that someone else wrote can raise.
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise RoleError(
            f"The chat template of {name} does not work ({type(error).__name__}); "
            "use another model."
        ) from None
    finally:
        sys.settrace(before)
    return "".join(printed)


class _Refused(Exception):
    """The template called `raise_exception`."""


class _Sandbox(ImmutableSandboxedEnvironment):
    # 'x' * 10**10 would fill the memory before any limit is looked at.
    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(side, (int, float)) and abs(side) < 2**31 for side in (left, right)):
            raise SecurityError(f"{operator} of something else than numbers")
        if operator == "**" and abs(right) > 64:
            raise SecurityError("a power above 64")
        return super().call_binop(context, operator, left, right)


def _limit(until_s: float) -> Any:
    """Ends the Python code of this thread at a time: a compiled template is Python, and asks nobody's leave."""

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if time.monotonic() > until_s:
            raise TimeoutError
        return trace

    return trace


def _refuse(message: object) -> None:
    raise _Refused(str(message)[:200])


def _now(form: str) -> str:
    return datetime.now().strftime(form)
