"""Which models are recommended for which memory, and what is said of the others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from midfill.engine import Role
from midfill.engines.fit import GIB, Gpu, Machine
from midfill.engines.ram import Ram
from midfill_models.catalogue import Catalogue, catalogue
from midfill_server.model_choice import emptied, fit_of, gib, machine, needs_of, recommended


def a_machine(ram_gib: float, *gpu_gib: float) -> Machine:
    """One whose memory is all in use."""
    total = int(ram_gib * GIB)
    gpus = tuple(Gpu(f"CUDA{idx}", 0, int(size * GIB)) for idx, size in enumerate(gpu_gib))
    return Machine(Ram(total, 0), gpus)


def names(found: Machine, known: Catalogue | None = None) -> dict[Role, str]:
    choices = recommended(known or catalogue(), emptied(found))
    return {
        role: f"{choice.model.name} {choice.file.quantization} {choice.fit.where}" if choice else ""
        for role, choice in choices.items()
    }


@pytest.mark.parametrize(
    ("ram_gib", "gpus_gib", "completion", "instruct"),
    [
        (0.25, (), "", ""),
        (1, (), "", "qwen2.5-coder-0.5b-instruct Q4_K_M cpu"),
        (2, (), "qwen2.5-coder-0.5b Q8_0 cpu", "qwen2.5-coder-0.5b-instruct Q4_K_M cpu"),
        (4, (), "deepseek-coder-1.3b Q8_0 cpu", "qwen2.5-coder-1.5b-instruct Q4_K_M cpu"),
        (8, (), "qwen2.5-coder-1.5b Q8_0 cpu", "qwen3-4b-instruct Q4_K_M cpu"),
        (16, (), "qwen2.5-coder-1.5b Q8_0 cpu", "qwen2.5-coder-7b-instruct Q4_K_M cpu"),
        (64, (), "qwen2.5-coder-1.5b Q8_0 cpu", "qwen3-coder-30b-a3b Q4_K_M cpu"),
        (32, (4,), "deepseek-coder-1.3b Q4_K_M gpu", "qwen2.5-coder-1.5b-instruct Q4_K_M gpu"),
        (32, (8,), "qwen2.5-coder-1.5b Q8_0 gpu", "qwen2.5-coder-7b-instruct Q4_K_M gpu"),
        (32, (24,), "qwen2.5-coder-14b Q4_K_M gpu", "qwen2.5-coder-14b-instruct Q4_K_M gpu"),
        (32, (12, 12), "qwen2.5-coder-14b Q4_K_M gpu", "qwen2.5-coder-14b-instruct Q4_K_M gpu"),
        (64, (140,), "qwen2.5-coder-32b Q4_K_M gpu", "qwen3-coder-30b-a3b Q4_K_M gpu"),
    ],
)
def test_for_a_memory(
    ram_gib: float, gpus_gib: tuple[float, ...], completion: str, instruct: str
) -> None:
    assert names(a_machine(ram_gib, *gpus_gib)) == {"completion": completion, "instruct": instruct}


def test_the_manual_says_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    rows = re.findall(r"^\| (?:no GPU, (\d+) GiB|a GPU with (\d+)) .*", page, re.MULTILINE)
    assert len(rows) == 10
    for ram_gib, gpu_gib in rows:
        found = a_machine(int(ram_gib), *[]) if ram_gib else a_machine(64, int(gpu_gib))
        told = [
            f"`{choice.model.name}` {choice.file.quantization}, {choice.file.size_gb:g} GB"
            for choice in recommended(catalogue(), emptied(found)).values()
            if choice
        ]
        first = f"no GPU, {ram_gib} GiB of main memory" if ram_gib else f"a GPU with {gpu_gib} GiB"
        assert f"| {first} | {told[0]} | {told[1]} |\n" in page


@pytest.mark.parametrize("ram_gib", [2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("gpu_gib", [0, 2, 4, 6, 8, 10, 12, 16, 24, 40, 80])
def test_both_fit_at_the_same_time(ram_gib: int, gpu_gib: int) -> None:
    found = a_machine(ram_gib, *([gpu_gib] if gpu_gib else []))
    choices = [choice for choice in recommended(catalogue(), emptied(found)).values() if choice]
    on_gpu = [choice for choice in choices if choice.fit.where == "gpu"]
    assert sum(choice.file.size_bytes for choice in on_gpu) <= gpu_gib * GIB
    on_cpu = [choice for choice in choices if choice.fit.where != "gpu"]
    assert sum(choice.file.size_bytes for choice in on_cpu) <= ram_gib * GIB


def test_more_memory_never_recommends_a_worse_one() -> None:
    preferred = catalogue().preferred["completion"]
    for gpus in ([], [1]):
        ranks = [
            preferred.index(name.split()[0])
            for size in range(2, 100)
            if (name := names(a_machine(size, *(size * each for each in gpus)))["completion"])
        ]
        assert ranks == sorted(ranks, reverse=True)


def test_what_may_not_be_used_everywhere_is_left_out() -> None:
    known = catalogue()
    bound = {name: replace(model, free=False) for name, model in known.models.items()}
    assert names(a_machine(64, 80), replace(known, models=bound)) == {
        "completion": "",
        "instruct": "",
    }


def test_what_nobody_confirmed_is_left_out() -> None:
    known = catalogue()
    models = {
        name: replace(model, files=tuple(replace(file, confirmed="") for file in model.files))
        for name, model in known.models.items()
    }
    assert names(a_machine(64, 80), replace(known, models=models))["completion"] == ""


@pytest.mark.parametrize(
    ("name", "ram_gib", "gpu_gib", "where"),
    [
        pytest.param("codellama-7b", 32, 24, "gpu", id="all-of-it"),
        pytest.param("codellama-13b", 32, 8, "gpu and cpu", id="a-part"),
        pytest.param("codellama-7b", 16, 0, "cpu", id="no-gpu"),
        pytest.param("codellama-70b", 32, 8, "", id="nowhere"),
        pytest.param("codellama-7b", 0, 0, "", id="nothing-is-told"),
    ],
)
def test_where_it_runs(name: str, ram_gib: float, gpu_gib: float, where: str) -> None:
    model = catalogue().models[name]
    empty = emptied(a_machine(ram_gib, *([gpu_gib] if gpu_gib else [])))
    fit = fit_of(model, model.files[-1], empty)
    assert (fit.where, fit.fits) == (where, where != "")
    assert fit.why.endswith((".", "quantization."))


def test_the_cache_is_counted_from_the_shape() -> None:
    """Code Llama 7B takes 0.5 MiB for each token (measured: docs/models.md)."""
    model = catalogue().models["codellama-7b"]
    assert needs_of(model, model.files[0]).kv_bytes(1, "f16") == GIB // 2048


def test_this_machine() -> None:
    found = machine()
    assert found.ram.total > 0
    assert "main memory of" in gib(found)
