"""A model set to what it was not made for: told once in one sentence that names another, in the editor and in the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gguf_models import chain_model, tiny_model
from lsp_client import URI, LspClient

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
            "infill, so it cannot complete; take a base model with infilling, such as Code Llama 7B or 13B base."
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
    assert "such as Code Llama 7B or 13B base." in found["model"]["text"]
