"""From messages to what an instruct model reads, by the chat template in its file.

A template prints one text with the control tokens spelled in it. It never sees what was said: each content
stands as a mark that is replaced afterwards, when the control tokens that the template itself wrote have been
told apart. What a user writes is text, also where it spells a control token.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from midfill.engine import ModelInfo
from midfill.errors import RoleError
from midfill.formats import Tokenize
from midfill.trained import cannot_talk, check_talks

Speaker = Literal["system", "user", "assistant"]


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
        RoleError: the model has no chat template, or one that does not work, or was not made to talk.
        EngineRefused: the template does not take such a conversation.
    """
    check_talks(model)
    if not model.chat_template:
        raise RoleError(cannot_talk(model, "has no chat template"))
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
    from midfill.chat_template import run_template  # noqa: PLC0415  Loads Jinja.

    contents = _Contents()
    told = [
        {"role": message.role, "content": contents.mark(message.content)} for message in messages
    ]
    spelling = {token: piece for piece, token in model.control_ids.items()}
    variables = {
        "messages": told,
        "add_generation_prompt": True,
        "bos_token": "" if model.bos_id is None else spelling.get(model.bos_id, ""),
        "eos_token": spelling.get(model.end_ids[0], "") if model.end_ids else "",
        "tools": None,
    }
    text = run_template(model.name, model.chat_template, variables)
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

    __slots__ = ("_contents", "_text")

    def __new__(cls, mark: str, text: str, contents: _Contents) -> _Mark:
        made = super().__new__(cls, mark)
        made._text, made._contents = text, contents
        return made

    # Underscored: the sandbox keeps such names from templates.
    _text: str
    _contents: _Contents

    def strip(self, chars: str | None = None, /) -> str:
        return self._contents.mark(self._text.strip(chars))

    def lstrip(self, chars: str | None = None, /) -> str:
        return self._contents.mark(self._text.lstrip(chars))

    def rstrip(self, chars: str | None = None, /) -> str:
        return self._contents.mark(self._text.rstrip(chars))


_LEFT, _RIGHT = "\U000f4d46", "\U000f4d47"
"""Of the private use area: no vocabulary and no template has them, and a content is never printed with them."""
