"""The calls that would end the process are exceptions here."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gguf_models import tiny_model
from midfill.engine import Sampling
from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_model import LlamaModel
from midfill.engines.llama_sampling import sampler_of
from midfill.errors import EngineError, ModelError

pytestmark = pytest.mark.model

ABORT = ctypes.create_string_buffer(2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    model = LlamaModel.load(tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))
    yield model
    model.free()


def _context(model: LlamaModel, n_cells: int = 512) -> LlamaContext:
    return LlamaContext(model, n_cells=n_cells, n_slots=2, n_threads=1, on_gpu=False, abort=ABORT)


@pytest.fixture
def context(model: LlamaModel) -> Iterator[LlamaContext]:
    context = _context(model)
    yield context
    ABORT[0] = b"\0"
    context.free()


@pytest.mark.parametrize("n_tokens", [0, 65, 1000])
def test_a_batch_that_is_empty_or_too_large(context: LlamaContext, n_tokens: int) -> None:
    with pytest.raises(ValueError, match="in a batch of 64"):
        context.decode(0, [5] * n_tokens, 0, n_logits=1)


@pytest.mark.parametrize("slot_idx", [-1, 5, 300])
def test_a_slot_that_does_not_exist(context: LlamaContext, slot_idx: int) -> None:
    with pytest.raises(ValueError, match="slot"):
        context.decode(slot_idx, [5], 0, n_logits=1)
    with pytest.raises(ValueError, match="slot"):
        context.keep(slot_idx, 0)


def test_logits_that_were_not_asked_for(context: LlamaContext) -> None:
    with pytest.raises(RuntimeError, match="0 rows"):
        context.logits()
    context.decode(0, [5, 6], 0, n_logits=1)
    context.decode(0, [7], 2, n_logits=0)
    with pytest.raises(RuntimeError, match="0 rows"):
        context.sample(None)


def test_a_second_thread(context: LlamaContext) -> None:
    with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="thread"):
        other.submit(context.decode, 0, [5], 0, n_logits=1).result()


def test_use_after_free(model: LlamaModel) -> None:
    context = _context(model)
    context.free()
    context.free()
    with pytest.raises(RuntimeError, match="freed"):
        context.decode(0, [5], 0, n_logits=1)


@pytest.mark.parametrize(
    ("tokens", "start"),
    [
        pytest.param([5, 99999], 2, id="no such token"),
        pytest.param([5, -7], 2, id="negative token"),
        pytest.param([5], 10, id="a hole before it"),
        pytest.param([5], 1, id="a place that is taken"),
    ],
)
def test_what_llama_refuses_is_an_error_and_changes_nothing(
    context: LlamaContext, tokens: list[int], start: int
) -> None:
    context.decode(0, [5, 6], 0, n_logits=0)
    with pytest.raises(EngineError, match="could not evaluate"):
        context.decode(0, tokens, start, n_logits=1)
    assert context.length(0) == 2
    assert context.decode(0, [5], 2, n_logits=1) is Decoded.DONE


def test_a_full_cache_has_no_room_and_keeps_what_it_has(context: LlamaContext) -> None:
    for start in range(0, context.n_cells, 64):
        assert context.decode(0, [5] * 64, start, n_logits=0) is Decoded.DONE
    assert context.decode(1, [5], 0, n_logits=1) is Decoded.NO_ROOM
    assert (context.length(0), context.length(1)) == (context.n_cells, 0)


def test_a_raised_flag_aborts_and_what_was_finished_stays(context: LlamaContext) -> None:
    context.decode(0, [5] * 64, 0, n_logits=0)
    ABORT[0] = b"x"
    assert context.decode(0, [6] * 64, 64, n_logits=1) is Decoded.ABORTED
    assert context.length(0) == 64
    ABORT[0] = b"\0"
    assert context.decode(0, [6] * 64, 64, n_logits=1) is Decoded.DONE


def test_keep_forgets_the_end_of_one_slot_only(context: LlamaContext) -> None:
    for slot_idx in range(2):
        context.decode(slot_idx, [5, 6, 7, 8], 0, n_logits=0)
    assert context.keep(0, 3) == 3
    assert context.keep(0, 10) == 3
    assert context.keep(1, 0) == 0
    assert context.length(0) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space")
def test_memory_that_is_not_there_is_a_model_error(model: LlamaModel) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    n_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + 2**28, limits[1]))
    try:
        with pytest.raises(ModelError, match="lower n_ctx"):
            _context(model, n_cells=2**20)  # 512 MiB, where 256 may be had.
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_the_logits_of_several_tokens_are_those_of_each(context: LlamaContext) -> None:
    tokens = [5, 6, 7, 8]
    context.decode(0, tokens, 0, n_logits=3)
    together = [context.logits(row).copy() for row in range(3)]
    for n_tokens in (2, 3, 4):
        context.keep(0, 0)
        context.decode(0, tokens[:n_tokens], 0, n_logits=1)
        assert np.allclose(context.logits(), together[n_tokens - 2], atol=1e-3)


def test_the_logits_of_several_slots_are_those_of_each(context: LlamaContext) -> None:
    context.decode(0, [5, 6], 0, n_logits=0)
    assert context.share(0, 1, 2) == 2
    context.decode_each([0, 1], [7, 8], [2, 2])
    together = [context.logits(row).copy() for row in range(2)]
    for slot_idx, last in ((0, 7), (1, 8)):
        context.keep(slot_idx, 0)
        context.decode(slot_idx, [5, 6, last], 0, n_logits=1)
        assert np.allclose(context.logits(), together[slot_idx], atol=1e-3)


def test_the_probability_is_that_of_softmax(context: LlamaContext) -> None:
    context.decode(0, [5, 6, 7], 0, n_logits=1)
    logits = context.logits().astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum()
    for sampling in (Sampling(1), Sampling(1, temperature=1.5, seed=3)):
        sampler = sampler_of(sampling)
        token, log_probability = sampler.draw(context, 0)
        sampler.free()
        assert np.exp(log_probability) == pytest.approx(softmax[token], rel=1e-4)
