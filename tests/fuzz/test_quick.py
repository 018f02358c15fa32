"""The cheap properties once more, from bytes alone: thousands of inputs a second, where Hypothesis makes hundreds.

Each byte stands for a number or for one of some pieces, so that Atheris can change one thing at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import test_documents, test_model_files, test_settings, test_shown, test_stream
from fuzz.values import ODD
from midfill.text import Edit, Position

T = TypeVar("T")

_FRAMES = (
    *(
        b"Content-Length: ",
        b"content-length:",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"0",
        b"3",
    ),
    *(
        b"7",
        b"99",
        b"-1",
        b"9" * 20,
        b"9" * 5000,
        b"{}",
        b" ",
        b"\t",
        b"\x00",
        b"\xff",
        b"one",
        b"x" * 50,
    ),
)
_CHARACTERS = ("a", "b", "\r\n", *ODD, "\U0001f600", "\ud83d", "\udc00")
_MARKUP = (
    *(
        "<img src=x>",
        "<!--",
        "[a](command:x)",
        "![a](b)",
        "[a]:",
        " c",
        "`",
        "``",
        "```",
        "~~~",
        "\n",
    ),
    *(
        "    ",
        "> ",
        "- ",
        "1. ",
        "|",
        "\n|-|-|\n",
        "\\",
        "&#60;",
        "\t",
        "a",
        "*",
        "\r",
        "\n---\n",
        "[",
        "]",
    ),
    *("(", ")", "!", "<", ">", "\x0b", "\u202e", "<http://a.b>", "\x1b]0;x\x07", "\U000e0041"),
)
_CODE = (
    *(
        "password",
        "token",
        "secret",
        "api_key",
        "=",
        ":",
        '"',
        "'",
        " ",
        "\n",
        "a1B",
        "9f8e7d6c5b",
        "AKIA",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "://a:",
        "@",
        "Bearer ",
        "sk-",
        "eyJ",
        ".",
    ),
    *("*", "+", "/", "_", "-", "é", "A" * 16, "(", ","),
)
_PATTERN = ("*", "**", "?", "[", "]", "!", "-", "a", "b", "/", "\\", ".", " ", "#", "é", "\x00")


def _check(test: Any) -> Callable[..., None]:
    """What a property does with values."""
    check: Callable[..., None] = test.hypothesis.inner_test
    return check


class _Feed:
    """Numbers and choices from bytes, zeros at their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.number() % len(choices)]

    def some(self, choices: Sequence[T], most: int) -> list[T]:
        return [self.one(choices) for _ in range(self.number() % (most + 1))]

    def rest(self, choices: Sequence[T]) -> list[T]:
        return [self.one(choices) for _ in range(len(self._data) - self._at)]


def frames(data: bytes) -> None:
    """Bytes on the wire."""
    feed = _Feed(data)
    size = 1 + feed.number() % 40
    check = _check(test_stream.test_a_message_is_found_again)
    check(b"".join(feed.rest(_FRAMES)), size)


def raw_frames(data: bytes) -> None:
    """The same from bytes as they are."""
    check = _check(test_stream.test_a_message_is_found_again)
    check(data[1:], 1 + (data[0] if data else 0) % 40)


def edits(data: bytes) -> None:
    """A document and its edits."""
    feed = _Feed(data)
    encoding = feed.one(test_documents.ENCODINGS)
    text = "".join(feed.some(_CHARACTERS, 30))
    made: list[Edit | str] = []
    for _ in range(1 + feed.number() % 6):
        start = Position(feed.number() % 8, feed.number() % 14)
        end = Position(feed.number() % 8, feed.number() % 14)
        made.append(Edit(start, end, "".join(feed.some(_CHARACTERS, 8))))
    check = _check(test_documents.test_edits_do_what_they_say)
    check(text, made, encoding, [feed.number() % 3 for _ in made])


def masking(data: bytes) -> None:
    """What looks like secrets."""
    _check(test_shown.test_masking_ends)(_Feed(data).rest(_CODE), 1)


def markdown(data: bytes) -> None:
    """What a model might write, in parts."""
    feed = _Feed(data)
    sizes = [1 + size % 30 for size in feed.some(range(256), 5)]
    check = _check(test_shown.test_markdown_never_acts)
    check("".join(feed.rest(_MARKUP)), sizes)


def patterns(data: bytes) -> None:
    """A line of an ignore file, and a path."""
    feed = _Feed(data)
    pattern = "".join(feed.some(_PATTERN, 12))
    path = "".join(feed.some("aab/.é ", 20)).strip("/.") or "a"
    check = _check(test_settings.test_patterns_of_any_shape)
    check([pattern], "/".join(part for part in path.split("/") if part.strip(".")) or "a")


def headers(data: bytes) -> None:
    """A model file's header, after its beginning."""
    test_model_files.read(b"GGUF\x03\0\0\0" + data, n_more=64)


@pytest.mark.parametrize(
    "target", [frames, raw_frames, edits, masking, markdown, patterns, headers]
)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=120))
def test_from_bytes(target: object, data: bytes) -> None:
    assert callable(target)
    target(data)
