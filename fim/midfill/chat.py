"""From messages to what an instruct model reads, by the chat template in its file.

A template is a program in Jinja, written by whoever made the file, that prints one text with the control
tokens spelled in it. So it runs in Jinja's sandbox, within a time and a size; and it never sees what was
said: each content stands as a mark that is replaced afterwards, when the control tokens that the template
itself wrote have been told apart. What a user writes is text, also where it spells a control token.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import Any, Literal

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from midfill.engine import ModelInfo
from midfill.errors import EngineRefused, RoleError
from midfill.formats import Tokenize

Speaker = Literal["system", "user", "assistant"]

LONGEST_TEMPLATE = 1 << 16
"""Characters. The longest that are in use, with tools and reasoning, take some 15,000."""
LONGEST_TEXT = 1 << 20
"""Characters that a template may print besides the contents: a thousand long turns' worth."""
TIME_LIMIT_S = 2.0
"""A template of any family takes under a millisecond a message."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Speaker
    content: str


async def chat_prompt(
    model: ModelInfo, messages: Sequence[Message], tokenize: Tokenize
) -> tuple[int, ...]:
    """The token ids after which the model says the assistant's next turn.

    Raises:
        RoleError: the model has no chat template, or one that does not work.
        EngineRefused: the template does not take such a conversation.
    """
    if not model.chat_template:
        raise RoleError(
            f"{model.name} has no chat template, so it cannot hold a conversation; "
            "name an instruct model in instruct.model."
        )
    ids: list[int] = []
    for item in await asyncio.to_thread(rendered, model, messages):
        ids += [item] if isinstance(item, int) else await tokenize(item)
    if model.bos_id is not None and ids[:1] != [model.bos_id]:
        ids.insert(0, model.bos_id)
    return tuple(ids)


def rendered(model: ModelInfo, messages: Sequence[Message]) -> list[int | str]:
    """The prompt in pieces: ids of the control tokens that the template writes, and the texts between them.

    Raises:
        RoleError, EngineRefused: as for `chat_prompt`.
    """
    contents = _Contents()
    told = [
        {"role": message.role, "content": contents.mark(message.content)} for message in messages
    ]
    text = _run(model, told)
    pieces: list[int | str] = []
    spelled = sorted(model.control_ids, key=len, reverse=True)
    for part in re.split(f"({'|'.join(map(re.escape, spelled))})" if spelled else "(?!)", text):
        if part in model.control_ids:
            pieces.append(model.control_ids[part])
        elif part:
            pieces.append(contents.put_in(part, model.name))
    return pieces


class _Contents:
    """What was said, by the marks that stand for it in a template's text."""

    def __init__(self) -> None:
        # Digits, which no change of case alters, between characters that no template writes.
        self._run = secrets.randbits(64)
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        """The mark of a text. Nothing stands for nothing, so that a template can ask whether there is any."""
        if not text:
            return ""
        self._texts.append(text)
        return _Mark(f"{_LEFT}{self._run}:{len(self._texts) - 1}{_RIGHT}", text, self)

    def put_in(self, text: str, name: str) -> str:
        """The text with the contents in place of their marks."""
        whole = re.sub(
            f"{_LEFT}{self._run}:([0-9]+){_RIGHT}", lambda mark: f"{_LEFT}{mark[1]}{_RIGHT}", text
        )
        parts = re.split(f"{_LEFT}([0-9]+){_RIGHT}", whole)
        if any(_LEFT in part or _RIGHT in part for part in parts[::2]):
            raise RoleError(
                f"The chat template of {name} takes messages apart, which Midfill does not do; "
                "use another instruct model."
            )
        return "".join(
            self._texts[int(part)] if idx % 2 else part for idx, part in enumerate(parts)
        )


class _Mark(str):
    """Stands for a content. Templates strip contents, so stripping gives the mark of the stripped text."""

    __slots__ = ("contents", "text")

    def __new__(cls, mark: str, text: str, contents: _Contents) -> _Mark:
        made = super().__new__(cls, mark)
        made.text, made.contents = text, contents
        return made

    text: str
    contents: _Contents

    def strip(self, chars: str | None = None, /) -> str:
        return self.contents.mark(self.text.strip(chars))

    def lstrip(self, chars: str | None = None, /) -> str:
        return self.contents.mark(self.text.lstrip(chars))

    def rstrip(self, chars: str | None = None, /) -> str:
        return self.contents.mark(self.text.rstrip(chars))


_LEFT, _RIGHT = "\U000f4d46", "\U000f4d47"
"""Of the private use area: no vocabulary and no template has them, and a content is never printed with them."""


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


def _run(model: ModelInfo, messages: Sequence[Mapping[str, str]]) -> str:
    if len(model.chat_template) > LONGEST_TEMPLATE:
        raise RoleError(f"The chat template of {model.name} is too long; use another model.")
    spelling = {token: piece for piece, token in model.control_ids.items()}
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
        template = sandbox.from_string(model.chat_template)
        for part in template.generate(
            messages=messages,
            add_generation_prompt=True,
            bos_token="" if model.bos_id is None else spelling.get(model.bos_id, ""),
            eos_token=spelling.get(model.end_ids[0], "") if model.end_ids else "",
            tools=None,
        ):
            printed.append(part)
            n_printed += len(part)
            if n_printed > LONGEST_TEXT:
                raise SecurityError("it prints too much")
    except _Refused as refused:
        raise EngineRefused(
            f"The chat template of {model.name} refuses this conversation: {refused}"
        ) from None
    except TimeoutError:
        raise RoleError(
            f"The chat template of {model.name} does not end; use another model."
        ) from None
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
            f"The chat template of {model.name} does not work ({type(error).__name__}); "
            "use another model."
        ) from None
    finally:
        sys.settrace(before)
    return "".join(printed)


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
