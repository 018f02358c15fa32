"""The tokenizer: byte-pair pieces in SentencePiece form, which llama.cpp's `llama` tokenizer reproduces exactly.

Of SentencePiece kind because Code Llama's is: the same code paths, and control tokens with the same names,
serve a 2 MB test model and a 13B one. Pieces are learned by the `tokenizers` library, whose splitting rule
can be given as a pattern, and then written as a SentencePiece model. A newline and the indent after it make
one piece, which code is full of: 3.3 characters per token instead of 3.1 at 4096 pieces.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from training.corpus import Document, read_documents
from training.presets import N_PIECES, load_preset

PREFIX, SUFFIX, MIDDLE, END = "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"
"""Code Llama's control tokens, under Code Llama's names."""

TURN_BEGIN, TURN_END = "<|im_start|>", "<|im_end|>"
"""ChatML's, of a model that talks (`training.turns`)."""

# The module is generated at import, so type checkers see nothing in it.
sentencepiece_model: Any = sentencepiece_model_pb2

CONTROL_PIECES = (PREFIX, MIDDLE, SUFFIX, END)

UNKNOWN_ID, BEGIN_ID, STOP_ID = 0, 1, 2
"""<unk>, <s> and </s>, where SentencePiece and Llama put them."""

SPLIT = r"\n▁*|▁?[A-Za-z_]+|[0-9]|▁+(?=▁)|▁?[^\sA-Za-z_0-9▁]+|▁+|."
"""No piece crosses these: newline with indent, word with one space before it, single digit, spaces, punctuation."""

SAMPLE_CHARS = 16_000_000
MAX_CHARS_PER_PACKAGE = 1_200_000
"""No package may fill the vocabulary with its own names."""

MAX_PIECE_CHARS = 24


class CodeTokenizer:
    """The trained tokenizer, as examples and training need it."""

    def __init__(self, model: bytes) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.prefix_id, self.suffix_id, self.middle_id, self.end_id = (
            int(self.processor.piece_to_id(piece)) for piece in (PREFIX, SUFFIX, MIDDLE, END)
        )
        self.infills = not self.processor.is_unknown(self.end_id)
        """Whether it has Code Llama's tokens; else it has those of turns."""
        if not self.infills:
            self.end_id = int(self.processor.piece_to_id(TURN_END))

    @classmethod
    def load(cls, path: Path) -> CodeTokenizer:
        return cls(path.read_bytes())

    def encode(self, text: str) -> list[int]:
        return list(self.processor.encode(text)) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.processor.decode(list(ids)))

    def prompt(self, prefix: str, suffix: str, order: str = "spm") -> list[int]:
        """The ids before the middle in Code Llama's orders. In SPM the prefix stands last, so the middle simply
        continues it."""
        if order == "psm":
            return [
                BEGIN_ID,
                self.prefix_id,
                *self.encode(prefix),
                self.suffix_id,
                *self.encode(suffix),
                self.middle_id,
            ]
        return [
            BEGIN_ID,
            self.prefix_id,
            self.suffix_id,
            *self.encode(suffix),
            self.middle_id,
            *self.encode(prefix),
        ]


def learn_pieces(texts: Iterable[str], n_pieces: int) -> list[str]:
    """Learn byte-pair pieces, most useful merge first, single characters last."""
    alphabet = [chr(code) for code in range(33, 127)] + ["▁", "\n", "\t"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=n_pieces,
        initial_alphabet=alphabet,
        # Everything else is spelled in bytes.
        limit_alphabet=len(alphabet),
        show_progress=False,
        max_token_length=MAX_PIECE_CHARS,
    )
    tokenizer.train_from_iterator((text.replace(" ", "▁") for text in texts), trainer)
    pieces = [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    return [piece for piece in pieces if len(piece) > 1] + [
        piece for piece in pieces if len(piece) == 1
    ]


def to_sentencepiece(pieces: Sequence[str]) -> bytes:
    """Write pieces as a SentencePiece model. The score is minus the rank of the merge, so the same merges win."""
    kinds = sentencepiece_model.ModelProto.SentencePiece
    model = sentencepiece_model.ModelProto()

    def add(piece: str, score: float, kind: int) -> None:
        model.pieces.add(piece=piece, score=score, type=kind)

    add("<unk>", 0.0, kinds.UNKNOWN)
    add("<s>", 0.0, kinds.CONTROL)
    add("</s>", 0.0, kinds.CONTROL)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 0.0, kinds.BYTE)
    for rank, piece in enumerate(pieces):
        add(piece, -float(rank), kinds.NORMAL)
    for piece in CONTROL_PIECES:
        add(piece, 0.0, kinds.CONTROL)

    spec = model.trainer_spec
    spec.model_type = sentencepiece_model.TrainerSpec.BPE
    spec.vocab_size = len(model.pieces)
    spec.byte_fallback = True
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = UNKNOWN_ID, BEGIN_ID, STOP_ID, -1
    spec.allow_whitespace_only_pieces = True
    spec.split_digits = True
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    # Each part of an infilling prompt is encoded by itself, and must not grow a space.
    normalizer.add_dummy_prefix = False
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return bytes(model.SerializeToString())


def train_tokenizer(texts: Iterable[str], n_pieces: int = N_PIECES) -> CodeTokenizer:
    n_fixed = 3 + 256 + len(CONTROL_PIECES)
    return CodeTokenizer(to_sentencepiece(learn_pieces(texts, n_pieces - n_fixed)))


def sample(documents: Iterable[Document]) -> Iterator[str]:
    """Texts from every package, none beyond its share."""
    used: defaultdict[str, int] = defaultdict(int)
    for document in documents:
        if used[document.package] < MAX_CHARS_PER_PACKAGE and sum(used.values()) < SAMPLE_CHARS:
            used[document.package] += len(document.text)
            yield document.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    n_pieces = load_preset(arguments.preset).model.vocabulary
    tokenizer = train_tokenizer(sample(read_documents(arguments.work, "train")), n_pieces)
    held_out = [document.text for document in read_documents(arguments.work, "held_out")]
    encoded = [tokenizer.encode(text) for text in held_out]
    broken = sum(tokenizer.decode(ids) != text for ids, text in zip(encoded, held_out, strict=True))
    if broken:
        raise SystemExit(
            f"{broken} of {len(held_out)} held-out files do not survive encoding and decoding."
        )
    path = arguments.work / "tokenizer.model"
    path.write_bytes(tokenizer.processor.serialized_model_proto())
    n_chars, n_tokens = sum(map(len, held_out)), sum(map(len, encoded))
    print(
        f"{tokenizer.processor.get_piece_size()} pieces; {n_chars / n_tokens:.3f} characters per token on held-out text"
    )


if __name__ == "__main__":
    main()
