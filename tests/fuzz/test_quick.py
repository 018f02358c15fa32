"""The cheap properties once more, from bytes alone: thousands of inputs a second, where Hypothesis makes hundreds.

Each byte stands for a number or for one of some pieces, so that Atheris can change one thing at a time.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import (
    test_documents,
    test_model_files,
    test_orders,
    test_settings,
    test_shown,
    test_stream,
    test_templates,
)
from fuzz.values import ODD
from midfill.text import Edit, Position
from server import test_interleavings

if sys.platform != "win32":
    from fuzz import forked

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
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 0.5, -0.0, 1e308, 10**400, 2**63, float("nan"), float("inf")),
    *(
        "",
        "x",
        "\ud800",
        "always",
        "fake:",
        "http://[",
        "/dev/zero",
        "../..",
        "a" * 5000,
        "\x1b]0;x",
    ),
    *([], [1], ["!", "[z-a]", "\\"], ["*a*a*a*a*b"], [[]], {}, {"x": {}}, {"enabled": "yes"}),
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

    @property
    def is_empty(self) -> bool:
        """Whether only zeros are left."""
        return self._at >= len(self._data)

    def rest(self, choices: Sequence[T]) -> list[T]:
        return [self.one(choices) for _ in range(len(self._data) - self._at)]


def frames(data: bytes) -> None:
    """Bytes on the wire."""
    feed = _Feed(data)
    size = 1 + feed.number() % 40
    check = _check(test_stream.test_a_message_is_found_again)
    check(b"".join(feed.some(_FRAMES, 24)), size)


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


def settings_of_any_shape(data: bytes) -> None:
    """What an editor and a project say."""
    feed = _Feed(data)
    told = [_changed(feed, test_settings.whole()) for _ in range(2)]
    _check(test_settings.test_settings_of_any_shape)(*told)


def chat_templates(data: bytes) -> None:
    """A template, and how many have spoken."""
    feed = _Feed(data)
    n_messages = feed.number() % 4
    template = "".join(feed.some(test_templates.PIECES, 12))
    check = _check(test_templates.test_a_template_of_any_kind)
    if sys.platform == "win32":  # It has no fork.
        check(template, n_messages)
    else:
        with mock.patch.object(subprocess, "run", forked.run):
            check(template, n_messages)


def cache(data: bytes) -> None:
    """Steps of `CacheOrders`."""
    feed = _Feed(data)
    machine = test_orders.CacheOrders()
    machine.begin(before=_word(feed, "ab\n)é"), after=_word(feed, "ab\n)é"))
    while not feed.is_empty:
        step = feed.number() % 9
        if step == 0:
            machine.say(
                said=_word(feed, "ab\n)é"),
                extent=feed.one(("line", "block")),
                reason=feed.one(("eot", "line", "block")),
                variant=feed.one("xy"),
            )
        elif step in (1, 2):
            machine.type(keys=feed.one("ab\n)é "))
        elif step == 3 and machine.put:
            machine.follow(n=feed.number() % 9)
        elif step == 4:
            machine.delete(n=1 + feed.number() % 3)
        elif step == 5:
            machine.behind(text=feed.one((")", "b", "]}", "\n")), puts=bool(feed.number() % 2))
        elif step == 6:
            machine.wait(seconds=feed.one((1.0, 30.0, 60.0)))
        elif step == 7 and feed.number() % 4 == 0:
            machine.forget()
        else:
            machine.ask(variant=feed.one("xyz"))
        machine.small()


def scheduler(data: bytes) -> None:
    """Steps of `SchedulerOrders`."""
    feed = _Feed(data)
    machine = test_orders.SchedulerOrders()
    try:
        while not feed.is_empty:
            step, idx = feed.number() % 9, feed.number()
            if step in (0, 1):
                machine.ask(idx=idx % 2, rest=feed.one((0.0, 0.02, 0.5)))
            elif step in (2, 3):
                machine.edit(idx=idx % 2, keys=feed.one(("a", "b", "ab", "c", "")))
            elif step == 4 and machine.requests:
                machine.cancel(n=idx % 4)
            elif step == 5:
                machine.ahead(idx=idx % 2)
            elif step == 6:
                machine.supersede(idx=idx % 3)
            else:
                machine.wait(seconds=feed.one((0.0, 0.01, 0.05, 0.3, 2.0)))
            machine.one_at_a_time()
    finally:
        machine.teardown()


def interleavings(data: bytes) -> None:
    """An editor's session."""
    feed = _Feed(data)
    names = (*test_interleavings.LIKELY, *test_interleavings.RARE)
    steps: list[tuple[str, int, int]] = []
    while not feed.is_empty and len(steps) < MOST_STEPS:
        steps.append(
            (feed.one(names), feed.number() % 5, feed.one(test_interleavings.WAITS_MS)),
        )
    _check(test_interleavings.test_each_request_is_answered_once_and_never_stale)(steps)


def _word(feed: _Feed, characters: str) -> str:
    return "".join(feed.some(characters, 8))


def _changed(feed: _Feed, value: dict[str, Any]) -> Any:
    """A value of JSON in which some members have become something else, or nothing, at any depth."""
    for _ in range(feed.number() % 4):
        if not value or feed.number() % 30 == 0:
            return copy.deepcopy(feed.one(_VALUES))
        at, key = value, feed.one([*value])
        while isinstance(at[key], dict) and at[key] and feed.number() % 4:
            at = at[key]
            key = feed.one([*at])
        if feed.number() % 6 == 0:
            del at[key]
        else:
            at[key] = copy.deepcopy(feed.one(_VALUES))
    return value


MOST_STEPS = 30

TARGETS = (
    frames,
    raw_frames,
    edits,
    masking,
    markdown,
    patterns,
    headers,
    settings_of_any_shape,
    chat_templates,
    cache,
    scheduler,
    interleavings,
)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=120))
def test_from_bytes(target: object, data: bytes) -> None:
    assert callable(target)
    target(data)
