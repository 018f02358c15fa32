"""What `bench.engine` measures besides speed, on a model of no size: each figure is there and is of what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench.engine_beside import beside
from bench.engine_measures import cancels, edits, host_load, renames
from bench.shapes import Shape, codellama_vocabulary, shaped_model

from midfill.settings import EngineSettings

pytestmark = pytest.mark.model

SETTINGS = EngineSettings(n_ctx=2048, n_threads=1, n_gpu_layers=0, tune=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(dim=64, n_layers=1, n_heads=2, ffn=128, n_ctx_train=4096)
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    return shaped_model(path, "q8_0", shape, codellama_vocabulary())


def test_a_rename_replaces_a_name_and_nothing_else() -> None:
    found = renames(30)
    assert len(found) == 30
    for rename in found:
        assert rename.old != rename.new
        assert rename.before != rename.after
        assert len(rename.after.split("\n")) == len(rename.before.split("\n"))
    assert renames(30) == found


async def test_edits_are_mostly_guessed(model: Path) -> None:
    found = await edits(model, replace(SETTINGS, n_ctx=4096), 2)
    assert found["edits"] == 2
    assert found["tokens_accepted"] > found["tokens_said"] / 2
    assert found["gain_least"] <= found["gain"]


async def test_the_engine_is_timed_beside_bare_calls(model: Path) -> None:
    found = await beside(model, SETTINGS, "def f(x):\n    return x\n" * 50, 2)
    assert found["prompt_tokens"] == 512
    for name in ("engine", "flash", "plain"):
        assert all(time > 0 for times in found[name].values() for time in times)
    for name in ("flash", "plain"):
        ratio = found[name]["token_us"][0] / found["engine"]["token_us"][0]
        assert found[f"of_{name}"]["token_us"][0] == pytest.approx(ratio, abs=0.001)


async def test_cancels_are_timed_in_both_phases(model: Path) -> None:
    found = await cancels(model, SETTINGS, 2)
    assert found["n_batch"] == 64
    for phase in ("reading", "generating"):
        assert found[f"cancel_while_{phase}_ms"]["n"] <= 2


async def test_a_host_answers_its_clients_while_its_loop_is_watched(model: Path) -> None:
    found = await host_load(model, SETTINGS, 2, 0.5)
    assert found["answers"] >= 2
    assert found["loop_late_ms"]["n"] > 0
