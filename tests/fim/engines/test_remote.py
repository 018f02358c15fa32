"""One client drives our host and a `llama-server`, and says clearly what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest

from midfill.chat import Message, chat_prompt
from midfill.chat_formats import turn_end_ids
from midfill.engine import Engine, Piece, Sampling
from midfill.engines import dialect
from midfill.engines.access import Access
from midfill.engines.fake import BOS, EOT, FakeEngine
from midfill.engines.host import run_host
from midfill.engines.remote import RemoteEngine
from midfill.engines.state import HostState
from midfill.errors import EngineBusy, EngineGone, EngineRefused, MidfillError, ModelError
from midfill.formats import format_of
from midfill.settings import EngineSettings
from midfill_models import embedded_model

PATIENCE_S = 60.0
TOKEN = "test-token"


@asynccontextmanager
async def hosted(engine: Engine, *, token: str = TOKEN) -> AsyncIterator[RemoteEngine]:
    """A client of a host that this process runs around `engine`."""
    ready: asyncio.Future[HostState] = asyncio.get_running_loop().create_future()

    async def opened() -> Engine:
        return engine

    task = asyncio.create_task(
        run_host(
            "fake:",
            EngineSettings(),
            token=TOKEN,
            listening=ready.set_result,
            open_engine=opened,
        )
    )
    remote = RemoteEngine((await ready).url, Access(token))
    try:
        yield remote
    finally:
        await remote.close()
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def canned(answer: Callable[[str, Any], bytes]) -> AsyncIterator[RemoteEngine]:
    """A client of a server that answers each request with bytes, then closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [line[15:] for line in head.lower().split("\r\n") if "content-length" in line]
        body = await reader.readexactly(int(length[0])) if length else b"null"
        writer.write(answer(head.split()[1], json.loads(body)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    remote = RemoteEngine(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield remote
    finally:
        await remote.close()
        server.close()
        await server.wait_closed()


def http(body: object, status: str = "200 OK", *, media: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\n\r\n".encode() + data


def sse(*events: object) -> bytes:
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return http("".join(lines).encode(), media="text/event-stream")


def like_llama_server(
    completion: bytes, known: Mapping[str, int] | None = None, chat_template: str = ""
) -> Callable[[str, Any], bytes]:
    """Answers as a `llama-server` with Code Llama's control tokens would, or those of `known`, and `completion`."""
    known = known or {"▁<PRE>": 7, "▁<SUF>": 8, "▁<MID>": 9, "<EOT>": 10, "</s>": 2}
    props = {
        "default_generation_settings": {"n_ctx": 2048},
        "model_path": "/models/some-model.gguf",
        "eos_token": "</s>",
        "chat_template": chat_template,
    }
    fixed = {
        "/health": http({"status": "ok"}),
        "/props": http(props),
        "/v1/models": http({"data": [{"meta": {"n_vocab": 32016}}]}),
        "/completion": completion,
    }

    def answer(path: str, body: Any) -> bytes:
        if path in fixed:
            return fixed[path]
        text = body["content"]
        if body.get("add_special"):
            return http({"tokens": [1]})
        if body.get("with_pieces"):
            pieces = [(known[text], text)] if text in known else enumerate(text)
            return http({"tokens": [{"id": token, "piece": piece} for token, piece in pieces]})
        return http({"tokens": [ord(character) for character in text]})

    return answer


async def pieces_of(engine: Engine, prompt: Sequence[int] = (65,), **sampling: Any) -> list[Piece]:
    sampling = {"max_tokens": 100} | sampling
    async with aclosing(engine.generate(prompt, Sampling(**sampling))) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


# Our own host.


async def test_the_same_as_the_engine_itself() -> None:
    behind = FakeEngine("def é𝄞\u2028\x85:\n", piece_chars=2, logprob=-0.25)
    async with hosted(behind) as remote:
        assert isinstance(remote, Engine)
        assert await remote.info() == await behind.info()
        assert await remote.tokenize("aé \ud800") == await behind.tokenize("aé \ud800")
        far = await pieces_of(remote, [BOS, 65, 66])
    near = await pieces_of(
        FakeEngine("def é𝄞\u2028\x85:\n", piece_chars=2, logprob=-0.25), [BOS, 65, 66]
    )
    assert [(p.text, p.token_ids, p.logprobs) for p in far] == [
        (p.text, p.token_ids, p.logprobs) for p in near
    ]
    assert [piece.usage for piece in far][-1] == behind.usages[-1]


async def test_passes_the_sampling_on() -> None:
    behind = FakeEngine("x")
    sampling = Sampling(
        7,
        temperature=0.5,
        top_k=3,
        top_p=0.5,
        seed=11,
        stop_ids=(EOT, 10),
        copy=False,
        copy_from=("above\n", "below\n"),
    )
    async with hosted(behind) as remote, aclosing(remote.generate([65], sampling)) as pieces:
        async for _ in pieces:
            pass
    assert behind.requests[0].sampling == sampling


async def test_closing_the_generator_stops_the_engine() -> None:
    behind = FakeEngine("a long answer" * 100, piece_delay_s=0.02)
    async with hosted(behind) as remote:
        pieces = remote.generate([65], Sampling(1000))
        await anext(pieces)
        await pieces.aclose()
        await until(lambda: behind.usages)
        assert behind.usages[0].stop_reason == "cancelled"
        assert text_of(await pieces_of(remote, max_tokens=3)) == "a l"


async def test_cancelling_the_reader_stops_a_prefill() -> None:
    behind = FakeEngine("answer", batch_delay_s=0.02)
    prompt = [65] * 10_000
    async with hosted(behind) as remote:
        await remote.info()
        task = asyncio.create_task(pieces_of(remote, prompt))
        await until(lambda: behind.requests)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        await until(lambda: behind.usages)
    assert behind.usages[0].stop_reason == "cancelled"
    assert behind.usages[0].tokens_evaluated < len(prompt)


@pytest.mark.parametrize(("piece_delay_s", "batch_delay_s"), [(0.1, 0), (0, 0.1)])
async def test_close_ends_what_runs(piece_delay_s: float, batch_delay_s: float) -> None:
    behind = FakeEngine("answer" * 99, piece_delay_s=piece_delay_s, batch_delay_s=batch_delay_s)
    async with hosted(behind) as remote:
        await remote.info()
        task = asyncio.create_task(pieces_of(remote, [65] * 9000, max_tokens=999))
        await until(lambda: behind.requests)
        await asyncio.sleep(0.25)
        await remote.close()
        pieces = await soon(task)
        assert pieces[-1].usage.stop_reason == "cancelled"
        await until(lambda: behind.usages)
        with pytest.raises(EngineGone):
            await remote.tokenize("x")


async def test_another_model_at_the_same_address() -> None:
    model = dialect.write_model(await FakeEngine().info())
    servers = [like_llama_server(b"")]

    def answer(path: str, body: Any) -> bytes:
        return servers[-1](path, body)

    async with canned(answer) as remote:
        assert (await remote.info()).name == "some-model"
        assert await remote.tokenize("a") == [97]
        with pytest.raises(EngineGone):
            await pieces_of(remote)
        servers.append(lambda path, body: http({"midfill": model, "tokens": [1, 2, 3]}))
        assert (await remote.info()).name == "fake"
        assert await remote.tokenize("a") == [1, 2, 3]


async def test_many_at_once() -> None:
    async with hosted(FakeEngine(lambda asked: asked.prefix * 2, piece_delay_s=0.001)) as remote:
        answers = await asyncio.gather(
            *(pieces_of(remote, list(f"text {number}".encode())) for number in range(20))
        )
    assert [text_of(pieces) for pieces in answers] == [f"text {n}" * 2 for n in range(20)]


async def test_one_connection_after_another_is_not_opened() -> None:
    connections = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async with hosted(FakeEngine("an answer")) as behind:
        there = httpx.URL(behind.url)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            far_reader, far_writer = await asyncio.open_connection(there.host, there.port)
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        remote = RemoteEngine(
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Access(TOKEN)
        )
        # The host answers to its own address only.
        remote._http.client.headers["Host"] = f"127.0.0.1:{there.port}"
        for number in range(5):
            await remote.tokenize(f"text {number}")
            async with aclosing(remote.generate([65], Sampling(20))) as pieces:
                async for piece in pieces:
                    if piece.usage.stop_reason:
                        break  # As a reader does that knows that it was the last.
        await remote.close()
        server.close()
        await server.wait_closed()
    assert connections < 5  # One, unless this machine rests for long between two requests.


async def test_waits_for_the_model() -> None:
    loaded = asyncio.Event()

    class Slow(FakeEngine):
        async def info(self) -> Any:
            await loaded.wait()
            return await super().info()

        def loading(self) -> float | None:
            return 0.5

    async with hosted(Slow("x")) as remote:
        assert remote.loading() is None
        task = asyncio.create_task(pieces_of(remote))
        while remote.loading() is None:  # noqa: ASYNC110  It is asked, it does not tell.
            await asyncio.sleep(0.01)
        assert remote.loading() == 0.5
        assert not task.done()
        loaded.set()
        assert text_of(await soon(task)) == "x"
        assert remote.loading() is None


async def test_the_text_of_tokens() -> None:
    async with hosted(FakeEngine()) as remote:
        assert await remote.detokenize([97, 195, 169]) == "aé"
        with pytest.raises(EngineRefused, match="tokens"):
            await remote.detokenize([999])


async def test_tells_why_the_model_is_of_no_use() -> None:
    async with hosted(FakeEngine.at("fake:load=refuse")) as remote:
        with pytest.raises(ModelError, match="refuses to load, as it was told to"):
            await remote.info()


async def test_a_wrong_token() -> None:
    async with hosted(FakeEngine(), token="another") as remote:
        with pytest.raises(EngineRefused, match="token"):
            await remote.info()


async def test_a_prompt_that_does_not_fit() -> None:
    async with hosted(FakeEngine(n_ctx=16)) as remote:
        with pytest.raises(EngineRefused, match="17 tokens"):
            await pieces_of(remote, [65] * 17)


async def test_an_engine_that_fails_in_the_middle() -> None:
    class Failing(FakeEngine):
        async def generate(self, prompt: Any, sampling: Any) -> Any:
            yield (await anext(super().generate(prompt, sampling)))
            raise ModelError("The weights are gone.")

    async with hosted(Failing("answer")) as remote:
        pieces = remote.generate([65], Sampling(10))
        assert (await anext(pieces)).text == "ans"
        with pytest.raises(MidfillError, match=r"The weights are gone\."):
            await anext(pieces)


async def test_tokens_are_asked_for_once() -> None:
    class Counting(FakeEngine):
        asked = 0

        async def tokenize(self, text: str) -> list[int]:
            self.asked += 1
            return await super().tokenize(text)

    behind = Counting()
    async with hosted(behind) as remote:
        first = await remote.tokenize("some text")
        first.append(0)
        assert await remote.tokenize("some text") == list(b"some text")
        assert behind.asked == 1
        for number in range(70):  # More text than is remembered.
            await remote.tokenize(f"{number}" + "x" * 20_000)
        await remote.tokenize("some text")
        assert behind.asked == 72


async def test_no_proxy_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with hosted(FakeEngine("x")) as remote:
        assert text_of(await pieces_of(remote)) == "x"


# What is no host.


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "x"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(EngineRefused, match="no address"):
        RemoteEngine(url)


async def test_nothing_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound, and nobody listens.
        remote = RemoteEngine(f"http://127.0.0.1:{taken.getsockname()[1]}")
        for ask in (remote.info(), remote.tokenize("x"), pieces_of(remote)):
            with pytest.raises(EngineGone, match="Nothing answers"):
                await ask
        await remote.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"", EngineGone, id="closes at once"),
        pytest.param(b"garbage\r\n\r\n", EngineGone, id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", EngineGone, id="cut"),
        pytest.param(http(b"<html>"), EngineRefused, id="a web page"),
        pytest.param(http([]), EngineRefused, id="a list"),
        pytest.param(http(b"[" * 100_000), EngineRefused, id="deep"),
        pytest.param(http(b"[" * 100_000, "500 Oops"), EngineRefused, id="500, deep"),
        pytest.param(http({}), EngineRefused, id="an empty object"),
        pytest.param(http({"midfill": 5}), EngineRefused, id="strange fields"),
        pytest.param(http({"midfill": {}}), EngineRefused, id="missing fields"),
        pytest.param(http({}, "404 Not Found"), EngineRefused, id="404"),
        pytest.param(http(b"oops", "500 Oops"), EngineRefused, id="500"),
        pytest.param(http({"error": "x"}, "503 Busy"), EngineBusy, id="503 of another kind"),
    ],
)
async def test_something_else_there(answer: bytes, error: type[MidfillError]) -> None:
    async with canned(lambda path, body: answer) as remote:
        with pytest.raises(error) as caught:
            await soon(remote.info())
    assert remote.url in str(caught.value)


# What is like a llama-server.


async def test_learns_of_the_model_by_asking() -> None:
    async with canned(like_llama_server(b"")) as remote:
        model = await remote.info()
        assert await remote.tokenize("ab") == [97, 98]
    assert model.name == "some-model"
    assert (model.n_ctx, model.n_vocab, model.bos_id, model.end_ids) == (2048, 32016, 1, (2,))
    assert dict(model.control_ids) == {"▁<PRE>": 7, "▁<SUF>": 8, "▁<MID>": 9, "▁<EOT>": 10}


def piece_event(text: str, token: int, n: int) -> dialect.Json:
    return {
        "content": text,
        "tokens": [token],
        "stop": False,
        "tokens_predicted": n,
        "timings": {
            "cache_n": 4,
            "prompt_n": 2,
            "prompt_ms": 3.5,
            "predicted_n": n,
            "predicted_ms": 0.5,
        },
        "completion_probabilities": [{"id": token, "logprob": -0.5, "top_logprobs": []}],
    }


def last_event(stop_type: str, **more: object) -> dialect.Json:
    return {"content": "", "tokens": [], "stop": True, "stop_type": stop_type, **more}


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        pytest.param(last_event("eos"), "eot", id="eos"),
        pytest.param(last_event("word"), "eot", id="word"),
        pytest.param(last_event("limit"), "budget", id="limit"),
        pytest.param(last_event("limit", truncated=True), "context", id="context"),
        pytest.param(last_event("none"), "cancelled", id="none"),
    ],
)
async def test_reads_a_stream(last: dialect.Json, reason: str) -> None:
    stream = sse(piece_event("a\u2028b", 5, 1), piece_event("é", 6, 2), last)
    async with canned(like_llama_server(stream)) as remote:
        pieces = await pieces_of(remote)
    assert [piece.text for piece in pieces] == ["a\u2028b", "é", ""]
    assert [piece.token_ids for piece in pieces] == [(5,), (6,), ()]
    assert [piece.logprobs for piece in pieces] == [(-0.5,), (-0.5,), ()]
    usage = pieces[1].usage
    assert (usage.tokens_reused, usage.tokens_evaluated, usage.tokens_generated) == (4, 2, 2)
    assert (usage.prefill_ms, usage.decode_ms) == (3.5, 0.5)
    assert pieces[-1].usage.stop_reason == reason


async def test_stops_where_the_server_would_not() -> None:
    stream = sse(*(piece_event(text, number, number) for number, text in enumerate("ab<c", 1)))
    async with canned(like_llama_server(stream)) as remote:
        pieces = await pieces_of(remote, stop_ids=(3,))
    assert text_of(pieces) == "ab"
    assert pieces[-1].token_ids == ()
    assert pieces[-1].usage.stop_reason == "eot"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        pytest.param(sse(piece_event("a", 1, 1)), EngineGone, id="ends too early"),
        pytest.param(sse(), EngineGone, id="is empty"),
        pytest.param(sse(piece_event("a", 1, 1))[:-9], EngineGone, id="ends in an event"),
        pytest.param(sse({"error": {"message": "No room."}}), EngineRefused, id="tells an error"),
        pytest.param(sse({"tokens": 5}), EngineRefused, id="strange"),
        pytest.param(sse([1]), EngineRefused, id="a list"),
        pytest.param(
            http(b"data: " + b"[" * 100_000 + b"\n\n", media="text/event-stream"),
            EngineRefused,
            id="deep",
        ),
        pytest.param(http(b"data: {]\n", media="text/event-stream"), EngineRefused, id="garbage"),
        pytest.param(http({"error": {"message": "No."}}, "400 Bad"), EngineRefused, id="400"),
    ],
)
async def test_a_stream_that_breaks(stream: bytes, error: type[MidfillError]) -> None:
    async with canned(like_llama_server(stream)) as remote:
        with pytest.raises(error):
            await soon(pieces_of(remote))


# A real llama-server.


@pytest.fixture(scope="module")
def llama_server() -> Iterator[str]:
    """The address of a real `llama-server` with the embedded model."""
    binary = os.environ.get("MIDFILL_LLAMA_SERVER") or shutil.which("llama-server")
    if not binary:
        pytest.skip(
            "THE CLIENT IS NOT CHECKED AGAINST A REAL llama-server: put one on PATH, or name it in "
            "MIDFILL_LLAMA_SERVER."
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--port {port} -np 1 -t 1 --no-webui".split()
    process = subprocess.Popen(
        [binary, *options, "-m", str(embedded_model())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@asynccontextmanager
async def real(url: str) -> AsyncIterator[RemoteEngine]:
    remote = RemoteEngine(url)
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            await remote.info()
            break
        except EngineGone:
            await asyncio.sleep(0.1)
    yield remote
    await remote.close()


async def infill_prompt(engine: Engine, layout: Any = "psm") -> list[int]:
    form = format_of(await engine.info())
    parts = {
        "PREFIX": await form.encode("PREFIX", "def add(a, b):\n    return", engine.tokenize),
        "SUFFIX": await form.encode("SUFFIX", "\n\nprint(add(1, 2))\n", engine.tokenize),
    }
    return form.lay_out(layout, parts)


@pytest.mark.model
async def test_real_server_is_understood(llama_server: str) -> None:
    async with real(llama_server) as remote:
        model = await remote.info()
        assert set(model.control_ids) >= {"▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"}
        assert model.bos_id is not None
        assert model.n_vocab > max(model.control_ids.values())
        prompt = await infill_prompt(remote)
        pieces = await pieces_of(remote, prompt, max_tokens=8)
        assert pieces[-1].usage.stop_reason in ("budget", "eot")
        assert pieces[-1].usage.tokens_reused + pieces[-1].usage.tokens_evaluated == len(prompt)
        again = await pieces_of(remote, prompt, max_tokens=8)
        assert text_of(again) == text_of(pieces)
        assert again[-1].usage.tokens_reused == len(prompt) - 1
        with pytest.raises(EngineRefused):
            await pieces_of(remote, prompt * 100)


@pytest.mark.model
async def test_real_server_is_stopped_by_its_tokens(llama_server: str) -> None:
    async with real(llama_server) as remote:
        prompt = await infill_prompt(remote)
        free = await pieces_of(remote, prompt, max_tokens=8)
        third = free[2].token_ids[0]
        first = next(idx for idx, piece in enumerate(free) if third in piece.token_ids)
        stopped = await pieces_of(remote, prompt, max_tokens=8, stop_ids=(third,))
        assert text_of(stopped) == text_of(free[:first])
        assert stopped[-1].usage.stop_reason == "eot"


@pytest.mark.model
async def test_real_server_is_cancelled(llama_server: str) -> None:
    async with real(llama_server) as remote:
        prompt = await infill_prompt(remote)
        pieces = remote.generate(prompt, Sampling(900))
        await anext(pieces)
        await pieces.aclose()
        # One slot: the next request is answered only once the one before has ended.
        after = await soon(pieces_of(remote, prompt, max_tokens=4))
        assert after[-1].usage.tokens_generated == 4


@pytest.mark.model
async def test_real_server_and_our_host_agree(llama_server: str) -> None:
    llama = pytest.importorskip("midfill.engines.llama", exc_type=ImportError)
    engine: Engine = llama.LlamaEngine(embedded_model(), EngineSettings(n_ctx=1024, n_slots=1))
    async with real(llama_server) as theirs, hosted(engine) as ours:
        model = await ours.info()
        assert model.control_ids == (await theirs.info()).control_ids
        assert model.bos_id == (await theirs.info()).bos_id
        for text in ("def f(x):\n\treturn x", " leading", "é☺\r\n", "x <PRE> y", ""):
            assert await ours.tokenize(text) == await theirs.tokenize(text)
        prompt = await infill_prompt(ours, "spm")
        stops = format_of(model).end_ids
        mine = await pieces_of(ours, prompt, max_tokens=24, stop_ids=stops)
        its = await pieces_of(theirs, prompt, max_tokens=24, stop_ids=stops)
        assert text_of(mine) == text_of(its)
        assert mine[-1].usage.stop_reason == its[-1].usage.stop_reason


async def test_a_llama_servers_template_writes_control_tokens() -> None:
    """Its own are asked for by what the template spells; what a user spells stays text."""
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}<|im_start|>assistant\n"
    )
    known = {"<|im_start|>": 11, "<|im_end|>": 12}
    answer = like_llama_server(b"", known=known, chat_template=template)
    async with canned(answer) as remote:
        model = await remote.info()
        prompt = await chat_prompt(model, [Message("user", "<|im_end|>")], remote.tokenize)
    assert prompt[:2] == (1, 11)
    assert [token for token in prompt if token in (11, 12)] == [11, 12, 11]
    assert turn_end_ids(model) == (12,)
