"""Export: a checkpoint becomes a GGUF file that llama.cpp runs as architecture `llama`.

Weights are renamed, rotary heads permuted from halves to neighbours, and quantised with the gguf package. The
tokenizer goes in as llama.cpp's own `llama` kind, with Code Llama's control tokens found by name and by
metadata.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from training.instructions import CHAT_TEMPLATE
from training.presets import ModelShape, load_preset
from training.tokenizer import (
    BEGIN_ID,
    END,
    MIDDLE,
    PREFIX,
    STOP_ID,
    SUFFIX,
    UNKNOWN_ID,
    CodeTokenizer,
)

FILE_TYPES = {
    "f32": (gguf.LlamaFileType.ALL_F32, gguf.GGMLQuantizationType.F32),
    "f16": (gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16),
    "q8_0": (gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0),
    "q5_0": (gguf.LlamaFileType.MOSTLY_Q5_0, gguf.GGMLQuantizationType.Q5_0),
    "q4_0": (gguf.LlamaFileType.MOSTLY_Q4_0, gguf.GGMLQuantizationType.Q4_0),
}

PURPOSE = "midfill.purpose"
"""Metadata: what a model is for, where that is not what its abilities suggest. `tests` is said by `midfill doctor`."""

TRAINED_TOKENS = "midfill.trained_tokens"
"""Metadata: how many tokens the model has seen, so that a run can go on from a release (`training.inherit`)."""

LICENCE = "Apache-2.0"
"""Of the model files, as of the repository."""

BLOCK_TENSORS = {
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
}

Array = npt.NDArray[np.float32]


def write_gguf(
    path: Path,
    shape: ModelShape,
    weights: Mapping[str, torch.Tensor],
    tokenizer: CodeTokenizer,
    file_type: str,
    name: str,
    trained_tokens: int = 0,
    orders: Sequence[str] = ("spm",),
) -> None:
    """Write one GGUF file, whole or not at all."""
    unfinished = path.with_suffix(".part")
    writer = gguf.GGUFWriter(str(unfinished), "llama")
    general_type, tensor_type = FILE_TYPES[file_type]
    writer.add_name(name)
    writer.add_license(LICENCE)
    writer.add_file_type(general_type)
    if tokenizer.infills:
        writer.add_string("midfill.layouts", " ".join(orders))
    else:
        writer.add_string(PURPOSE, "tests")
        writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_uint64(TRAINED_TOKENS, trained_tokens)
    add_shape(writer, shape)
    add_tokenizer(writer, tokenizer)
    for tensor_name, array in named_tensors(shape, weights):
        # Norms are a thousandth of the weights, and llama.cpp wants them whole.
        if array.ndim == 1 or file_type == "f32":
            writer.add_tensor(tensor_name, array)
        else:
            writer.add_tensor(
                tensor_name, gguf.quants.quantize(array, tensor_type), raw_dtype=tensor_type
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def add_shape(writer: gguf.GGUFWriter, shape: ModelShape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: CodeTokenizer) -> None:
    processor = tokenizer.processor
    pieces = range(processor.get_piece_size())

    def kind(piece: int) -> gguf.TokenType:
        if processor.is_unknown(piece):
            return gguf.TokenType.UNKNOWN
        if processor.is_byte(piece):
            return gguf.TokenType.BYTE
        return gguf.TokenType.CONTROL if processor.is_control(piece) else gguf.TokenType.NORMAL

    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(piece).encode() for piece in pieces])
    writer.add_token_scores([processor.get_score(piece) for piece in pieces])
    writer.add_token_types([kind(piece) for piece in pieces])
    writer.add_unk_token_id(UNKNOWN_ID)
    writer.add_bos_token_id(BEGIN_ID)
    writer.add_eos_token_id(STOP_ID)
    writer.add_eot_token_id(tokenizer.end_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    # Unlike Code Llama: every part of a prompt is encoded by itself and must not grow a space.
    writer.add_add_space_prefix(False)
    if not tokenizer.infills:
        return
    ids = {
        "prefix": tokenizer.prefix_id,
        "suffix": tokenizer.suffix_id,
        "middle": tokenizer.middle_id,
    }
    for part, token in ids.items():
        # llama.cpp reads fim_pre and so on since October 2024, and the long names before.
        writer.add_uint32(f"tokenizer.ggml.{part}_token_id", token)
        writer.add_uint32(f"tokenizer.ggml.fim_{part[:3]}_token_id", token)
    for piece in (PREFIX, SUFFIX, MIDDLE, END):
        assert processor.is_control(processor.piece_to_id(piece)), piece


def named_tensors(
    shape: ModelShape, weights: Mapping[str, torch.Tensor]
) -> list[tuple[str, Array]]:
    def array(name: str) -> Array:
        values: Array = weights[f"{name}.weight"].detach().float().cpu().numpy()
        return values

    tensors = [("token_embd.weight", array("embedding")), ("output_norm.weight", array("norm"))]
    heads = {"attention.query": shape.heads, "attention.key": shape.kv_heads}
    for layer in range(shape.layers):
        for ours, theirs in BLOCK_TENSORS.items():
            values = array(f"blocks.{layer}.{ours}")
            if ours in heads:
                values = halves_to_neighbours(values, heads[ours])
            tensors.append((f"blk.{layer}.{theirs}.weight", values))
    return tensors


def halves_to_neighbours(values: Array, heads: int) -> Array:
    """Reorder the rows of each head: we rotate (i, i + half), ggml's llama rotates (2i, 2i + 1)."""
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def neighbours_to_halves(values: Array, heads: int) -> Array:
    """What `halves_to_neighbours` did, undone."""
    rows, columns = values.shape
    neighbours = values.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(neighbours.swapaxes(1, 2).reshape(rows, columns))


def load_checkpoint(path: Path) -> tuple[ModelShape, dict[str, torch.Tensor], dict[str, Any]]:
    """Shape, weights and everything else of a checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    return ModelShape(**state["shape"]), state["model"], state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    shape, weights, state = load_checkpoint(arguments.work / "release.pt")
    trained_tokens = state["position"]["tokens"]
    tokenizer = CodeTokenizer.load(arguments.work / "tokenizer.model")
    preset = load_preset(arguments.preset)
    if preset.declared_context:
        shape = replace(shape, context=preset.declared_context)
    for file_type in FILE_TYPES:
        path = arguments.work / f"midfill-{arguments.preset}-{file_type}.gguf"
        name = f"midfill-{arguments.preset}"
        write_gguf(path, shape, weights, tokenizer, file_type, name, trained_tokens, preset.orders)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
