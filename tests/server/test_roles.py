"""A model set to what it was not made for: one sentence that names another, in the editor and in the shell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gguf_models import chain_model, tiny_model
from lsp_client import URI, LspClient
from marks import caret
from midfill.engine import Engine, Role, Sampling
from midfill.engines.fake import FakeEngine
from midfill.errors import EngineGone
from midfill.settings import EngineSettings, Settings
from midfill.text import Document
from midfill_server.session import Session

pytestmark = pytest.mark.model

CHAT = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
SOURCE = "def double(value):\n    return 2 * value\n"
CARET = {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 5}}
ACTIONS = {
    "codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}},
    "disabledSupport": True,
}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """It has the infill tokens, and was not trained on them."""
    return tiny_model(tmp_path / "codellama-34b-instruct.gguf", chat_template=CHAT)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Its file has a template, as some base models' files have."""
    return tiny_model(tmp_path / "codellama-7b.gguf", chat_template=CHAT)


@pytest.fixture
def left_to_right(tmp_path: Path) -> Path:
    """After an equals sign it says None."""
    return chain_model(tmp_path / "codellama-34b.gguf", "=", "▁None")


def _told(client: LspClient) -> dict[str, Any]:
    while True:
        message = client.notifications.get(timeout=60)
        if message["method"] == "window/showMessage":
            params: dict[str, Any] = message["params"]
            return params


def _is_one_sentence(text: str) -> bool:
    return text.endswith(".") and ". " not in text


def test_a_model_that_talks_is_refused_for_completion(state_dir: Path, talks: Path) -> None:
    with LspClient("--model", str(talks), state_dir=state_dir) as client:
        client.initialize()
        told = _told(client)
        assert told["type"] == 1
        sentence = told["message"].removeprefix("Midfill: ")
        assert sentence == (
            "codellama-34b-instruct was trained to follow instructions, and of Code Llama Instruct only 7B and 13B "
            "infill, so it cannot complete; take a base model with infilling, such as Code Llama 7B or 13B base, or "
            "set engine.infill to on."
        )
        assert _is_one_sentence(sentence)
        client.open("x =")
        for _ in range(2):
            assert client.answer(client.ask(0, 3))["result"]["items"] == []
        status = client.request("workspace/executeCommand", {"command": "midfill.status"})
        assert (status["result"]["state"], status["result"]["message"]) == ("error", sentence)
        assert client.notifications.empty()


@pytest.mark.parametrize(
    ("infill", "is_told"),
    [pytest.param("auto", True, id="auto"), pytest.param("on", False, id="by-setting")],
)
def test_a_model_that_does_not_infill_completes_and_says_so_once(
    state_dir: Path, left_to_right: Path, infill: str, is_told: bool
) -> None:
    options = {"engine": {"infill": infill}, "completion": {"eagerness": 1}}
    with LspClient("--model", str(left_to_right), state_dir=state_dir) as client:
        client.initialize(options=options)
        client.open("x =")
        assert client.ghost(0, 3) == " None"
        client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": options}})
        asked = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 3}}
        prompt = client.request("midfill/prompt", asked)["result"]
        assert ("<PRE>" in json.dumps(prompt, ensure_ascii=False)) != is_told
        messages = [_told(client)["message"]] if is_told else []
        while not client.notifications.empty():
            message = client.notifications.get()
            messages += [message["params"]["message"]] * (message["method"] == "window/showMessage")
    sentence = (
        "Midfill: codellama-34b is Code Llama 34B, which was not trained to infill or to talk: it completes at the "
        "ends of lines only and does not see what stands after the caret; Code Llama 7B or 13B base would."
    )
    assert messages == [sentence] * is_told


def test_a_base_model_is_refused_for_explanations_and_edits(state_dir: Path, base: Path) -> None:
    with LspClient("--model", "fake:", state_dir=state_dir) as client:
        client.initialize(
            options={"instruct": {"model": str(base)}},
            textDocument={"codeAction": ACTIONS},
        )
        sentence = _told(client)["message"].removeprefix("Midfill: ")
        assert sentence == (
            "codellama-7b is a base model of Code Llama, trained to infill and not to talk, so it cannot explain or "
            "edit; name an instruct model in instruct.model, such as Code Llama 7B or 13B Instruct."
        )
        assert _is_one_sentence(sentence)
        client.open(SOURCE)
        asked = {
            "textDocument": {"uri": URI},
            "range": CARET,
            "context": {"diagnostics": [], "triggerKind": 1},
        }
        actions = client.request("textDocument/codeAction", asked)["result"]
        disabled = {one["title"]: one["disabled"]["reason"] for one in actions if "disabled" in one}
        assert disabled["Simplify"] == sentence
        explain = {"id": "1", "textDocument": {"uri": URI}, "range": CARET}
        answer = client.request("midfill/explain", explain)["result"]
        assert "double" in answer["markdown"]
        assert answer["note"] == sentence
        # No host was started for it.
        assert not list(state_dir.glob("host-*"))


def _shell(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "midfill_server", *arguments],
        env={**os.environ, "MIDFILL_STATE_DIR": str(state_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_in_a_shell(
    state_dir: Path, tmp_path: Path, talks: Path, base: Path, left_to_right: Path
) -> None:
    file = tmp_path / "file.py"
    file.write_text("x =")
    refused = _shell(state_dir, "complete", str(file), "--model", str(talks))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("midfill: codellama-34b-instruct was trained to follow")
    assert "Code Llama 7B or 13B base" in refused.stderr
    done = _shell(state_dir, "complete", str(file), "--model", str(left_to_right))
    assert (done.returncode, done.stdout) == (0, " None\n")
    assert done.stderr.count("was not trained to infill") == 1
    file.write_text(SOURCE)
    facts = _shell(state_dir, "explain", f"{file}:1", "--model", str(base))
    assert facts.returncode == 1
    assert "double" in facts.stdout
    assert "such as Code Llama 7B or 13B Instruct." in facts.stderr
    doctor = _shell(state_dir, "doctor", "--instruct", str(base), "--model", str(talks), "--json")
    found = {one["topic"]: one for one in json.loads(doctor.stdout)}
    assert doctor.returncode == 1
    assert found["instruct model"]["level"] == found["model"]["level"] == "problem"
    assert "such as Code Llama 7B or 13B Instruct." in found["instruct model"]["text"]
    assert "such as Code Llama 7B or 13B base, or" in found["model"]["text"]


PYTHON_CASES = (
    # At the end of the file and of a block the one for Python says what it says after an equals sign.
    pytest.param("python", "def f():\n    x =║", " self", id="end of the file"),
    pytest.param("python", "def f():\n    x =║\n\n\ny = 1\n", " self", id="end of a block"),
    pytest.param("python", "def f():\n    x =║\n    y = 1\n", " None", id="inside a block"),
    pytest.param("python", "x =║\ny = 1\n", " None", id="before a statement"),
    pytest.param("ruby", "x =║", " None", id="another language"),
)


def test_a_model_for_python_completes_where_nothing_follows(
    state_dir: Path, tmp_path: Path
) -> None:
    base = chain_model(tmp_path / "codellama-7b.gguf", "=", "▁None")
    python = chain_model(tmp_path / "codellama-7b-python.gguf", "=", "▁self")
    options = {
        "engine": {"pythonModel": str(python)},
        "completion": {"eagerness": 1, "ahead": False},
    }
    with LspClient("--model", str(base), state_dir=state_dir) as client:
        client.initialize(options=options)
        client.open("x =║"[:-1], uri="file:///work/first.py")
        # Until it is loaded the other one answers; its self-test, a second after that, shows that it is there.
        _loaded(state_dir, "python")
        for idx, case in enumerate(PYTHON_CASES):
            language, marked, expected = case.values
            text, offset = caret(str(marked))
            line = text[:offset].count("\n")
            uri = f"file:///work/{idx}.txt"
            client.open(text, uri=uri, language=str(language))
            column = offset - text.rfind("\n", 0, offset) - 1
            assert client.ghost(line, column, uri=uri) == expected, case.id
        (state,) = state_dir.glob("host-*.json")
        props = _props(state, "python")
        assert props["model_path"] == str(python)
        assert client.notifications.empty()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("codellama-34b-instruct.gguf", "so it cannot complete", id="it talks"),
        pytest.param("missing.gguf", "There is no model file", id="missing"),
    ],
)
def test_without_the_model_for_python_the_other_completes_all(
    state_dir: Path, tmp_path: Path, talks: Path, name: str, says: str
) -> None:
    base = chain_model(tmp_path / "codellama-7b.gguf", "=", "▁None")
    options = {
        "engine": {"pythonModel": str(tmp_path / name)},
        "completion": {"eagerness": 1, "ahead": False},
    }
    with LspClient("--model", str(base), state_dir=state_dir) as client:
        client.initialize(options=options)
        assert says in _told(client)["message"]
        client.open("x =")
        assert client.ghost(0, 3) == " None"
        assert client.notifications.empty()


def _props(state: Path, model: str) -> dict[str, Any]:
    host = json.loads(state.read_text("utf-8"))
    headers = {"Authorization": f"Bearer {host['token']}"}
    url = f"http://127.0.0.1:{host['port']}/props"
    props: dict[str, Any] = httpx.get(url, params={"model": model}, headers=headers).json()
    return props


def _loaded(state_dir: Path, model: str) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
            for state in state_dir.glob("host-*.json"):
                if _props(state, model)["midfill"]["self_test"]:
                    return
        time.sleep(0.1)
    raise TimeoutError


async def test_with_other_settings_the_model_for_python_goes_too() -> None:
    opened: list[FakeEngine] = []

    def opens(settings: Settings, role: Role) -> Engine:
        opened.append(FakeEngine(role))
        return opened[-1]

    first = Settings(EngineSettings(python_model="fake:1"))
    session = Session(opens, first)
    session.open(Document.of("x =", "python", uri=URI, version=1))

    def python() -> Engine | None:
        snapshot = session.snapshot(URI)
        assert snapshot is not None
        return snapshot.python

    assert python() is None, "nobody waits for it"
    assert await session.warm_up_python() == ""
    engine = python()
    assert engine is opened[-1]
    session.use(Settings(EngineSettings(python_model="fake:2")))
    assert python() is None
    await session.warm_up_python()
    assert python() not in (None, engine)
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(EngineGone):
        async for _ in opened[1].generate([1], Sampling(1)):
            pass
    await session.end()
