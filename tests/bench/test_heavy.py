"""A model made heavier says what it said."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.heavy import heavier
from gguf import GGUFReader

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.settings import EngineSettings
from midfill_models import embedded_model

PROMPT = "import os\n\n\ndef names(folder):\n    return [name for name in os."


async def _said(path: Path) -> tuple[list[int], list[float]]:
    engine = LlamaEngine(path, EngineSettings(n_ctx=256))
    prompt = await engine.tokenize(PROMPT)
    pieces = [p async for p in engine.generate(prompt, Sampling(24, copy=False)) if p.token_ids]
    await engine.close()
    return [t for p in pieces for t in p.token_ids], [x for p in pieces for x in p.logprobs]


@pytest.mark.model
async def test_it_says_the_same_with_five_times_the_weights(tmp_path: Path) -> None:
    light = embedded_model()
    heavy = heavier(light, tmp_path / "heavy.gguf", 20_000_000)
    n_weights = sum(int(tensor.n_elements) for tensor in GGUFReader(heavy).tensors)
    assert 19_000_000 < n_weights <= 20_000_000
    (tokens, sure), (same, as_sure) = await _said(light), await _said(heavy)
    assert len(tokens) > 4
    assert same == tokens
    assert as_sure == pytest.approx(sure, abs=1e-3)


def test_what_it_is_and_knows_is_as_before(tmp_path: Path) -> None:
    light = embedded_model()
    before = GGUFReader(light).fields
    after = GGUFReader(heavier(light, tmp_path / "heavy.gguf", 5_000_000)).fields
    changed = {name for name in before if before[name].contents() != after[name].contents()}
    assert changed - {"GGUF.kv_count", "GGUF.tensor_count"} == {"llama.feed_forward_length"}
    assert after.keys() == before.keys()


def test_a_smaller_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ask for more"):
        heavier(embedded_model(), tmp_path / "none.gguf", 1_000_000)
    assert not list(tmp_path.iterdir())
