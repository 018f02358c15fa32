"""The abort flag: it stops the job it was raised for, and no other."""

from __future__ import annotations

import asyncio
from dataclasses import fields

import pytest

from midfill.engine import Piece, Sampling, Usage
from midfill.engines.llama_job import HOP_S, AbortFlag, Arrivals, Job
from midfill.errors import EngineGone

pytestmark = pytest.mark.model  # The package of the engine needs llama.cpp.


def _job() -> Job:
    return Job([1, 2, 3], Sampling(max_tokens=8), deliver=lambda _piece, _more_soon: None)


def test_the_running_job_is_stopped() -> None:
    flag, job = AbortFlag(), _job()
    flag.begin(job)
    assert flag.text.value == b""
    job.n_evaluated = 2
    flag.cancel(job)
    assert (flag.text.value, job.cancelled, job.n_evaluated_at_cancel) == (b"x", True, 2)


def test_a_waiting_job_does_not_stop_the_running_one() -> None:
    flag, running, waiting = AbortFlag(), _job(), _job()
    flag.begin(running)
    flag.cancel(waiting)
    assert flag.text.value == b""
    flag.end()
    flag.begin(waiting)
    assert flag.text.value == b"x"


def test_a_job_that_has_ended_does_not_stop_the_next_one() -> None:
    flag, ended, following = AbortFlag(), _job(), _job()
    flag.begin(ended)
    flag.end()
    flag.begin(following)
    flag.cancel(ended)
    assert flag.text.value == b""


def test_the_flag_is_lowered_when_the_job_ends() -> None:
    flag, job = AbortFlag(), _job()
    flag.begin(job)
    flag.cancel(job)
    flag.end()
    assert flag.text.value == b""


def test_a_second_cancel_changes_nothing() -> None:
    flag, job = AbortFlag(), _job()
    flag.begin(job)
    flag.cancel(job)
    job.n_evaluated = 64
    flag.cancel(job)
    assert job.n_evaluated_at_cancel == 0


def test_the_cost_has_every_field() -> None:
    assert vars(_job().usage()).keys() == {field.name for field in fields(Usage)}


def _piece(text: str) -> Piece:
    return Piece(text, (), (), Usage())


@pytest.mark.parametrize(
    ("steps", "hops"),
    [
        pytest.param([("a", 0.0, False), ("b", 0.0, False)], ["a", "b"], id="slow: each by itself"),
        pytest.param(
            [("a", 0.0, True), *((text, HOP_S / 4, True) for text in "bcdefghi")],
            ["a", "bcde", "fghi"],
            id="fast: the first at once, then several",
        ),
        pytest.param(
            [("a", 0.0, True), ("b", HOP_S / 4, True), ("c", 0.0, False)],
            ["a", "bc"],
            id="the last takes all along",
        ),
        pytest.param(
            [("a", 0.0, True), ("b", 2 * HOP_S, True)], ["a", "b"], id="slower than it seemed"
        ),
    ],
)
def test_what_comes_fast_goes_over_in_one_hop(
    steps: list[tuple[str, float, bool]], hops: list[str]
) -> None:
    loop, now = asyncio.new_event_loop(), 0.0
    arrivals = Arrivals(loop, lambda: now)
    for text, waited_s, more_soon in steps:
        now += waited_s
        arrivals.deliver(_piece(text), more_soon)

    async def arrived() -> list[str]:
        said = []
        for _ in hops:
            said.append(
                "".join(one.text for one in await arrivals.next() if isinstance(one, Piece))
            )
        return said

    assert loop.run_until_complete(arrived()) == hops
    loop.close()


def test_a_reader_whose_loop_has_ended_is_passed_over() -> None:
    loop = asyncio.new_event_loop()
    arrivals = Arrivals(loop)
    loop.close()
    arrivals.deliver(EngineGone("The engine is closed."), False)
