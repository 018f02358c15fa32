"""Small GGUF files for tests, made on the spot: random weights, and vocabularies of Code Llama's kind.

Written with the `gguf` package, the same bytes on every machine. A model of random weights says nonsense,
but evaluates, caches, stops and fails as a real one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, LlamaFileType, TokenType

FimKeys = Literal["new", "old", "none"]
"""Under which metadata keys a file names its infill tokens: as files are written now, as
`convert_hf_to_gguf.py` wrote them for Code Llama, or not at all."""

Weights = npt.NDArray[np.float32]

SPACE = "\u2581"
"""SentencePiece's mark for a space."""

CONTROL = {
    "pre": f"{SPACE}<PRE>",
    "suf": f"{SPACE}<SUF>",
    "mid": f"{SPACE}<MID>",
    "eot": f"{SPACE}<EOT>",
}
"""Code Llama's control tokens, as its vocabulary spells them."""

_WORDS = ("def", "return", "import", "class", "self", "print", "for", "in", "if", "else", "None")
_CHARACTERS = tuple(chr(code) for code in range(33, 127))

GOLDEN_PREFIX = 'def remove_non_ascii(s: str) -> str:\n    """ '
GOLDEN_SUFFIX = "\n    return result\n"
_GOLDEN = (
    "1 32007 822 3349 29918 5464 29918 294 18869 29898 29879 29901 851 29897 1599 851 29901 13 1678 "
    "9995 29871 32008 13 1678 736 1121 13 32009"
)
GOLDEN_PSM = tuple(map(int, _GOLDEN.split()))
"""What Meta's `infilling_prompt_tokens` makes of the two texts (llama.cpp's issue 3503)."""

_GOLDEN_PIECES = {
    822: " def",
    3349: " remove",
    29918: "_",
    5464: "non",
    294: "as",
    18869: "cii",
    29898: "(",
    29879: "s",
    29901: ":",
    851: " str",
    29897: ")",
    1599: " ->",
    1678: "   ",
    9995: ' """',
    29871: " ",
    736: " return",
    1121: " result",
    31171: "☺",
}
"""The Llama pieces that the golden texts end up in, at their own ids."""


@dataclass(frozen=True)
class Vocabulary:
    """Pieces in the order of their ids."""

    pieces: list[bytes]
    scores: list[float]
    kinds: list[TokenType]
    fim_ids: dict[str, int]
    """Ids of `pre`, `suf`, `mid` and `eot`; empty for a model without infilling."""
    pre: str = ""
    """For a vocabulary of byte pairs, how llama.cpp is to cut text into words; empty for SentencePiece's kind."""
    merges: tuple[str, ...] = ()
    eos_id: int = 2
    bos_id: int = 1
    """-1 for none."""


@dataclass(frozen=True)
class Shape:
    """Size of a llama-architecture model. The default loads in some milliseconds."""

    dim: int = 64
    n_layers: int = 2
    n_heads: int = 4
    ffn: int = 128
    n_ctx_train: int = 8192


def tiny_model(
    path: Path,
    *,
    infill: bool = True,
    fim_keys: FimKeys = "new",
    shape: Shape | None = None,
    seed: int = 0,
    chat_template: str = "",
) -> Path:
    """A model of random weights over `tiny_vocabulary`, less than a megabyte in size."""
    vocabulary = tiny_vocabulary(infill=infill)
    size = shape or Shape()
    weights = _random_weights(size, len(vocabulary.pieces), seed)
    return write_model(path, vocabulary, size, weights, fim_keys, chat_template)


def chain_model(path: Path, *chain: str, endless: bool = False) -> Path:
    """A model that after each piece of `chain` says the next, and after the last the end: an exact script.
    If `endless`, it says the first again, and never ends.

    A piece may occur once, since the model sees one token only: attention and feed-forward add nothing, and
    the output row of a token is the embedding of the one before it.
    """
    vocabulary, size = tiny_vocabulary(), Shape()
    weights = _random_weights(size, len(vocabulary.pieces), seed=0)
    for name in weights:
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            weights[name] *= 0
    weights["output.weight"] *= 0
    after = chain[0] if endless else CONTROL["eot"]
    tokens = [vocabulary.pieces.index(piece.encode()) for piece in (*chain, after)]
    for before, following in pairwise(tokens):
        weights["output.weight"][following] = weights["token_embd.weight"][before]
    return write_model(path, vocabulary, size, weights)


def tiny_vocabulary(
    *,
    infill: bool = True,
    control: Sequence[str] = (),
    added: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Vocabulary:
    """Bytes, ASCII, some Python words and those of `words`, and Code Llama's control tokens or those of `control`.

    `added` are tokens that a file calls user-defined: llama.cpp finds them in every text."""
    pieces: dict[str, TokenType] = {
        "<unk>": TokenType.UNKNOWN,
        "<s>": TokenType.CONTROL,
        "</s>": TokenType.CONTROL,
    }
    pieces |= {f"<0x{byte:02X}>": TokenType.BYTE for byte in range(256)}
    merged = {
        part
        for word in (*_WORDS, *words)
        for part in (*_beginnings(SPACE + word), *_beginnings(word))
    }
    merged |= {SPACE * n_spaces for n_spaces in range(2, 9)}
    normal = [*sorted(merged, key=lambda piece: (len(piece), piece)), SPACE, *_CHARACTERS]
    pieces |= dict.fromkeys((*normal, "é", "☺", "日"), TokenType.NORMAL)
    infill = infill and not control
    pieces |= dict.fromkeys(CONTROL.values() if infill else control, TokenType.CONTROL)
    pieces |= dict.fromkeys(added, TokenType.USER_DEFINED)
    pieces |= {
        f"<unused{idx}>": TokenType.UNUSED for idx in range(-len(pieces) % 32)
    }  # A round number of rows, as in real files.
    ids = {piece: token for token, piece in enumerate(pieces)}
    return Vocabulary(
        pieces=[piece.encode() for piece in pieces],
        # The merge with the best score comes first, so shorter pieces rank before longer ones.
        scores=[
            float(-token) if kind is TokenType.NORMAL else 0.0
            for token, kind in enumerate(pieces.values())
        ],
        kinds=list(pieces.values()),
        fim_ids={role: ids[piece] for role, piece in CONTROL.items()} if infill else {},
    )


def family_vocabulary(
    path: Path, control: Sequence[str], named: Mapping[str, str] | None = None
) -> Path:
    """A vocabulary with a family's control tokens. `named` are pieces that the file's metadata names by llama.cpp's
    roles (`pre`, `suf`, `mid`)."""
    pieces = dict.fromkeys((*control, *(named or {}).values()))
    vocabulary = tiny_vocabulary(control=tuple(pieces))
    ids = {role: vocabulary.pieces.index(piece.encode()) for role, piece in (named or {}).items()}
    return write_model(path, replace(vocabulary, fim_ids=ids), Shape(), {})


def chat_model(
    path: Path,
    *,
    control: Sequence[str],
    added: Sequence[str] = (),
    words: Sequence[str] = (),
    chat_template: str = "",
) -> Path:
    """A vocabulary with the control tokens of a family's conversations, and its template."""
    vocabulary = tiny_vocabulary(infill=False, control=control, added=added, words=words)
    return write_model(path, vocabulary, Shape(), {}, chat_template=chat_template)


INST_PIECES = {
    518: " [",
    25580: "INST",
    29914: "/",
    29962: "]",
    3532: " <<",
    14816: "SY",
    29903: "S",
    6778: ">>",
    29966: "<",
    829: "</",
    6324: " Hi",
}
"""The pieces of `[INST] <<SYS>>` and `<</SYS>>` at their own ids, as Llama's tokenizer cuts them."""


def byte_pair_vocabulary(
    pre: str, special: Mapping[str, int], eos: str, bos: str = ""
) -> Vocabulary:
    """A vocabulary of GPT-2's kind: bytes, some words, and a family's control tokens at their own ids.

    What lies between is unused, so that a file has the layout of a real one without its 150,000 pieces.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    # GPT-2's bytes_to_unicode: bytes that print badly stand behind all others.
    letters = {
        **{byte: chr(byte) for byte in plain},
        **{b: chr(256 + n) for n, b in enumerate(others)},
    }
    merged = {
        part: None for word in ("\u0120def", "def", "\u0120return") for part in _beginnings(word)
    }
    taken = set(special.values())
    free = (token for token in range(max(taken) + 1 + 256 + len(merged)) if token not in taken)
    ids = {piece: next(free) for piece in (*letters.values(), *merged)} | dict(special)
    size = -(-(max(ids.values()) + 1) // 32) * 32
    pieces = [f"<unused{token}>".encode() for token in range(size)]
    kinds = [TokenType.UNUSED] * size
    for piece, token in ids.items():
        pieces[token] = piece.encode()
        kinds[token] = TokenType.CONTROL if piece in special else TokenType.NORMAL
    merges = tuple(f"{piece[:-1]} {piece[-1]}" for piece in merged)
    return Vocabulary(pieces, [0.0] * size, kinds, {}, pre, merges, ids[eos], ids.get(bos, -1))


def role_model(
    path: Path,
    vocabulary: Vocabulary,
    *,
    chat_template: str = "",
    names: Mapping[str, str] | None = None,
    size: Shape | None = None,
) -> Path:
    """A model of random weights over any vocabulary. `names` are texts of its metadata (`general.…`) by their keys."""
    size = size or Shape(dim=32, n_layers=1, n_heads=2, ffn=32)
    weights = _random_weights(size, len(vocabulary.pieces), seed=0)
    return write_model(path, vocabulary, size, weights, "new", chat_template, names or {})


def codellama_vocabulary(
    path: Path,
    *,
    fim_keys: FimKeys = "none",
    more: Mapping[int, str] | None = None,
    chat_template: str = "",
) -> Path:
    """A file of `codellama_pieces` without weights."""
    return write_model(path, codellama_pieces(more=more), Shape(), {}, fim_keys, chat_template)


def codellama_pieces(*, infill: bool = True, more: Mapping[int, str] | None = None) -> Vocabulary:
    """A stand-in for Code Llama's vocabulary: its control tokens and the golden texts' pieces at their own ids.

    Llama's 32,000 pieces are not in this repository. Every other id is unused, except the
    intermediate pieces that SentencePiece needs on its way: it merges two pieces at a time.
    """
    ids: dict[int, str] = {
        token: text.replace(" ", SPACE)
        for token, text in {**_GOLDEN_PIECES, **(more or {})}.items()
    }
    needed = dict.fromkeys(part for piece in ids.values() for part in _beginnings(piece))
    needed |= dict.fromkeys((*_CHARACTERS, SPACE))
    free = (token for token in range(300, 32000) if token not in ids)
    for piece in needed:
        if piece not in ids.values():
            ids[next(free)] = piece
    size = 32016
    pieces = [f"<unused{token}>".encode() for token in range(size)]
    kinds = [TokenType.UNUSED] * size
    for token, (piece, kind) in enumerate(
        [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    ):
        pieces[token], kinds[token] = piece.encode(), kind
    for byte in range(256):
        pieces[3 + byte], kinds[3 + byte] = f"<0x{byte:02X}>".encode(), TokenType.BYTE
    for token, piece in ids.items():
        pieces[token], kinds[token] = piece.encode(), TokenType.NORMAL
    # 32000 to 32006 are the steps by which SentencePiece reaches the four: ▁<SU, ▁<SUF, ▁<PRE, and so on.
    steps = ("<SU", "<SUF", "<PRE", "<M", "<MID", "<E", "<EOT", "<PRE>", "<SUF>", "<MID>", "<EOT>")
    for token, step in enumerate(steps, 32000):
        pieces[token] = (SPACE + step).encode()
        kinds[token] = TokenType.NORMAL if token < 32007 else TokenType.CONTROL
    # By length, so that a merge on the way never comes after the piece it leads to; runs of spaces last,
    # so that the space before a word goes to the word, as in Llama's own ranks.
    spaces = SPACE.encode()
    scores = [-float(len(p)) - 1000 * (p == spaces * (len(p) // len(spaces))) for p in pieces]
    fim_ids = {"pre": 32007, "suf": 32008, "mid": 32009, "eot": 32010}
    if not infill:  # As in 34B and Python.
        del pieces[32000:], scores[32000:], kinds[32000:]
    return Vocabulary(pieces, scores, kinds, fim_ids if infill else {})


def full_codellama_vocabulary(path: Path, llama_vocabulary: Path) -> Path:
    """Code Llama's whole vocabulary, from the file with Llama's 32,000 pieces in llama-cpp-python's sources
    (`vendor/llama.cpp/models/ggml-vocab-llama-spm.gguf`)."""
    from gguf import GGUFReader  # noqa: PLC0415 - only where such a file is at hand

    fields = GGUFReader(llama_vocabulary).fields

    def values(name: str) -> Iterable[object]:
        field = fields[f"tokenizer.ggml.{name}"]
        return (field.parts[idx] for idx in field.data)

    pieces = [bytes(part) for part in values("tokens")]  # type: ignore[call-overload]
    scores = [float(part[0]) for part in values("scores")]  # type: ignore[index]
    kinds = [TokenType(int(part[0])) for part in values("token_type")]  # type: ignore[index]
    assert len(pieces) == 32000
    steps = ("<SU", "<SUF", "<PRE", "<M", "<MID", "<E", "<EOT", "<PRE>", "<SUF>", "<MID>", "<EOT>")
    lowest = min(scores)
    for token, step in enumerate((*steps, *("<EOT>" * n for n in range(2, 7))), 32000):
        pieces.append((SPACE + step).encode())
        scores.append(lowest - 1 - (token - 32000))
        kinds.append(TokenType.CONTROL if 32007 <= token <= 32010 else TokenType.NORMAL)
    fim_ids = {"pre": 32007, "suf": 32008, "mid": 32009, "eot": 32010}
    return write_model(path, Vocabulary(pieces, scores, kinds, fim_ids), Shape(), {}, "none")


def write_model(
    path: Path,
    vocabulary: Vocabulary,
    size: Shape,
    weights: Mapping[str, Weights],
    fim_keys: FimKeys = "new",
    chat_template: str = "",
    names: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write a GGUF file; without weights it holds the vocabulary only."""
    writer = GGUFWriter(path, "llama")
    for key, text in {"general.name": path.stem, **names}.items():
        writer.add_string(key, text)
    writer.add_context_length(size.n_ctx_train)
    writer.add_embedding_length(size.dim)
    writer.add_block_count(size.n_layers)
    writer.add_feed_forward_length(size.ffn)
    writer.add_head_count(size.n_heads)
    writer.add_head_count_kv(size.n_heads)
    writer.add_rope_dimension_count(size.dim // size.n_heads)
    writer.add_rope_freq_base(1e6)  # Code Llama's
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary.pieces))
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2" if vocabulary.pre else "llama")
    writer.add_tokenizer_pre(vocabulary.pre or "default")
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.kinds)
    writer.add_eos_token_id(vocabulary.eos_id)
    if vocabulary.bos_id >= 0:
        writer.add_bos_token_id(vocabulary.bos_id)
    writer.add_add_bos_token(vocabulary.bos_id >= 0)
    writer.add_add_eos_token(False)
    if not vocabulary.pre:
        writer.add_unk_token_id(0)
    if chat_template:
        writer.add_chat_template(chat_template)
    if vocabulary.fim_ids and fim_keys != "none":
        names = {"pre": "fim_pre", "suf": "fim_suf", "mid": "fim_mid"}
        if fim_keys == "old":
            names = {"pre": "prefix", "suf": "suffix", "mid": "middle"}
        for role, name in {**names, "eot": "eot"}.items():
            if role not in vocabulary.fim_ids:
                continue
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", vocabulary.fim_ids[role])
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if weights:
        writer.write_tensors_to_file()
    writer.close()
    return path


def _random_weights(shape: Shape, n_vocab: int, seed: int) -> dict[str, Weights]:
    random = np.random.default_rng(seed)

    def matrix(n_rows: int, n_columns: int, deviation: float) -> Weights:
        values = random.standard_normal((n_rows, n_columns), dtype=np.float32)
        return values * np.float32(deviation)

    dim = shape.dim
    # Queries and keys of about this size make attention differ enough that a wrong position would show.
    deviation = 1.28 / dim**0.5
    weights = {
        "token_embd.weight": matrix(n_vocab, dim, 1.0),
        "output_norm.weight": np.ones(dim, np.float32),
        "output.weight": matrix(n_vocab, dim, 1.5 / dim**0.5),
    }
    for layer in range(shape.n_layers):
        weights |= {
            f"blk.{layer}.{name}.weight": values
            for name, values in {
                "attn_norm": np.ones(dim, np.float32),
                "attn_q": matrix(dim, dim, deviation),
                "attn_k": matrix(dim, dim, deviation),
                "attn_v": matrix(dim, dim, deviation),
                "attn_output": matrix(dim, dim, deviation / 2),
                "ffn_norm": np.ones(dim, np.float32),
                "ffn_gate": matrix(shape.ffn, dim, deviation),
                "ffn_up": matrix(shape.ffn, dim, deviation),
                "ffn_down": matrix(dim, shape.ffn, 0.5 / shape.ffn**0.5),
            }.items()
        }
    return weights


def _beginnings(text: str) -> list[str]:
    return [text[:length] for length in range(2, len(text) + 1)]
