"""The bench for GPUs where there is none: each figure on a tiny model, and what is carried and reported."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from bench.gpu_measures import MEASURES, Figures, Sizes, figures
from bench.shapes import Shape, codellama_vocabulary, shaped_model

from bench import gpu
from midfill.settings import EngineSettings

SETTINGS = EngineSettings(n_ctx=1024, n_threads=1, n_gpu_layers=0)
SIZES = Sizes(prompt=192, generated=24, rounds=1)
LAYERS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(dim=128, n_layers=LAYERS, n_heads=4, ffn=256, n_ctx_train=1024)
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    return shaped_model(path, "q8_0", shape, codellama_vocabulary())


def _positive(value: object) -> bool:
    return isinstance(value, float) and value > 0


@pytest.mark.model
@pytest.mark.parametrize("name", MEASURES)
def test_each_figure_of_a_tiny_model(name: str, model: Path) -> None:
    found = figures(name, model, SETTINGS, SIZES)
    _CHECKS[name](found)
    json.dumps(found)


def _offload(found: Figures) -> None:
    assert (found["n_gpu_layers"], found["n_layers_and_output"]) == (0, LAYERS + 1)
    assert found["reckoned_mib"] == 0
    uses = {use for device in found["buffers_mib"].values() for use in device}
    assert uses == {"model", "KV", "compute", "output"}
    # 1024 cells, 2 layers, 128 wide, keys and values, half precision
    assert found["buffers_mib"]["CPU"]["KV"] == 1024 * LAYERS * 128 * 2 * 2 / 2**20


def _speed(found: Figures) -> None:
    assert found["right"]
    assert _positive(found["prefill_tokens_per_s"])
    assert _positive(found["decode_tokens_per_s"])


def _typing(found: Figures) -> None:
    assert found["right"]
    assert found["tokens_evaluated_most"] == 1


def _cancels(found: Figures) -> None:
    assert 0 < found["n_cancelled"] <= 20
    assert found["n_kept"]["most"] < SIZES.prompt
    assert found["n_kept"]["most"] > 0


def _drafting(found: Figures) -> None:
    assert (found["same_text"], found["right"]) == (True, True)
    assert found["n_accepted"] <= found["n_drafted"]


def _both_roles(found: Figures) -> None:
    assert found["right"]
    assert _positive(found["beside_first_token_ms"]["p95"])


def _fallback(found: Figures) -> None:
    assert found["huge context"]["n_ctx"] == 1024
    assert found["huge context"]["right"]


_CHECKS = {
    "offload": _offload,
    "speed": _speed,
    "typing": _typing,
    "cancels": _cancels,
    "drafting": _drafting,
    "both_roles": _both_roles,
    "fallback": _fallback,
}


def test_every_figure_is_measured() -> None:
    assert set(gpu.MEASURES) == {*MEASURES, "llama_bench"}
    assert set(_CHECKS) == set(MEASURES)


@pytest.mark.model
def test_figures_are_kept_and_reported(tmp_path: Path, model: Path) -> None:
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    (work / "models" / "tiny.gguf").symlink_to(model)
    gpu.measure(work, ["speed"], 0, "64,8,1")
    kept = work / "results" / "tiny.speed.json"
    found = json.loads(kept.read_text())
    assert (found["n_prompt"], found["right"]) == (64, True)
    kept.write_text(json.dumps({**found, "decode_tokens_per_s": 50.0, "right": False}))
    gpu.measure(work, ["speed"], 0, "64,8,1")  # What is there is not measured again.
    bench = {"as llama-bench does": {"decode_tokens_per_s": 40.0}}
    (work / "results" / "tiny.llama_bench.json").write_text(json.dumps(bench))
    (work / "results" / "other.typing.json").write_text(json.dumps({"error": "not done"}))
    lines = gpu.report(work, "a machine").splitlines()
    assert lines[0].startswith("Midfill on a machine;")
    assert lines[2:4] == ["| | other | tiny |", "|---|---|---|"]
    assert "| speed: right |  | **no** |" in lines
    assert "| decode_tokens_per_s: of llama-bench, as llama-bench does |  | 1.25 |" in lines
    assert "| typing: error | not done |  |" in lines
    assert json.loads((work / "report.json").read_text())["machine"] == "a machine"


@pytest.mark.model
def test_a_crash_costs_one_figure(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.gguf").write_bytes(b"GGUF")
    gpu.measure(tmp_path, ["speed"], 0, "64,8,1")
    kept = json.loads((tmp_path / "results" / "broken.speed.json").read_text())
    assert kept == {"error": "status 1; see measure.log"}
    assert "cut off" in (tmp_path / "measure.log").read_text()


def test_the_carried_sources_lack_what_nothing_is_built_of(tmp_path: Path) -> None:
    root = "llama_cpp_python-0.0.1"
    kept = {
        "CMakeLists.txt",
        "vendor/llama.cpp/ggml/src/ggml.c",
        "vendor/llama.cpp/models/ggml-vocab-llama-spm.gguf",
        "vendor/llama.cpp/tools/llama-bench/main.cpp",
        "tests/of_the_package.py",
    }
    dropped = {
        ".git/objects/pack/a.pack",
        "vendor/llama.cpp/models/ggml-vocab-gemma.gguf",
        "vendor/llama.cpp/docs/a.md",
        "vendor/llama.cpp/tools/ui/page.html",
    }
    sdist, slim = tmp_path / "whole.tar.gz", tmp_path / "slim.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        for name in sorted(kept | dropped):
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    gpu.slim_sdist(sdist, slim)
    with tarfile.open(slim) as archive:
        contents = {member.name: archive.extractfile(member) for member in archive}
        found = {name: file.read().decode() for name, file in contents.items() if file}
    assert found == {f"{root}/{name}": name for name in kept}
