"""Slots and llama.cpp's own memory say the same, whatever happened in between."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_models import tiny_model
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_slots import n_cells_used

pytestmark = pytest.mark.model

ABORT = ctypes.create_string_buffer(2)
N_SLOTS, N_CELLS = 3, 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    model = LlamaModel.load(tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))
    yield model
    model.free()


@pytest.fixture(scope="module")
def context(model: LlamaModel) -> Iterator[LlamaContext]:
    context = LlamaContext(
        model, n_cells=N_CELLS, n_slots=N_SLOTS, n_threads=1, on_gpu=False, abort=ABORT
    )
    yield context
    context.free()


@pytest.fixture(scope="module")
def split(model: LlamaModel) -> Iterator[LlamaContext]:
    """Each slot has cells of its own."""
    context = LlamaContext(
        model, n_cells=0, slot_cells=200, n_slots=N_SLOTS, n_threads=1, on_gpu=False, abort=ABORT
    )
    yield context
    context.free()


@pytest.fixture(params=["context", "split"])
def either(request: pytest.FixtureRequest) -> LlamaContext:
    found: LlamaContext = request.getfixturevalue(request.param)
    return found


def _cache(context: LlamaContext) -> PromptCache:
    for slot_idx in range(N_SLOTS):
        context.keep(slot_idx, 0)
    return PromptCache(context)


def _read(cache: PromptCache, prompt: list[int]) -> tuple[int, int]:
    """Evaluate a whole prompt; its slot, and how much was there."""
    slot_idx, n_reused, _ = cache.take(prompt)
    for start in range(n_reused, len(prompt), 64):
        part = prompt[start : start + 64]
        assert cache.evaluate(slot_idx, part, n_logits=0) is Decoded.DONE
    return slot_idx, n_reused


def test_other_slots_give_way_and_lose_only_their_ends(context: LlamaContext) -> None:
    cache = _cache(context)
    assert _read(cache, [5] * 120) == (0, 0)
    assert _read(cache, [6] * 120) == (1, 0)
    assert _read(cache, [7] * 60) == (2, 0)
    assert [context.length(slot_idx) for slot_idx in range(N_SLOTS)] == [56, 120, 60]
    assert _read(cache, [5] * 60) == (0, 56)


def test_an_abort_leaves_what_was_finished_for_the_next(either: LlamaContext) -> None:
    cache = _cache(either)
    prompt = [5] * 100
    slot_idx, _, _ = cache.take(prompt)
    cache.evaluate(slot_idx, prompt[:64], n_logits=0)
    ABORT[0] = b"x"
    assert cache.evaluate(slot_idx, prompt[64:], n_logits=1) is Decoded.ABORTED
    ABORT[0] = b"\0"
    assert cache.n_evaluated == 64
    assert _read(cache, prompt) == (slot_idx, 64)


def test_should_the_count_be_wrong_all_others_give_way(
    context: LlamaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = _cache(context)
    _read(cache, [5] * 200)
    monkeypatch.setattr(context, "n_cells", 10 * N_CELLS)
    assert _read(cache, [6] * 100) == (1, 0)
    assert (context.length(0), context.length(1)) == (0, 100)
    _read(cache, [6] * 256)
    assert cache.evaluate(1, [6], n_logits=0) is Decoded.NO_ROOM
    assert context.length(1) == 256


def test_what_another_slot_holds_is_shared_and_not_evaluated_again(either: LlamaContext) -> None:
    cache = _cache(either)
    assert _read(cache, [*[5] * 60, *[6] * 100]) == (0, 0)
    assert _read(cache, [*[5] * 60, *[7] * 90]) == (1, 60)
    assert (either.length(0), either.length(1)) == (160, 150)
    assert _read(cache, [*[5] * 60, *[6] * 100, 8]) == (0, 160)


def test_a_busy_slot_is_left_alone_while_there_is_another(either: LlamaContext) -> None:
    cache = _cache(either)
    owners = [object() for _ in range(N_SLOTS + 1)]
    taken = [cache.take([9] * 50, owner=owner).slot_idx for owner in owners]
    assert sorted(taken[:N_SLOTS]) == list(range(N_SLOTS))
    cache.let_go(owners[1])
    assert cache.take([9] * 50, owner=object()).slot_idx == taken[1]
    assert cache.held(taken[0], owners[0]) == 0  # The fourth took it.


def test_candidates_end_and_leave_the_slot_as_long_as_its_own(either: LlamaContext) -> None:
    cache = _cache(either)
    slot_idx, _ = _read(cache, [5] * 40)
    sequences = cache.fork(slot_idx, 3, 10)
    assert sequences == [slot_idx, N_SLOTS, N_SLOTS + 1]
    assert cache.evaluate_each(sequences, [6, 7, 8]) is Decoded.DONE
    assert cache.evaluate_each(sequences[1:], [7, 8]) is Decoded.DONE
    assert [either.length(sequence) for sequence in sequences] == [41, 42, 42]
    cache.unfork(sequences)
    assert [either.length(sequence) for sequence in sequences] == [41, 0, 0]
    assert cache.contents()[slot_idx] == (*[5] * 40, 6)


def test_slots_with_cells_of_their_own_leave_the_others_alone(split: LlamaContext) -> None:
    cache = _cache(split)
    assert _read(cache, [5] * 250) == (0, 0)
    assert _read(cache, [6] * 250) == (1, 0)
    assert [split.length(0), split.length(1)] == [250, 250]
    assert cache.evaluate(1, [6] * 6, n_logits=0) is Decoded.DONE
    assert cache.evaluate(1, [6], n_logits=0) is Decoded.NO_ROOM
    assert split.length(0) == 250


def test_what_is_shared_computes_as_what_was_read(either: LlamaContext) -> None:
    cache = _cache(either)
    _read(cache, [*[5] * 30, *[6] * 60])
    assert _read(cache, [*[5] * 30, *[7] * 50]) == (1, 30)
    cache.evaluate(1, [8], n_logits=1)
    shared = either.logits().copy()
    fresh = _cache(either)
    _read(fresh, [*[5] * 30, *[7] * 50])
    fresh.evaluate(0, [8], n_logits=1)
    assert np.allclose(either.logits(), shared, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200), st.booleans()), max_size=8))
def test_both_hold_as_many_tokens_after_any_requests(
    context: LlamaContext, requests: list[tuple[int, int, bool]]
) -> None:
    cache = _cache(context)
    for document, n_tokens, is_cancelled in requests:
        prompt = [*[300] * 30, *[300 + document] * n_tokens]
        slot_idx, n_reused, _ = cache.take(prompt)
        ABORT[0] = b"x" if is_cancelled else b"\0"
        cache.evaluate(slot_idx, prompt[n_reused : n_reused + 64], n_logits=0)
        ABORT[0] = b"\0"
        n_held = [context.length(slot_idx) for slot_idx in range(N_SLOTS)]
        assert n_held == [len(tokens) for tokens in cache.contents()]
        assert n_cells_used(cache._slots) <= N_CELLS


def test_without_spare_sequences_candidates_take_the_oldest_slots_place(
    model: LlamaModel,
) -> None:
    context = LlamaContext(
        model,
        n_cells=0,
        slot_cells=200,
        n_slots=N_SLOTS,
        n_spare=0,
        n_threads=1,
        on_gpu=False,
        abort=ABORT,
    )
    try:
        cache = PromptCache(context)
        for token in (5, 6, 7):
            _read(cache, [token] * 60)
        assert cache.fork(2, 2, 10) == [2, 0]
        assert (context.length(0), context.length(1), context.length(2)) == (60, 60, 60)
        assert cache.evaluate_each([2, 0], [8, 9]) is Decoded.DONE
        cache.unfork([2, 0])
        assert cache.contents() == ((), (6,) * 60, (7,) * 60 + (8,))
        assert [context.length(slot_idx) for slot_idx in range(N_SLOTS)] == [0, 60, 61]
        owner = object()
        cache.take([6] * 60, owner=owner)
        assert cache.fork(2, 4, 10) == [2, 0], "a slot that serves somebody stays"
    finally:
        context.free()
