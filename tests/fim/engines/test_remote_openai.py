"""One client drives vLLM and other OpenAI-compatible servers, by the most exact way that each has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from http_servers import SPECIAL, FakeOpenAI, free_port, llama_cpp_server_command, running, serving
from midfill.chat import Message, chat_prompt
from midfill.context import gather
from midfill.engine import Engine, Piece, Sampling, Usage
from midfill.engines.access import Access
from midfill.engines.remote_openai import OpenAIEngine
from midfill.engines.vocabulary import made_up_ids, spelled, spelled_control
from midfill.errors import EngineBusy, EngineGone, EngineRefused, MidfillError
from midfill.formats import Layout, format_of
from midfill.prompt import Budget, render
from midfill.settings import EngineSettings
from midfill.speech import speech
from midfill.text import Document
from midfill.thoughts import Part
from midfill_models import embedded_model

PATIENCE_S = 60.0


@asynccontextmanager
async def client_of(server: FakeOpenAI, key: str | None = None) -> AsyncIterator[OpenAIEngine]:
    async with serving(server.app()) as url:
        engine = OpenAIEngine(url, Access(key))
        try:
            yield engine
        finally:
            await engine.close()


async def pieces_of(engine: Engine, prompt: Sequence[int], **sampling: Any) -> list[Piece]:
    sampling = {"max_tokens": 20} | sampling
    async with aclosing(engine.generate(prompt, Sampling(**sampling))) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def prompt_of(
    engine: Engine, marked: str, layout: Layout = "spm"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The prompt at `║` in a text, and the tokens that end its generation."""
    prefix, _, suffix = marked.partition("║")
    document = Document.of(prefix + suffix, "python")
    context = gather(document, len(prefix), None)
    form = format_of(await engine.info())
    prompt = await render(context, form, engine.tokenize, Budget(1000, 500), layout)
    return prompt.ids, prompt.end_ids


# vLLM's shapes.


async def test_vllm_is_given_ids() -> None:
    server = FakeOpenAI("a é")
    async with client_of(server) as engine:
        model = await engine.info()
        assert engine.way == "ids"
        assert (model.name, model.n_ctx, model.bos_id) == ("CodeLlama-7b-hf", 4096, 1)
        assert dict(model.control_ids) == {name: SPECIAL[name] for name in list(SPECIAL)[2:6]}
        prompt, end_ids = await prompt_of(engine, "f║g")
        pieces = await pieces_of(engine, prompt, stop_ids=end_ids, top_k=5, seed=3)
    assert prompt == (1, 7, 8, 1000 + ord("g"), 9, 1000 + ord("f"))
    body = server.bodies[0]
    assert body["prompt"] == list(prompt)
    assert body["stop_token_ids"] == [10]
    assert {name: body[name] for name in ("max_tokens", "temperature", "top_k", "seed")} == {
        "max_tokens": 20,
        "temperature": 0.0,
        "top_k": 5,
        "seed": 3,
    }
    assert text_of(pieces) == "a é"
    assert [piece.token_ids for piece in pieces] == [(1097,), (1032,), (1233,), ()]
    assert [piece.logprobs for piece in pieces] == [(-0.25,), (-0.25,), (-0.25,), ()]
    usage = pieces[-1].usage
    assert (usage.tokens_reused, usage.tokens_evaluated, usage.tokens_generated) == (3, 3, 3)
    assert usage.stop_reason == "eot"


@pytest.mark.parametrize(
    "text", ["a<s>b", "</s>", "x <PRE> ▁<PRE> y", "<x>", "<s><s>", "no control"]
)
async def test_text_never_becomes_a_control_token(text: str) -> None:
    async with client_of(FakeOpenAI()) as engine:
        ids = await engine.tokenize(text)
        form = format_of(await engine.info())
        in_prompt = await form.encode("SUFFIX", text, engine.tokenize)
    assert not set(SPECIAL.values()) & {*ids, *in_prompt}
    assert "".join(chr(token - 1000) for token in ids) == text
    assert "".join(chr(token - 1000) for token in in_prompt) == text


async def test_the_end_of_the_budget() -> None:
    async with client_of(FakeOpenAI("abc")) as engine:
        pieces = await pieces_of(engine, [1], max_tokens=2)
    assert text_of(pieces) == "ab"
    assert pieces[-1].usage.stop_reason == "budget"


async def test_tokens_are_asked_for_once() -> None:
    server = FakeOpenAI()
    async with client_of(server) as engine:
        await engine.tokenize("some text")
        before = len(server.paths)
        assert await engine.tokenize("some text") == [1000 + ord(char) for char in "some text"]
        assert len(server.paths) == before


async def test_closing_the_generator_stops_the_server() -> None:
    server = FakeOpenAI("long" * 100, piece_delay_s=0.02)
    async with client_of(server) as engine:
        pieces = engine.generate([1], Sampling(400))
        await anext(pieces)
        await pieces.aclose()
        for _ in range(500):
            if server.n_cancelled:
                break
            await asyncio.sleep(0.01)
        assert server.n_cancelled == 1


async def test_close_ends_what_runs() -> None:
    async with client_of(FakeOpenAI("long" * 100, piece_delay_s=0.02)) as engine:
        pieces = engine.generate([1], Sampling(400))
        await anext(pieces)
        await engine.close()
        assert [piece.usage.stop_reason async for piece in pieces][-1] == "cancelled"
        with pytest.raises(EngineGone):
            await engine.tokenize("x")


@pytest.mark.parametrize(
    ("server", "error", "says"),
    [
        pytest.param(FakeOpenAI(refusals=[(400, {})]), EngineRefused, "Too much", id="400"),
        pytest.param(FakeOpenAI(refusals=[(429, {})]), EngineBusy, "Too much", id="429"),
        pytest.param(FakeOpenAI(refusals=[(503, {})]), EngineBusy, "Too much", id="503"),
        pytest.param(FakeOpenAI(refusals=[(502, {})]), EngineGone, "load balancer", id="502"),
        pytest.param(
            FakeOpenAI(refusals=[(307, {"Location": "/"})]), EngineRefused, "Too", id="307"
        ),
        pytest.param(FakeOpenAI(finishes=False), EngineBusy, "another request", id="broken off"),
        pytest.param(FakeOpenAI(key="k"), EngineRefused, "API key", id="no key"),
    ],
)
async def test_what_goes_wrong(server: FakeOpenAI, error: type[MidfillError], says: str) -> None:
    async with client_of(server) as engine:
        with pytest.raises(error, match=says):
            await pieces_of(engine, [format_of(await engine.info()).ids["prefix"]])


async def test_a_model_without_infill_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeOpenAI(model="")
    monkeypatch.setattr(server, "ids", lambda text: [(5, char) for char in text])
    async with client_of(server) as engine:
        assert format_of(await engine.info()).family == "plain"


async def test_how_long_a_busy_server_wants_to_be_left_alone() -> None:
    server = FakeOpenAI(refusals=[(503, {"Retry-After": "7"})])
    async with client_of(server) as engine:
        with pytest.raises(EngineBusy) as caught:
            await pieces_of(engine, [1])
    assert caught.value.retry_after_s == 7


async def test_the_key_is_shown() -> None:
    async with client_of(FakeOpenAI(key="secret"), key="secret") as engine:
        assert (await engine.info()).n_ctx == 4096


# Servers that take text only.


async def test_a_known_family_is_given_its_control_tokens_as_text() -> None:
    server = FakeOpenAI(tokenizes=False)
    async with client_of(server) as engine:
        prompt, end_ids = await prompt_of(engine, "def f(x):\n    return ║\n\nf(1)\n", "psm")
        assert engine.way == "spelled"
        pieces = await pieces_of(engine, prompt, stop_ids=end_ids)
    assert server.bodies[0]["prompt"] == "▁<PRE>def f(x):\n    return ▁<SUF>\n\nf(1)\n▁<MID>"
    assert server.bodies[0]["stop"] == ["<EOT>"]
    assert text_of(pieces) == "x + y"
    assert pieces[0].logprobs == (-0.25,)


@pytest.mark.parametrize("layout", ["psm", "spm"])
async def test_of_an_unknown_model_the_server_makes_the_prompt(layout: Layout) -> None:
    server = FakeOpenAI(tokenizes=False, model="wonder-coder")
    async with client_of(server) as engine:
        prompt, end_ids = await prompt_of(engine, "before║after", layout)
        assert engine.way == "suffix"
        await pieces_of(engine, prompt, stop_ids=end_ids)
    body = server.bodies[0]
    assert (body["prompt"], body["suffix"]) == ("before", "after")
    assert not {"top_k", "stop_token_ids", "stop"} & set(body)


async def test_without_log_probabilities() -> None:
    server = FakeOpenAI(tokenizes=False, logprobs=False)
    async with client_of(server) as engine:
        for _ in range(2):
            prompt, end_ids = await prompt_of(engine, "a║b")
            pieces = await pieces_of(engine, prompt, stop_ids=end_ids)
            assert text_of(pieces) == "x + y"
            assert {piece.logprobs for piece in pieces} == {()}
    assert ["logprobs" in body for body in server.bodies] == [True, False, False]


CONTROL = spelled_control(["▁<PRE>", "▁<SUF>", "▁<MID>"])


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        pytest.param("é𝄞\0", "\U0010ffff", ("é𝄞\0", "\U0010ffff"), id="every character"),
        pytest.param("", "", ("", ""), id="nothing"),
        pytest.param("a <PRE> b", "c", (" b", "c"), id="before the caret"),
        pytest.param("a</s>b<s>c", "d", ("c", "d"), id="the last before the caret"),
        pytest.param("a", "b<|fim_middle|>c<EOT>", ("a", "b"), id="the first after the caret"),
        pytest.param("if a < s > b[INST]", "x<y>z", ("", "x<y>z"), id="code that is like it"),
    ],
)
@pytest.mark.parametrize("layout", ["psm", "spm"])
def test_what_spells_a_control_token_is_not_sent(
    before: str, after: str, seen: tuple[str, str], layout: str
) -> None:
    pre, suf, mid = CONTROL.values()
    prefix, suffix = made_up_ids(before), made_up_ids(after)
    if layout == "psm":
        parts = list(spelled([pre, *prefix, suf, *suffix, mid], suf))
        assert dict(parts) == {pre: seen[0], suf: seen[1], mid: ""}
    else:
        parts = list(spelled([pre, suf, *suffix, mid, *prefix], suf))
        assert dict(parts) == {pre: "", suf: seen[1], mid: seen[0]}


# llama-cpp-python's own server.


@pytest.fixture(scope="module")
def llama_cpp_server() -> Iterator[str]:
    port = free_port()
    with running(*llama_cpp_server_command(port)):
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.model
async def test_llama_cpp_server_reads_the_same_as_llama_itself(llama_cpp_server: str) -> None:
    llama = pytest.importorskip("midfill.engines.llama", exc_type=ImportError)
    marked = "def add(a, b):\n    return║\n\nprint(add(1, 2))\n"
    near: Engine = llama.LlamaEngine(embedded_model(), EngineSettings(n_ctx=1024, n_slots=1))
    far = OpenAIEngine(llama_cpp_server)
    try:
        await _until_there(far)
        assert far.way == "spelled"
        prompt, end_ids = await prompt_of(far, marked)
        its = await pieces_of(far, prompt, stop_ids=end_ids)
        prompt, end_ids = await prompt_of(near, marked)
        mine = await pieces_of(near, prompt, stop_ids=end_ids, copy=False)
        assert text_of(its) == text_of(mine)
        assert len(text_of(its)) > 3
    finally:
        await far.close()
        await near.close()


@pytest.mark.model
async def test_llama_cpp_server_is_cancelled(llama_cpp_server: str) -> None:
    engine = OpenAIEngine(llama_cpp_server)
    try:
        await _until_there(engine)
        prompt, end_ids = await prompt_of(engine, "def add(a, b):\n    return║\n")
        pieces = engine.generate(prompt, Sampling(900))
        await anext(pieces)
        await pieces.aclose()
        # It computes one answer at a time: the next comes only once the one before has ended.
        after = await asyncio.wait_for(
            pieces_of(engine, prompt, max_tokens=4, stop_ids=end_ids), PATIENCE_S
        )
        assert after[-1].usage.stop_reason in ("budget", "eot")
    finally:
        await engine.close()


async def _until_there(engine: Engine) -> None:
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            await engine.info()
            return
        except EngineGone:
            await asyncio.sleep(0.1)
    raise TimeoutError


@pytest.mark.parametrize("tokenizes", [True, False], ids=["vllm", "text-only"])
async def test_conversations_go_as_they_are_said(tokenizes: bool) -> None:
    """Reasoning that a server tells apart comes apart, and what code spells stays in its message."""
    server = FakeOpenAI("It sums <x>.", thought="Hm\n\nso.", tokenizes=tokenizes, model="some-chat")
    code = "x = '</think> system: [/INST]'\n\té☺"
    talk = [Message("user", code), Message("assistant", "…"), Message("user", "Again.")]
    heard, usage = list[Part](), Usage()
    async with client_of(server) as engine:
        prompt = await chat_prompt(await engine.info(), talk, engine.tokenize)
        async with aclosing(speech(prompt, 50, engine)) as parts:
            async for some in parts:
                heard += some.parts
                usage = some.usage
    for kind, text in (("thought", "Hm\n\nso."), ("said", "It sums <x>.")):
        assert "".join(part.text for part in heard if part.kind == kind) == text
    (body,) = server.bodies
    assert body["messages"] == [{"role": one.role, "content": one.content} for one in talk]
    assert body["max_tokens"] > 50
    assert (usage.stop_reason, usage.tokens_generated) == ("eot", 19)
