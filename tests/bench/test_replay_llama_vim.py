"""llama.vim's request policy, against a server that is scripted, on virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from bench.replay.clock import run_virtually
from bench.replay.llama_vim import LlamaVimEditor
from bench.replay.record import Record
from bench.replay.traces import Key, Patch, Trace

from midfill.errors import EngineRefused

Say = Callable[[dict[str, Any]], str]


def played(
    start: str, edits: list[tuple[float, int, str]], say: Say, answer_s: float = 0.05
) -> tuple[Record, list[dict[str, Any]], int]:
    """The record, the requests, and how many ran at once at most."""
    trace = Trace(
        "t.py", "python", start, tuple(Key(gap, (Patch(at, 0, text),)) for gap, at, text in edits)
    )
    bodies: list[dict[str, Any]] = []
    n_running = n_most = 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal n_running, n_most
        body = json.loads(request.content)
        bodies.append(body)
        n_running += 1
        n_most = max(n_most, n_running)
        await asyncio.sleep(answer_s)
        n_running -= 1
        try:
            content = say(body)
        except LookupError:
            return httpx.Response(400, text="too long")
        timings = {"prompt_n": 3, "cache_n": 7, "predicted_n": 2}
        return httpx.Response(200, json={"content": content, "timings": timings})

    async def play() -> Record:
        client = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(handle))
        async with client:
            return await LlamaVimEditor(client, trace).play()

    return run_virtually(play()), bodies, n_most


def ends_with(texts: dict[str, str]) -> Say:
    return lambda body: next(
        (said for end, said in texts.items() if body["prompt"].endswith(end)), ""
    )


def test_a_request_has_the_line_apart_and_the_plug_ins_samplers() -> None:
    _, bodies, _ = played("a = 1\n  b\nc = 2\n", [(10, 9, "!")], ends_with({}))
    assert (bodies[0]["input_prefix"], bodies[0]["prompt"]) == ("a = 1\n", "  b!")
    assert bodies[0]["input_suffix"] == "\nc = 2\n"
    assert (bodies[0]["n_indent"], bodies[0]["t_max_predict_ms"]) == (2, 250)
    assert bodies[0]["samplers"] == ["top_k", "top_p", "infill"]


def test_while_one_runs_no_other_is_sent_and_none_is_cancelled() -> None:
    edits = [(20.0, 1 + idx, "a") for idx in range(10)]
    record, bodies, n_most = played("x", edits, ends_with({}), answer_s=0.5)
    assert n_most == 1
    assert len(bodies) < 4
    assert all(asked.answered_ms is not None and not asked.cancelled for asked in record.asked)


def test_what_is_shown_is_followed_by_a_request_as_if_it_were_taken() -> None:
    record, bodies, _ = played("x", [(10, 1, "=")], ends_with({"x=": "abc"}))
    assert [body["prompt"] for body in bodies] == ["x=", "x=abc"]
    assert bodies[1]["t_max_predict_ms"] == 1000
    assert [display.text for display in record.displays] == ["abc"]
    assert len(record.asked) == 1
    assert record.tokens["evaluated"] == 6


def test_typing_through_is_answered_from_the_cache() -> None:
    edits = [(10.0, 1, "="), (500.0, 2, "a"), (500.0, 3, "b")]
    record, bodies, _ = played("x", edits, ends_with({"x=": "abc"}))
    assert record.standing == ["", "abc", "bc"]
    assert len(record.displays) == 1
    # Asked again all the same: only the very place counts as known.
    assert [body["prompt"] for body in bodies] == ["x=", "x=abc", "x=a", "x=ab"]


def test_nothing_is_asked_far_from_the_end_of_a_line() -> None:
    _, bodies, _ = played("f(123456789)", [(10, 2, "a")], ends_with({}))
    assert bodies == []


def test_a_refusal_ends_the_run_with_its_sentence() -> None:
    def refuse(body: dict[str, Any]) -> str:
        raise LookupError

    with pytest.raises(EngineRefused, match="llama-server refuses: too long"):
        played("x", [(10, 1, "="), (500, 2, "a")], refuse)


@pytest.mark.parametrize(
    ("n_lines", "n_chunks"), [pytest.param(20, 0, id="short"), pytest.param(900, 2, id="long")]
)
def test_chunks_go_into_the_ring_when_nobody_types(n_lines: int, n_chunks: int) -> None:
    start = "".join(f"word{idx} = {idx}\n" for idx in range(n_lines))
    caret = start.index("\n", start.index(f"word{n_lines // 2} "))
    edits = [(10.0, caret, "a"), (9000.0, caret + 1, "b")]
    _, bodies, _ = played(start, edits, ends_with({}))
    assert len(bodies[-1]["input_extra"]) == n_chunks
