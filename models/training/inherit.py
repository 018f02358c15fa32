"""Begin a run from a model that was released before, where the checkpoint it was cut from is gone.

A release is small enough to travel with the repository, a checkpoint is not. What is lost is the optimisers'
state and the gain of the decay, both made good within a few million tokens; what was learned is kept. The run
goes on behind the rows that the release had read, at the constant rate, after a new warm-up.

    python -m training.inherit --work DIR --preset small --model midfill-small-q8_0.gguf
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from training.examples import ensure_epoch
from training.export import BLOCK_TENSORS, TRAINED_TOKENS, Array, neighbours_to_halves
from training.presets import ModelShape, load_preset
from training.run import Run
from training.tokenizer import CodeTokenizer
from training.turns import RENAMED


def read_gguf(path: Path, shape: ModelShape) -> dict[str, torch.Tensor]:
    """The weights of a file that `training.export` wrote, by the names that the model gives them."""
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}

    def array(name: str) -> Array:
        tensor = tensors[f"{name}.weight"]
        values: Array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return values.astype(np.float32)

    weights = {"embedding": array("token_embd"), "norm": array("output_norm")}
    heads = {"attention.query": shape.heads, "attention.key": shape.kv_heads}
    for layer in range(shape.layers):
        for ours, theirs in BLOCK_TENSORS.items():
            values = array(f"blk.{layer}.{theirs}")
            if ours in heads:
                values = neighbours_to_halves(values, heads[ours])
            weights[f"blocks.{layer}.{ours}"] = values
    return {f"{name}.weight": torch.from_numpy(values) for name, values in weights.items()}


def metadata(path: Path) -> Mapping[str, Any]:
    """The file's metadata, arrays of text as lists."""
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def inherit(work: Path, preset_name: str, model: Path, tokens: int | None) -> Run:
    """Write `stable.pt` from a released model.

    Raises:
        SystemExit: the file was trained with another tokenizer or in another shape, or does not say how far it
            was trained.
    """
    preset = load_preset(preset_name)
    data = metadata(model)
    pieces = CodeTokenizer.load(work / "tokenizer.model").processor
    known = [RENAMED.get(piece, piece) for piece in data["tokenizer.ggml.tokens"]]
    if (known if preset.instructs else data["tokenizer.ggml.tokens"]) != [
        pieces.id_to_piece(piece) for piece in range(pieces.get_piece_size())
    ]:
        raise SystemExit(f"{model.name} has another tokenizer than this corpus makes.")
    tokens = tokens or data.get(TRAINED_TOKENS)
    if not tokens:
        raise SystemExit(f"{model.name} does not say how far it was trained; pass --tokens.")
    run = Run(preset, work, torch.device("cpu"))
    if data["llama.block_count"] > run.model.shape.layers:
        run.grow()
    run.model.load_state_dict(read_gguf(model, run.model.shape))
    run.position.tokens = int(tokens)
    if preset.instructs:
        run.save(work / "stable.pt")
        return run
    n_rows = len(ensure_epoch(work, 0, preset).ids)
    batches_per_epoch = n_rows // preset.batch_rows
    batches = int(tokens) // preset.step_tokens
    run.position.epoch = batches // batches_per_epoch
    run.position.row = batches % batches_per_epoch * preset.batch_rows
    run.save(work / "stable.pt")
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run")
    parser.add_argument("--model", type=Path, required=True, help="the released GGUF file")
    parser.add_argument("--tokens", type=int, help="tokens it has seen, if the file does not say")
    arguments = parser.parse_args()
    if (arguments.work / "stable.pt").exists():
        print("the run has begun; its checkpoint stays")
        return
    run = inherit(arguments.work, arguments.preset, arguments.model, arguments.tokens)
    print(f"the run goes on from {run.position.tokens / 1e6:.1f}M tokens")


if __name__ == "__main__":
    main()
