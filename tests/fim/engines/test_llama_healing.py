"""Tokens before the caret that are drawn again: bound to the text that is there, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_models import tiny_model
from midfill.engines.llama_healing import Healing, n_to_redraw
from midfill.engines.llama_model import LlamaModel
from midfill_models import embedded_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaModel]:
    model = LlamaModel.load(embedded_model())
    yield model
    model.free()


@pytest.fixture(scope="module")
def bytes_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    """Nearly all of its tokens are single bytes."""
    path: Path = tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")
    model = LlamaModel.load(path)
    yield model
    model.free()


def _allowed(healing: Healing, n_vocab: int) -> set[int]:
    logits = np.zeros(n_vocab, np.float32)
    healing.bind(logits)
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


@given(
    text=st.text(min_size=1, max_size=12)
    | st.sampled_from(["import nu", "\n    ", "x.", "é", "😋"])
)
@settings(max_examples=40, deadline=None)
def test_a_token_is_possible_if_it_agrees_with_the_text(model: LlamaModel, text: str) -> None:
    ids = model.tokenize(text)
    redrawn = ids[len(ids) - n_to_redraw([0, *ids], model) :]
    healing = Healing(redrawn, model)
    left = healing.left
    assert text.encode().endswith(left)
    spellings = {
        piece
        for token in range(model.n_vocab)
        if (piece := model.piece(token))
        and token not in model.end_ids
        and (piece.startswith(left) or left.startswith(piece))
    }
    allowed = _allowed(healing, model.n_vocab)
    assert {model.piece(token) for token in allowed} == spellings
    assert len(allowed) == len(spellings)
    assert redrawn[0] in allowed


@given(st.text(alphabet="aé😋 .\n", min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_character_is_never_broken(bytes_model: LlamaModel, text: str) -> None:
    prompt = [1, *bytes_model.tokenize(text)]
    n_back = n_to_redraw(prompt, bytes_model)
    kept = b"".join(map(bytes_model.piece, prompt[: len(prompt) - n_back]))
    kept.decode()
    assert n_back >= 1


def test_what_was_drawn_shorter_binds_the_next(model: LlamaModel) -> None:
    healing = Healing(model.tokenize("import")[-1:], model)
    left = healing.left
    assert healing.take(left[:2]) == b""
    assert healing.left == left[2:]
    assert healing.take(left[2:] + b"ed") == b"ed"
    assert healing.left == b""
    assert _allowed(healing, model.n_vocab) == set(range(model.n_vocab))


@pytest.mark.parametrize("end", ["▁<MID>", None], ids=["a control token", "the first token"])
def test_nothing_is_drawn_again_where_no_text_ends(model: LlamaModel, end: str | None) -> None:
    prompt = [*model.tokenize("x = f"), model.control_ids[end]] if end else model.tokenize("x")[:1]
    assert n_to_redraw(prompt, model) == 0
