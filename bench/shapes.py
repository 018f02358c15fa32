"""`python -m bench.shapes OUT.gguf`: a model of Code Llama 7B's shape that was never trained, to measure speed with.

Speed and memory depend on a model's shape and on the type of its weights, not on what they say, and nothing
has to be fetched for them. Quantized weights are drawn as blocks of random bits under constant scales, so that
32 layers take seconds and not the minutes of a quantizer; tensor after tensor goes to the file, so that 13 GB
of half precision need no memory.

The weights are random, but the text is not: the attention and the feed-forward of a layer add little, and the
output of a token is the embedding of the one `STEP` before it. So the model continues any text by a known
chain of tokens (`chain`) with certainty, on every device and in every type of weights, which tells a right
answer from a wrong one, and gives texts that a prompt foretells.
"""

from __future__ import annotations

import argparse
import math
import string
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from gguf import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    LlamaFileType,
    TokenType,
)
from gguf.quants import dequantize

WeightType = Literal["f16", "q8_0", "q4_0", "q4_k_m"]

STEP = 7919
"""From a token's id to that of the next. A prime that the size of the vocabulary does not share, so that a
chain passes every token before it comes back."""

_Bytes = npt.NDArray[np.uint8]
_Type = GGMLQuantizationType

_SPACE = "\u2581"  # SentencePiece's mark for a space
_LLAMA_VOCABULARY = "vendor/llama.cpp/models/ggml-vocab-llama-spm.gguf"
_N_LLAMA_PIECES = 32000


@dataclass(frozen=True)
class Shape:
    """Size of a model of llama's architecture. The default is Code Llama 7B (its params.json)."""

    dim: int = 4096
    n_layers: int = 32
    n_heads: int = 32
    ffn: int = 11008
    n_ctx_train: int = 16384


class Vocabulary(NamedTuple):
    """Pieces in the order of their ids."""

    pieces: list[bytes]
    scores: list[float]
    kinds: list[TokenType]


def chain(start: int, n_tokens: int, n_vocab: int) -> list[int]:
    """What a model of this module says after token `start`."""
    return [(start + STEP * idx) % n_vocab for idx in range(1, n_tokens + 1)]


def shaped_model(
    path: Path, weights: WeightType, shape: Shape, vocabulary: Vocabulary, *, seed: int = 0
) -> Path:
    """Write a model: the same bytes for the same arguments. K-quants need sizes that 256 divides.

    `path` appears when it is whole.
    """
    unfinished = path.with_name(path.name + ".part")
    writer = GGUFWriter(unfinished, "llama")
    _add_metadata(writer, path.stem, weights, shape, vocabulary)
    random = np.random.Generator(np.random.SFC64(seed))
    tensors = list(_tensors(weights, shape, len(vocabulary.pieces)))
    for tensor in tensors:
        tensor.announce(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    embedding, *others = tensors
    blocks = embedding.draw(random)
    writer.write_tensor_data(blocks.reshape(-1))
    for tensor in others:
        if tensor.name == "output.weight":
            rows = np.roll(blocks.reshape(tensor.n_rows, -1), STEP, axis=0)
            if tensor.kind is not embedding.kind:
                rows = _as_q6_k(rows, embedding)
            writer.write_tensor_data(rows.reshape(-1))
        else:
            writer.write_tensor_data(tensor.draw(random).reshape(-1))
    writer.close()
    return unfinished.replace(path)


def random_blocks(
    kind: GGMLQuantizationType, n_blocks: int, deviation: float, random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Blocks of weights around 0 with that root mean square (in half precision, within a factor of 1.4)."""
    n_block_bytes = GGML_QUANT_SIZES[kind][1]
    bits = np.frombuffer(random.bytes(n_blocks * n_block_bytes), np.uint8)
    blocks = bits.reshape(n_blocks, n_block_bytes).copy()
    _SCALED[kind](blocks, deviation)
    return blocks


def codellama_vocabulary(llama_pieces: Path | None = None) -> Vocabulary:
    """Code Llama's 32,016 pieces: Llama's 32,000, and the infill tokens with the steps that merge into them.

    Args:
        llama_pieces: llama.cpp's `ggml-vocab-llama-spm.gguf`, or llama-cpp-python's source distribution, which
            holds it. None makes up 32,000 pieces, so that a text has about as many tokens.
    """
    if llama_pieces is None:
        base = _made_up_pieces()
    elif llama_pieces.name.endswith(".tar.gz"):
        base = _pieces_in_sdist(llama_pieces)
    else:
        base = _pieces_in(llama_pieces)
    if len(base.pieces) != _N_LLAMA_PIECES:
        raise SystemExit(f"{llama_pieces} holds {len(base.pieces)} pieces; Llama's has 32,000.")
    steps = ("<SU", "<SUF", "<PRE", "<M", "<MID", "<E", "<EOT", "<PRE>", "<SUF>", "<MID>", "<EOT>")
    lowest = min(base.scores)
    for idx, step in enumerate((*steps, *("<EOT>" * n for n in range(2, 7)))):
        is_control = 7 <= idx <= 10
        base.pieces.append((_SPACE + step).encode())
        base.scores.append(lowest - 1 - idx)
        base.kinds.append(TokenType.CONTROL if is_control else TokenType.NORMAL)
    return base


def _pieces_in(path: Path) -> Vocabulary:
    fields = GGUFReader(path).fields

    def values(name: str) -> Iterator[Any]:
        field = fields[f"tokenizer.ggml.{name}"]
        return (field.parts[idx] for idx in field.data)

    return Vocabulary(
        [bytes(part) for part in values("tokens")],
        [float(part[0]) for part in values("scores")],
        [TokenType(int(part[0])) for part in values("token_type")],
    )


def _pieces_in_sdist(path: Path) -> Vocabulary:
    with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as folder:
        root = next(iter(archive)).name.split("/")[0]
        found = archive.extractfile(f"{root}/{_LLAMA_VOCABULARY}")
        assert found is not None, f"{path} holds {_LLAMA_VOCABULARY}"
        extracted = Path(folder) / "vocabulary.gguf"
        extracted.write_bytes(found.read())
        return _pieces_in(extracted)


def _made_up_pieces() -> Vocabulary:
    """Characters, runs of spaces, and all words of two and three letters: SentencePiece merges two pieces at a time."""
    letters = string.ascii_lowercase
    pairs = ["".join(pair) for pair in product(letters, repeat=2)]
    triples = ["".join(triple) for triple in product(letters, repeat=3)]
    texts = [
        *(_SPACE * n for n in range(2, 17)),
        *(_SPACE + letter for letter in letters),
        *pairs,
        *(_SPACE + pair for pair in pairs),
        *triples,
        *(_SPACE + triple for triple in triples),
    ]
    characters = [_SPACE, *(chr(code) for code in range(33, 127))]
    n_texts = _N_LLAMA_PIECES - 3 - 256 - len(characters)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, *islice(texts, n_texts), *characters]
    n_special = 3 + len(bytes_)
    kinds = [TokenType.NORMAL] * len(pieces)
    kinds[:3] = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    kinds[3:n_special] = [TokenType.BYTE] * len(bytes_)
    scores = [0.0 if idx < n_special else float(n_special - idx) for idx in range(len(pieces))]
    return Vocabulary([piece.encode() for piece in pieces], scores, kinds)


def _add_metadata(
    writer: GGUFWriter, name: str, weights: WeightType, shape: Shape, vocabulary: Vocabulary
) -> None:
    writer.add_name(name)
    writer.add_context_length(shape.n_ctx_train)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_heads)
    writer.add_rope_dimension_count(shape.dim // shape.n_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary.pieces))
    writer.add_file_type(_FILE_TYPES[weights])
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    for role, token in {"fim_pre": 32007, "fim_suf": 32008, "fim_mid": 32009, "eot": 32010}.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", token)


_FILE_TYPES: dict[WeightType, LlamaFileType] = {
    "f16": LlamaFileType.MOSTLY_F16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
    "q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
}


@dataclass(frozen=True)
class _Tensor:
    name: str
    kind: _Type
    n_rows: int
    n_columns: int
    deviation: float
    """Root mean square of the weights; where there is one row, their value."""

    @property
    def n_bytes(self) -> int:
        n_per_block, n_block_bytes = GGML_QUANT_SIZES[self.kind]
        blocks, rest = divmod(self.n_columns, n_per_block)
        if rest:
            raise SystemExit(
                f"{self.name} has rows of {self.n_columns}; {self.kind.name} needs a multiple of {n_per_block}."
            )
        return self.n_rows * blocks * n_block_bytes

    def announce(self, writer: GGUFWriter) -> None:
        shape = (self.n_columns,) if self.n_rows == 1 else (self.n_rows, self.n_columns)
        # The writer looks at the array's type only to take a shape in bytes apart.
        writer.add_tensor_info(self.name, shape, np.dtype(np.float32), self.n_bytes, self.kind)

    def draw(self, random: np.random.Generator) -> _Bytes:
        if self.n_rows == 1:
            return np.full(self.n_columns, self.deviation, np.float32).view(np.uint8)
        n_blocks = self.n_bytes // GGML_QUANT_SIZES[self.kind][1]
        return random_blocks(self.kind, n_blocks, self.deviation, random)


def _tensors(weights: WeightType, shape: Shape, n_vocab: int) -> Iterator[_Tensor]:
    dim, ffn = shape.dim, shape.ffn
    usual, more, output = _TYPES[weights]
    # Queries and keys of about this size make attention differ from place to place, as a trained model's does.
    project = 1.28 / dim**0.5
    # All layers together add a quarter of what the embedding is.
    added = 0.25 / (2 * shape.n_layers) ** 0.5
    yield _Tensor("token_embd.weight", usual, n_vocab, dim, 1.0)
    yield _Tensor("output_norm.weight", _Type.F32, 1, dim, _CERTAINTY / dim)
    yield _Tensor("output.weight", output, n_vocab, dim, 1.0)  # The embedding's rows.
    for idx in range(shape.n_layers):
        kind = more if _uses_more_bits(idx, shape.n_layers) else usual
        for name, its_kind, n_rows, n_columns, deviation in (
            ("attn_norm", _Type.F32, 1, dim, 1.0),
            ("attn_q", usual, dim, dim, project),
            ("attn_k", usual, dim, dim, project),
            ("attn_v", kind, dim, dim, project),
            ("attn_output", usual, dim, dim, added / 1.28 / dim**0.5),
            ("ffn_norm", _Type.F32, 1, dim, 1.0),
            ("ffn_gate", usual, ffn, dim, project),
            ("ffn_up", usual, ffn, dim, project),
            ("ffn_down", kind, dim, ffn, added / ffn**0.5),
        ):
            yield _Tensor(f"blk.{idx}.{name}.weight", its_kind, n_rows, n_columns, deviation)


_CERTAINTY = 20.0
"""Logit of the token that comes next. Those of the others spread by this over the root of the width: 0.3 at
4096, so that the next has all of the probability, up to e-8."""

_TYPES: dict[WeightType, tuple[_Type, _Type, _Type]] = {
    "f16": (_Type.F16, _Type.F16, _Type.F16),
    "q8_0": (_Type.Q8_0, _Type.Q8_0, _Type.Q8_0),
    "q4_0": (_Type.Q4_0, _Type.Q4_0, _Type.Q6_K),
    "q4_k_m": (_Type.Q4_K, _Type.Q6_K, _Type.Q6_K),
}
"""As llama.cpp's quantizer stores most tensors; values and the feed-forward's way down in half of the layers;
and the output (llama-quant.cpp)."""


def _uses_more_bits(idx: int, n_layers: int) -> bool:
    """As llama.cpp's quantizer chooses (`use_more_bits` in llama-quant.cpp)."""
    return idx < n_layers // 8 or idx >= 7 * n_layers // 8 or (idx - n_layers // 8) % 3 == 2


# What makes weights of random bits: the layouts are those of ggml-common.h. Where the integers are not
# centred on 0, a scale of random sign makes them so over the blocks.


def _scale_f16(bits: _Bytes, deviation: float) -> None:
    # Sign and mantissa stay random, as do two bits of the exponent: four octaves, whose root mean square is 7.04
    # times the lowest value.
    lowest = round(math.log2(deviation / 7.04)) + 15
    values = bits.view(np.uint16)
    values &= 0b1_00011_1111111111
    values += np.uint16(lowest << 10)


def _scale_q8_0(bits: _Bytes, deviation: float) -> None:
    _set_scales(bits, 0, deviation / 73.9)  # of -128 to 127


def _scale_q4_0(bits: _Bytes, deviation: float) -> None:
    _set_scales(bits, 0, deviation * _STEPS[_Type.Q4_0])  # of -8 to 7


def _scale_q4_k(bits: _Bytes, deviation: float) -> None:
    # All scales and minima are 33 times the block's: 33 * (scale * q - minimum) = 33 * scale * (q - 7.5), with q
    # from 0 to 15.
    bits[:, 4:12], bits[:, 12:16] = 0xA1, 0x11
    scale = deviation * _STEPS[_Type.Q4_K] / 16.5
    _set_halves(bits, 0, np.full(len(bits), scale))
    _set_halves(bits, 2, np.full(len(bits), 7.5 * scale))


def _scale_q6_k(bits: _Bytes, deviation: float) -> None:
    bits[:, 192:208] = 32
    _set_scales(bits, 208, deviation / 18.5 / 32)  # of -32 to 31


_STEPS = {_Type.Q4_0: 1 / 4.64, _Type.Q4_K: 1 / 9.22}
"""What all weights of a type are a whole multiple of, for a root mean square of 1."""


def _as_q6_k(rows: _Bytes, tensor: _Tensor) -> _Bytes:
    """The same weights, up to the rounding of the scales, in another type: at most 16 steps around 0 fit in."""
    step = tensor.deviation * _STEPS[tensor.kind]
    return np.concatenate(
        [_q6_k(dequantize(part, tensor.kind), step) for part in np.array_split(rows, 64)]
    )


def _q6_k(values: npt.NDArray[np.float32], step: float) -> _Bytes:
    integers = np.rint(values / step).astype(np.int8) + 32
    quarters = integers.astype(np.uint8).reshape(-1, 2, 4, 32).transpose(2, 0, 1, 3)
    low, high = quarters & 15, quarters >> 4
    blocks = np.empty((quarters.shape[1], 210), np.uint8)
    blocks[:, :128] = np.concatenate([low[0] | low[2] << 4, low[1] | low[3] << 4], 2).reshape(
        -1, 128
    )
    blocks[:, 128:192] = (high[0] | high[1] << 2 | high[2] << 4 | high[3] << 6).reshape(-1, 64)
    blocks[:, 192:208] = 32
    _set_halves(blocks, 208, np.full(len(blocks), step / 32))
    return blocks


def _set_scales(bits: _Bytes, offset: int, scale: float) -> None:
    """Scales of one size and of the sign that the block's first random bit says."""
    _set_halves(bits, offset, np.where(bits[:, offset] & 1, scale, -scale))


def _set_halves(bits: _Bytes, offset: int, values: npt.NDArray[np.float64]) -> None:
    halves = values.astype("<f2")[:, np.newaxis]
    bits[:, offset : offset + 2] = halves.view(np.uint8)


_SCALED: dict[_Type, Callable[[_Bytes, float], None]] = {
    _Type.F16: _scale_f16,
    _Type.Q8_0: _scale_q8_0,
    _Type.Q4_0: _scale_q4_0,
    _Type.Q4_K: _scale_q4_k,
    _Type.Q6_K: _scale_q6_k,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=get_args(WeightType), default="q4_0")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--vocab", type=Path, help="ggml-vocab-llama-spm.gguf, or the source distribution with it"
    )
    wanted = parser.parse_args()
    shape = replace(Shape(), n_layers=wanted.layers)
    vocabulary = codellama_vocabulary(wanted.vocab)
    path = shaped_model(wanted.out, wanted.type, shape, vocabulary, seed=wanted.seed)
    print(f"{path}: {path.stat().st_size / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
