"""What other programs ask of the host: llama.vim's infilling, slots, metrics, several models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from midfill.engine import Engine, ModelInfo, Role
from midfill.engines.fake import Asked, FakeEngine
from midfill.engines.host_api import Host
from midfill.engines.host_metrics import read_metrics
from midfill.engines.resident import Resident
from midfill.errors import ModelError

TOKEN = "test-token"


def resident(engine: Engine, path: str = "model.gguf") -> Resident:
    async def opened() -> Engine:
        return engine

    return Resident(opened, path)


@asynccontextmanager
async def hosted(
    engine: Engine, instruct: Engine | None = None, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a host that listens nowhere."""
    residents: dict[Role, Resident] = {"completion": resident(engine)}
    if instruct is not None:
        residents["instruct"] = resident(instruct, "instruct.gguf")
    async with (
        Host(residents, TOKEN, n_slots=2, grace_s=3600) as host,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(host.app),
            base_url="http://127.0.0.1:4711",
            headers=headers or {"Authorization": f"Bearer {TOKEN}"},
        ) as client,
    ):
        await until(partial(_is_loaded, client))
        yield client


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(3000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def _is_loaded(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).status_code == 200


def llama_vim(prefix: str, middle: str, suffix: str, **changes: Any) -> dict[str, Any]:
    """What llama.vim sends (autoload/llama.vim at a1c8e6e, `llama#fim`), key for key."""
    return {
        "id_slot": 0,
        "input_prefix": prefix,
        "input_suffix": suffix,
        "input_extra": [],
        "prompt": middle,
        "n_predict": 128,
        "stop": [],
        "n_indent": 0,
        "top_k": 40,
        "top_p": 0.90,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "response_fields": [
            "content",
            "timings/prompt_n",
            "timings/prompt_ms",
            "timings/prompt_per_token_ms",
            "timings/prompt_per_second",
            "timings/predicted_n",
            "timings/predicted_ms",
            "timings/predicted_per_token_ms",
            "timings/predicted_per_second",
            "truncated",
            "tokens_cached",
        ],
    } | changes


# Infilling.


async def test_llama_vim_gets_what_it_reads() -> None:
    engine = FakeEngine("b + c\n")
    async with hosted(engine) as client:
        body = llama_vim("def f(b, c):\n", "    return ", "\nprint(f(1, 2))\n")
        answer = await client.post("/infill", json=body)
    # The plugin looks for this before it decodes anything.
    assert '"content":"' in answer.text
    told = answer.json()
    assert list(told) == body["response_fields"]
    assert told["content"] == "b + c\n"
    assert told["truncated"] is False
    assert all(type(told[name]) in (int, float) for name in body["response_fields"][1:9])
    [asked] = engine.requests
    assert (asked.prefix, asked.suffix) == ("def f(b, c):\n    return ", "\nprint(f(1, 2))\n")
    assert told["tokens_cached"] == len(asked.prompt) + told["timings/predicted_n"]
    assert asked.sampling.max_tokens == 128
    assert asked.sampling.heal
    # Both layouts of the same text, for the engine to choose from.
    assert sorted(asked.sampling.instead) == sorted(asked.prompt) != list(asked.prompt)


async def test_llama_vim_warms_the_cache() -> None:
    engine = FakeEngine("never said")
    extra = [{"text": "import os\n", "time": [12, 34], "filename": "a.py"}]
    async with hosted(engine) as client:
        changes = {"n_predict": 0, "samplers": [], "temperature": 0.0, "response_fields": [""]}
        body = llama_vim("", "", "", input_extra=extra, t_max_predict_ms=1, **changes)
        answer = await client.post("/infill", json=body)
    assert (answer.status_code, answer.json()) == (200, {})
    assert engine.requests[0].prefix.endswith("import os\n")
    assert engine.usages[0].tokens_generated == 0


async def test_other_texts_stand_before_the_prefix_as_far_as_there_is_room() -> None:
    engine = FakeEngine("x", n_ctx=1024)
    extra = [{"text": name * 600} for name in "abc"]
    async with hosted(engine) as client:
        body = llama_vim("prefix", "", "s" * 5000, input_extra=extra, n_predict=10_000)
        answer = await client.post("/infill", json=body)
    assert answer.status_code == 200
    [asked] = engine.requests
    assert asked.prefix.endswith("c" * 100 + "prefix")
    assert "a" not in asked.prefix
    assert any("aaa" in text for text in asked.sampling.copy_from)
    assert len(asked.suffix) == 126  # A quarter of what the other half leaves.
    assert len(asked.prompt) + asked.sampling.max_tokens <= 1024


@pytest.mark.parametrize(
    ("changes", "content", "stop_type"),
    [
        pytest.param({}, "a\n  b\nc", "eos", id="the-model-ends"),
        pytest.param({"stop": ["b\n"]}, "a\n  ", "word", id="a-word"),
        pytest.param({"n_indent": 2}, "a\n  b", "limit", id="a-lesser-indent"),
        pytest.param({"n_predict": 3}, "a\n ", "limit", id="so-many-tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_where_an_infill_ends(
    changes: dict[str, Any], content: str, stop_type: str, stream: bool
) -> None:
    async with hosted(FakeEngine("a\n  b\nc", piece_chars=1)) as client:
        body = llama_vim("x", "", "y", response_fields=[], stream=stream, **changes)
        answer = await client.post("/infill", json=body)
        stops = read_metrics((await client.get("/metrics")).text)["midfill_requests_total"]
    texts = [line[5:] for line in answer.text.splitlines() if line] if stream else [answer.text]
    events = list(map(json.loads, texts))
    assert "".join(event["content"] for event in events) == content
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["stop_type"] == stop_type
    assert events[-1]["generation_settings"]["stop"] == changes.get("stop", [])
    assert [count for _, count in stops] == [1]
    assert "cancelled" not in stops[0][0].values()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        pytest.param([], "object", id="a-list"),
        pytest.param({"input_suffix": ""}, "input_prefix", id="no-prefix"),
        pytest.param({"input_prefix": ""}, "input_suffix", id="no-suffix"),
        pytest.param(llama_vim("", "", "", input_extra={}), "input_extra", id="extra-no-list"),
        pytest.param(llama_vim("", "", "", input_extra=[{}]), "text", id="extra-without-text"),
        pytest.param(llama_vim("", "", "", prompt=[1]), "prompt", id="prompt-of-tokens"),
        pytest.param(llama_vim("", "", "", stop=[1]), "stop", id="stop-of-numbers"),
        pytest.param(llama_vim("", "", "", stop=["x"] * 17), "stop", id="too-many-stops"),
        pytest.param(llama_vim("", "", "", n_indent="4"), "n_indent", id="indent-of-text"),
        pytest.param(llama_vim("", "", "", top_p=2), "top_p", id="out-of-range"),
        pytest.param(llama_vim("", "", "", response_fields="x"), "response_fields", id="fields"),
        pytest.param(llama_vim("", "", "", model="instruct"), "instruct.model", id="no-such-model"),
    ],
)
async def test_malformed_infills(body: Any, word: str) -> None:
    engine = FakeEngine()
    async with hosted(engine) as client:
        answer = await client.post("/infill", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]
    assert engine.requests == []


async def test_a_model_that_cannot_infill() -> None:
    class Plain(FakeEngine):
        async def info(self) -> ModelInfo:
            return ModelInfo(name="plain", n_ctx=100)

    async with hosted(Plain()) as client:
        answer = await client.post("/infill", json=llama_vim("", "", ""))
    assert answer.status_code == 400
    assert "plain has no infill tokens" in answer.json()["error"]["message"]


# Whom it lets in, and the small requests.


@pytest.mark.parametrize("name", ["X-Api-Key", "x-api-key"])
async def test_the_token_where_llama_server_looks_for_it_too(name: str) -> None:
    async with hosted(FakeEngine(), headers={name: TOKEN}) as client:
        assert (await client.get("/props")).status_code == 200
        wrong = await client.get("/props", headers={name: "wrong"})
        assert wrong.status_code == 401
        twice = await client.get("/props", headers=[(name, TOKEN), (name, TOKEN)])
        assert twice.status_code == 401


async def test_detokenize() -> None:
    async with hosted(FakeEngine()) as client:
        answer = await client.post("/detokenize", json={"tokens": [97, 195, 169, 257]})
        assert answer.json() == {"content": "aé"}
        wrongs: list[Any] = [{"tokens": "a"}, {"tokens": [261]}, []]
        for wrong in wrongs:
            assert (await client.post("/detokenize", json=wrong)).status_code == 400


# What it has done.


async def test_slots_and_metrics_count() -> None:
    engine = FakeEngine("answer", logprob=-0.5)
    async with hosted(engine) as client:
        assert [slot["n_prompt_tokens"] for slot in (await client.get("/slots")).json()] == [0, 0]
        for _ in range(2):
            await client.post("/completion", json={"prompt": [65] * 10, "n_predict": 4})
        slots = (await client.get("/slots")).json()
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert slots[0] == {
        "id": 0,
        "n_ctx": 16384,
        "is_processing": False,
        "n_prompt_tokens": 14,
    }
    told = {
        (name, *labels.values()): value
        for name, series in read_metrics(answer.text).items()
        for labels, value in series
    }
    assert (
        told[("llamacpp:prompt_tokens_total",)] == 11
    )  # The second evaluates its last token only.
    assert told[("llamacpp:prompt_tokens_cached_total",)] == 9
    assert told[("llamacpp:tokens_predicted_total",)] == 8
    assert told[("llamacpp:requests_processing",)] == 0
    assert told[("midfill_tokens_total", "reused")] == 9
    assert told[("midfill_requests_total", "budget")] == 2
    assert told[("midfill_model_loaded", "completion", "fake")] == 1
    assert ("midfill_latency_seconds", "decode", "0.95") in told


async def test_a_slot_that_is_busy_and_a_request_that_was_cancelled() -> None:
    engine = FakeEngine("answer" * 100, piece_delay_s=0.01)
    async with hosted(engine) as client:
        body = {"prompt": [65], "stream": True}
        asking = asyncio.create_task(client.post("/completion", json=body))

        async def is_busy() -> bool:
            busy: bool = (await client.get("/slots")).json()[0]["is_processing"]
            return busy

        async def has_ended() -> bool:
            return bool(engine.usages)

        await until(is_busy)
        running = read_metrics((await client.get("/metrics")).text)
        asking.cancel()
        await asyncio.wait((asking,))
        await until(has_ended)
        slots = (await client.get("/slots")).json()
        ended = read_metrics((await client.get("/metrics")).text)
    assert running["llamacpp:requests_processing"] == [({}, 1)]
    assert not slots[0]["is_processing"]
    assert ended["midfill_requests_total"] == [({"stop": "cancelled"}, 1)]


async def test_nothing_of_a_text_is_told() -> None:
    async with hosted(FakeEngine("SECRET")) as client:
        await client.post("/infill", json=llama_vim("SECRET", "", "SECRET"))
        for path in ("/slots", "/metrics", "/props", "/v1/models", "/health"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "SECRET" not in answer.text


# Several models.


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(None, "completes", id="none"),
        pytest.param("completion", "completes", id="completion"),
        pytest.param("instruct", "explains", id="instruct"),
        pytest.param("gpt-4", "completes", id="a-name-from-elsewhere"),
    ],
)
@pytest.mark.parametrize("where", ["body", "query"])
async def test_who_answers(name: str | None, said: str, where: str) -> None:
    body: dict[str, Any] = {"prompt": [65]}
    params = {}
    if name and where == "body":
        body["model"] = name
    elif name:
        params["model"] = name
    async with hosted(FakeEngine("completes"), FakeEngine("explains")) as client:
        answer = await client.post("/completion", json=body, params=params)
        props = (await client.get("/props", params=params)).json()
    assert answer.json()["content"] == said
    if where == "query":
        path = "instruct.gguf" if name == "instruct" else "model.gguf"
        assert props["model_path"] == path


async def test_the_other_model_is_loaded_when_it_is_wanted() -> None:
    loads: list[str] = []

    def load() -> None:
        loads.append("instruct")

    async with hosted(FakeEngine("completes"), FakeEngine("explains", load=load)) as client:
        await client.post("/completion", json={"prompt": [65]})
        assert loads == []
        told = read_metrics((await client.get("/metrics")).text)["midfill_model_loaded"]
        assert [value for _, value in told] == [1, 0]
        answer = await client.post("/completion?model=instruct", json={"prompt": [65]})
        assert answer.json()["content"] == "explains"
        assert len(loads) == 1
        assert (await client.get("/props?model=instruct")).json()["midfill"]["loaded"] is True


async def test_an_instruct_model_that_is_damaged_leaves_completion_alone() -> None:
    def refuse() -> None:
        raise ModelError("The file is damaged.")

    async with hosted(FakeEngine("completes"), FakeEngine(load=refuse)) as client:
        answer = await client.post("/completion?model=instruct", json={"prompt": [65]})
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "model_error"
        assert answer.json()["error"]["message"] == "The file is damaged."
        answer = await client.post("/completion", json={"prompt": [65]})
        assert answer.json()["content"] == "completes"


async def test_progress_of_loading() -> None:
    class Slow(FakeEngine):
        async def info(self) -> ModelInfo:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        def loading(self) -> float | None:
            return 0.5

    async with Host({"completion": resident(Slow())}, TOKEN, grace_s=3600) as host:
        transport = httpx.ASGITransport(host.app)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = "http://127.0.0.1:4711"
        async with httpx.AsyncClient(transport=transport, base_url=url, headers=headers) as client:

            async def is_half() -> bool:
                answer = await client.get("/health")
                assert answer.status_code == 503
                return bool(answer.json()["progress"] == 0.5)

            await until(is_half)


async def test_a_script_sees_the_whole_hole() -> None:
    def script(asked: Asked) -> str:
        return asked.prefix[-3:] + asked.suffix[:3]

    async with hosted(FakeEngine(script)) as client:
        answer = await client.post("/infill", json=llama_vim("a\r\nb", "c", "d\r\ne"))
    assert answer.json()["content"] == "\nbcd\ne"
