"""Where a text stops: at words, at a lesser indent, in time; whatever the pieces it comes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from midfill.engine import Piece, StopReason, Usage
from midfill.engines.stops import Stops, stopped


async def stream(
    texts: Sequence[str], closed: list[bool], decode_ms: float = 1.0
) -> AsyncGenerator[Piece, None]:
    try:
        for n_told, text in enumerate(texts, 1):
            reason: StopReason = "eot" if n_told == len(texts) else ""
            usage = Usage(tokens_generated=n_told, decode_ms=n_told * decode_ms, stop_reason=reason)
            yield Piece(text, (n_told,), (-0.1,), usage)
    finally:
        closed.append(True)


@pytest.mark.parametrize("size", [1, 2, 3, 100], ids=lambda size: f"by-{size}")
@pytest.mark.parametrize(
    ("stops", "text", "told", "reason"),
    [
        pytest.param(Stops(), "a\nb", "a\nb", "eot", id="nothing"),
        pytest.param(Stops(("\n\n",)), "a\nb\n\nc", "a\nb", "word", id="a-word"),
        pytest.param(Stops(("\n\n",)), "a\nb\n", "a\nb\n", "eot", id="half-a-word-at-the-end"),
        pytest.param(Stops(("abab", "z")), "xababab", "x", "word", id="a-word-in-itself"),
        pytest.param(Stops(("cde", "bcd")), "abcde", "a", "word", id="the-first-of-two"),
        pytest.param(Stops(("a",)), "abc", "", "word", id="at-once"),
        pytest.param(Stops(n_indent=4), "x\n    y\nz", "x\n    y", "block", id="a-lesser-indent"),
        pytest.param(
            Stops(n_indent=4), "x\n\n  \n  z", "x", "block", id="a-lesser-indent-after-blanks"
        ),
        pytest.param(
            Stops(n_indent=2), "x\n\n  y\n", "x\n\n  y\n", "eot", id="a-blank-line-is-no-indent"
        ),
    ],
)
async def test_where_it_stops(stops: Stops, text: str, told: str, reason: str, size: int) -> None:
    texts = [text[start : start + size] for start in range(0, len(text), size)]
    closed: list[bool] = []
    pieces = [piece async for piece in stopped(stream([*texts, ""], closed), stops)]
    assert "".join(piece.text for piece in pieces) == told
    assert [piece.usage.stop_reason for piece in pieces] == [""] * (len(pieces) - 1) + [reason]
    assert {piece.token_ids for piece in pieces} == {()}
    assert closed


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        pytest.param(["a", "b", "\n", "c", "d"], "ab\n", id="after-a-line"),
        pytest.param(["a", "b", "c", "d"], "abcd", id="never-within-the-first-line"),
    ],
)
async def test_out_of_time(texts: list[str], told: str) -> None:
    stops = Stops(time_limit_ms=25)
    pieces = [piece async for piece in stopped(stream([*texts, ""], [], decode_ms=10), stops)]
    assert "".join(piece.text for piece in pieces) == told


async def test_each_candidate_stops_for_itself() -> None:
    async def two() -> AsyncGenerator[Piece, None]:
        for idx, text in enumerate(("a.", "b", "c", "d.", "never told")):
            yield Piece(text, (), (), Usage(), candidate_idx=idx % 2)

    pieces = [piece async for piece in stopped(two(), Stops((".",)), 2)]
    texts = {idx: "".join(p.text for p in pieces if p.candidate_idx == idx) for idx in (0, 1)}
    assert texts == {0: "a", 1: "bd"}
