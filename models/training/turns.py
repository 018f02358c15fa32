"""Conversations as token ids: the completion model's tokenizer with two pieces renamed, and an example of a turn."""

from __future__ import annotations

from pathlib import Path

import gguf

from training.examples import CONTEXT, ENDING, FIRST_MIDDLE, KINDS, Example
from training.tokenizer import (
    BEGIN_ID,
    END,
    PREFIX,
    TURN_BEGIN,
    TURN_END,
    CodeTokenizer,
    sentencepiece_model,
    to_sentencepiece,
)

RENAMED = {PREFIX: TURN_BEGIN, END: TURN_END}


def chat_tokenizer(model: Path) -> CodeTokenizer:
    """The tokenizer in a GGUF file of `training.export`, its pieces for turns named so."""
    fields = gguf.GGUFReader(model).fields
    pieces: list[str] = fields["tokenizer.ggml.tokens"].contents()
    n_fixed = 3 + 256
    normal = [piece for piece in pieces[n_fixed:] if piece not in _CONTROL]
    proto = sentencepiece_model.ModelProto()
    proto.ParseFromString(to_sentencepiece(normal))
    if [one.piece for one in proto.pieces] != pieces:
        raise SystemExit(f"{model.name} has no tokenizer of this repository's kind.")
    for one in proto.pieces:
        one.piece = RENAMED.get(one.piece, one.piece)
    return CodeTokenizer(bytes(proto.SerializeToString()))


_CONTROL = ("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")


def example_of(tokenizer: CodeTokenizer, prompt: str, answer: str) -> Example:
    """One question and its answer. The loss is taken of the answer and of what ends it."""
    begin = int(tokenizer.processor.piece_to_id(TURN_BEGIN))
    encode = tokenizer.encode
    asked = [BEGIN_ID, begin, *encode(f"user\n{prompt}"), tokenizer.end_id]
    asked += [*encode("\n"), begin, *encode("assistant\n")]
    ids = encode(answer)
    roles = [CONTEXT] * len(asked) + [FIRST_MIDDLE + KINDS.index("block")] * len(ids) + [ENDING]
    return Example("block", [*asked, *ids, tokenizer.end_id], roles)
