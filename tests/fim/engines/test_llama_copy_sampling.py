"""The copy expert in the engine: what it changes, what it leaves alone, and what it never says."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_models import CONTROL, chain_model, tiny_model, tiny_vocabulary
from midfill.engine import Piece, Sampling
from midfill.engines.llama import LlamaEngine
from midfill.engines.llama_context import LlamaContext
from midfill.engines.llama_copy_sampling import CopyingGreedy, copies, copy_source
from midfill.engines.llama_copying import CopySource, Option, mixture
from midfill.engines.llama_healing import Healing
from midfill.engines.llama_model import LlamaModel
from midfill.formats import Layout, format_of
from midfill.settings import EngineSettings

pytestmark = pytest.mark.model

ON = Sampling(max_tokens=40, copy=True)
OFF = Sampling(max_tokens=40, copy=False)
CODE = "def lines_of(path):\n    return path.read_text().split()\n\n\nprint(lines_of(path))\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights are never sure of anything, so they follow what the text proposes."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
async def engine(tiny: Path) -> AsyncIterator[LlamaEngine]:
    engine = LlamaEngine(tiny, EngineSettings(n_threads=1))
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[LlamaModel]:
    model = LlamaModel.load(tiny)
    yield model
    model.free()


async def _generate(
    engine: LlamaEngine, prompt: Sequence[int], sampling: Sampling
) -> tuple[str, list[Piece]]:
    pieces = [piece async for piece in engine.generate(prompt, sampling)]
    return "".join(piece.text for piece in pieces), pieces


async def _prompt(
    engine: LlamaEngine, prefix: str, suffix: str, layout: Layout = "spm"
) -> list[int]:
    code_llama = format_of(await engine.info())
    parts = {
        "PREFIX": await code_llama.encode("PREFIX", prefix, engine.tokenize),
        "SUFFIX": await code_llama.encode("SUFFIX", suffix, engine.tokenize),
    }
    return code_llama.lay_out(layout, parts)


# What it changes


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [
        pytest.param(CODE * 4 + "print(lines_", "\n", "of(path))", id="from the text before"),
        pytest.param("print(lines_", "\n" + CODE * 4, "of(path))", id="from the text after"),
        pytest.param(
            "def f():\n    print('日本 か')\n" * 2 + "def f():\n    print('日",
            "\n",
            "本 か')\n",
            id="characters of bytes",
        ),
    ],
)
@pytest.mark.parametrize("layout", ["spm", "psm"])
async def test_it_goes_on_as_the_text_does_elsewhere(
    engine: LlamaEngine, layout: Layout, prefix: str, suffix: str, expected: str
) -> None:
    prompt = await _prompt(engine, prefix, suffix, layout)
    text, pieces = await _generate(engine, prompt, ON)
    assert text.startswith(expected)
    assert all(-20 < value <= 0 for piece in pieces for value in piece.logprobs)


async def test_it_ends_where_the_text_after_the_caret_follows(engine: LlamaEngine) -> None:
    prompt = await _prompt(engine, CODE + "    return path.read_", ".split()\n")
    text, pieces = await _generate(engine, prompt, ON)
    assert (text, pieces[-1].usage.stop_reason) == ("text()", "eot")


async def test_it_copies_from_the_texts_of_the_request(engine: LlamaEngine) -> None:
    prompt = await _prompt(engine, "def lines_of(path):\n    return path.read_", "\n")
    text, _ = await _generate(engine, prompt, Sampling(40, copy=True, copy_from=("", CODE)))
    assert text.startswith("text().split()\n")


# What it leaves alone


async def test_a_model_that_is_sure_is_not_overruled(tmp_path: Path) -> None:
    engine = LlamaEngine(chain_model(tmp_path / "chain.gguf", "a", "b", "c", "d"))
    tokens = [tiny_vocabulary().pieces.index(piece.encode()) for piece in "xxxa!xxxa"]
    texts = [(await _generate(engine, tokens, sampling))[0] for sampling in (ON, OFF)]
    await engine.close()
    assert texts == ["bcd", "bcd"]


async def test_off_draws_what_the_model_finds_most_probable(
    engine: LlamaEngine, model: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = await _prompt(engine, CODE + "print(lines_", "\n")
    with_copying, _ = await _generate(engine, prompt, ON)

    def refuse(*_arguments: object) -> CopySource:
        raise AssertionError("nothing is to be copied")

    monkeypatch.setattr("midfill.engines.llama_generation.copy_source", refuse)
    without, pieces = await _generate(engine, prompt, OFF)
    assert without != with_copying
    drawn, _ = await _generate(engine, prompt, Sampling(40, temperature=1.0, copy=True))
    assert drawn != with_copying
    # Each token alone, by a prompt that ends before it.
    generated = [token for piece in pieces for token in piece.token_ids]
    for n_before in range(5):
        _, alone = await _generate(
            engine, [*prompt, *generated[:n_before]], Sampling(1, copy=False)
        )
        assert list(alone[0].token_ids) == generated[n_before : n_before + 1]
        assert alone[0].logprobs == pytest.approx(pieces[n_before].logprobs, abs=1e-3)


class _OfSize:
    def __init__(self, n_parameters: int) -> None:
        self.n_parameters = n_parameters


@pytest.mark.parametrize(
    ("sampling", "n_parameters", "expected"),
    [
        pytest.param(Sampling(1), 3_500_000, True, id="small: on"),
        pytest.param(Sampling(1), 7_000_000_000, False, id="large: off"),
        pytest.param(Sampling(1, copy=True), 7_000_000_000, True, id="large, asked for"),
        pytest.param(Sampling(1, copy=False), 3_500_000, False, id="small, not wanted"),
        pytest.param(
            Sampling(1, copy=True, temperature=0.5), 3_500_000, False, id="by chance: off"
        ),
    ],
)
def test_when_it_takes_part(sampling: Sampling, n_parameters: int, expected: bool) -> None:
    assert copies(sampling, cast(LlamaModel, _OfSize(n_parameters))) is expected


def test_the_size_of_a_model(model: LlamaModel) -> None:
    assert 100_000 < model.n_parameters < 1_000_000


# What it never says


@given(
    st.one_of(
        st.text().map(str.encode), st.binary(), st.sampled_from([*CONTROL.values()]).map(str.encode)
    )
)
def test_a_token_is_text_that_begins_what_follows(model: LlamaModel, following: bytes) -> None:
    token = model.first_token(following)
    assert (token is None) == (not following)
    if token is not None:
        assert following.startswith(model.piece(token))
        assert model.piece(token)
        assert token not in {*model.control_ids.values(), *model.end_ids}


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        pytest.param("return x", b"return", id="the longest"),
        pytest.param("xyz", b"x", id="a character that is a byte too"),
        pytest.param("<PRE>", b"<", id="what spells a control token is text"),
        pytest.param("か", b"\xe3", id="a byte"),
    ],
)
def test_the_longest_token(model: LlamaModel, text: str, piece: bytes) -> None:
    token = model.first_token(text.encode())
    assert token is not None
    assert model.piece(token) == piece
    if piece.isascii():
        assert tiny_vocabulary().pieces[token] == piece


async def test_the_texts_of_a_prompt_are_the_same_in_both_layouts(
    engine: LlamaEngine, model: LlamaModel
) -> None:
    for prefix, suffix in ((CODE + "print(lines_", "\n" + CODE), ("", CODE), ("def f", "")):
        prompts = [await _prompt(engine, prefix, suffix, layout) for layout in ("spm", "psm")]
        spm, psm = (copy_source(prompt, ON, model).places() for prompt in prompts)
        assert spm == psm
    assert copy_source([1], ON, model).places() == []
    plain = [1, *model.tokenize("print(a); print(")]
    assert [place.following for place in copy_source(plain, ON, model).places()] == [b"a); print("]


# What it reports


class _Logits:
    def __init__(self, probabilities: dict[int, float], n_vocab: int) -> None:
        self._logits = np.full(n_vocab, -50.0, np.float32)
        for token, probability in probabilities.items():
            self._logits[token] = math.log(probability) + 7.0  # Any shift is the same distribution.

    def logits(self, row: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return self._logits


@pytest.mark.parametrize(
    ("p_proposed", "p_other"),
    [
        pytest.param(0.1, 0.2, id="the text overrules"),
        pytest.param(0.001, 0.9, id="the model insists"),
        pytest.param(0.6, 0.3, id="both agree"),
    ],
)
def test_the_probability_is_that_of_the_mixture(
    model: LlamaModel, p_proposed: float, p_other: float
) -> None:
    source = CopySource(b"size = width\nsize = ")
    situation = source.situation(source.places())
    proposed, other = model.first_token(b"width"), model.first_token(b"(")
    assert proposed is not None
    assert other is not None
    rest = {400 + idx: (1 - p_proposed - p_other) / 10 for idx in range(10)}
    logits = _Logits({proposed: p_proposed, other: p_other, **rest}, model.n_vocab)
    sampler = CopyingGreedy(source, model, model.end_ids, Healing([], model))
    tokens, considered, _ = sampler.considered(logits.logits())
    assert {proposed, other} < set(tokens)
    assert len(tokens) <= 5
    options = [
        Option(math.log(p), is_end=False, begins_line=False, n_same=token == proposed)
        for token, p in {proposed: p_proposed, other: p_other, **rest}.items()
        if token in tokens
    ]
    assert [it.log_probability for it in sorted(considered)] == pytest.approx(
        [it.log_probability for it in sorted(options)], abs=1e-4
    )
    expected = dict(zip((proposed, other), mixture(options, situation), strict=False))
    token, logprob = sampler.draw(cast(LlamaContext, logits), 0)
    assert token == max(expected, key=lambda it: expected[it])
    assert logprob == pytest.approx(expected[token], abs=1e-3)
    assert not source.situation([]).is_first


async def test_what_cannot_come_is_no_option(model: LlamaModel) -> None:
    sampler = CopyingGreedy(CopySource(b"a = b\na = "), model, model.end_ids, Healing([], model))
    only = model.first_token(b"b")
    assert only is not None
    logits = np.full(model.n_vocab, -np.inf, np.float32)
    logits[only] = 3.0
    assert sampler.considered(logits).tokens == [only]
