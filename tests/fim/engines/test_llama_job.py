"""The abort flag: it stops the job it was raised for, and no other."""

from __future__ import annotations

import pytest

from midfill.engine import Sampling
from midfill.engines.llama_job import AbortFlag, Job

pytestmark = pytest.mark.model  # The package of the engine needs llama.cpp.


def _job() -> Job:
    return Job([1, 2, 3], Sampling(max_tokens=8), deliver=lambda _piece: None)


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
