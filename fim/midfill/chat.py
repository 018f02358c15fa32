"""From messages to what an instruct model reads: by the chat template in its file, else by its family's format.

A template prints one text with the control tokens spelled in it. It never sees what was said: each content stands as
a mark that is replaced afterwards, when the control tokens that the template itself wrote have been told apart. What
a user writes is text, also where it spells a control token. Some delimiters are text themselves, such as Code Llama's
`[/INST]`: where a content spells one it is encoded character by character, which gives other tokens than the ones
that the model was trained to take for the end of a turn.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from midfill.chat_formats import ChatFormat, Items, chat_format_of, plain_delimiters
from midfill.chat_sandbox import LEFT, MARK, RIGHT
from midfill.chat_template import run_template, shape_of, takes_apart
from midfill.engine import TURN_IDS, ModelInfo
from midfill.errors import RoleError
from midfill.formats import Tokenize, encode_cut
from midfill.trained import cannot_talk, check_talks

Speaker = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Speaker
    content: str


class Text(str):
    """A text between two control tokens, to be encoded apart at the offsets `cuts`."""

    __slots__ = ("cuts",)
    cuts: tuple[int, ...]

    def __new__(cls, text: str, cuts: Sequence[int] = ()) -> Text:
        made = super().__new__(cls, text)
        made.cuts = tuple(cuts)
        return made

    def then(self, text: Text) -> Text:
        """Both, one behind the other."""
        return Text(f"{self}{text}", [*self.cuts, *(len(self) + cut for cut in text.cuts)])


async def chat_prompt(
    model: ModelInfo, messages: Sequence[Message], tokenize: Tokenize
) -> tuple[int, ...]:
    """The token ids after which the model says the assistant's next turn.

    Raises:
        RoleError: the model has no chat template and is of no known family, or its template does not work, or it was
            not made to talk.
        EngineRefused: the template does not take such a conversation.
    """
    check_talks(model)
    ids: list[int] = []
    for item in await asyncio.to_thread(rendered, model, messages):
        ids += [item] if isinstance(item, int) else await encode_cut(item, item.cuts, tokenize)
    if model.bos_id is not None and not model.converses and ids[:1] != [model.bos_id]:
        ids.insert(0, model.bos_id)
    return tuple(ids)


def rendered(model: ModelInfo, messages: Sequence[Message]) -> list[int | Text]:
    """The prompt in pieces: ids of the control tokens, and the texts between them.

    Raises:
        RoleError, EngineRefused: as for `chat_prompt`.
    """
    if model.converses:
        turns = [item for one in messages for item in (TURN_IDS[one.role], Text(one.content))]
        return [*turns, TURN_IDS["assistant"]]
    known = chat_format_of(model)
    if not model.chat_template:
        if known is None:
            raise RoleError(cannot_talk(model, "has no chat template"))
        return _laid_out(known, model, messages)
    try:
        return _by_template(model, messages)
    except RoleError:
        if known is None:
            raise
        return _laid_out(known, model, messages)


def _by_template(model: ModelInfo, messages: Sequence[Message]) -> list[int | Text]:
    spelling = {token: piece for piece, token in model.control_ids.items()}
    bos = "" if model.bos_id is None else spelling.get(model.bos_id, "")
    eos = spelling.get(model.end_ids[0], "") if model.end_ids else ""
    shape = shape_of([(message.role, message.content) for message in messages])
    text = run_template(model.name, model.chat_template, shape, bos, eos)
    guard = _guard(model)
    pieces: list[int | Text] = []
    spelled = sorted(model.control_ids, key=len, reverse=True)
    for part in re.split(f"({'|'.join(map(re.escape, spelled))})" if spelled else "(?!)", text):
        if part in model.control_ids:
            pieces.append(model.control_ids[part])
        elif part:
            pieces.append(_filled(part, messages, guard, model.name))
    return pieces


def _filled(
    part: str, messages: Sequence[Message], guard: re.Pattern[str] | None, name: str
) -> Text:
    """A template's text with the contents in place of their marks."""
    whole, end = Text(""), 0
    for mark in MARK.finditer(part):
        idx = int(mark["message"])
        if idx >= len(messages):
            break
        content = messages[idx].content
        for side, of in re.findall("([slr])([0-9a-f]*);", mark["strips"]):
            chars = bytes.fromhex(of).decode("utf-8", "replace") if of else None
            content = content.lstrip(chars) if side == "l" else content.rstrip(chars)
        whole = whole.then(_plain(part[end : mark.start()], name)).then(_guarded(content, guard))
        end = mark.end()
    return whole.then(_plain(part[end:], name))


def _plain(text: str, name: str) -> Text:
    """What a template wrote itself."""
    if LEFT in text or RIGHT in text:
        raise takes_apart(name)
    return Text(text)


def _laid_out(known: ChatFormat, model: ModelInfo, messages: Sequence[Message]) -> list[int | Text]:
    """The prompt by a family's format."""
    guard = _guard(model)
    pieces: list[int | Text] = []

    def add(items: Items, content: Text) -> None:
        for item in items:
            if item[:1] + item[-1:] == "{}":
                token = _control(item[1:-1], model)
                if token is not None:
                    pieces.append(token)
                continue
            before, found, after = item.partition("CONTENT")
            text = Text(before).then(content).then(Text(after)) if found else Text(item)
            last = pieces[-1] if pieces else None
            if isinstance(last, Text):
                pieces[-1] = last.then(text)
            else:
                pieces.append(text)

    def said(message: Message) -> Text:
        return _guarded(message.content.strip() if known.strip else message.content, guard)

    folded = Text("")
    add(known.begin, folded)
    if not any(message.role == "system" for message in messages):
        add(known.no_system, folded)
    for message in messages:
        content = said(message)
        if message.role == "system" and not known.system:
            before, _, after = known.folds.partition("CONTENT")
            folded = folded.then(Text(before)).then(content).then(Text(after))
            continue
        if message.role == "user":
            content, folded = folded.then(content), Text("")
        add(getattr(known, message.role), content)
    add(known.ask, Text(""))
    return pieces


def _control(name: str, model: ModelInfo) -> int | None:
    if name == "bos":
        return model.bos_id
    if name == "eos":
        return model.end_ids[0] if model.end_ids else None
    return model.control_ids[name]


def _guard(model: ModelInfo) -> re.Pattern[str] | None:
    """What a content must not bring up as tokens: the control tokens' spellings, and delimiters that are text."""
    spelled = {piece.lstrip("▁") for piece in model.control_ids} | set(plain_delimiters(model))
    found = sorted((piece for piece in spelled if piece), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found))) if found else None


def _guarded(content: str, guard: re.Pattern[str] | None) -> Text:
    """What was said, cut between the characters of what it spells."""
    hits = guard.finditer(content) if guard else ()
    return Text(content, [at for hit in hits for at in range(hit.start() + 1, hit.end())])
