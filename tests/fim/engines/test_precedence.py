"""Who goes first: what yields waits for what does not, and for nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from midfill.engines.precedence import HOLD_S, Precedence

A, B, C = "a", "b", "c"
PATIENCE_S = 30.0


@contextmanager
def waiting(
    precedence: Precedence, owner: object, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Callable[[], bool]]:
    """`owner` asks for its turn in a thread of its own; gives what waits for the answer."""
    answers: list[bool] = []
    asked = threading.Event()

    def look() -> bool:
        asked.set()  # From inside the wait: what changes from here on wakes it.
        return cancelled()

    thread = threading.Thread(
        target=lambda: answers.append(precedence.wait_turn(owner, look)), daemon=True
    )
    thread.start()
    assert asked.wait(PATIENCE_S)

    def answer() -> bool:
        thread.join(PATIENCE_S)
        [given] = answers
        return given

    yield answer


@pytest.mark.parametrize(
    "owners",
    [pytest.param([], id="nobody"), pytest.param([A, B], id="only those who yield")],
)
def test_a_turn_at_once(owners: list[str]) -> None:
    precedence = Precedence()
    running = [precedence.running(owner, yields=True) for owner in owners]
    for context in running:
        context.__enter__()
    assert precedence.wait_turn(A)


def test_waits_for_all_that_go_first() -> None:
    precedence = Precedence()
    first, second = (precedence.running(owner, yields=False) for owner in (B, C))
    first.__enter__()
    second.__enter__()
    with waiting(precedence, A) as answer:
        first.__exit__(None, None, None)
        # Were one enough, this would be a turn, and not the refusal that A's own generation brings.
        with precedence.running(A, yields=False):
            assert answer() is False
    with waiting(precedence, A) as answer:
        second.__exit__(None, None, None)
        assert answer() is True


def test_its_own_go_first_without_waiting() -> None:
    precedence = Precedence()
    with precedence.running(A, yields=False), waiting(precedence, A) as answer:
        assert answer() is False
    assert precedence.wait_turn(A) is True


def test_wakes_when_cancelled() -> None:
    precedence = Precedence()
    gone: list[bool] = []
    with (
        precedence.running(B, yields=False),
        waiting(precedence, A, lambda: bool(gone)) as answer,
    ):
        gone.append(True)
        precedence.wake()
        assert answer() is False


def test_a_failure_ends_its_precedence() -> None:
    precedence = Precedence()
    with pytest.raises(ValueError, match="x"), precedence.running(B, yields=False):
        raise ValueError("x")
    assert precedence.wait_turn(A)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def is_held(precedence: Precedence) -> bool:
    """Whether A, which yields, has no turn now: it still waits when it is cancelled."""
    gone: list[bool] = []
    with waiting(precedence, A, lambda: bool(gone)) as answer:
        gone.append(True)
        precedence.wake()
        return not answer()


def test_waits_for_the_generation_of_a_prompt_that_is_being_made() -> None:
    precedence = Precedence(Clock())
    precedence.expect()
    assert is_held(precedence)
    with precedence.running(B, yields=False):
        assert is_held(precedence)
    assert precedence.wait_turn(A)
    precedence.expect()  # The next key, though no time has passed.
    assert is_held(precedence)


def test_what_was_prepared_and_yields_too_need_not_be_waited_for() -> None:
    precedence = Precedence(Clock())
    precedence.expect()
    with precedence.running(B, yields=True):
        assert precedence.wait_turn(A)


def test_who_only_asks_for_tokens_holds_nothing_up_for_more_than_half_of_the_time() -> None:
    clock = Clock()
    precedence = Precedence(clock)
    n_held = 0
    for idx in range(100):
        clock.now = idx * HOLD_S / 10
        precedence.expect()
        n_held += is_held(precedence)
    assert n_held == pytest.approx(50, abs=1)  # Hundredths round.


def test_a_step_is_interrupted_while_anyone_goes_first() -> None:
    precedence = Precedence()
    told: list[bool] = []
    precedence.join(A, told.append)
    with precedence.running(B, yields=False), precedence.running(C, yields=False):
        pass
    with precedence.running(B, yields=True):
        pass
    assert told == [False, True, False]
    precedence.leave(A)
    with precedence.running(B, yields=False):
        precedence.join(C, told.append)
    assert told == [False, True, False, True, False]
