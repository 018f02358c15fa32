"""Slots and llama.cpp's own memory say the same, whatever happened in between."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_models import tiny_model
from midfill.engines.llama_cache import PromptCache
from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_model import LlamaModel

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


def _cache(context: LlamaContext) -> PromptCache:
    for slot_idx in range(N_SLOTS):
        context.keep(slot_idx, 0)
    return PromptCache(context)


def _read(cache: PromptCache, prompt: list[int]) -> tuple[int, int]:
    """Evaluate a whole prompt; its slot, and how much was there."""
    slot_idx, n_reused = cache.take(prompt)
    for start in range(n_reused, len(prompt), 64):
        part = prompt[start : start + 64]
        assert cache.evaluate(slot_idx, part, wants_logits=False) is Decoded.DONE
    return slot_idx, n_reused


def test_other_slots_give_way_and_lose_only_their_ends(context: LlamaContext) -> None:
    cache = _cache(context)
    assert _read(cache, [5] * 120) == (0, 0)
    assert _read(cache, [6] * 120) == (1, 0)
    assert _read(cache, [7] * 60) == (2, 0)
    assert [context.length(slot_idx) for slot_idx in range(N_SLOTS)] == [56, 120, 60]
    assert _read(cache, [5] * 60) == (0, 56)


def test_an_abort_leaves_what_was_finished_for_the_next(context: LlamaContext) -> None:
    cache = _cache(context)
    prompt = [5] * 100
    slot_idx, _ = cache.take(prompt)
    cache.evaluate(slot_idx, prompt[:64], wants_logits=False)
    ABORT[0] = b"x"
    assert cache.evaluate(slot_idx, prompt[64:], wants_logits=True) is Decoded.ABORTED
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
    assert cache.evaluate(1, [6], wants_logits=False) is Decoded.NO_ROOM
    assert context.length(1) == 256


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200), st.booleans()), max_size=8))
def test_both_hold_as_many_tokens_after_any_requests(
    context: LlamaContext, requests: list[tuple[int, int, bool]]
) -> None:
    cache = _cache(context)
    for document, n_tokens, is_cancelled in requests:
        prompt = [300 + document] * n_tokens
        slot_idx, n_reused = cache.take(prompt)
        ABORT[0] = b"x" if is_cancelled else b"\0"
        cache.evaluate(slot_idx, prompt[n_reused : n_reused + 64], wants_logits=False)
        ABORT[0] = b"\0"
        n_held = [context.length(slot_idx) for slot_idx in range(N_SLOTS)]
        assert n_held == [len(tokens) for tokens in cache.contents()]
        assert sum(n_held) <= N_CELLS
