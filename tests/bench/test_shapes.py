"""Models of random weights in every type: llama.cpp loads them, and they say what they were made to say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from bench.shapes import (
    Shape,
    WeightType,
    chain,
    codellama_vocabulary,
    random_blocks,
    shaped_model,
)
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

from midfill.engine import Sampling
from midfill.engines.llama import LlamaEngine
from midfill.settings import EngineSettings

TINY = Shape(dim=256, n_layers=3, n_heads=4, ffn=512, n_ctx_train=1024)


@pytest.mark.model
@pytest.mark.parametrize("weights", get_args(WeightType))
async def test_a_model_continues_by_its_chain(tmp_path: Path, weights: WeightType) -> None:
    path = shaped_model(tmp_path / "tiny.gguf", weights, TINY, codellama_vocabulary())
    engine = LlamaEngine(path, EngineSettings(n_ctx=512))
    info = await engine.info()
    assert (info.n_vocab, 32010 in info.end_ids) == (32016, True)
    assert info.control_ids["▁<MID>"] == 32009
    prompt = await engine.tokenize("def main of all words")
    assert 4 < len(prompt) < 15
    pieces = [p async for p in engine.generate(prompt, Sampling(24, copy=False)) if p.token_ids]
    await engine.close()
    assert [t for p in pieces for t in p.token_ids] == chain(prompt[-1], 24, info.n_vocab)
    sure = [log_probability for p in pieces for log_probability in p.logprobs]
    assert all(math.isfinite(value) and -0.5 < value < 0 for value in sure), sure


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"])
def test_weights_have_the_deviation_that_is_asked_for(kind: str) -> None:
    its_type = GGMLQuantizationType[kind]
    blocks = random_blocks(its_type, 4000, 0.02, np.random.Generator(np.random.SFC64(0)))
    weights = (
        blocks.view("<f2").astype(np.float32) if kind == "F16" else dequantize(blocks, its_type)
    )
    tolerance = 0.45 if kind == "F16" else 0.03
    assert np.sqrt((weights**2).mean()) == pytest.approx(0.02, rel=tolerance)
    assert abs(weights.mean()) < 0.02 * 0.05


def test_the_output_is_the_embedding_shifted_in_another_type(tmp_path: Path) -> None:
    path = shaped_model(tmp_path / "tiny.gguf", "q4_k_m", TINY, codellama_vocabulary())
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors.items()}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q4_K", "Q6_K")
    embedding, output = (
        dequantize(tensors[f"{name}.weight"].data, tensors[f"{name}.weight"].tensor_type)
        for name in ("token_embd", "output")
    )
    [following] = chain(5, 1, 32016)
    assert output[following] == pytest.approx(embedding[5], abs=0.01)


def test_the_same_arguments_make_the_same_file(tmp_path: Path) -> None:
    vocabulary = codellama_vocabulary()
    files = [tmp_path / name / "m.gguf" for name in ("one", "two", "other")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        file.parent.mkdir()
        shaped_model(file, "q8_0", TINY, vocabulary, seed=seed)
    one, two, other = (file.read_bytes() for file in files)
    assert one == two
    assert len(one) == len(other)
    assert one != other
    assert not list(tmp_path.rglob("*.part"))


def test_a_width_that_blocks_do_not_divide_is_refused(tmp_path: Path) -> None:
    odd = Shape(dim=128, n_layers=1, n_heads=4, ffn=256)
    with pytest.raises(SystemExit, match=r"rows of 128; Q4_K needs a multiple of 256"):
        shaped_model(tmp_path / "odd.gguf", "q4_k_m", odd, codellama_vocabulary())
