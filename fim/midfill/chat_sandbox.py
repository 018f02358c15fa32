"""A process of its own for a chat template: a program in Jinja, by whoever made the model's file.

Jinja's sandbox keeps it from reaching out, and limits on time and memory from taking the machine: neither asks for the
leave of the code that runs (`s ~ s`, thirty times over, is a gigabyte, and is no Python that could be traced). It
never sees what is said. Each content is a mark, which knows whether anything is left of it when it is stripped.

Run as a script: a question in JSON comes in, an answer goes out.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from datetime import datetime
from typing import Any

LEFT, RIGHT = "\U000f4d46", "\U000f4d47"
"""Around a mark. Of the private use area: no vocabulary and no template has them."""
MARK = re.compile(f"{LEFT}(?P<message>[0-9]+)(?P<strips>(?:[slr][0-9a-f]*;)*){RIGHT}")
"""A content, and how it is to be stripped: on which side, and of which characters (hexadecimal UTF-8; none: white
space)."""

MEMORY_BYTES = 1 << 29
"""Ten times what Python and Jinja take, and the longest text that may be printed fits in it ten times."""


class TakesApart(Exception):
    """A template asked for a part of a content, which it does not have."""


class Told(str):
    """A text of a template's with marks in it. It can be added to, and stripped as the contents would be."""

    __slots__ = ()

    def __add__(self, other: str) -> Told:
        return Told(str.__add__(self, other))

    def __radd__(self, other: str) -> Told:
        return Told(str.__add__(other, self))

    def __getitem__(self, at: Any) -> str:
        if LEFT in self:
            raise TakesApart
        return str.__getitem__(self, at)

    def strip(self, chars: str | None = None, /) -> Told:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> Told:
        text = str.lstrip(self, chars)
        mark = MARK.match(text)
        if mark is None:
            return Told(text)
        rest = text.removeprefix(mark[0])
        if chars is None and int(mark["message"]) in _blank:
            return Told(rest).lstrip()
        return Told(f"{_stripped(mark, 'l', chars)}{rest}")

    def rstrip(self, chars: str | None = None, /) -> Told:
        text = str.rstrip(self, chars)
        mark = next((one for one in MARK.finditer(text) if one.end() == len(text)), None)
        if mark is None:
            return Told(text)
        rest = text.removesuffix(mark[0])
        if chars is None and int(mark["message"]) in _blank:
            return Told(rest).rstrip()
        return Told(f"{rest}{_stripped(mark, 'r', chars)}")


_blank: set[int] = set()
"""Messages that hold white space only."""


def _stripped(mark: re.Match[str], side: str, chars: str | None) -> str:
    of = "" if chars is None else chars.encode("utf-8", "replace").hex()
    return f"{mark[0][:-1]}{side}{of};{RIGHT}"


def answer(question: dict[str, Any]) -> dict[str, str]:
    """What the template prints, or why it does not."""
    from jinja2.exceptions import SecurityError, TemplateError  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Refused(Exception):
        """The template called `raise_exception`."""

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            # Said at once where there is no limit on memory, as on Windows.
            sides = (left, right)
            if not all(isinstance(side, (int, float)) and abs(side) < 2**31 for side in sides):
                raise SecurityError(f"{operator} of something else than numbers")
            if operator == "**" and abs(right) > 64:
                raise SecurityError("a power above 64")
            return super().call_binop(context, operator, left, right)

    def refuse(message: object) -> None:
        raise Refused(str(message)[:200])

    sandbox = Sandbox(
        # As the templates' own authors run them (transformers, chat_template_utils).
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
    )

    def now(form: str) -> str:
        return datetime.now().strftime(form)

    sandbox.globals |= {"raise_exception": refuse, "strftime_now": now}
    messages = []
    for idx, (role, state) in enumerate(question["messages"]):
        # Nothing stands for nothing, so that a template can ask whether there is any.
        content = Told(f"{LEFT}{idx}{RIGHT}") if state else Told()
        if state == "blank":
            _blank.add(idx)
        messages.append({"role": role, "content": content})
    variables = question["variables"] | {"messages": messages}
    limit_processor(question["seconds"])
    printed, n_printed = list[str](), 0
    try:
        for part in sandbox.from_string(question["template"]).generate(variables):
            printed.append(part)
            n_printed += len(part)
            if n_printed > question["longest"]:
                raise SecurityError("it prints too much")
        return {"text": "".join(printed)}
    except Refused as refused:
        return {"refused": str(refused)}
    except TakesApart:
        return {"apart": ""}
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
        return {"error": type(error).__name__}


def limit_memory() -> None:
    """No more than `MEMORY_BYTES`, where the system can be told so."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass


def limit_processor(seconds: float) -> None:
    """End this process when it has computed for so long, also inside a call that runs no Python."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def main() -> None:
    """Answer one question."""
    question = json.load(sys.stdin.buffer)
    # Where the asking process found Jinja; this one was started without any paths of its own.
    sys.path[:] = question["path"]
    limit_memory()
    sys.stdout.buffer.write(json.dumps(answer(question)).encode())


if __name__ == "__main__":
    main()
