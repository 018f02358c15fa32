"""What `midfill doctor` finds: each check by what it is given, and the command as a whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gguf_models import tiny_model
from midfill.engines.state import HostFiles, HostState
from midfill.settings import EngineSettings
from midfill_models import TEST_INSTRUCT_MODEL, embedded_model
from midfill_server import checks
from midfill_server.checks import (
    Finding,
    check_folder,
    check_grammars,
    check_hosts,
    check_llama,
    check_memory,
    check_model,
    check_purpose,
    check_server,
    llama_died,
    run_checks,
    worst,
)
from midfill_server.cli.doctor import markdown

GIB = 2**30
LLAMA: dict[str, Any] = {
    "version": "0.5",
    "system": "CPU : AVX2 = 1",
    "gpu_offload": True,
    "cpu": "A Processor",
    "n_cores": 8,
    "ram": {"total": 16 * GIB, "free": 8 * GIB, "limited": False},
    "gpus": [{"name": "CUDA0", "description": "H200", "free": 100 * GIB, "total": 140 * GIB}],
}
MODEL: dict[str, Any] = {
    "path": "/m.gguf",
    "name": "Code Llama",
    "architecture": "llama",
    "licence": "llama2",
    "n_layers": 32,
    "weights": 4 * GIB,
    "kv_per_1k": GIB // 2,
    "plan": {"n_ctx": 4096, "gpu_layers": [33], "reasons": ["All fit."], "said": "with all layers"},
    "shares": [
        {"device": "CUDA0", "weights": 4 * GIB, "kv": 2 * GIB, "compute": GIB, "free": 100 * GIB}
    ],
    "tuned": None,
    "completes": "",
    "limits": "",
    "defects": [],
}
ON_CPU = {**MODEL["plan"], "gpu_layers": [0]}


def _one(findings: list[Finding], topic: str) -> Finding:
    (found,) = (finding for finding in findings if finding.topic == topic)
    assert bool(found.remedy) == (found.level != "ok")
    return found


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        pytest.param({}, "ok", "CUDA0 (H200), 100.0 GiB of 140.0 GiB free", id="a GPU"),
        pytest.param({"gpus": []}, "warning", "sees none", id="a GPU that is not seen"),
    ],
)
def test_gpus(changes: dict[str, Any], level: str, text: str) -> None:
    found = _one(check_llama({**LLAMA, **changes}), "GPU")
    assert (found.level, text in found.text) == (level, True)


@pytest.mark.parametrize(("has_one", "level"), [(True, "warning"), (False, "ok")])
def test_a_build_without_gpu(monkeypatch: pytest.MonkeyPatch, has_one: bool, level: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/x" if has_one else None)
    found = _one(check_llama({**LLAMA, "gpus": [], "gpu_offload": False}), "GPU")
    assert found.level == level


@pytest.mark.parametrize(
    ("probe", "level"),
    [({"name": "nano", "tokens": 8, "ms": 50.0}, "ok"), ({"error": "No."}, "problem")],
)
def test_the_self_test(probe: dict[str, Any], level: str) -> None:
    assert _one(check_llama({**LLAMA, "probe": probe}), "self-test").level == level


@pytest.mark.parametrize(
    ("ram", "level", "text"),
    [
        pytest.param({}, "ok", "8.0 GiB of 16.0 GiB free", id="enough"),
        pytest.param({"limited": True}, "ok", "control group", id="limited"),
        pytest.param({"free": 2**20}, "warning", "1.0 MiB of", id="none left"),
    ],
)
def test_main_memory(ram: dict[str, Any], level: str, text: str) -> None:
    found = _one(check_memory({"ram": {**LLAMA["ram"], **ram}}), "memory")
    assert (found.level, text in found.text) == (level, True)


@pytest.mark.parametrize(
    ("changes", "topic", "level", "text"),
    [
        pytest.param({}, "model", "ok", "Code Llama (llama, 32 layers, llama2)", id="sound"),
        pytest.param({}, "plan", "ok", "with all layers", id="on the GPU"),
        pytest.param({"licence": ""}, "model", "ok", "no licence", id="no licence"),
        pytest.param({"completes": "No infill."}, "model", "problem", "No infill.", id="role"),
        pytest.param({"limits": "Half."}, "model", "warning", "Half.", id="prefix only"),
        pytest.param({"plan": ON_CPU}, "plan", "warning", "reads slowly", id="large on a CPU"),
        pytest.param(
            {"plan": ON_CPU, "weights": GIB}, "plan", "ok", "with all", id="small on a CPU"
        ),
        pytest.param(
            {"plan": {**ON_CPU, "reasons": ["The memory is short: x."]}, "weights": GIB},
            "plan",
            "warning",
            "with all",
            id="short memory",
        ),
        pytest.param({"plan": ON_CPU}, "speed", "ok", "not measured", id="not measured"),
        pytest.param(
            {
                "plan": ON_CPU,
                "tuned": {
                    "n_threads": 3,
                    "n_threads_batch": 4,
                    "n_batch": 64,
                    "repack": False,
                    "ms": {"1 token, 3 threads": 1.5},
                },
            },
            "speed",
            "ok",
            "3 threads write and 4 read, in batches of 64, weights as in the file",
            id="measured",
        ),
    ],
)
def test_models(changes: dict[str, Any], topic: str, level: str, text: str) -> None:
    found = _one(check_model({"model": {**MODEL, **changes}}), topic)
    assert (found.level, text in found.text) == (level, True)


def test_the_plan_has_its_reasons_and_a_table() -> None:
    details = _one(check_model({"model": MODEL}), "plan").details
    assert details == (
        "All fit.",
        "CUDA0: 4.0 GiB weights, 2.0 GiB cache, 1.0 GiB for computing; 100.0 GiB free",
        "0.5 GiB of cache for 1024 tokens; a text may have 4096.",
    )


def test_a_model_that_cannot_be_used() -> None:
    found = _one(check_model({"model_error": "It is damaged."}), "model")
    assert (found.level, found.text) == ("problem", "It is damaged.")


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        pytest.param(None, "", "did not answer", id="hangs"),
        pytest.param(
            1, "EngineError: llama.cpp cannot be loaded (x)", "not installed", id="absent"
        ),
        pytest.param(7, "a\nb", "ended with status 7", id="dies"),
        pytest.param(
            -getattr(signal, "SIGILL", 4),
            "",
            "instruction" if os.name == "posix" else "ended",
            id="another processor",
        ),
    ],
)
def test_a_llama_that_tells_nothing(status: int | None, error: str, text: str) -> None:
    found = llama_died(status, error)
    assert (found.level, text in found.text, bool(found.remedy)) == ("problem", True, True)


@pytest.mark.skipif(os.name != "posix", reason="rights of a folder")
@pytest.mark.parametrize(
    ("mode", "level"), [(0o700, "ok"), (0o755, "warning"), (None, "ok"), (0, "problem")]
)
def test_the_folder(tmp_path: Path, mode: int | None, level: str) -> None:
    folder = tmp_path / "state"
    if mode == 0:
        folder.write_text("")
    elif mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    assert _one(check_folder(folder), "state folder").level == level


def test_grammars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_grammars()[0].level == "ok"

    def broken(name: str) -> None:
        if name == "go":
            raise ImportError("no such wheel")

    monkeypatch.setattr(checks, "grammar", broken)
    found = _one(check_grammars(), "languages")
    assert (found.level, found.details) == ("warning", ("go: no such wheel",))


class _Answers(BaseHTTPRequestHandler):
    """A server that knows no token."""

    def do_GET(self) -> None:
        body = json.dumps({"proof": "0" * 64}).encode()
        self.send_response(int(self.path[1:4]) if self.path[1:4].isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "level"),
    [("", "ok"), ("/503", "warning"), ("/404", "warning"), ("x", "problem")],
)
def test_a_server_of_ones_own(port: int, path: str, level: str) -> None:
    url = f"http://127.0.0.1:{port}{path}"
    assert _one(check_server(url), "server").level == level


def test_who_only_took_the_port_of_a_host_is_not_shown_its_token(tmp_path: Path, port: int) -> None:
    files = HostFiles(tmp_path, "0123")
    files.write(HostState(1, port, "secret", "0", "0123"))
    (tmp_path / "host-bad.json").write_text("{")
    gone, bad = check_hosts(tmp_path)
    assert "does not answer" in gone.text
    assert "no state file" in bad.text
    assert worst([gone, bad]) == "warning"
    assert "secret" not in f"{gone}{bad}"


def test_no_host_is_no_fault(tmp_path: Path) -> None:
    assert check_hosts(tmp_path)[0].level == "ok"


def test_a_bug_report_does_not_name_the_user() -> None:
    findings = [Finding("model", f"{Path.home()}/m.gguf", "problem", "Mend it.", ("a",))]
    assert markdown(findings) == "- ✗ **model**: ~/m.gguf\n  - Mend it.\n  - a"


def test_with_a_server_of_ones_own_llama_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setattr(checks, "_ask_llama", lambda settings: pytest.fail("asked"))
    findings = run_checks(EngineSettings(urls=(f"http://127.0.0.1:{port}",)))
    assert _one(findings, "server").level == "ok"


def _doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Modules here would be imported by whoever looks for modules in the folder it is started in.
    (folder / "json.py").write_text("raise SystemExit('imported from the working folder')")
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.pop(0); from midfill_server.cli import main; main()",
            "doctor",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "MIDFILL_STATE_DIR": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.model
def test_the_whole_with_the_embedded_model(tmp_path: Path) -> None:
    done = _doctor(tmp_path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    findings = {finding["topic"]: finding for finding in json.loads(done.stdout)}
    assert set(findings) >= {"Python", "languages", "host", "llama.cpp", "self-test", "memory"}
    assert findings["model"]["level"] == findings["self-test"]["level"] == "ok"
    assert findings["plan"]["details"]


@pytest.mark.model
@pytest.mark.parametrize(
    ("chat_template", "status", "says"),
    [
        pytest.param("{{ messages }}", 1, "- ✗ **model**: plain has no infill tokens", id="chat"),
        pytest.param("", 0, "**model**: plain has no infill tokens: it completes", id="base"),
    ],
)
def test_the_whole_with_a_model_that_cannot_infill(
    tmp_path: Path, chat_template: str, status: int, says: str
) -> None:
    path = tiny_model(tmp_path / "plain.gguf", infill=False, chat_template=chat_template)
    done = _doctor(tmp_path, "--model", str(path), "--report")
    assert done.returncode == status
    assert says in done.stdout


def test_a_model_for_tests_is_called_so(tmp_path: Path) -> None:
    (finding,) = check_purpose(str(embedded_model(TEST_INSTRUCT_MODEL)))
    assert finding.level == "warning"
    assert "is for tests" in finding.text
    assert check_purpose(str(embedded_model())) == []
    assert check_purpose("") == check_purpose(str(tmp_path / "missing.gguf")) == []
