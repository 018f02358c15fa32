"""The engine with a device that takes layers: what goes there, that nothing changes, and what a full one leads to."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.gpu_measures import Sizes, buffers, figures
from bench.shapes import Shape, chain, codellama_vocabulary, shaped_model

from midfill.engine import Sampling
from midfill.engines import llama_context
from midfill.engines.llama import JobRecord, LlamaEngine
from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.llama_load import load
from midfill.engines.llama_memory import this_machine
from midfill.settings import EngineSettings
from midfill_models import embedded_model

pytestmark = [pytest.mark.offload, pytest.mark.model]

ROOT = Path(__file__).parents[2]
SAID: dict[str, str] = json.loads((ROOT / "tests/e2e/embedded_says.json").read_text("utf-8"))
"""A text of which the embedded model is sure, whatever a device rounds."""
ALL = 999


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Eight layers of 8.4 MB and an output of 33 MB, which continues every text by a known chain."""
    shape = Shape(dim=512, n_layers=8, n_heads=8, ffn=2048, n_ctx_train=2048)
    path = tmp_path_factory.mktemp("models") / "shaped.gguf"
    yield shaped_model(path, "f16", shape, codellama_vocabulary())
    path.unlink()


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer of the same: a software device reads hundreds of tokens with it in seconds."""
    shape = Shape(dim=512, n_layers=1, n_heads=8, ffn=512, n_ctx_train=2048)
    path = tmp_path_factory.mktemp("models") / "light.gguf"
    return shaped_model(path, "f16", shape, codellama_vocabulary())


def test_the_device_is_seen_with_its_memory(device: str) -> None:
    machine = this_machine()
    assert sum(gpu.free for gpu in machine.gpus) >= 2**28, device
    assert machine.ram.total >= 2**30


@pytest.mark.parametrize(("wanted", "share"), [(-1, 1.0), (ALL, 1.0), (3, 0.5), (0, 0.0)])
async def test_whatever_is_offloaded_the_text_is_the_same(
    device: str, wanted: int, share: float
) -> None:
    with buffers() as found:
        engine = LlamaEngine(embedded_model(), EngineSettings(n_gpu_layers=wanted, n_ctx=1024))
        info = await engine.info()
    prompt = await engine.tokenize(SAID["prefix"])
    said = [
        piece.text
        async for piece in engine.generate([1, *prompt], Sampling(len(SAID["text"]), copy=False))
    ]
    await engine.close()
    assert "".join(said).startswith(SAID["text"])
    n_all = int(_metadata(embedded_model(), "block_count")) + 1
    assert info.n_gpu_layers == (n_all if share == 1 else wanted)
    on_device = found.get(device, {})
    if share == 0:
        assert not on_device, "the CPU alone: not even what is computed goes to the device"
    else:
        assert set(on_device) >= {"model", "KV", "compute"}
        weights = on_device["model"] * 2**20 / embedded_model().stat().st_size
        # The embedding stays in main memory, where the CPU looks the tokens up.
        assert 0.4 * share < weights < share


@pytest.mark.parametrize("n_gpu_layers", [ALL, 4], ids=["all", "a part"])
def test_logits_differ_by_rounding_only(n_gpu_layers: int) -> None:
    alone, beside = _logits(0), _logits(n_gpu_layers)
    assert np.isfinite(beside).all()
    assert np.abs(alone - beside).max() < 0.05 * np.abs(alone).max()
    assert int(alone.argmax()) == int(beside.argmax())


def _logits(n_gpu_layers: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    settings = EngineSettings(n_gpu_layers=n_gpu_layers, n_ctx=512)
    loaded = load(embedded_model(), settings, ctypes.create_string_buffer(2), lambda: True)
    prompt = [1, *loaded.model.tokenize(SAID["prefix"])]
    try:
        assert loaded.context.decode(0, prompt, 0, n_logits=1) is Decoded.DONE
        return loaded.context.logits().copy()
    finally:
        loaded.context.free()
        loaded.model.free()


def test_the_device_holds_what_the_plan_reckons_with(device: str, shaped: Path) -> None:
    found = figures("offload", shaped, EngineSettings(n_gpu_layers=-1, n_ctx=2048), Sizes())
    assert found["n_gpu_layers"] == found["n_layers_and_output"] == 9
    assert found["n_batch"] <= 256
    on_device = found["buffers_mib"][device]
    held = on_device["model"] + on_device["KV"]
    assert held == pytest.approx(found["reckoned_mib"], rel=0.02)
    assert on_device["compute"] <= found["reckoned_compute_mib"]
    if not found["gpu_used_mib"]:
        pytest.skip(f"The driver of {device} does not tell how much memory is in use.")
    assert found["gpu_used_mib"] == pytest.approx(sum(on_device.values()), rel=0.3)


async def test_a_prompt_is_read_in_pieces_and_a_cancel_ends_between_them(
    light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LlamaEngine(light, EngineSettings(n_gpu_layers=ALL, n_ctx=2048))
    await engine.info()
    pieces: list[int] = []
    third, cancelled = asyncio.Event(), threading.Event()
    loop, decode = asyncio.get_running_loop(), LlamaContext.decode

    def watched(
        context: LlamaContext, slot_idx: int, tokens: list[int], *rest: Any, **named: Any
    ) -> Decoded:
        pieces.append(len(tokens))
        if len(pieces) == 3:
            loop.call_soon_threadsafe(third.set)
            assert cancelled.wait(30)
        return decode(context, slot_idx, tokens, *rest, **named)

    monkeypatch.setattr(llama_context.LlamaContext, "decode", watched)
    prompt = [1, *range(1000, 1800)]

    async def read() -> list[int]:
        generated = engine.generate(prompt, Sampling(8, copy=False, draft=False))
        return [token async for piece in generated for token in piece.token_ids]

    reading = asyncio.create_task(read())
    await third.wait()
    reading.cancel()
    await asyncio.wait([reading])
    cancelled.set()
    record = await _record(engine, 0)
    assert record.usage.stop_reason == "cancelled"
    # The device finishes a piece that was begun, unless the CPU, which looks at the flag, had a part in it.
    n_piece = pieces[0]
    assert 64 <= n_piece <= 256
    assert pieces == [n_piece] * 3
    assert record.usage.tokens_evaluated in (2 * n_piece, 3 * n_piece)

    assert await read() == chain(prompt[-1], 8, 32016)
    again = (await _record(engine, 1)).usage
    assert again.tokens_reused == record.usage.tokens_evaluated
    await engine.close()


async def _record(engine: LlamaEngine, idx: int) -> JobRecord:
    # It comes after the last piece, and nothing tells of it.
    while len(engine.records) <= idx:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return engine.records[idx]


async def test_a_context_beyond_all_memory_becomes_one_that_fits(light: Path) -> None:
    engine = LlamaEngine(light, EngineSettings(n_ctx=2**30, n_slots=64))
    info = await engine.info()
    assert info.n_ctx == 2048
    generated = engine.generate([1, 5000], Sampling(4, copy=False, draft=False))
    assert [t async for p in generated for t in p.token_ids] == chain(5000, 4, 32016)
    await engine.close()


@pytest.mark.parametrize(
    ("most_mb", "n_least", "n_most"),
    [
        # All nine take 100 MB in one piece, three quarters 75.
        pytest.param(90, 6, 6, id="fewer layers"),
        pytest.param(8, 0, 0, id="the CPU at last"),
    ],
)
def test_a_device_that_refuses_gets_less(
    device: str, shaped: Path, most_mb: int, n_least: int, n_most: int
) -> None:
    if not device.startswith("Vulkan"):
        pytest.skip(f"{device} cannot be told to refuse; `bench.gpu`'s fallback fills it instead.")
    found = _in_a_process(shaped, {"GGML_VK_FORCE_MAX_BUFFER_SIZE": str(most_mb * 10**6)})
    assert n_least <= found["n_gpu_layers"] <= n_most
    assert found["tokens"] == chain(5000, 4, 32016)
    assert found["warnings"] >= 1


def _in_a_process(path: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The device reads its limits from the environment once."""
    done = subprocess.run(
        [sys.executable, __file__, str(path)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


async def _load_and_say(path: Path) -> None:
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("midfill.llama").addHandler(handler)
    engine = LlamaEngine(path, EngineSettings(n_gpu_layers=-1, n_ctx=512))
    info = await engine.info()
    generated = engine.generate([1, 5000], Sampling(4, copy=False, draft=False))
    tokens = [token async for piece in generated for token in piece.token_ids]
    await engine.close()
    found = {
        "n_gpu_layers": info.n_gpu_layers,
        "tokens": tokens,
        "warnings": len(warnings),
    }
    print(json.dumps(found))


def _metadata(path: Path, key: str) -> str:
    params = lc.llama_model_default_params()
    params.vocab_only = True
    model = lc.llama_model_load_from_file(str(path).encode(), params)
    buffer = ctypes.create_string_buffer(64)
    lc.llama_model_meta_val_str(model, f"llama.{key}".encode(), buffer, len(buffer))
    lc.llama_model_free(model)
    return buffer.value.decode()


if __name__ == "__main__":
    asyncio.run(_load_and_say(Path(sys.argv[1])))
