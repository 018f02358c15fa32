"""Parity: the exported model says in llama.cpp what it said in PyTorch, on the very prompts it will be asked.

Compared on infilling prompts from the validation files, encoded by llama.cpp on one side and by SentencePiece
on the other, so that a difference in tokenizer, control tokens, rotary layout or quantisation shows here and
not as a puzzling loss of quality.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch

from training.corpus import read_documents
from training.evaluate import Hole, LlamaCpp, cut_holes
from training.export import load_checkpoint
from training.model import Llama
from training.tokenizer import CodeTokenizer

MIN_TOP1_AT_F16 = 0.995


def llama_cpp_logits(engine: LlamaCpp, ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits at every position of one prompt."""
    n_ids, n_pieces = len(ids), engine.n_vocabulary
    context = engine.llama.ctx
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    batch = llama_cpp.llama_batch_init(n_ids, 0, 1)
    try:
        batch.n_tokens = n_ids
        for index, token in enumerate(ids):
            batch.token[index], batch.pos[index] = token, index
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, True
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit("llama.cpp did not evaluate a prompt.")
        pointer = llama_cpp.llama_get_logits(context)
        return np.ctypeslib.as_array(pointer, (n_ids, n_pieces)).copy()
    finally:
        llama_cpp.llama_batch_free(batch)


@torch.no_grad()
def compare(
    model: Llama, tokenizer: CodeTokenizer, engine: LlamaCpp, holes: list[Hole]
) -> dict[str, float]:
    """Share of equal tokenizations and of equal first choices, and the largest difference of a logit."""
    model.eval()
    same_ids, n_same, n_positions, largest = 0, 0, 0, 0.0
    for hole in holes:
        ids = tokenizer.prompt(hole.prefix, hole.suffix)
        same_ids += ids == engine.prompt(hole.prefix, hole.suffix)
        ids = ids[: model.shape.context]
        ours = model(torch.tensor([ids]))[0].numpy()
        theirs = llama_cpp_logits(engine, ids)
        n_same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        n_positions += len(ids)
        largest = max(largest, float(np.abs(ours - theirs).max()))
    return {
        "prompts": len(holes),
        "same_tokens": same_ids / len(holes),
        "positions": n_positions,
        "top1": n_same / n_positions,
        "largest_logit_difference": largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    arguments = parser.parse_args()
    work: Path = arguments.work
    shape, weights, _ = load_checkpoint(work / "release.pt")
    model = Llama(shape)
    model.load_state_dict(weights)
    tokenizer = CodeTokenizer.load(work / "tokenizer.model")
    holes = cut_holes(read_documents(work, "validation"), n_per_kind=8)
    results = {}
    for file_type in ("f32", "f16", "q8_0"):
        engine = LlamaCpp(work / f"midfill-{arguments.preset}-{file_type}.gguf")
        results[file_type] = compare(model, tokenizer, engine, holes)
        print(file_type, results[file_type])
    (work / "parity.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if results["f16"]["same_tokens"] < 1.0 or results["f16"]["top1"] < MIN_TOP1_AT_F16:
        raise SystemExit("llama.cpp does not agree with PyTorch: the export is wrong.")


if __name__ == "__main__":
    main()
