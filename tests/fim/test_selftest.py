"""The self-test: what a sound file passes, and each way in which one is wrong, by a real file where that can be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gguf_models import (
    CONTROL,
    Shape,
    Vocabulary,
    chain_model,
    codellama_pieces,
    role_model,
    tiny_model,
    tiny_vocabulary,
)
from midfill.engine import ModelInfo
from midfill.engines.fake import CONTROL_IDS, FakeEngine
from midfill.engines.llama import LlamaEngine
from midfill.engines.supervisor import HostEngine
from midfill.selftest import SelfTest, self_test, token_test
from midfill.settings import EngineSettings
from midfill_models import embedded_model
from midfill_server.checks import Finding, check_hosts

SETTINGS = EngineSettings(n_ctx=512, n_slots=1, n_gpu_layers=0, tune=False)


async def _tested(path: Path) -> SelfTest:
    engine = LlamaEngine(path, SETTINGS)
    try:
        return await self_test(engine)
    finally:
        await engine.close()


def _swapped(vocabulary: Vocabulary, one: str, other: str) -> Vocabulary:
    first, second = (vocabulary.pieces.index(piece.encode()) for piece in (one, other))
    pieces = list(vocabulary.pieces)
    pieces[first], pieces[second] = pieces[second], pieces[first]
    return replace(vocabulary, pieces=pieces)


def _renamed(role: str, other: str) -> Vocabulary:
    vocabulary = tiny_vocabulary()
    return replace(
        vocabulary, fim_ids={**vocabulary.fim_ids, role: vocabulary.pieces.index(other.encode())}
    )


@pytest.mark.model
async def test_the_embedded_model_passes_with_few_tokens() -> None:
    engine = LlamaEngine(embedded_model(), SETTINGS)
    try:
        assert not (await self_test(engine)).defects
        # What is cheap is counted: one prompt of some thirty tokens, and a name.
        assert engine.tokens_evaluated < 60
    finally:
        await engine.close()


@pytest.mark.model
async def test_an_infill_that_ends_and_one_that_does_not(tmp_path: Path) -> None:
    ends = await _tested(chain_model(tmp_path / "ends.gguf", CONTROL["mid"], "y"))
    assert (ends.defects, ends.right[-1]) == ((), "an infill ended after 1 tokens")
    never = chain_model(tmp_path / "never.gguf", CONTROL["mid"], "y", endless=True)
    (defect,) = (await _tested(never)).defects
    assert defect.startswith("never did not end an infill of one name within 24 tokens")


@pytest.mark.model
@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        pytest.param(codellama_pieces(), "", id="sound"),
        pytest.param(
            _swapped(codellama_pieces(), "▁def", "▁remove"),
            "cuts text into other tokens than Meta's own tokenizer",
            id="two pieces swapped",
        ),
        pytest.param(
            tiny_vocabulary(control=[CONTROL[role] for role in ("pre", "suf", "mid")]),
            "has tokens of codellama but not ▁<EOT>",
            id="no end token",
        ),
        pytest.param(
            _renamed("pre", CONTROL["suf"]),
            "names token 440 as prefix, and ▁<PRE> is 439",
            id="metadata names another token",
        ),
    ],
)
async def test_tokens_of_a_file(tmp_path: Path, vocabulary: Vocabulary, says: str) -> None:
    # 34B: it has the tokens, which are looked at, and is not asked to infill.
    path = role_model(tmp_path / "codellama-34b.gguf", vocabulary, size=Shape(dim=16, ffn=16))
    tested = await _tested(path)
    assert [says in defect for defect in tested.defects] == [True] * bool(says)
    assert ("text is cut into tokens as by Meta's own tokenizer" in tested.right) == (not says)


@pytest.mark.parametrize(
    ("changes", "text_of", "says"),
    [
        pytest.param({}, "", "", id="sound"),
        pytest.param({"end_ids": ()}, "", "names no token that ends", id="no end"),
        pytest.param(
            {"control_ids": {**CONTROL_IDS, "▁<SUF>": CONTROL_IDS["▁<PRE>"]}},
            "",
            "has one token for two control tokens",
            id="one for two",
        ),
        pytest.param({}, "<PRE>", "has ▁<PRE> as ordinary text", id="control as text"),
    ],
)
async def test_what_is_wrong_with_tokens(
    changes: dict[str, object], text_of: str, says: str
) -> None:
    fake = FakeEngine()
    model = replace(await fake.info(), **changes)  # type: ignore[arg-type]

    async def detokenize(ids: Sequence[int]) -> str:
        return text_of if ids == [CONTROL_IDS["▁<PRE>"]] else ""

    _, defects = await token_test(model, fake.tokenize, detokenize)
    assert [says in defect for defect in defects[:1]] == [True] * bool(says)


async def test_text_that_becomes_a_control_token_is_a_defect() -> None:
    fake = FakeEngine()

    async def tokenize(text: str) -> list[int]:
        return [CONTROL_IDS["▁<MID>"]] if text == "x <MID>" else await fake.tokenize(text)

    _, defects = await token_test(await fake.info(), tokenize, fake.detokenize)
    assert defects == ["fake makes the control token ▁<MID> of text that spells it."]


async def test_a_model_that_only_talks_is_not_asked_to_infill() -> None:
    model = ModelInfo("chatty", 4096, end_ids=(2,), chat_template="{{ messages }}")

    class Chatty(FakeEngine):
        async def info(self) -> ModelInfo:
            return model

    engine = Chatty()
    assert (await self_test(engine)).defects == ()
    assert not engine.requests


@pytest.mark.model
@pytest.mark.parametrize("is_sound", [True, False])
async def test_a_host_tries_its_model_and_the_doctor_shows_what_came_of_it(
    tmp_path: Path, is_sound: bool
) -> None:
    model = embedded_model() if is_sound else tiny_model(tmp_path / "random.gguf")
    engine = HostEngine(replace(SETTINGS, model=str(model)), folder=tmp_path / "state")
    try:
        await engine.info()
        found = Finding("", "")
        for _ in range(300):
            (found,) = await asyncio.to_thread(check_hosts, tmp_path / "state")
            if "self-test" in found.text:
                break
            await asyncio.sleep(0.1)
        (log,) = (tmp_path / "state").glob("host-*.log")
        if is_sound:
            assert (found.level, log.read_text()) == ("ok", "")
            assert "its model passed its self-test in" in found.text
        else:
            assert (found.level, len(found.details)) == ("warning", 1)
            assert "random did not end an infill" in found.details[0]
            assert "Self-test: random did not end an infill" in log.read_text()
        # It is a warning: the model answers as before.
        assert await engine.tokenize("x")
    finally:
        await engine.close()
