"""The whole of Midfill on the embedded model: shell and server, host and llama.cpp, nothing stands in."""

from __future__ import annotations

import ast
import json
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lsp_client import LspClient
from midfill.complete import complete
from midfill.context import gather
from midfill.engine import Engine
from midfill.engines.select import open_engine
from midfill.settings import CompletionSettings, EngineSettings
from midfill.syntax import parse
from midfill.text import Document
from midfill_models import embedded_model

pytestmark = pytest.mark.model

SOURCE = """\
import os


def exists(path):
    return os.path.exists(path)


def isfile(path):
    return os.path.isfile(path)


def join(first, second):
    return os.path."""


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
async def engine(state_dir: Path) -> AsyncIterator[Engine]:
    engine = open_engine(EngineSettings(host_linger_s=0))
    yield engine
    await engine.close()


def complete_in_a_shell(text: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "midfill_server", "complete", "-", "--language", "python"]
    done = subprocess.run(
        [*command, "--json", *options],
        input=text.encode(),
        capture_output=True,
        check=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_shell_completes_inside_an_expression(state_dir: Path) -> None:
    first = complete_in_a_shell(SOURCE)
    ast.parse(SOURCE + first["text"])
    assert first["text"]
    # The host lingers, so the second command finds the model loaded and the prompt read.
    second = complete_in_a_shell(SOURCE)
    assert second["text"] == first["text"]
    # The token that is drawn again, and the one before it for its logits.
    assert second["tokens"]["evaluated"] == 2
    assert second["tokens"]["reused"] == first["tokens"]["evaluated"] - 2


def test_the_embedded_model_says_exactly_this(state_dir: Path) -> None:
    # Greedy, so the same weights say the same. Processors round differently (logits by up to 0.1, measured),
    # so the text is one of which the model is sure: no step of it is near a tie.
    said: dict[str, str] = json.loads(
        Path(__file__).with_name("embedded_says.json").read_text("utf-8")
    )
    assert said["model"] == embedded_model().name
    found = complete_in_a_shell(said["prefix"])
    assert found["text"] == said["text"]
    assert found["confidence"] > 0.5


async def test_a_typed_key_evaluates_at_most_four_tokens(engine: Engine) -> None:
    typed = "join(first"
    for count in range(len(typed) + 1):
        document = Document.of(SOURCE + typed[:count] + "\n\n\nprint(join('a', 'b'))\n", "python")
        context = gather(document, len(SOURCE) + count, parse(document))
        found = await complete(context, engine, CompletionSettings(layout="spm"))
        if count:
            assert found.usage.tokens_evaluated <= 4
            assert found.usage.tokens_reused >= 50


def _the_host(state_dir: Path) -> psutil.Process:
    (state,) = (it for it in state_dir.glob("*.json") if not it.name.startswith("crash-"))
    return psutil.Process(json.loads(state.read_text())["pid"])


def test_a_killed_host_costs_one_empty_answer(state_dir: Path) -> None:
    with LspClient(state_dir=state_dir) as client:
        client.initialize(options={"engine": {"hostLingerS": 0}})
        client.open(SOURCE)
        line, column = SOURCE.count("\n"), len(SOURCE.rpartition("\n")[2])
        assert client.ghost(line, column)
        host = _the_host(state_dir)
        # Stopped first, so that the request is surely in the middle when the host dies.
        host.send_signal(signal.SIGSTOP)
        request = client.ask(line, column - 1)
        assert client.request("workspace/unheardOf", {})["error"]
        host.kill()
        assert client.answer(request)["result"]["items"] == []
        # In another document, since here it is known what the model says.
        client.open(SOURCE, uri="file:///other.py")
        assert client.ghost(line, column, uri="file:///other.py")
        successor = _the_host(state_dir)
        assert successor.pid != host.pid
        client.close()
        successor.wait(timeout=60)


def test_a_stopped_host_costs_empty_answers_within_their_time_limit(state_dir: Path) -> None:
    line, column = SOURCE.count("\n"), len(SOURCE.rpartition("\n")[2])
    with LspClient(state_dir=state_dir) as client:
        client.initialize(
            options={"engine": {"hostLingerS": 0}, "completion": {"timeLimitMs": 700}}
        )
        client.open(SOURCE)
        # The model is loaded when something comes.
        assert any(client.ghost(line, column) for _ in range(20))
        host = _the_host(state_dir)
        host.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        for back in (1, 2, 3):
            assert client.ghost(line, column - back) == ""
        # Three limits, with room for a machine that has other work; a minute is when a server is given up.
        assert time.monotonic() - stopped < 20
        host.send_signal(signal.SIGCONT)
        assert any(client.ghost(line, column) for _ in range(20))
        assert host.is_running()
        client.close()
        host.wait(timeout=60)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda _sound: b"GGUF" + bytes(range(256)) * 40, id="garbage"),
        pytest.param(lambda sound: sound[: len(sound) // 2], id="cut"),
        pytest.param(
            lambda _sound: b"GGUF" + struct.pack("<IQQ", 3, 2**62, 1) + bytes(99), id="too large"
        ),
    ],
)
def test_a_bad_model_file_is_one_message_and_nothing_is_left(
    state_dir: Path, tmp_path: Path, content: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content(embedded_model().read_bytes()))
    with LspClient("--model", str(path), state_dir=state_dir) as client:
        client.initialize(options={"engine": {"hostLingerS": 0}})
        assert "bad.gguf" in client.notifications.get(timeout=60)["params"]["message"]
        client.open(SOURCE)
        assert client.ghost(SOURCE.count("\n"), 0) == ""
        assert client.notifications.empty()
        assert client.close() == 0
    until = time.monotonic() + 60
    while left := [it for it in psutil.process_iter() if _works_in(it, state_dir)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_two_editors_share_one_host(state_dir: Path) -> None:
    with LspClient(state_dir=state_dir) as one, LspClient(state_dir=state_dir) as other:
        for client in (one, other):
            client.initialize(options={"engine": {"hostLingerS": 0}})
            client.open(SOURCE)
        line, column = SOURCE.count("\n"), len(SOURCE.rpartition("\n")[2])
        assert one.ghost(line, column) == other.ghost(line, column) != ""
        host = _the_host(state_dir)
        assert len([p for p in psutil.process_iter() if _works_in(p, state_dir)]) == 1
        one.close()
        assert other.ghost(line, column)
        other.close()
        host.wait(timeout=60)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder
    except psutil.Error:
        return False
