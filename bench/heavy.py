"""`python -m bench.heavy MODEL OUT.gguf`: the same model, as slow as a larger one.

A model that is small enough to be trained here answers before a person notices, and one of a large shape with
random weights says nothing that is worth showing. So the feed-forward of a small one is made wider: rows of random
weights for what goes in, and zeros for what comes out of them. It says what it said, token for token, and computes,
reads and keeps what the larger one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from bench.shapes import random_blocks
from gguf import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    ReaderField,
    ReaderTensor,
)

WIDTH = "llama.feed_forward_length"
ROWS = ("ffn_gate.weight", "ffn_up.weight")
COLUMNS = "ffn_down.weight"
DEVIATION = 0.02
"""Of the weights that are added: about that of the others."""

_STEP = 256
"""What every type of block divides."""


def heavier(model: Path, path: Path, n_parameters: int, *, seed: int = 0) -> Path:
    """Write a model of about so many parameters that says what `model` says.

    Raises:
        ValueError: `model` has as many already, or is none of llama's architecture in the types of `bench.shapes`.
    """
    reader = GGUFReader(model)
    if WIDTH not in reader.fields:
        raise ValueError(f"{model.name} is no model of llama's architecture.")
    width = int(reader.fields[WIDTH].contents())
    widened = [tensor for tensor in reader.tensors if tensor.name.endswith((*ROWS, COLUMNS))]
    n_for_each = sum(int(tensor.n_elements) // width for tensor in widened)
    n_now = sum(int(tensor.n_elements) for tensor in reader.tensors)
    n_more = (n_parameters - n_now) // n_for_each // _STEP * _STEP
    if n_more <= 0:
        raise ValueError(f"{model.name} has {n_now} parameters; ask for more.")
    writer = GGUFWriter(path, "llama")
    for name, value, kind, item_kind in _metadata(reader):
        if name == WIDTH:
            value = width + n_more  # noqa: PLW2901 - the one that differs
        writer.add_key_value(name, value, kind, item_kind)
    random = np.random.Generator(np.random.SFC64(seed))
    for tensor in reader.tensors:
        writer.add_tensor(
            tensor.name, _widened(tensor, n_more, random), raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(
    reader: GGUFReader,
) -> Iterator[tuple[str, Any, GGUFValueType, GGUFValueType | None]]:
    """Everything but what the writer says by itself."""
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        yield name, _contents(field), field.types[0], field.types[-1] if field.types[1:] else None


def _contents(field: ReaderField) -> Any:
    """Pieces stay bytes, since not every one of them is text."""
    if field.types[-1] is GGUFValueType.STRING and field.types[1:]:
        return [bytes(field.parts[idx]) for idx in field.data]
    return field.contents()


def _widened(
    tensor: ReaderTensor, n_more: int, random: np.random.Generator
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    kind = tensor.tensor_type
    if kind is GGMLQuantizationType.F32:
        return np.array(tensor.data)
    rows = np.array(tensor.data).view(np.uint8)
    n_per_block, n_block_bytes = GGML_QUANT_SIZES[kind]
    if tensor.name.endswith(ROWS):
        n_blocks = n_more * int(tensor.shape[0]) // n_per_block
        more = random_blocks(kind, n_blocks, DEVIATION, random).reshape(n_more, -1)
        return np.concatenate([rows, more])
    if tensor.name.endswith(COLUMNS):
        # A block whose scale is zero is zeros, whatever its integers are.
        nothing = np.zeros((len(rows), n_more // n_per_block * n_block_bytes), np.uint8)
        return np.concatenate([rows, nothing], axis=1)
    return rows


@click.command(help=(__doc__ or "").split("\n\n", 1)[1])
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--parameters", type=click.IntRange(1), default=200, help="In millions.")
def main(model: Path, out: Path, parameters: int) -> None:
    """Write the file, and say how large it is."""
    try:
        path = heavier(model, out, parameters * 1_000_000)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
