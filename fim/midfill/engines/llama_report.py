"""What llama.cpp is, what it finds here, and how it would load a model: `python -m midfill.engines.llama_report`.

A process of its own, because a build for another processor, a driver or a damaged file can end it. Standard
input brings one line of JSON with `model` (a path), `settings`, and `probe` (the path of a small model to
compute with, or nothing); the answer is JSON too. Nothing that is named is loaded, except the probe.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from midfill.engine import ModelInfo, Sampling
from midfill.engines.fit import plan, shares
from midfill.engines.gguf_header import read_header
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_library import lc
from midfill.engines.llama_load import llama_version
from midfill.engines.llama_memory import this_machine
from midfill.engines.llama_model import LlamaModel, check_file
from midfill.engines.needs import Needs
from midfill.engines.ram import cpu_name, n_cores
from midfill.engines.tuned import read_tuned, tuned_path
from midfill.errors import MidfillError, ModelError
from midfill.formats import limits_of
from midfill.selftest import self_test, token_test
from midfill.settings import EngineSettings

Json = dict[str, Any]


def report(model: Path, settings: EngineSettings, probe: Path | None) -> Json:
    """All of it. What is wrong with the model is the sentence in `model_error`."""
    machine = this_machine()
    found: Json = {
        "version": llama_version(),
        "system": lc.llama_print_system_info().decode("utf-8", "replace").strip(" |\n"),
        "gpu_offload": bool(lc.llama_supports_gpu_offload()),
        "cpu": cpu_name(),
        "n_cores": n_cores(),
        **asdict(machine),
    }
    try:
        found["model"] = of_model(model, settings)
    except ModelError as error:
        found["model_error"] = str(error)
    if probe is not None:
        found["probe"] = asyncio.run(computed(probe))
    return found


def of_model(path: Path, settings: EngineSettings) -> Json:
    """What a file says of itself, and how it would be loaded now.

    Raises:
        ModelError: it cannot be used.
    """
    check_file(path)
    machine, header = this_machine(), read_header(path)
    needs = Needs.of(str(path), header)
    chosen = plan(str(path), needs, machine, settings)
    tuned = read_tuned(tuned_path(path, llama_version())) if settings.tune else None
    return {
        "path": str(path),
        "name": header.text("general.name") or path.stem,
        "architecture": header.architecture,
        "licence": header.text("general.license"),
        "n_layers": len(needs.layers),
        "n_ctx_train": needs.n_ctx_train,
        "n_vocab": needs.n_vocab,
        "weights": needs.weights,
        "kv_per_1k": needs.kv_bytes(1024, chosen.kv_type),
        "plan": asdict(chosen) | {"said": chosen.said(needs)},
        "shares": [
            asdict(share) | {"total": share.total} for share in shares(needs, machine, chosen)
        ],
        "tuned": vars(tuned) if tuned else None,
        **_completing(path, chosen.n_ctx, settings),
    }


async def computed(probe: Path) -> Json:
    """A generation with a small model: whether llama.cpp computes at all here."""
    began = time.perf_counter()
    engine = LlamaEngine(probe, EngineSettings(n_ctx=512, n_slots=1, n_gpu_layers=0, tune=False))
    try:
        prompt = await engine.tokenize("def main():\n")
        sampling = Sampling(max_tokens=4)
        pieces = [piece async for piece in engine.generate(prompt, sampling)]
        usage = pieces[-1].usage
        tested = await self_test(engine)
        return {
            "name": (await engine.info()).name,
            "tokens": usage.tokens_evaluated + usage.tokens_generated,
            "ms": (time.perf_counter() - began) * 1000,
            "right": tested.right,
            "defects": tested.defects,
        }
    except MidfillError as error:
        return {"error": str(error)}
    finally:
        await engine.close()


async def _token_defects(model: LlamaModel, info: ModelInfo) -> list[str]:
    async def tokenize(text: str) -> list[int]:
        return model.tokenize(text)

    async def detokenize(ids: Sequence[int]) -> str:
        return model.detokenize(ids)

    _, defects = await token_test(info, tokenize, detokenize)
    return defects


def _completing(path: Path, n_ctx: int, settings: EngineSettings) -> Json:
    """Why the model does not complete code, and what it does not do of it; empty where there is nothing. And what
    is wrong with its tokens."""
    model = LlamaModel.load(path, vocabulary_only=True)
    found: Json = {"defects": []}
    try:
        info = replace(model.info(n_ctx, 0), infill=settings.infill)
        found["defects"] = asyncio.run(_token_defects(model, info))
        return {"completes": "", "limits": limits_of(info), **found}
    except MidfillError as error:
        return {"completes": str(error), "limits": "", **found}
    finally:
        model.free()


def main() -> None:
    """Read one line, answer with one."""
    asked = json.loads(sys.stdin.readline())
    probe = Path(asked["probe"]) if asked["probe"] else None
    found = report(Path(asked["model"]), EngineSettings(**asked["settings"]), probe)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
