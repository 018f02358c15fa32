"""Messages are found in any stream of bytes, and found again after bytes that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill_server.framing import MAX_BODY, Frames

ONE, TWO = b"Content-Length: 3\r\n\r\none", b"Content-Length: 3\r\n\r\ntwo"


def fed(*chunks: bytes) -> list[bytes | None]:
    frames = Frames()
    return [body for chunk in chunks for body in frames.feed(chunk)]


@pytest.mark.parametrize(
    ("data", "bodies"),
    [
        pytest.param(ONE + TWO, [b"one", b"two"], id="two"),
        pytest.param(b"content-length:3\r\n\r\none", [b"one"], id="another-case-and-no-space"),
        pytest.param(
            b"Content-Type: x; charset=utf-8\r\nContent-Length: 3\r\n\r\none", [b"one"], id="type"
        ),
        pytest.param(b"Content-Length: 3\n\none", [b"one"], id="unix-line-endings"),
        pytest.param(b"Length: 3\r\n\r\n" + ONE, [None, b"one"], id="no-length"),
        pytest.param(b"Content-Length: -3\r\n\r\n" + ONE, [None, b"one"], id="negative"),
        pytest.param(b"Content-Length: 0\r\n\r\n" + ONE, [None, b"one"], id="nothing"),
        pytest.param(
            b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1) + ONE, [None, b"one"], id="absurd"
        ),
        pytest.param(
            b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + ONE, [None, b"one"], id="many-digits"
        ),
        pytest.param(b"Content-Length: 2\r\n\r\none" + TWO, [b"on", b"two"], id="too-short"),
        pytest.param(b"{}" + ONE, [b"one"], id="a-message-without-a-header"),
        pytest.param(b"x" * 70_000 + ONE, [b"one"], id="much-that-is-no-header"),
        pytest.param(
            b"Content-Length: 4\r\n\r\none" + TWO + ONE,
            [b"oneC", None, b"one"],
            id="too-long-by-one",
        ),
    ],
)
def test_frames(data: bytes, bodies: list[bytes | None]) -> None:
    assert fed(data) == bodies
    assert fed(*(data[at : at + 1] for at in range(len(data)))) == bodies


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_however_the_bytes_come(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert fed(*chunks) == bodies


@given(st.binary(max_size=200))
def test_a_message_is_found_after_any_bytes(garbage: bytes) -> None:
    # Unless they announce a message themselves, which then swallows what follows.
    if b"ength" not in garbage:
        assert fed(garbage + b"\r\n\r\n" + ONE)[-1] == b"one"


def framed(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


class Tight(bytearray):
    """Memory for so many bytes."""

    def __iadd__(self, data: Any) -> Tight:  # type: ignore[misc]
        if len(self) + len(data) > 100:
            raise MemoryError
        return super().__iadd__(data)


@pytest.mark.parametrize("chunk", [1, 7, 50, 99])
def test_a_message_for_which_there_is_no_memory_is_passed_over(chunk: int) -> None:
    frames = Frames()
    frames._bytes = Tight()
    sent = framed(b"1" * 10) + framed(b"2" * 300) + framed(b"3" * 20)
    pieces = [sent[at : at + chunk] for at in range(0, len(sent), chunk)]
    found = [body for piece in pieces for body in frames.feed(piece)]
    assert found == [b"1" * 10, None, b"3" * 20]
