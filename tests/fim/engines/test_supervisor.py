"""Hosts are shared, held, left and replaced, with real processes.

Most hosts here run the scripted engine: it needs no llama.cpp and loads at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from midfill.engine import Engine, Piece, Sampling
from midfill.engines import lease, spawning, supervisor
from midfill.engines.rest import RESTS_S
from midfill.engines.state import (
    FOLDER_VARIABLE,
    HostFiles,
    HostState,
)
from midfill.engines.supervisor import HostEngine
from midfill.errors import EngineError, EngineGone, EngineRefused, ModelError
from midfill.settings import EngineSettings, InstructSettings
from midfill_models import embedded_model

PATIENCE_S = 60.0
SLOW = EngineSettings(model="fake:text=a%20long%20answer%20that%20goes%20on&piece_delay_s=0.2")
"""Says a piece and rests, so that there is time to kill it."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where hosts name themselves. None outlives the test."""
    yield tmp_path
    for process in hosts(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def hosts(folder: Path) -> list[psutil.Process]:
    """The host processes that were started in this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
    return found


@asynccontextmanager
async def opened(folder: Path, settings: EngineSettings, **more: Any) -> AsyncIterator[HostEngine]:
    engine = HostEngine(replace(settings, host_linger_s=0.0), folder=folder, **more)
    try:
        yield engine
    finally:
        await engine.close()


async def pieces_of(engine: Engine, max_tokens: int = 100) -> list[Piece]:
    async with aclosing(engine.generate([65], Sampling(max_tokens))) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def names_in(folder: Path) -> list[Path]:
    return list(folder.glob("host-*.json"))


def log_in(folder: Path) -> str:
    [path] = folder.glob("host-*.log")
    return path.read_text()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def state_in(folder: Path) -> HostState:
    [path] = names_in(folder)
    return HostState(**json.loads(path.read_text("utf-8")))


def kill(pid: int) -> None:
    psutil.Process(pid).kill()


# Sharing.


async def test_starts_a_host_and_leaves_none(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        assert (await engine.info()).name == "fake"
        assert await engine.tokenize("ab") == [97, 98]
        assert text_of(await pieces_of(engine)) == "hello"
        assert len(hosts(folder)) == 1
    await until(lambda: not hosts(folder))
    assert names_in(folder) == []


async def test_joins_the_host_that_runs(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=hello")
    async with opened(folder, settings) as first, opened(folder, settings) as second:
        await first.info()
        pid = state_in(folder).pid
        await second.info()
        assert [process.pid for process in hosts(folder)] == [pid]
        await first.close()
        assert text_of(await pieces_of(second)) == "hello"
        assert state_in(folder).pid == pid
    await until(lambda: not hosts(folder))


async def test_ten_at_once_start_one_host(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=hello")
    async with contextlib.AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(opened(folder, settings)) for _ in range(10)]
        answers = await asyncio.gather(*(pieces_of(engine) for engine in engines))
        assert {text_of(pieces) for pieces in answers} == {"hello"}
        assert len(hosts(folder)) == 1


CLIENT = """
import asyncio, sys, time
from pathlib import Path
from midfill.engine import Sampling
from midfill.engines.supervisor import HostEngine
from midfill.settings import EngineSettings

async def main():
    engine = HostEngine(EngineSettings(model="fake:text=hello", host_linger_s=0), folder=Path(sys.argv[1]))
    await engine.info()
    print(engine._lease.state.pid, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await engine.close()

asyncio.run(main())
"""


def client(folder: Path) -> subprocess.Popen[str]:
    """A process that joins or starts a host, prints its id, and lets go when told."""
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def pid_told_by(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize("round_idx", range(2))
async def test_processes_at_once_start_one_host(folder: Path, round_idx: int) -> None:
    # `bench.races` does so a hundred times.
    clients = [client(folder) for _ in range(10 if round_idx else 4)]
    with contextlib.ExitStack() as stack:
        for process in clients:
            stack.enter_context(process)
            stack.callback(process.kill)
        pids = [await asyncio.to_thread(pid_told_by, process) for process in clients]
        assert len(set(pids)) == 1
        assert [process.pid for process in hosts(folder)] == pids[:1]


async def test_one_host_for_both_roles(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=completes")
    instruct = InstructSettings("fake:text=explains")
    async with (
        opened(folder, settings, instruct=instruct) as completes,
        opened(folder, settings, instruct=instruct, role="instruct") as explains,
        opened(folder, settings) as alone,
        opened(folder, settings, role="instruct") as nothing,
    ):
        assert text_of(await pieces_of(completes)) == "completes"
        assert text_of(await pieces_of(explains)) == "explains"
        assert await explains.detokenize([97, 98]) == "ab"
        assert len(hosts(folder)) == 1
        assert text_of(await pieces_of(alone)) == "completes"
        assert len(hosts(folder)) == 2, "another host for those without the other model"
        with pytest.raises(EngineRefused, match=r"instruct\.model"):
            await nothing.info()


async def test_an_instruct_model_that_is_missing_leaves_completion_alone(folder: Path) -> None:
    settings, instruct = EngineSettings(model="fake:text=x"), InstructSettings("/missing.gguf")
    async with (
        opened(folder, settings, instruct=instruct) as completes,
        opened(folder, settings, instruct=instruct, role="instruct") as explains,
    ):
        assert text_of(await pieces_of(completes)) == "x"
        with pytest.raises(ModelError, match=r"missing\.gguf"):
            await explains.info()
        assert text_of(await pieces_of(completes)) == "x"


async def test_a_client_that_is_killed_frees_the_host(folder: Path) -> None:
    with client(folder) as process:
        pid = await asyncio.to_thread(pid_told_by, process)
        assert psutil.pid_exists(pid)
        process.kill()
    await until(lambda: not hosts(folder))


@pytest.mark.parametrize("linger_s", [1e9, -1.0])
async def test_any_linger(folder: Path, linger_s: float) -> None:
    engine = HostEngine(EngineSettings(model="fake:", host_linger_s=linger_s), folder=folder)
    assert (await engine.info()).name == "fake"
    assert len(hosts(folder)) == 1
    await engine.close()


async def test_a_folder_named_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv(FOLDER_VARIABLE, folder.name)
    engine = HostEngine(EngineSettings(model="fake:", host_linger_s=0))
    assert (await engine.info()).name == "fake"
    assert len(hosts(folder)) == 1
    await engine.close()


async def test_different_models_and_settings_do_not_share(folder: Path) -> None:
    one = EngineSettings(model="fake:text=one")
    async with opened(folder, one) as first, opened(folder, replace(one, n_ctx=99)) as second:
        await asyncio.gather(first.info(), second.info())
        assert len(hosts(folder)) == 2


@pytest.mark.parametrize("name", ["missing.gguf", "."])
async def test_no_model_file(folder: Path, name: str) -> None:
    path = str(folder / name)
    async with opened(folder, EngineSettings(model=path)) as engine:
        with pytest.raises(ModelError):
            await engine.info()
    assert hosts(folder) == []


async def test_a_caller_that_gives_up_does_not_stop_the_start(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        impatient = asyncio.create_task(engine.info())
        patient = asyncio.create_task(pieces_of(engine))
        await asyncio.sleep(0.05)
        impatient.cancel()
        assert text_of(await patient) == "hello"
        assert impatient.cancelled()
        assert len(hosts(folder)) == 1


async def test_closed_while_starting(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:")) as engine:
        task = asyncio.create_task(engine.info())
        await until(lambda: hosts(folder))
    with pytest.raises(EngineGone):
        await task
    await until(lambda: not hosts(folder))
    with pytest.raises(EngineGone):
        await engine.info()


async def test_close_ends_what_runs(folder: Path) -> None:
    async with opened(folder, SLOW) as engine:
        pieces = engine.generate([65], Sampling(100))
        assert (await anext(pieces)).text == "a l"
        await engine.close()
        rest = [piece async for piece in pieces]
    assert rest[-1].usage.stop_reason == "cancelled"


# The state file.


async def test_the_host_keeps_its_secrets(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        await pieces_of(engine)
        state = state_in(folder)
        [process] = hosts(folder)
        assert state.token not in " ".join(process.cmdline())
        assert state.token not in str(process.environ())
        assert process.environ()["OMP_WAIT_POLICY"] == "passive"
        assert process.environ()["GGML_NO_BACKTRACE"] == "1"
        if os.name == "posix":
            assert [mode_of(path) for path in (*names_in(folder), folder)] == [0o600, 0o700]
    await until(lambda: not hosts(folder))
    assert log_in(folder) == ""


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


async def test_a_host_that_died_is_replaced(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=hello")
    files = HostFiles.of(settings.model, settings, folder)
    files.write(HostState(dead_pid(), 1, "token", "", files.key))
    async with opened(folder, settings) as engine:
        assert text_of(await pieces_of(engine)) == "hello"
        assert state_in(folder).port != 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-other\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"proof": "%064d"}\n' % 0, id="an impostor"),
        pytest.param(None, id="silence"),
    ],
)
async def test_another_program_at_the_port(
    folder: Path, answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            heard.extend(await reader.read())  # Until the client gives up.
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    settings = EngineSettings(model="fake:text=hello")
    files = HostFiles.of(settings.model, settings, folder)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    files.write(HostState(os.getpid(), port, "the-token", "", files.key))
    if answer is None:
        monkeypatch.setattr(lease, "_ANSWER_S", 2.0)
    async with opened(folder, settings) as engine:
        assert text_of(await pieces_of(engine)) == "hello"
        assert state_in(folder).port != port
    server.close()
    await server.wait_closed()
    assert heard.startswith(b"GET /proof")
    assert b"the-token" not in heard


async def test_a_host_with_another_token_is_left_alone(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=hello")
    async with opened(folder, settings) as first, opened(folder, settings) as second:
        await first.info()
        old = state_in(folder)
        HostFiles.of(settings.model, settings, folder).write(replace(old, token="wrong"))
        assert text_of(await pieces_of(second)) == "hello"
        assert state_in(folder).pid != old.pid
        assert text_of(await pieces_of(first)) == "hello"


# Death and restart.


async def test_killed_in_the_middle(folder: Path) -> None:
    async with opened(folder, SLOW) as engine:
        pieces = engine.generate([65], Sampling(100))
        assert (await anext(pieces)).text == "a l"
        old = state_in(folder)
        kill(old.pid)
        with pytest.raises(EngineGone, match=r"\.log"):
            async for _ in pieces:
                pass
        assert text_of(await pieces_of(engine, 3)) == "a l"
        assert state_in(folder).pid != old.pid
        await until(lambda: len(hosts(folder)) == 1)


async def test_killed_while_idle(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        for _ in range(2):
            assert text_of(await pieces_of(engine)) == "hello"
            kill(state_in(folder).pid)
            await asyncio.sleep(0.2)
        assert await engine.tokenize("a") == [97]


async def test_terminated_goes_in_good_order(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        await engine.info()
        psutil.Process(state_in(folder).pid).send_signal(signal.SIGTERM)
        await until(lambda: not hosts(folder))
        if os.name == "posix":
            assert names_in(folder) == []
        assert text_of(await pieces_of(engine)) == "hello"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One entry for each process that is started."""
    started: list[float] = []
    spawn = spawning.spawn

    def counted(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(time.monotonic())
        return spawn(*arguments)

    monkeypatch.setattr(supervisor, "spawn", counted)
    return started


async def test_a_model_that_ends_the_process(folder: Path, starts: list[float]) -> None:
    now = [1000.0]
    settings = EngineSettings(model="fake:load=crash")
    async with opened(folder, settings, clock=lambda: now[0]) as engine:
        for n_starts in (1, 2):
            with pytest.raises(ModelError, match=r"damaged or hostile.*\.log"):
                await pieces_of(engine)
            assert len(starts) == n_starts
        with pytest.raises(ModelError, match=r"damaged or hostile.*\.log"):
            await pieces_of(engine)  # It says the same, without another try.
        assert len(starts) == 2


async def test_rests_longer_from_crash_to_crash(folder: Path, starts: list[float]) -> None:
    now = [1000.0]
    async with opened(folder, SLOW, clock=lambda: now[0]) as engine:
        for crashes, rest_s in enumerate((*RESTS_S, 300.0), 1):
            await crash(engine, folder)
            now[0] += rest_s - 0.5
            if rest_s:
                sentence = "5 times in a row" if crashes == 5 else "is started again in 0 s"
                with pytest.raises(EngineError, match=rf"{sentence}.*\.log") as caught:
                    await pieces_of(engine)
                assert isinstance(caught.value, EngineGone) == (crashes < 5)
            assert len(starts) == crashes
            now[0] += 0.5
        assert text_of(await pieces_of(engine, 3)) == "a l"
        # It has answered, so the next crash counts as the first.
        await crash(engine, folder)
        assert text_of(await pieces_of(engine, 3)) == "a l"


async def crash(engine: Engine, folder: Path) -> None:
    """Kill the host in the middle of a generation."""
    pieces = engine.generate([65], Sampling(100))
    await anext(pieces)
    kill(state_in(folder).pid)
    with pytest.raises(EngineGone):
        async for _ in pieces:
            pass


async def test_a_host_of_another_ends_the_rest(folder: Path) -> None:
    async with opened(folder, SLOW, clock=lambda: 0.0) as resting, opened(folder, SLOW) as other:
        for _ in range(2):
            await crash(resting, folder)
        with pytest.raises(EngineGone, match="started again in 1 s"):
            await pieces_of(resting)
        await other.info()
        assert text_of(await pieces_of(resting, 3)) == "a l"


async def test_a_model_that_is_refused(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:load=refuse")) as engine:
        with pytest.raises(ModelError, match="refuses to load, as it was told to"):
            await engine.info()
        await until(lambda: not hosts(folder))


async def test_all_who_wait_hear_why_a_model_is_refused(folder: Path) -> None:
    settings = EngineSettings(model="fake:load=refuse&load_s=0.3")
    async with opened(folder, settings) as engine:
        heard = await asyncio.gather(*(engine.info() for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in heard} == {ModelError}
        assert all("refuses to load" in str(error) for error in heard), heard


async def test_a_host_that_cannot_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(folder / "no-python"))
    async with opened(folder, EngineSettings(model="fake:")) as engine:
        with pytest.raises(EngineError, match=r"cannot be started.*\.log"):
            await engine.info()


async def test_a_host_that_fails_at_once(folder: Path) -> None:
    async with opened(folder, EngineSettings(model="fake:unknown=1")) as engine:
        with pytest.raises(ModelError, match="no option 'unknown'"):
            await engine.info()


# With llama.cpp.


@pytest.mark.model
async def test_a_real_model_in_a_host(folder: Path) -> None:
    settings = EngineSettings(n_ctx=512, n_slots=1)
    async with opened(folder, settings) as engine:
        model = await engine.info()
        prompt = [model.bos_id or 0, *await engine.tokenize("def add(a, b):\n    return")]
        sampling = Sampling(8)
        async with aclosing(engine.generate(prompt, sampling)) as pieces:
            far = [piece async for piece in pieces]
    llama = pytest.importorskip("midfill.engines.llama", exc_type=ImportError)
    near_engine: Engine = llama.LlamaEngine(embedded_model(), settings)
    try:
        assert await near_engine.info() == model
        async with aclosing(near_engine.generate(prompt, sampling)) as pieces:
            near = [piece async for piece in pieces]
    finally:
        await near_engine.close()
    assert text_of(far) == text_of(near) != ""
    await until(lambda: not hosts(folder))


@pytest.mark.model
async def test_a_damaged_file_and_the_same_mended(folder: Path, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("models") / "broken.gguf"
    sound = embedded_model().read_bytes()
    path.write_bytes(sound[: len(sound) // 2])
    async with opened(folder, EngineSettings(model=str(path), n_ctx=512)) as engine:
        with pytest.raises(ModelError, match=r"broken\.gguf"):
            await engine.info()
        path.write_bytes(sound)
        assert (await engine.info()).n_vocab > 0
    await until(lambda: not hosts(folder))


async def test_cancelled_requests_leave_no_connection(folder: Path) -> None:
    settings = EngineSettings(model="fake:text=abcdefgh&piece_delay_s=0.003")
    rng = random.Random(1)
    async with opened(folder, settings) as engine:
        await engine.info()

        async def ask(n: int) -> None:
            await engine.tokenize(f"text {n}")
            await pieces_of(engine)

        n_before = len(psutil.Process().net_connections())
        for n in range(60):
            asking = asyncio.ensure_future(ask(n))
            await asyncio.sleep(rng.random() * 0.02)
            asking.cancel()
            await asyncio.wait({asking})
        # One is kept for the next request. httpcore alone left some 10 of 60 open (measured).
        assert len(psutil.Process().net_connections()) <= n_before + 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is left alone")
async def test_a_host_that_hangs_is_ended_and_another_takes_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the rest between two signs of life.
    monkeypatch.setattr(lease, "_SILENCE_S", 6.0)
    async with opened(folder, EngineSettings(model="fake:text=hello")) as engine:
        await engine.info()
        hung = psutil.Process(state_in(folder).pid)
        hung.send_signal(signal.SIGSTOP)
        await until(lambda: hung.status() == psutil.STATUS_ZOMBIE if hung.is_running() else True)
        assert text_of(await pieces_of(engine)) == "hello"
        assert state_in(folder).pid != hung.pid
