"""What a client finds out, remembers, or makes up of the vocabulary of a server's model.

Some servers read text only. For them the client makes up a vocabulary of its own, so that everything above the
seam goes on speaking of tokens: three characters of text are one token, and each control piece is another.
`spelled` turns such a prompt back into text. Whatever in the user's text spells a control token would become one
there, so the prompt's text begins or ends beside it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from midfill.formats import control_pieces

_CACHED_CHARACTERS = 1 << 20
"""Text whose tokens are remembered. One file's lines, several times over."""

_CHARS = 3
"""Characters of a token that is made up: code takes 3.1 to 3.3 for a token (measured with Llama-like vocabularies)."""
_CHAR_BITS = 21
"""A character of Unicode, counted from 1, takes at most so many."""
_FIRST_CONTROL = 1 << (_CHARS * _CHAR_BITS)

_MARKUP = re.compile(
    "|".join(
        [
            *sorted((re.escape(piece.lstrip("▁")) for piece in control_pieces()), reverse=True),
            r"</?s>|<unk>|<pad>|<[be]os>",
            r"<[|｜][^|｜<>\s]{1,40}[|｜]>",
            r"\[/?INST\]",
        ]
    )
)
"""What tokenizers of the known families take for a control token when it stands in a text."""


def markup_in(template: str) -> tuple[str, ...]:
    """What looks like a control token in a chat template."""
    return tuple(dict.fromkeys(_IN_TEMPLATE.findall(template)))[:_MARKUP_MOST]


async def find_control_ids(
    ask: Callable[[str], Awaitable[int | None]], more: Sequence[str] = ()
) -> Mapping[str, int]:
    """The id of each control piece, and of those of `more`, that the model has as one token. `ask` tells the id of a
    spelling."""
    found: dict[str, int] = {}
    for piece in dict.fromkeys((*control_pieces(), *more)):
        # Where a vocabulary does not mark the token as a control token, it is made of text by the tokenizer,
        # which puts the leading mark before a word by itself.
        for spelling in dict.fromkeys((piece, piece.lstrip("▁"))):
            token = await ask(spelling)
            if token is not None:
                found[piece] = token
                break
    return MappingProxyType(found)


def is_same_piece(told: object, piece: str) -> bool:
    """Whether a server's spelling of a token, as text or as bytes, is that of the vocabulary."""
    if isinstance(told, list):
        told = bytes(told).decode("utf-8", "replace")
    return isinstance(told, str) and told.replace("▁", " ").strip() == piece.lstrip("▁")


def spelled_control(pieces: Sequence[str]) -> Mapping[str, int]:
    """Made-up ids for control pieces."""
    return MappingProxyType({piece: _FIRST_CONTROL + idx for idx, piece in enumerate(pieces)})


def made_up_ids(text: str) -> list[int]:
    """The made-up tokens of a text."""
    chunks = (text[start : start + _CHARS] for start in range(0, len(text), _CHARS))
    return [
        sum((ord(char) + 1) << (_CHAR_BITS * at) for at, char in enumerate(it)) for it in chunks
    ]


def made_up_text(ids: Sequence[int]) -> str:
    """The text of made-up tokens, whatever it spells: for messages, in which a server reads no control tokens."""
    return "".join(map(_characters, ids))


def spelled(prompt: Sequence[int], suffix_id: int | None) -> Iterator[tuple[int | None, str]]:
    """Each control token of a made-up prompt, then the text after it; None for what stands before the first.

    Of the text after `suffix_id` what follows the first control token that it spells is left out, of any other
    text what goes before the last: what is nearest to the caret stays.
    """
    control: int | None = None
    for is_control, ids in groupby(prompt, lambda token: token >= _FIRST_CONTROL):
        if is_control:
            *passed, control = ids
            for token in passed:
                yield token, ""
            continue
        text = "".join(map(_characters, ids))
        hits = list(_MARKUP.finditer(text))
        if hits and control is not None and control == suffix_id:
            text = text[: hits[0].start()]
        elif hits:
            text = text[hits[-1].end() :]
        yield control, text
        control = None
    if control is not None:
        yield control, ""


_IN_TEMPLATE = re.compile(r"<[^<>\s'\"{}%]{1,40}>|\[/?[A-Z_]{2,30}\]")
_MARKUP_MOST = 40
"""Templates with tools have some fifteen; each is a question to the server."""


class TokenCache:
    """The tokens of texts, up to a number of characters; what was used longest ago goes first."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._room = _CACHED_CHARACTERS

    def get(self, text: str) -> tuple[int, ...] | None:
        """The tokens of `text`, if they are remembered."""
        if text in self._tokens:
            self._tokens.move_to_end(text)
        return self._tokens.get(text)

    def put(self, text: str, tokens: tuple[int, ...]) -> None:
        """Remember the tokens of `text`, unless it is too long."""
        if len(text) > _CACHED_CHARACTERS // 4 or text in self._tokens:
            return
        self._tokens[text] = tokens
        self._room -= len(text)
        while self._room < 0:
            oldest, _ = self._tokens.popitem(last=False)
            self._room += len(oldest)


def _characters(token: int) -> str:
    characters = []
    while token:
        characters.append(chr((token & ((1 << _CHAR_BITS) - 1)) - 1))
        token >>= _CHAR_BITS
    return "".join(characters)
