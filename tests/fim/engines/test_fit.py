"""What fits: tables, for a model of Code Llama 7B's shape in Q4_K_M (3.8 GiB, 512 KiB of cache per token)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gguf_models import Shape, tiny_model
from midfill.engines.fit import (
    GIB,
    MIB,
    Gpu,
    Machine,
    Plan,
    for_completion,
    plan,
    shares,
    steps_down,
)
from midfill.engines.gguf_header import GgufHeader, Tensor, read_header
from midfill.engines.needs import Needs
from midfill.engines.ram import Ram
from midfill.errors import ModelError
from midfill.settings import EngineSettings

CODE_LLAMA_7B = Needs(
    layers=(115 * MIB,) * 32,
    output=103 * MIB,
    input=70 * MIB,
    kv_cells=(16384,) * 32,
    can_q8_kv=True,
    n_ctx_train=16384,
    n_heads=32,
    n_vocab=32016,
    n_embedding=4096,
    n_feed_forward=11008,
    largest_tensor=103 * MIB,
)


def _machine(*gpu_gib: float, ram_gib: float = 16, free_gib: float | None = None) -> Machine:
    free = ram_gib if free_gib is None else free_gib
    gpus = (Gpu(f"GPU{idx}", int(gib * GIB), int(gib * GIB)) for idx, gib in enumerate(gpu_gib))
    return Machine(Ram(int(ram_gib * GIB), int(free * GIB)), tuple(gpus))


def _plan(machine: Machine, **settings: Any) -> Plan:
    return plan("m.gguf", CODE_LLAMA_7B, machine, EngineSettings(**settings))


@pytest.mark.parametrize(
    ("gpus", "settings", "layers", "n_cells", "kv_type"),
    [
        pytest.param([24], {}, (33,), 11264, "f16", id="everything"),
        pytest.param([8], {}, (33,), 11264, "q8_0", id="all layers before f16"),
        pytest.param([6], {}, (33,), 6656, "q8_0", id="all layers before the whole context"),
        pytest.param([7.5], {"n_ctx": 4096}, (33,), 4096, "f16", id="just, with the cache in f16"),
        pytest.param([6], {"n_ctx": 4096}, (33,), 4096, "q8_0", id="only with the cache in q8_0"),
        pytest.param([4], {"n_ctx": 4096}, (19,), 4096, "f16", id="a part"),
        pytest.param([4], {}, (19,), 4096, "f16", id="a part, with the smallest useful context"),
        pytest.param([4], {"n_ctx": 4096, "n_slots": 1}, (19,), 4096, "f16", id="slots share"),
        pytest.param([0.6], {}, (0,), 11264, "f16", id="nothing beside the driver"),
        pytest.param([6, 24], {}, (0, 33), 11264, "f16", id="one GPU where one suffices"),
        pytest.param([4, 4], {"n_ctx": 4096}, (19, 14), 4096, "f16", id="two half each"),
        pytest.param([2, 3], {"n_ctx": 4096}, (7, 13), 4096, "f16", id="two, and the CPU"),
        pytest.param([24], {"n_gpu_layers": 0}, (0,), 11264, "f16", id="none wanted"),
        pytest.param([24], {"n_gpu_layers": 10}, (10,), 11264, "f16", id="fewer than fit"),
        pytest.param([4], {"n_gpu_layers": 99}, (33,), 4096, "f16", id="what is asked for"),
        pytest.param([24], {"kv_type": "q8_0"}, (33,), 11264, "q8_0", id="a type is set"),
        pytest.param([6], {"kv_type": "f16", "n_ctx": 4096}, (31,), 4096, "f16", id="f16 is set"),
        pytest.param([200], {"n_ctx": 2**31 - 1}, (33,), 65536, "f16", id="what slots can fill"),
    ],
)
def test_gpus(
    gpus: list[float], settings: dict[str, Any], layers: tuple[int], n_cells: int, kv_type: str
) -> None:
    machine = _machine(*gpus, ram_gib=32)
    chosen = _plan(machine, **settings)
    assert (chosen.gpu_layers, chosen.n_cells, chosen.kv_type) == (layers, n_cells, kv_type)
    assert chosen.flash == bool(chosen.n_gpu_layers)
    assert chosen.n_batch == (256 if chosen.n_gpu_layers else 64)
    if settings.get("n_gpu_layers") != 99:
        for share in shares(CODE_LLAMA_7B, machine, chosen)[1:]:
            assert share.total <= share.free - 512 * MIB


@pytest.mark.parametrize(
    ("ram_gib", "free_gib", "settings", "n_cells", "said"),
    [
        pytest.param(64, 60, {}, 11264, "sees no GPU", id="what all slots can use"),
        pytest.param(16, 10, {}, 5120, "5120 tokens instead of 11264", id="a quarter of the free"),
        pytest.param(16, 10, {"n_ctx": 9216}, 9216, "", id="asked for: what there is"),
        pytest.param(16, 7, {"n_ctx": 9216}, 4352, "instead", id="beside weights and reserve"),
        pytest.param(16, 4, {}, 1024, "The memory is short: 4.0 GiB are free", id="short"),
        pytest.param(64, 60, {"n_ctx": 100, "n_slots": 1}, 256, "", id="llama.cpp's smallest"),
        pytest.param(64, 60, {"kv_type": "q8_0"}, 11264, "", id="a type is set"),
    ],
)
def test_main_memory(
    ram_gib: float, free_gib: float, settings: dict[str, Any], n_cells: int, said: str
) -> None:
    chosen = _plan(_machine(ram_gib=ram_gib, free_gib=free_gib), **settings)
    assert (chosen.n_gpu_layers, chosen.n_cells) == (0, n_cells)
    assert chosen.n_ctx <= chosen.n_cells
    assert said in " ".join(chosen.reasons)
    assert chosen.kv_type == settings.get("kv_type", "f16")
    assert chosen.flash == (chosen.kv_type == "q8_0")  # A quantized cache needs it.


@pytest.mark.parametrize("gpus", [(), (2,)])
def test_a_model_larger_than_the_machine_is_refused(gpus: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match=r"m\.gguf takes 3\.8 GiB, too much for .* 3\.0 GiB"):
        _plan(_machine(*gpus, ram_gib=3))


def test_a_large_gpu_takes_what_main_memory_cannot() -> None:
    assert _plan(_machine(24, ram_gib=3)).n_gpu_layers == 33


def test_each_step_down_takes_less_and_the_last_is_a_small_context_on_the_cpu() -> None:
    machine, settings = _machine(8, ram_gib=32), EngineSettings()
    first = plan("m", CODE_LLAMA_7B, machine, settings)
    steps = list(steps_down("m", CODE_LLAMA_7B, machine, settings))
    assert steps[0].alike(first)
    assert [(step.n_gpu_layers, step.n_cells) for step in steps] == [
        (33, 11264),
        (24, 11264),
        (16, 11264),
        (8, 11264),
        (0, 11264),
        (0, 5632),
        (0, 2816),
        (0, 1280),
        (0, 1024),
    ]
    assert all(step.n_ctx <= step.n_cells for step in steps)


def test_a_device_that_refuses_with_memory_to_spare_gets_fewer_layers() -> None:
    steps = list(steps_down("m", CODE_LLAMA_7B, _machine(80, ram_gib=32), EngineSettings()))
    assert [step.n_gpu_layers for step in steps[:4]] == [33, 24, 16, 8]


def test_more_layers_than_were_asked_for_are_no_step_down() -> None:
    settings = EngineSettings(n_gpu_layers=10)
    steps = list(steps_down("m", CODE_LLAMA_7B, _machine(6, ram_gib=32), settings))
    assert [step.n_gpu_layers for step in steps if step.n_gpu_layers] == [7, 5, 2]


def test_heads_that_q8_0_cannot_keep() -> None:
    narrow = replace(CODE_LLAMA_7B, can_q8_kv=False)
    chosen = plan("m", narrow, _machine(6), EngineSettings(n_ctx=4096))
    assert (chosen.kv_type, chosen.gpu_layers) == ("f16", (31,))


def test_shares_add_up() -> None:
    machine = _machine(4, 4)
    chosen = _plan(machine, n_ctx=4096)
    found = shares(CODE_LLAMA_7B, machine, chosen)
    assert [share.device for share in found] == ["main memory", "GPU0", "GPU1"]
    assert sum(share.weights for share in found) == CODE_LLAMA_7B.weights
    assert sum(share.kv for share in found) == 2 * GIB
    assert found[0].weights == CODE_LLAMA_7B.input


def test_needs_are_counted_from_the_file(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "tiny.gguf", shape=Shape(dim=64, n_layers=2, n_heads=2, ffn=128))
    needs = Needs.of("tiny", read_header(path))
    matrices = 4 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64)
    assert needs.layers == (matrices, matrices)
    assert needs.input == 4 * 64 * needs.n_vocab
    assert needs.output == 4 * 64 * (needs.n_vocab + 1)
    assert needs.kv_cells == (256, 256)  # (64 for keys + 64 for values) x 2 bytes
    assert (needs.can_q8_kv, needs.n_ctx_train, needs.n_heads) == (True, 8192, 2)


def _header(tensors: dict[str, int], **metadata: Any) -> GgufHeader:
    named: dict[str, Any] = {f"x.{key}": value for key, value in metadata.items()}
    return GgufHeader(
        MappingProxyType({"general.architecture": "x", "x.block_count": 2, **named}),
        MappingProxyType({}),
        tuple(Tensor(name, 0, size) for name, size in tensors.items()),
    )


@pytest.mark.parametrize(
    ("metadata", "cells"),
    [
        pytest.param({"attention.head_count": 8}, (2048, 2048), id="every head"),
        pytest.param(
            {"attention.head_count": 8, "attention.head_count_kv": 2}, (512, 512), id="grouped"
        ),
        pytest.param(
            {"attention.head_count": 8, "attention.head_count_kv": (2, 0)},
            (512, 0),
            id="one number for each layer",
        ),
        pytest.param(
            {
                "attention.head_count": 8,
                "attention.head_count_kv": 2,
                "attention.key_length": 128,
                "attention.value_length": 96,
            },
            (896, 896),
            id="widths of their own",
        ),
        pytest.param(
            {
                "attention.head_count": 8,
                "attention.kv_lora_rank": 512,
                "attention.key_length_mla": 192,
                "rope.dimension_count": 64,
            },
            (1152, 1152),
            id="latent attention",
        ),
    ],
)
def test_cells(metadata: dict[str, Any], cells: tuple[int, ...]) -> None:
    header = _header({}, embedding_length=512, **metadata)
    assert Needs.of("x", header).kv_cells == cells


def test_an_embedding_that_is_the_output_too_is_there_twice_with_a_gpu() -> None:
    tensors = {"token_embd.weight": 1000, "output_norm.weight": 10, "blk.1.a": 5, "blk.0.b": 7}
    needs = Needs.of("x", _header(tensors))
    assert (needs.input, needs.output, needs.layers) == (1000, 1010, (7, 5))
    assert needs.weights == sum(tensors.values())
    machine, settings = _machine(1), EngineSettings(n_gpu_layers=0)
    on_cpu = plan("x", needs, machine, settings)
    assert [share.weights for share in shares(needs, machine, on_cpu)] == [1022]
    on_gpu = plan("x", needs, machine, replace(settings, n_gpu_layers=-1))
    assert [share.weights for share in shares(needs, machine, on_gpu)] == [1000, 1022]


@pytest.mark.parametrize("n_layers", [0, 2**31])
def test_a_number_of_layers_without_sense(n_layers: int) -> None:
    with pytest.raises(ModelError, match="x is damaged"):
        Needs.of("x", _header({}, block_count=n_layers))


@pytest.mark.parametrize(
    ("gpu_gib", "settings", "n_ctx", "slot_cells"),
    [
        pytest.param(24, {}, 2816, 2816, id="room for all"),
        pytest.param(6, {}, 6656, 0, id="too little for all: they share"),
        pytest.param(24, {"n_ctx": 9216}, 9216, 0, id="a size that was asked for is shared"),
        pytest.param(24, {"n_slots": 1}, 2816, 0, id="nobody to share with"),
    ],
)
def test_each_completion_has_cells_of_its_own_where_there_are_enough(
    gpu_gib: float, settings: dict[str, Any], n_ctx: int, slot_cells: int
) -> None:
    chosen = for_completion(_plan(_machine(gpu_gib), **settings), EngineSettings(**settings))
    assert (chosen.n_ctx, chosen.slot_cells) == (n_ctx, slot_cells)
