"""What a key costs: where the carets are, and that llama.cpp alone does the same work."""

from __future__ import annotations

import pytest
from bench.holes_items import Source

from midfill.complete import prompt_for
from midfill.engine import Sampling
from midfill.settings import CompletionSettings, EngineSettings
from midfill_models import embedded_model

pytest.importorskip("llama_cpp")

from bench.keystroke import LlamaCpp, keys, measured

from midfill.engines.llama import LlamaEngine

TEXT = "a = 1\n\n\ndef twice(value):\n    return value * 2\n"


def test_a_line_is_typed_without_its_rest() -> None:
    contexts = keys(Source("pkg/a.py", TEXT * 2), 4)
    assert [context.line_head for context in contexts] == ["a", "a =", "a = 1", "d"]
    assert not any(context.line_tail for context in contexts)


async def test_llama_cpp_alone_says_what_the_engine_says() -> None:
    path = embedded_model()
    engine = LlamaEngine(path, EngineSettings(n_threads=1, tune=False))
    info = await engine.info()
    alone = LlamaCpp(path, info.n_ctx, 1)
    for context in keys(Source("pkg/a.py", TEXT * 2), 12)[-4:]:
        # What a prompt shares with the one before is not read again.
        asked = (await prompt_for(context, engine, CompletionSettings(layout="spm"))).ids
        plain = Sampling(8, copy=False, draft=False, heal=False)
        said = "".join([piece.text async for piece in engine.generate(asked, plain)])
        theirs = await engine.detokenize(alone.generate(asked, 8))
        assert said
        assert theirs.startswith(said)
    alone.free()
    await engine.close()


async def test_a_key_is_measured_where_something_is_said() -> None:
    found = await measured(embedded_model(), 12, 1)
    assert found
    for key in found:
        assert key["generated"] >= 1
        assert key["evaluated"] <= 32 < key["prompt_tokens"]
        assert min(key["ms"], key["llama_cpp_ms"]) > 0
