"""Answers of models that think: within a budget, and never in an edit."""

from __future__ import annotations

import pytest

from midfill.chat import Message, chat_prompt
from midfill.engines.fake import CHAT_TEMPLATE, Asked, FakeEngine
from midfill.speech import speech

THINKING = CHAT_TEMPLATE + "{# <think> #}"
OPENED = CHAT_TEMPLATE + "<think>\n"


async def heard(engine: FakeEngine, **limits: int) -> tuple[str, str, bool]:
    """What was thought, what was said, and whether the reasoning was ended."""
    prompt = await chat_prompt(await engine.info(), [Message("user", "x")], engine.tokenize)
    texts, cut = {"thought": "", "said": ""}, False
    async for some in speech(prompt, limits.pop("max_tokens", 100), engine, **limits):
        cut = cut or some.cut_short
        for part in some.parts:
            texts[part.kind] += part.text
    return texts["thought"], texts["said"], cut


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        pytest.param(THINKING, "<think>Hm.</think>\n\nYes.", id="opened-by-the-model"),
        pytest.param(OPENED, "Hm.\n</think>\n\nYes.", id="opened-by-the-template"),
        pytest.param(CHAT_TEMPLATE, "<think>Hm.</think>Yes.", id="the-template-says-nothing"),
    ],
)
async def test_reasoning_comes_apart(template: str, answer: str) -> None:
    for piece_chars in (1, 3, 100):
        engine = FakeEngine(answer, chat_template=template, piece_chars=piece_chars)
        assert await heard(engine) == ("Hm.", "Yes.", False)


@pytest.mark.parametrize("template", [THINKING, OPENED], ids=["by-the-model", "by-the-template"])
async def test_reasoning_that_goes_on_is_ended(template: str) -> None:
    opening = "<think>" if template == THINKING else ""

    def answer(asked: Asked) -> str:
        return "Yes." if asked.prefix.endswith("</think>\n\n") else opening + "Hm, " * 400

    engine = FakeEngine(answer, chat_template=template)
    thought, said, cut = await heard(engine, max_thought=50)
    assert (said, cut) == ("Yes.", True)
    assert 30 < len(thought) < 60
    first, second = engine.requests
    # The model goes on behind its own reasoning, which is in the cache.
    assert second.prompt[: len(first.prompt)] == first.prompt
    assert engine.usages[1].tokens_evaluated <= len("\n</think>\n\n") + 4


async def test_without_room_to_go_on_nothing_is_said() -> None:
    engine = FakeEngine("<think>" + "Hm, " * 400, chat_template=THINKING, n_ctx=150)
    thought, said, cut = await heard(engine, max_thought=100, max_tokens=60)
    assert thought.startswith("Hm, Hm")
    assert (said, cut) == ("", False)


async def test_a_model_that_does_not_think_has_no_more_room_for_it() -> None:
    engine = FakeEngine("Yes.")
    await heard(engine, max_tokens=7)
    assert engine.requests[0].sampling.max_tokens == 7
