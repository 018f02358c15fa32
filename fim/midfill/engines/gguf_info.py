"""What a GGUF file can do, read from its header: no llama.cpp, no weights, and little memory.

The vocabulary is passed over once, for the control tokens of the families that Midfill knows and for those that
the file's own template writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from midfill.abilities import Abilities, Listed, abilities_of
from midfill.chat_formats import all_tags, chat_pieces
from midfill.engine import Belief, ModelInfo
from midfill.engines.fit import N_BATCH_CPU
from midfill.engines.gguf_header import (
    NAME_KEYS,
    GgufHeader,
    numbers_at,
    read_header,
    texts_at,
)
from midfill.engines.needs import Needs
from midfill.engines.quantized import weights_bytes
from midfill.formats import control_pieces

CONTEXTS = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Tokens for which `FileInfo.memory` is counted, as far as the model was trained with them."""


@dataclass(frozen=True)
class FileInfo:
    """A model file, and what it can do."""

    path: Path
    model: ModelInfo
    abilities: Abilities
    architecture: str
    quantization: str
    """As llama.cpp names it, such as `Q4_K_M`; empty where the file does not tell."""
    n_layers: int
    weights_bytes: int
    memory: Mapping[int, int]
    """Bytes in all by tokens of context, with a cache in half precision: weights, cache, buffers."""
    quantized: Mapping[str, Mapping[int, int]]
    """The same, counted for each common quantization."""


def file_info(path: Path, listed: Listed | None = None, infill: Belief = "auto") -> FileInfo:
    """Read what a file says of itself. `listed` is what a catalogue says of it.

    Raises:
        ModelError: it is missing, damaged, or no GGUF file.
    """
    header = read_header(path)
    needs = Needs.of(str(path), header)
    model = model_of(path, header, infill)
    contexts = _contexts(needs.n_ctx_train)
    memory = {n_ctx: memory_bytes(needs, n_ctx) for n_ctx in contexts}
    return FileInfo(
        path=path,
        model=model,
        abilities=abilities_of(
            model, n_ctx=needs.n_ctx_train, licence=_licence(header), listed=listed
        ),
        architecture=header.architecture,
        quantization=_QUANTIZATIONS.get(_id(header, "general.file_type"), ""),
        n_layers=len(needs.layers),
        weights_bytes=needs.weights,
        memory=MappingProxyType(memory),
        quantized=MappingProxyType(
            {
                kind: MappingProxyType(
                    {n_ctx: taken - needs.weights + weights for n_ctx, taken in memory.items()}
                )
                for kind, weights in weights_bytes(header).items()
            }
        ),
    )


def read_model(path: Path) -> ModelInfo:
    """What llama.cpp would tell of a file, as far as roles follow from it.

    Raises:
        ModelError: as for `file_info`.
    """
    return model_of(path, read_header(path))


def model_of(path: Path, header: GgufHeader, infill: Belief = "auto") -> ModelInfo:
    """What llama.cpp would tell of a file, as far as roles follow from it."""
    template = header.text("tokenizer.chat_template")
    bos = _id(header, "tokenizer.ggml.bos_token_id")
    eos, eot = (_id(header, f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    fim = {role: _first(header, keys) for role, keys in _FIM_KEYS.items()}
    fim = {role: token for role, token in fim.items() if token >= 0}
    wanted, named = frozenset(control_pieces()), {bos, eos, *fim.values()}
    talk = frozenset((*chat_pieces(), *(tag for tags in all_tags() for tag in tags)))
    kinds = numbers_at(path, header, "tokenizer.ggml.token_type")
    control = {
        piece: token
        for token, piece in enumerate(texts_at(path, header, "tokenizer.ggml.tokens"))
        if piece in wanted
        or token in named
        or (piece and _is_control(kinds, token) and (piece in template or piece in talk))
    }
    ends = (eos, eot, control.get(_END_PIECE, -1))
    return ModelInfo(
        name=header.text("general.name") or path.stem,
        n_ctx=header.number("context_length"),
        n_vocab=header.n_vocab,
        bos_id=bos if bos >= 0 and _adds_bos(header) else None,
        end_ids=tuple(dict.fromkeys(token for token in ends if token >= 0)),
        control_ids=MappingProxyType(control),
        fim_ids=MappingProxyType(fim),
        layouts=tuple(header.text("midfill.layouts").split()),
        chat_template=template,
        architecture=header.architecture,
        names=tuple(filter(None, (*map(header.text, NAME_KEYS), path.stem))),
        infill=infill,
    )


def memory_bytes(needs: Needs, n_ctx: int) -> int:
    """What a model takes with a context of so many tokens, all in one memory."""
    kv = needs.kv_bytes(n_ctx, "f16")
    return needs.weights + kv + needs.compute_bytes(n_ctx, N_BATCH_CPU, flash=False)


def _contexts(n_ctx_train: int) -> Sequence[int]:
    most = n_ctx_train or CONTEXTS[1]
    return sorted({n for n in CONTEXTS if n < most} | {min(most, CONTEXTS[-1])})


def _licence(header: GgufHeader) -> str:
    return header.text("general.license.name") or header.text("general.license")


def _id(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _first(header: GgufHeader, keys: Sequence[str]) -> int:
    found = (_id(header, f"tokenizer.ggml.{key}_token_id") for key in keys)
    return next((token for token in found if token >= 0), -1)


def _adds_bos(header: GgufHeader) -> bool:
    # llama.cpp's rule where the file does not say: tokenizers of SentencePiece kind add it, those of GPT-2's do not.
    said = header.metadata.get("tokenizer.ggml.add_bos_token")
    return bool(said) if said is not None else header.text("tokenizer.ggml.model") == "llama"


def _is_control(kinds: Sequence[int], token: int) -> bool:
    return token < len(kinds) and kinds[token] in _CONTROL_KINDS


_END_PIECE = "▁<EOT>"
_CONTROL_KINDS = (3, 4)
"""`enum llama_token_type`: control, user-defined."""
_FIM_KEYS = {
    "prefix": ("fim_pre", "prefix"),
    "suffix": ("fim_suf", "suffix"),
    "middle": ("fim_mid", "middle"),
    "pad": ("fim_pad",),
    "repo_name": ("fim_rep",),
    "file_sep": ("fim_sep",),
}
"""As files are written now, and as `convert_hf_to_gguf.py` wrote Code Llama's."""
_QUANTIZATIONS: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            [
                "F32",
                "F16",
                "Q4_0",
                "Q4_1",
                "Q4_1",
                "Q4_2",
                "Q4_3",
                "Q8_0",
                "Q5_0",
                "Q5_1",
                "Q2_K",
                "Q3_K_S",
                "Q3_K_M",
                "Q3_K_L",
                "Q4_K_S",
                "Q4_K_M",
                "Q5_K_S",
                "Q5_K_M",
                "Q6_K",
                "IQ2_XXS",
                "IQ2_XS",
                "Q2_K_S",
                "IQ3_XS",
                "IQ3_XXS",
                "IQ1_S",
                "IQ4_NL",
                "IQ3_S",
                "IQ3_M",
                "IQ2_S",
                "IQ2_M",
                "IQ4_XS",
                "IQ1_M",
                "BF16",
            ]
        )
    )
)
"""`enum llama_ftype` in llama.h, in order."""
