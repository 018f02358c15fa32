"""Drafts, healing, candidates, the other layout and work that yields, on real llama.cpp and weights that say something.

Where two ways must say the same, a difference is allowed only between tokens that are as good as equally
probable: batches of other sizes round otherwise (measured: a KL divergence of 2.6e-4).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_models import tiny_model
from midfill.engine import Piece, Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_context import Decoded, LlamaContext
from midfill.engines.llama_library import lc
from midfill.engines.precedence import Precedence
from midfill.errors import EngineFull, ModelError
from midfill.formats import format_of
from midfill.settings import EngineSettings
from midfill_models import embedded_model

pytestmark = pytest.mark.model

TIE = 0.05
CODE = """class Point:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):
        return self.width * self.height


def area_of(width, height):
    return Point(width, height).area()


def widest(points):
    result = None
    for point in points:
        if result is None or point.width > result.width:
            result = point
    return result
"""


@pytest.fixture
async def engine() -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(embedded_model(), EngineSettings(n_threads=1))
    yield engine
    await engine.close()


async def _prompt(engine: LlamaEngine, prefix: str, suffix: str = "\n") -> list[int]:
    code_llama = format_of(await engine.info())
    parts = {
        "PREFIX": await code_llama.encode("PREFIX", prefix, engine.tokenize),
        "SUFFIX": await code_llama.encode("SUFFIX", suffix, engine.tokenize),
    }
    return code_llama.lay_out("spm", parts)


async def _said(engine: LlamaEngine, prompt: Sequence[int], sampling: Sampling) -> list[Piece]:
    return [piece async for piece in engine.generate(prompt, sampling)]


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _same(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    """Whether two generations are the same up to a tie."""
    pairs = zip(_tokens(left), _tokens(right), strict=False)
    for (token, log_probability), (other, log_other) in pairs:
        if token != other:
            return abs(log_probability - log_other) < TIE
    return len(_tokens(left)) == len(_tokens(right))


def _tokens(pieces: Sequence[Piece]) -> list[tuple[int, float]]:
    return [pair for it in pieces for pair in zip(it.token_ids, it.logprobs, strict=True)]


@given(
    st.integers(20, len(CODE)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.8]),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_drafting_changes_nothing_that_is_said(
    engine: LlamaEngine, n_characters: int, heal: bool, copy: bool, temperature: float
) -> None:
    prompt = await _prompt(engine, CODE + CODE[:n_characters])
    asked = Sampling(24, heal=heal, copy=copy, temperature=temperature, seed=3)
    drafted = await _said(engine, prompt, asked)
    plain = await _said(engine, prompt, replace(asked, draft=False))
    assert plain[-1].usage.tokens_drafted == 0
    assert _same(drafted, plain)
    assert drafted[-1].usage.tokens_generated == len(_tokens(drafted))


async def test_what_repeats_is_accepted_and_saves_evaluations(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    decode = LlamaContext.decode

    def counted(
        self: LlamaContext, slot: int, tokens: Sequence[int], start: int, *, n_logits: int
    ) -> Decoded:
        sizes.append(len(tokens))
        return decode(self, slot, tokens, start, n_logits=n_logits)

    prompt = await _prompt(engine, CODE + CODE[: CODE.index("self.height = ")])
    await _said(engine, prompt, Sampling(0))
    monkeypatch.setattr(LlamaContext, "decode", counted)
    plain = await _said(engine, prompt, Sampling(40, draft=False))
    n_plain = len(sizes)
    assert set(sizes) == {1}
    drafted = await _said(engine, prompt, Sampling(40))
    usage = drafted[-1].usage
    assert 0 < usage.tokens_accepted <= usage.tokens_drafted
    assert _same(plain, drafted)
    assert len(sizes) - n_plain == n_plain - usage.tokens_accepted


async def test_a_word_that_is_begun_goes_on(engine: LlamaEngine) -> None:
    # Without healing the embedded model says `c_` here.
    prompt = await _prompt(engine, CODE + "\nimport asyn", "\n")
    healed = await _said(engine, prompt, Sampling(8, heal=True, copy=False))
    assert _text(healed).startswith("cio")
    assert healed[-1].usage.tokens_healed == 1


async def test_healing_a_warm_prompt_evaluates_two_tokens_more(engine: LlamaEngine) -> None:
    prompt = await _prompt(engine, CODE + "\n\nprint(area_of")
    await _said(engine, prompt, Sampling(0))
    usage = (await _said(engine, prompt, Sampling(4, heal=True)))[-1].usage
    assert usage.tokens_healed == 1
    assert (
        usage.tokens_evaluated == 2
    )  # The token before the one that is drawn again, and that one, in one batch.


async def test_candidates_differ_and_the_first_is_what_is_said_alone(engine: LlamaEngine) -> None:
    prompt = await _prompt(engine, CODE + "\n\ndef perimeter_of(")
    alone = await _said(engine, prompt, Sampling(12, draft=False))
    pieces = await _said(engine, prompt, Sampling(12, n_candidates=4))
    said = [[piece for piece in pieces if piece.candidate_idx == idx] for idx in range(4)]
    assert len({candidate[0].token_ids for candidate in said}) == 4
    assert _same(said[0], alone)
    assert all(candidate[-1].usage.stop_reason for candidate in said)
    assert (
        pieces[-1].usage.tokens_evaluated == 1
    )  # The prompt was read once, by the generation before.
    again = await _said(engine, prompt, Sampling(12, draft=False))
    assert _same(again, alone)


async def test_more_candidates_than_there_is_room_for_end_empty(engine: LlamaEngine) -> None:
    pieces = await _said(engine, await _prompt(engine, CODE), Sampling(3, n_candidates=8))
    ended = {piece.candidate_idx for piece in pieces if piece.usage.stop_reason}
    assert ended == set(range(8))


async def test_a_generation_that_yields_is_overtaken_and_goes_on_as_if_alone(
    engine: LlamaEngine,
) -> None:
    # Nothing ends it before its budget, so that it surely still runs when the others come.
    (await engine._loaded()).model.end_ids = ()
    background = await _prompt(engine, CODE + "\n\ndef f(a):\n    ", "\n\n" + CODE)
    foreground = await _prompt(engine, "import os\n\n\ndef g(path):\n    return os.path.")
    asked = Sampling(300, stop_ids=(), copy=False)
    alone = await _said(engine, background, asked)
    order: list[str] = []

    async def explain() -> list[Piece]:
        pieces = []
        async for piece in engine.generate(background, replace(asked, yields=True)):
            pieces.append(piece)
            order.append("explanation")
        return pieces

    explaining = asyncio.create_task(explain())
    while not order:  # noqa: ASYNC110  # The engine's thread sets no event of the loop.
        await asyncio.sleep(0)
    for _ in range(2):
        await _said(engine, foreground, Sampling(4))
        order.append("completion")
    assert _same(await explaining, alone)
    assert order.index("completion") < len(order) - 1 - order[::-1].index("explanation")


async def test_an_engine_that_yields_waits_for_the_other(engine: LlamaEngine) -> None:
    precedence = Precedence()
    nano, threads = embedded_model("midfill-nano-q8_0.gguf"), EngineSettings(n_threads=1)
    explains = LlamaEngine(nano, threads, precedence)
    completes = LlamaEngine(nano, threads, precedence)
    prompt = await _prompt(explains, CODE)
    await completes.info()
    explanation = explains.generate(prompt, Sampling(200, yields=True, copy=False, draft=False))
    await anext(explanation)
    completion = completes.generate(prompt, Sampling(8, copy=False))
    await anext(completion)
    # At most a step was under way; from then on nothing is evaluated until the completion has ended.
    n_evaluated = explains.tokens_evaluated
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert explains.tokens_evaluated <= n_evaluated + 1
    await completion.aclose()
    rest = [piece async for piece in explanation]
    assert rest[-1].usage.stop_reason in ("budget", "eot")
    await explains.close()
    await completes.close()


async def test_an_engine_that_yields_rests_from_the_first_sign_of_a_completion() -> None:
    precedence = Precedence(lambda: 0.0)  # No time passes, so only the completion ends the rest.
    nano, threads = embedded_model("midfill-nano-q8_0.gguf"), EngineSettings(n_threads=1)
    explains = LlamaEngine(nano, threads, precedence)
    completes = LlamaEngine(nano, threads, precedence)
    await completes.info()
    prompt = await _prompt(explains, CODE)
    explanation = explains.generate(prompt, Sampling(200, yields=True, copy=False, draft=False))
    await anext(explanation)
    following = await _prompt(completes, CODE[::-1])
    n_evaluated = explains.tokens_evaluated  # At most a step is under way.
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert explains.tokens_evaluated <= n_evaluated + 1
    await _said(completes, following, Sampling(8, copy=False))
    rest = [piece async for piece in explanation]
    assert rest[-1].usage.stop_reason in ("budget", "eot")
    await explains.close()
    await completes.close()


async def test_a_batch_of_another_engine_is_interrupted_and_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    precedence = Precedence()
    nano, threads = embedded_model("midfill-nano-q8_0.gguf"), EngineSettings(n_threads=1)
    explains = LlamaEngine(nano, threads, precedence)
    completes = LlamaEngine(nano, threads, precedence)
    for engine in (explains, completes):
        (await engine._loaded()).model.end_ids = ()
    prompt = await _prompt(explains, CODE)
    reading = (await explains._loaded()).context
    outcomes: list[Decoded] = []
    begun, others_run = threading.Event(), threading.Event()
    decode = LlamaContext.decode

    def watched(
        self: LlamaContext, slot: int, tokens: Sequence[int], start: int, *, n_logits: int
    ) -> Decoded:
        if self is not reading:
            return decode(self, slot, tokens, start, n_logits=n_logits)
        begun.set()
        assert others_run.wait(60)
        outcomes.append(decode(self, slot, tokens, start, n_logits=n_logits))
        return outcomes[-1]

    monkeypatch.setattr(LlamaContext, "decode", watched)
    explanation = asyncio.create_task(_said(explains, prompt, Sampling(4, yields=True)))
    await asyncio.to_thread(begun.wait, 60)
    completion = completes.generate(prompt, Sampling(50))
    await anext(completion)
    others_run.set()
    while not outcomes:  # noqa: ASYNC110  # The engine's thread sets no event of the loop.
        await asyncio.sleep(0)
    await completion.aclose()
    usage = (await explanation)[-1].usage
    await explains.close()
    await completes.close()
    assert outcomes[0] is Decoded.ABORTED
    assert outcomes.count(Decoded.ABORTED) == 1
    assert (usage.tokens_evaluated, usage.tokens_generated) == (len(prompt), 4)


async def test_an_explanation_whose_slot_was_taken_reads_it_again() -> None:
    engine = LlamaEngine(embedded_model(), EngineSettings(n_threads=1, n_slots=1))
    prompt = await _prompt(engine, CODE + "\n\ndef f(a):\n    ", "\n\n" + CODE)
    asked = Sampling(40, copy=False)
    alone = await _said(engine, prompt, asked)
    explanation = engine.generate(prompt, replace(asked, yields=True))
    pieces = [await anext(explanation)]
    await _said(engine, await _prompt(engine, "import os\n"), Sampling(4))
    pieces += [piece async for piece in explanation]
    await engine.close()
    assert _same(pieces, alone)


async def test_several_that_yield_run_one_after_the_other_and_can_be_cancelled(
    engine: LlamaEngine,
) -> None:
    prompt = await _prompt(engine, CODE)
    first = engine.generate(prompt, Sampling(30, yields=True))
    second = asyncio.create_task(_said(engine, prompt, Sampling(3, yields=True)))
    await anext(first)
    assert not second.done()
    await first.aclose()
    assert (await second)[-1].usage.stop_reason


async def test_the_layout_that_is_warm_is_read(engine: LlamaEngine) -> None:
    spm, psm = await _prompt(engine, CODE, CODE), await _prompt(engine, CODE[::-1], CODE)
    await _said(engine, psm, Sampling(0))
    pieces = await _said(engine, spm, Sampling(2, instead=tuple(psm)))
    usage = pieces[-1].usage
    assert (usage.took_instead, usage.tokens_evaluated) == (True, 1)
    cold = await _said(engine, psm[:1] + spm[1:], Sampling(2, instead=tuple(spm)))
    assert not cold[-1].usage.took_instead


async def test_out_of_memory_costs_the_answers_that_run_and_the_next_runs_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LlamaEngine(tiny_model(tmp_path / "tiny.gguf"), EngineSettings(n_threads=1))
    before = await engine.info()
    decode = lc.llama_decode
    refused: list[bool] = []

    def refuse(context: object, batch: object) -> int:
        if refused and not refused[0]:
            refused[0] = True
            return -2
        return int(decode(context, batch))

    monkeypatch.setattr(lc, "llama_decode", refuse)
    explanation = engine.generate([5, 6, 7], Sampling(400, yields=True))
    await anext(explanation)
    refused.append(False)
    with pytest.raises(EngineFull):
        await _said(engine, [8] * 20, Sampling(3))
    with pytest.raises(EngineFull):
        async for _ in explanation:
            pass
    assert len(await _said(engine, [8] * 20, Sampling(3)))
    assert (await engine.info()).n_ctx < before.n_ctx
    # When nothing smaller is left, whoever asks is told so, and nobody waits for ever.
    for _ in range(8):
        refused[0] = False
        with pytest.raises((EngineFull, ModelError)) as caught:
            await _said(engine, [8] * 20, Sampling(3))
        if caught.type is ModelError:
            break
    with pytest.raises(ModelError, match="ran out of memory"):
        await _said(engine, [8] * 20, Sampling(3))
    await engine.close()
