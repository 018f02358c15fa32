"""What a model's weights would take in other quantizations, counted from the header of one of its files.

As llama.cpp's quantizer chooses types (llama-quant.cpp): matrices get the type that names the quantization, the output
layer `Q6_K` at least, values and the feed-forward's way down `Q6_K` in half of the layers of a `_K_M`, norms and
biases stay. Rows that 256 does not divide get a slightly larger type, which is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from midfill.engines.gguf_header import GgufHeader, Tensor

QUANTIZATIONS = ("Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
"""Those in which most models are published, the smallest first."""

_BYTES: Mapping[int, float] = MappingProxyType(
    {
        0: 4,  # F32
        1: 2,  # F16
        2: 18 / 32,  # Q4_0
        3: 20 / 32,  # Q4_1
        6: 22 / 32,  # Q5_0
        7: 24 / 32,  # Q5_1
        8: 34 / 32,  # Q8_0
        10: 84 / 256,  # Q2_K
        11: 110 / 256,  # Q3_K
        12: 144 / 256,  # Q4_K
        13: 176 / 256,  # Q5_K
        14: 210 / 256,  # Q6_K
        20: 18 / 32,  # IQ4_NL
        23: 136 / 256,  # IQ4_XS
        30: 2,  # BF16
    }
)
"""A weight's bytes by its type: `enum ggml_type` and the blocks of ggml-common.h."""
_Q6_K = 14
_USUAL = {"Q4_0": 2, "Q4_K_M": 12, "Q5_K_M": 13, "Q6_K": 14, "Q8_0": 8, "F16": 1}
_MIXED = ("Q4_K_M", "Q5_K_M")
_LAYER_WITH_MORE = re.compile(r"blk\.(\d+)\.(?:attn_v|ffn_down)\.weight")


def weights_bytes(header: GgufHeader) -> Mapping[str, int]:
    """Bytes of all weights by quantization; empty where the file has types that are not known here."""
    if any(tensor.type_id not in _BYTES for tensor in header.tensors):
        return {}
    n_layers = header.number("block_count")
    is_tied = all(tensor.name != "output.weight" for tensor in header.tensors)
    output = "token_embd.weight" if is_tied else "output.weight"
    return {
        kind: round(sum(_bytes(it, kind, output, n_layers) for it in header.tensors))
        for kind in QUANTIZATIONS
    }


def _bytes(tensor: Tensor, kind: str, output: str, n_layers: int) -> float:
    if "norm" in tensor.name or not tensor.name.endswith("weight"):
        return tensor.size_bytes
    n_weights = tensor.size_bytes / _BYTES[tensor.type_id]
    per_weight = _BYTES[_USUAL[kind]]
    layer = _LAYER_WITH_MORE.fullmatch(tensor.name)
    has_more = layer is not None and kind in _MIXED and _uses_more_bits(int(layer[1]), n_layers)
    if tensor.name == output or has_more:
        per_weight = max(per_weight, _BYTES[_Q6_K])
    return n_weights * per_weight


def _uses_more_bits(idx: int, n_layers: int) -> bool:
    """As llama.cpp's quantizer chooses (`use_more_bits`)."""
    return idx < n_layers // 8 or idx >= 7 * n_layers // 8 or (idx - n_layers // 8) % 3 == 2
