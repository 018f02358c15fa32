"""`midfill models info FILE`: what a model file can do, and why that is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from midfill.abilities import Ability
from midfill.engines.gguf_info import FileInfo, file_info
from midfill.engines.model_files import located
from midfill.hidden import plain
from midfill_server.model_list import listed_as

_ROLES = {
    "completion": "engine.model",
    "instruct": "instruct.model",
    "python": "engine.pythonModel",
}
_CONTEXTS = (4096, 16384)
"""Tokens for which other quantizations are counted, and all that the model was trained with."""
_GIB = 2**30


@click.command("info")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known, as JSON.")
def info(file: str, as_json: bool) -> None:
    """Say what a GGUF file can do, and why. FILE is a path, or a name as `midfill models list` shows it.

    Only its header is read: nothing is loaded.
    """
    path = Path(located(file))
    found = file_info(path, listed_as(path))
    if as_json:
        click.echo(json.dumps(report(found), indent=2))
        return
    for line in lines(found):
        click.echo(line)


def report(found: FileInfo) -> dict[str, Any]:
    """All of it, for `--json`."""
    able = found.abilities
    return {
        "path": str(found.path),
        "name": found.model.name,
        "architecture": found.architecture,
        "quantization": found.quantization,
        "layers": found.n_layers,
        "vocabulary": found.model.n_vocab,
        "weights_bytes": found.weights_bytes,
        "family": able.family,
        "orders": list(able.orders),
        "roles": list(able.roles),
        "abilities": {name: asdict(ability) for name, ability in _rows(found)},
        "refusals": list(able.refusals),
        "memory_bytes": {str(n_ctx): n_bytes for n_ctx, n_bytes in found.memory.items()},
        "memory_bytes_quantized": {
            kind: {str(n_ctx): n_bytes for n_ctx, n_bytes in memory.items()}
            for kind, memory in found.quantized.items()
        },
    }


def lines(found: FileInfo) -> Iterator[str]:
    """The same for a person."""
    of_file = (plain(found.architecture), found.quantization, _layers(found.n_layers))
    weights = f"{_gib(found.weights_bytes)} of weights"
    yield f"{plain(found.model.name)}: {', '.join(filter(None, (*of_file, weights)))}"
    for name, ability in _rows(found):
        unknown = "unknown" if name in ("context", "licence") else "no"
        what = ability.what if ability.has else unknown
        yield f"  {name:<9} {plain(what)} ({plain(ability.why)})"
    memory = ", ".join(f"{n_ctx}: {_gib(taken)}" for n_ctx, taken in found.memory.items())
    yield f"  {'memory':<9} by tokens of context {memory} (weights, cache in f16, buffers)"
    yield from _quantized(found)
    uses = [_ROLES[role] for role in found.abilities.roles]
    yield f"It can be set as {' and as '.join(uses)}." if uses else "Midfill has no use for it."
    yield from map(plain, found.abilities.refusals)


def _quantized(found: FileInfo) -> Iterator[str]:
    """A table of what the same model takes in other quantizations."""
    contexts = [n for n in found.memory if n in _CONTEXTS or n == max(found.memory)]
    if found.quantized:
        heads = "".join(f"{n_ctx:>11}" for n_ctx in contexts)
        yield f"  about, in other quantizations{heads}"
    for kind, memory in found.quantized.items():
        yield f"  {kind:<29}" + "".join(f"{_gib(memory[n_ctx]):>11}" for n_ctx in contexts)


def _rows(found: FileInfo) -> list[tuple[str, Ability]]:
    able = found.abilities
    return [
        ("infill", able.infill),
        ("prefix", able.prefix),
        ("chat", able.chat),
        ("thinking", able.thinking),
        ("context", able.context),
        ("licence", able.licence),
    ]


def _layers(n_layers: int) -> str:
    return f"{n_layers} layer{'s' * (n_layers != 1)}"


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / _GIB:.1f} GiB" if n_bytes >= _GIB / 10 else f"{n_bytes / 2**20:.1f} MiB"
