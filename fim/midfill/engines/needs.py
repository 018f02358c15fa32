"""What a model needs: bytes, counted part by part from its file's header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from midfill.engines.gguf_header import GgufHeader
from midfill.errors import ModelError

KvType = Literal["f16", "q8_0"]


@dataclass(frozen=True)
class Needs:
    """Bytes that the parts of a model take, and what its compute buffers follow from."""

    layers: tuple[int, ...]
    output: int
    """The output layer: the token embedding once more where a model has no matrix of its own for it."""
    input: int
    """What stays in main memory in any case."""
    kv_cells: tuple[int, ...]
    """One cell of each layer's cache in half precision."""
    can_q8_kv: bool
    n_ctx_train: int
    """Tokens of the longest text it was trained with; 0 if the file does not tell."""
    n_heads: int = 0
    n_vocab: int = 0
    n_embedding: int = 0
    n_feed_forward: int = 0
    largest_tensor: int = 0
    shared: int = 0
    """What `output` and `input` both count: one matrix that serves as both, and on a GPU is there twice."""

    @classmethod
    def of(cls, name: str, header: GgufHeader) -> Needs:
        """Count from a file's header; `name` is for the sentence that refuses it.

        Raises:
            ModelError: it does not tell how many layers there are.
        """
        n_layers = header.number("block_count")
        if not 0 < n_layers <= _LAYERS_MOST:
            raise ModelError(
                f"{name} is damaged or of a kind that llama.cpp does not know ({n_layers} layers); "
                "fetch it again."
            )
        layers = [0] * n_layers
        parts = {"input": 0, "output": 0}
        for tensor in header.tensors:
            layer = _LAYER.match(tensor.name)
            if layer and int(layer[1]) < n_layers:
                layers[int(layer[1])] += tensor.size_bytes
            else:
                parts["input" if tensor.name.startswith(_INPUT) else "output"] += tensor.size_bytes
        sizes = {tensor.name: tensor.size_bytes for tensor in header.tensors}
        shared = 0 if "output.weight" in sizes else sizes.get("token_embd.weight", 0)
        key_width, value_width, kv_cells = _kv_cells(header, n_layers)
        return cls(
            layers=tuple(layers),
            output=parts["output"] + shared,
            input=parts["input"],
            kv_cells=kv_cells,
            can_q8_kv=key_width % _Q8_BLOCK == value_width % _Q8_BLOCK == 0,
            n_ctx_train=header.number("context_length"),
            n_heads=header.number("attention.head_count"),
            n_vocab=header.n_vocab,
            n_embedding=header.number("embedding_length"),
            n_feed_forward=header.number("feed_forward_length"),
            largest_tensor=max(sizes.values(), default=0),
            shared=shared,
        )

    @property
    def weights(self) -> int:
        """All of them, as they are in the file."""
        return sum(self.layers) + self.output + self.input - self.shared

    @property
    def n_layers_most(self) -> int:
        """Layers that a GPU can take, of which the output layer is one."""
        return len(self.layers) + 1

    def kv_bytes(self, n_cells: int, kv_type: KvType) -> int:
        """The cache of all layers."""
        return n_cells * sum(kv_bytes(cell, kv_type) for cell in self.kv_cells)

    def compute_bytes(self, n_cells: int, n_batch: int, *, flash: bool) -> int:
        """Buffers for what is computed on the way, on each device: a bound, up to half above what llama.cpp takes.

        Its graph holds one of these at a time, and the mask (read off its own log for three shapes).
        """
        attention = 28 * self.n_embedding + (0 if flash else 4 * self.n_heads * n_cells)
        feed_forward = 4 * (3 * self.n_feed_forward + 4 * self.n_embedding)
        logits = 4 * (self.n_vocab + self.n_embedding)
        mask = (2 if flash else 4) * n_cells
        return n_batch * (max(attention, feed_forward, logits) + mask)


def kv_bytes(cell: int, kv_type: KvType) -> int:
    """Of a cell that takes `cell` bytes in half precision."""
    return cell if kv_type == "f16" else cell * 34 // 64


_LAYER = re.compile(r"blk\.(\d{1,4})\.")
_LAYERS_MOST = 4096
_INPUT = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")
_Q8_BLOCK = 32
"""Values that q8_0 keeps with one scale, in 34 bytes; a row of keys or values is a multiple of it."""


def _kv_cells(header: GgufHeader, n_layers: int) -> tuple[int, int, tuple[int, ...]]:
    """Width of a key and a value of one head, and the bytes of a cell of each layer in half precision."""
    latent = header.number("attention.kv_lora_rank")
    if latent and header.number("attention.key_length_mla"):
        # Multi-head latent attention: one compressed row instead of keys and values.
        width = latent + header.number("rope.dimension_count")
        return width, width, (2 * width,) * n_layers
    n_heads = header.numbers("attention.head_count")
    n_heads_kv = header.numbers("attention.head_count_kv") or n_heads or (1,)
    width = header.number("embedding_length") // max(1, *n_heads, 1)
    key = header.number("attention.key_length") or width
    value = header.number("attention.value_length") or width
    per_layer = [n_heads_kv[min(idx, len(n_heads_kv) - 1)] for idx in range(n_layers)]
    return key, value, tuple(2 * n * (key + value) for n in per_layer)
