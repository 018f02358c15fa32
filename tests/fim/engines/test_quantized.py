"""What weights take in other quantizations, beside what llama.cpp's own quantizer makes of the same model."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from gguf_models import Shape, tiny_model
from midfill.engines.gguf_header import GgufHeader, Tensor, read_header
from midfill.engines.llama_library import lc
from midfill.engines.quantized import QUANTIZATIONS, weights_bytes

_FILE_TYPES = {"Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "Q8_0": 7, "F16": 1}
"""`enum llama_ftype`."""


@pytest.mark.model
def test_it_is_what_the_quantizer_makes(tmp_path: Path) -> None:
    shape = Shape(dim=256, n_heads=4, n_layers=9, ffn=512)
    whole = tiny_model(tmp_path / "whole.gguf", shape=shape)
    told = weights_bytes(read_header(whole))
    assert tuple(told) == QUANTIZATIONS
    for kind, file_type in _FILE_TYPES.items():
        params = lc.llama_model_quantize_default_params()
        params.ftype, params.nthread = file_type, 1
        path = tmp_path / f"{kind}.gguf"
        assert not lc.llama_model_quantize(
            str(whole).encode(), str(path).encode(), ctypes.byref(params)
        )
        made = read_header(path)
        assert told[kind] == sum(tensor.size_bytes for tensor in made.tensors)
        # Whichever file of a model is asked about, the answer is the same.
        assert weights_bytes(made) == told


def test_types_that_are_not_known_tell_nothing() -> None:
    header = GgufHeader({"general.architecture": "llama"}, {}, (Tensor("a.weight", 99, 64),))
    assert weights_bytes(header) == {}
