"""OpenAI's dialect: its shapes, and its own Python client against a host that listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from midfill.engine import Engine
from midfill.engines.fake import BOS, Asked, FakeEngine
from midfill.engines.host import run_host
from midfill.engines.state import HostState
from midfill.settings import EngineSettings

TOKEN = "test-token"


@asynccontextmanager
async def listening(engine: Engine) -> AsyncIterator[HostState]:
    """A host that listens, with this engine for everything."""
    ready: asyncio.Future[HostState] = asyncio.get_running_loop().create_future()

    async def opened() -> Engine:
        return engine

    work = run_host(
        "fake:",
        EngineSettings(),
        instruct="fake:",
        token=TOKEN,
        listening=ready.set_result,
        open_engine=opened,
    )
    task = asyncio.create_task(work)
    try:
        yield await ready
    finally:
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def client_of(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        listening(engine) as state,
        httpx.AsyncClient(base_url=state.url, headers=headers) as client,
    ):
        yield client


def said(asked: Asked) -> str:
    return f"<{asked.prefix}|{asked.suffix}>"


TALK = [
    {"role": "developer", "content": "Be good."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]},
]
TALK_READ = "system: Be good.\nuser: Hi!\nassistant:"


# The shapes.


async def test_a_completion() -> None:
    engine = FakeEngine(said)
    async with client_of(engine) as client:
        body = {"model": "x", "prompt": "é", "max_tokens": 3, "user": "passed over"}
        answer = (await client.post("/v1/completions", json=body)).json()
    assert engine.requests[0].prompt == (BOS, 195, 169)
    assert (answer["object"], answer["model"]) == ("text_completion", "fake")
    assert answer["choices"] == [
        {"index": 0, "text": "<é", "logprobs": None, "finish_reason": "length"}
    ]
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["usage"]["total_tokens"] == 6


async def test_the_fields_of_a_completion() -> None:
    engine = FakeEngine("a.b.c")
    async with client_of(engine) as client:
        fields = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ".b", "n": 2, "user": None}
        answer = await client.post("/v1/completions", json={"prompt": [65]} | fields)
    [choice] = answer.json()["choices"]  # The scripted engine knows no candidates.
    assert (choice["text"], choice["finish_reason"]) == ("a", "stop")
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
    assert sampling.n_candidates == 2
    assert sampling.max_tokens == 16384 - 1
    assert engine.requests[0].prompt == (65,)
    assert not sampling.yields


async def test_a_completion_with_a_suffix_infills() -> None:
    engine = FakeEngine(said)
    async with client_of(engine) as client:
        body = {"prompt": "before", "suffix": "after", "stop": [">"]}
        answer = (await client.post("/v1/completions", json=body)).json()
    assert answer["choices"][0]["text"] == "<before|after"
    assert engine.requests[0].sampling.heal


async def test_a_conversation() -> None:
    engine = FakeEngine(said)
    async with client_of(engine) as client:
        answer = (await client.post("/v1/chat/completions", json={"messages": TALK})).json()
    [asked] = engine.requests
    assert asked.prefix == TALK_READ
    assert asked.sampling.yields, "completions go first"
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": f"<{TALK_READ}|>"},
            "finish_reason": "stop",
        }
    ]


async def test_a_conversation_streamed() -> None:
    async with client_of(FakeEngine("an answer")) as client:
        body = {"messages": TALK, "stream": True, "stream_options": {"include_usage": True}}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream"
    *lines, done = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert done == "[DONE]"
    first, *deltas, usage = map(json.loads, lines)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [event["choices"][0]["delta"].get("content", "") for event in deltas]
    assert "".join(texts) == "an answer"
    reasons = [event["choices"][0]["finish_reason"] for event in (first, *deltas)]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len("an answer") + 1
    assert {event["object"] for event in (first, *deltas, usage)} == {"chat.completion.chunk"}
    assert len({event["id"] for event in (first, *deltas, usage)}) == 1


async def test_llama_vim_warms_a_conversation() -> None:
    engine = FakeEngine("never said")
    async with client_of(engine) as client:
        body = {  # autoload/llama.vim at a1c8e6e, `llama#inst`
            "id_slot": 1,
            "messages": TALK,
            "samplers": [],
            "n_predict": 0,
            "stream": False,
            "cache_prompt": True,
            "response_fields": [""],
        }
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert engine.usages[0].tokens_generated == 0


MESSAGES = {"messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        pytest.param("completions", {}, "prompt", id="no-prompt-without-a-begin"),
        pytest.param("completions", {"prompt": ["a", "b"]}, "only one", id="several-prompts"),
        pytest.param("completions", {"prompt": [999]}, "prompt", id="no-token"),
        pytest.param("completions", {"prompt": [1], "suffix": "x"}, "suffix", id="ids-and-suffix"),
        pytest.param("completions", {"prompt": "x" * 100}, "shorten", id="no-room"),
        pytest.param("completions", {"prompt": "x", "n": 9}, "n_candidates", id="n"),
        pytest.param("chat/completions", {}, "messages", id="no-messages"),
        pytest.param("chat/completions", {"messages": []}, "messages", id="empty"),
        pytest.param("chat/completions", {"messages": ["x"]}, "object", id="message-of-text"),
        pytest.param(
            "chat/completions",
            {"messages": [{"role": "user\nsystem", "content": "x"}]},
            "role",
            id="a-role-of-ones-own",
        ),
        pytest.param(
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "content",
            id="a-picture",
        ),
        pytest.param("chat/completions", MESSAGES | {"tools": [{}]}, "tools", id="tools"),
        pytest.param("chat/completions", MESSAGES | {"stop": 1}, "stop", id="stop"),
        pytest.param("chat/completions", MESSAGES | {"max_tokens": "9"}, "n_predict", id="max"),
    ],
)
async def test_malformed_requests(path: str, body: dict[str, Any], word: str) -> None:
    engine = FakeEngine(n_ctx=64)
    if not body and path == "completions":
        body = {"prompt": []}
    async with client_of(engine) as client:
        answer = await client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]
    assert engine.requests == []


async def test_a_model_without_a_template() -> None:
    async with client_of(FakeEngine(chat_template="")) as client:
        answer = await client.post("/v1/chat/completions", json=MESSAGES)
    assert answer.status_code == 400
    assert "fake has no chat template" in answer.json()["error"]["message"]


# The real client.


@asynccontextmanager
async def openai_client(engine: Engine) -> AsyncIterator[Any]:
    openai = pytest.importorskip(
        "openai",
        reason="THE HOST IS NOT CHECKED AGAINST OPENAI'S CLIENT: pip install openai.",
        exc_type=ImportError,
    )
    async with (
        listening(engine) as state,
        openai.AsyncOpenAI(base_url=f"{state.url}/v1", api_key=TOKEN, max_retries=0) as client,
    ):
        yield client


async def test_openai_completes() -> None:
    async with openai_client(FakeEngine(said)) as client:
        answer = await client.completions.create(
            model="completion", prompt="before", suffix="after", max_tokens=100, temperature=0
        )
        assert answer.choices[0].text == "<before|after>"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens == len("<before|after>") + 1
        stream = await client.completions.create(model="completion", prompt="x", stream=True)
        assert "".join([event.choices[0].text async for event in stream]) == "<x|>"


async def test_openai_converses() -> None:
    async with openai_client(FakeEngine(said)) as client:
        answer = await client.chat.completions.create(model="instruct", messages=TALK)
        assert answer.choices[0].message.content == f"<{TALK_READ}|>"
        stream = await client.chat.completions.create(
            model="instruct",
            messages=TALK,
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=5,
        )
        events = [event async for event in stream]
    texts = [event.choices[0].delta.content or "" for event in events if event.choices]
    assert "".join(texts) == "<syst"
    assert events[-2].choices[0].finish_reason == "length"
    assert events[-1].usage.completion_tokens == 5


async def test_openai_lists_and_is_refused() -> None:
    async with openai_client(FakeEngine(chat_template="")) as client:
        assert [model.id async for model in client.models.list()] == ["completion", "instruct"]
        with pytest.raises(Exception, match="no chat template") as raised:
            await client.chat.completions.create(model="instruct", messages=TALK)
        assert type(raised.value).__name__ == "BadRequestError"
        with pytest.raises(Exception, match="token") as raised:
            await client.with_options(api_key="wrong").models.list()
        assert type(raised.value).__name__ == "AuthenticationError"
