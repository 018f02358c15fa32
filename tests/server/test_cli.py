"""The command line as a person uses it: real processes, real files, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from gguf_models import tiny_model
from midfill.engine import Usage
from midfill.engines.fake import CHAT_TEMPLATE
from midfill.version import __version__
from midfill_server.checks_settings import check_settings
from midfill_server.statistics import Offer, Statistics

SOURCE = "total = alpha(1)\nother = alpha\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(SOURCE)
    return tmp_path


def midfill(*arguments: str, text: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "midfill_server", *arguments],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@pytest.mark.parametrize(
    ("place", "text", "printed"),
    [
        pytest.param("a.py:2:14", "", "(1)\n", id="line-and-column"),
        pytest.param("a.py:2", "", "(1)\n", id="end-of-the-line"),
        pytest.param("-", "one = beta[0]\ntwo = beta", "[0]\n", id="standard-input"),
        pytest.param(
            "-:2:11", "one = beta[0]\ntwo = beta\n", "[0]\n", id="place-in-standard-input"
        ),
        pytest.param("-:2:8", "é = '😋'[0]\nx = '😋'\n", "[0]\n", id="columns-are-characters"),
    ],
)
def test_complete_prints_the_text(folder: Path, place: str, text: str, printed: str) -> None:
    done = midfill("complete", place, "--model", "fake:", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


def test_nothing_to_complete_is_no_error(folder: Path) -> None:
    done = midfill("complete", "-", "--model", "fake:text=%0a", text="x = 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_tells_the_cost(folder: Path) -> None:
    done = midfill("complete", "a.py:2:14", "--model", "fake:", "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["text"] == "(1)"
    assert answer["model"] == "fake"
    assert answer["layout"] == "spm"
    assert answer["stop_reason"] == "eot"
    # Four control tokens, 30 bytes before the caret and one after it; "(1)" and its end are generated.
    spent = {"reused": 0, "evaluated": 35, "generated": 4}
    assert answer["tokens"] == spent | dict.fromkeys(("healed", "drafted", "accepted"), 0)
    assert set(answer["ms"]) == {"prompt", "wait", "prefill", "decode", "filter", "total"}


def test_prompt_shows_what_would_be_sent(folder: Path) -> None:
    done = midfill("prompt", "a.py:2:14", "--model", "fake:", "--layout", "psm")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Model: fake, in the format of codellama",
        "Order: psm, up to the end of the line",
        "Prompt: 35 tokens",
        "",
        "⟨<bos>⟩⟨▁<PRE>⟩total = alpha(1)",
        "other = alpha⟨▁<SUF>⟩",
        "⟨▁<MID>⟩",
    ]


def test_prompt_as_json_has_the_pieces_and_what_else_is_sent(folder: Path) -> None:
    report = json.loads(midfill("prompt", "a.py:2:14", "--model", "fake:", "--json").stdout)
    assert (report["layout"], report["tokens"]) == ("spm", 35)
    assert report["instead"] == {"layout": "psm", "tokens": 35}
    assert [piece["text"] for piece in report["pieces"] if "text" in piece] == ["\n", SOURCE[:-1]]
    assert (report["snippets"], report["leftOut"], report["copyFrom"]) == ([], [], [])


def test_prompt_with_a_folder_holds_what_its_other_files_define(folder: Path) -> None:
    (folder / "names.py").write_text("def canonical_name(value):\n    return value.lower()\n")
    (folder / ".env").write_text("CANARY=canonical_name\n")
    (folder / "main.py").write_text("from names import canonical_name\nname = canonical_name(")
    arguments = ["prompt", "main.py", "--model", "fake:"]
    assert "names.py" not in midfill(*arguments).stdout
    done = midfill(*arguments, "--folder", ".")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    (found,) = [line for line in lines if line.startswith("From names.py: ")]
    assert found.endswith(" characters, defines what is used near the caret")
    assert "CANARY" not in done.stdout


def test_prompt_says_what_there_was_no_room_for(folder: Path) -> None:
    line = "value = compute(1)\n"
    done = midfill("prompt", "-:1000:1", "--model", "fake:", text=line * 1000)
    rest = [each for each in done.stdout.splitlines() if each.startswith("To copy from: ")]
    assert rest
    report = json.loads(
        midfill("prompt", "-:1000:1", "--model", "fake:", "--json", text=line * 1000).stdout
    )
    assert rest == [
        f"To copy from: {len(text)} more characters of the file" for text in report["copyFrom"]
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["none.py:1:1"], "none.py does not exist.", id="missing-file"),
        pytest.param([".:1:1"], ". is a folder; name a file.", id="folder"),
        pytest.param(["a.py:9:1"], "a.py has no line 9; it has 3.", id="line-outside"),
        pytest.param(["a.py:0:1"], "a.py has no line 0; it has 3.", id="line-0"),
        pytest.param(
            ["a.py:1:18"], "a.py has no column 18 in line 1; the last is 17.", id="column-outside"
        ),
        pytest.param(
            ["bytes.bin"], "bytes.bin is not UTF-8 text; convert it first.", id="not-text"
        ),
    ],
)
def test_a_bad_place_is_one_sentence(folder: Path, arguments: list[str], sentence: str) -> None:
    (folder / "bytes.bin").write_bytes(b"\xff\xfe\x00")
    done = midfill("complete", *arguments, "--model", "fake:")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"midfill: {sentence}\n")


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("missing.gguf", ["missing.gguf", "There is no model file"], id="missing"),
        pytest.param("folder.gguf", ["folder.gguf", "folder"], id="folder"),
        pytest.param("text.gguf", ["text.gguf", "GGUF"], id="not-a-gguf"),
        pytest.param("cut.gguf", ["cut.gguf", "damaged"], id="truncated"),
        pytest.param("chat.gguf", ["no infill tokens", "Code Llama"], id="no-infill-tokens"),
    ],
)
def test_a_bad_model_is_one_sentence(folder: Path, name: str, words: list[str]) -> None:
    (folder / "folder.gguf").mkdir()
    (folder / "text.gguf").write_text("hello\n")
    tiny_model(folder / "chat.gguf", infill=False, chat_template=CHAT_TEMPLATE)
    whole = (folder / "chat.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    done = midfill("complete", "a.py:2:14", "--model", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("midfill: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["complete", "--help"], 0, id="command-help"),
        pytest.param(["serve", "--help"], 0, id="serve-help"),
        pytest.param(["nonsense"], 2, id="unknown-command"),
        pytest.param(["complete"], 2, id="missing-argument"),
        pytest.param(["complete", "--nonsense"], 2, id="unknown-option"),
        pytest.param(["serve", "--tcp", "nowhere"], 2, id="bad-address"),
    ],
)
def test_usage(folder: Path, arguments: list[str], status: int) -> None:
    done = midfill(*arguments)
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_a_host_in_the_foreground_serves_those_who_show_the_token(folder: Path) -> None:
    command = [sys.executable, "-m", "midfill_server", "host", "--model", "fake:"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        address = host.stdout.readline().split()[-1]
        name, _, value = host.stdout.readline().removeprefix("header:").strip().partition(": ")
        ask = {"content": "ab"}
        assert httpx.post(f"{address}/tokenize", json=ask, trust_env=False).status_code == 401
        headers = {name: value}
        answer = httpx.post(f"{address}/tokenize", json=ask, headers=headers, trust_env=False)
        assert answer.json() == {"tokens": [97, 98]}
        host.terminate()
        assert host.wait(timeout=60) == 0


def test_stats_of_no_host(folder: Path) -> None:
    done = midfill("stats")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No host is running.\n", "")
    assert json.loads(midfill("stats", "--json").stdout)["hosts"] == []


def test_stats_of_a_host_in_the_foreground(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_HOST_TOKEN", "a-token-of-ones-own")
    command = [sys.executable, "-m", "midfill_server", "host", "--model", "fake:text=answer"]
    with subprocess.Popen(
        [*command, "--instruct", "fake:"], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        address = host.stdout.readline().split()[-1]
        assert host.stdout.readline().endswith("Bearer a-token-of-ones-own\n")
        headers = {"Authorization": "Bearer a-token-of-ones-own"}
        for _ in range(3):
            body = {"prompt": [65] * 10, "n_predict": 4}
            httpx.post(f"{address}/completion", json=body, headers=headers).raise_for_status()
        # One that died without a word, and one whose port is another's by now.
        state = folder / "state"
        for key, port in (("dead", 1), ("taken", int(address.rpartition(":")[2]))):
            fields = {"pid": 1, "port": port, "token": "other", "version": "", "key": key}
            (state / f"host-{key}.json").write_text(json.dumps(fields))
        [told] = json.loads(midfill("stats", "--json").stdout)["hosts"]
        table = midfill("stats")
        host.terminate()
        assert host.wait(timeout=60) == 0
    assert told["models"]["completion"] == {"name": "fake", "loaded": True}
    assert told["models"]["instruct"] == {"name": "", "loaded": False}
    assert told["requests"] == {"budget": 3}
    assert told["tokens"]["reused"] == 18
    assert told["tokens"]["evaluated"] == 12
    assert told["tokens"]["generated"] == 12
    assert told["acceptance"] is None
    assert told["slots"][0]["n_prompt_tokens"] == 14
    assert set(told["ms"]) == {"wait", "prefill", "decode"}
    assert table.returncode == 0
    for kind in ("reused", "evaluated", "healed", "drafted", "accepted", "generated"):
        assert f"tokens {kind}" in table.stdout
    assert midfill("stats").stdout == "No host is running.\n"


def test_a_token_that_is_too_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_HOST_TOKEN", "short")
    done = midfill("host", "--model", "fake:")
    assert done.returncode == 1
    assert "at least 16 characters" in done.stderr


def test_a_host_of_a_missing_model_is_one_sentence(folder: Path) -> None:
    done = midfill("host", "--model", "missing.gguf")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no model file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version(folder: Path) -> None:
    assert midfill("--version").stdout == f"midfill, version {__version__}\n"


def test_a_closed_pipe_is_no_traceback(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "midfill_server", "complete", "a.py:2:14", "--model", "fake:"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(writing)
    assert b"Traceback" not in done.stderr


def test_stats_show_what_editors_counted(folder: Path) -> None:
    statistics = Statistics()
    statistics.offered("c1", Offer("file:///a", "", "text"))
    statistics.accepted("c1")
    statistics.answered("model", 100.0)
    statistics.spent(Usage(tokens_reused=3, tokens_evaluated=1))
    statistics.save(folder / "state")
    told = json.loads(midfill("stats", "--json").stdout)["completions"]
    assert (told["offered"], told["acceptance"], told["tokens_reused"]) == (1, 1.0, 0.75)
    table = midfill("stats").stdout
    assert "1 (100%)" in table
    assert "75%" in table


@pytest.mark.parametrize(
    ("toml", "level", "said"),
    [
        pytest.param(None, "ok", "there is no midfill.toml", id="none"),
        pytest.param("[completion]\nnByHand = 2", "ok", "holds for its files", id="sound"),
        pytest.param("[engine]\nmodel = 'x'", "warning", "do not hold", id="not-its-to-set"),
        pytest.param("[", "warning", "is not TOML", id="damaged"),
    ],
)
def test_doctor_reads_the_projects_settings(
    folder: Path, toml: str | None, level: str, said: str
) -> None:
    if toml is not None:
        (folder / "midfill.toml").write_text(toml)
    (found,) = check_settings(folder, {})
    assert (found.level, said in found.text) == (level, True)
    assert bool(found.remedy) == (level == "warning")


def test_doctor_tells_no_key(folder: Path) -> None:
    _, found = check_settings(folder, {"MIDFILL_API_KEY": "secret"})
    assert found.text == "MIDFILL_API_KEY is set"


def test_bench_counts(folder: Path) -> None:
    (folder / "b.py").write_text("total = alpha(1)\nother = alpha(1)\nthird = beta[2]\n")
    done = midfill("bench", "b.py", "--model", "fake:", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["model"]) == (0, "", "fake")
    assert told["first"]["places"] == told["next_key"]["places"] == 3
    assert told["first"]["tokens"]["generated"] > 0
    assert set(told["first"]["ms"]) == {"p50", "p90", "p99"}
    table = midfill("bench", "b.py", "--model", "fake:").stdout
    assert "one key later" in table


def test_the_shell_takes_the_projects_settings(folder: Path) -> None:
    (folder / "midfill.toml").write_text("[completion]\nmaxTokensLine = 2\nengine = 1")
    done = midfill("complete", "a.py:2:14", "--model", "fake:", "--json")
    assert json.loads(done.stdout)["tokens"]["generated"] == 2
    assert done.stderr == "completion.engine is not a setting.\n"


def test_prompt_takes_the_projects_settings(folder: Path) -> None:
    (folder / "midfill.toml").write_text("[completion]\nlayout = 'psm'\nengine = 1")
    done = midfill("prompt", "a.py:2:14", "--model", "fake:", "--json")
    assert json.loads(done.stdout)["layout"] == "psm"
    assert done.stderr == "completion.engine is not a setting.\n"


@pytest.mark.parametrize("command", ["complete", "prompt"])
@pytest.mark.parametrize(
    ("name", "rules", "refused"),
    [
        pytest.param(".env", {}, True, id="secret-by-name"),
        pytest.param("link.py", {}, True, id="link-to-a-secret"),
        pytest.param("deep/b.py", {".midfillignore": "deep/\n"}, True, id="midfillignore"),
        pytest.param(
            "deep/b.py", {"midfill.toml": "[completion]\nignore = '*b.py'"}, True, id="project"
        ),
        pytest.param(
            "deep/b.py",
            {"midfill.toml": "", ".midfillignore": "deep/", "deep/.midfillignore": "!*"},
            True,
            id="the-projects-root-counts",
        ),
        pytest.param("deep/b.py", {".gitignore": "deep/"}, False, id="git-may-ignore-it"),
        pytest.param("deep/b.py", {}, False, id="any-other"),
    ],
)
def test_no_byte_of_a_secret_is_sent_by_the_shell(
    folder: Path, command: str, name: str, rules: dict[str, str], refused: bool
) -> None:
    (folder / "deep").mkdir()
    for path in (".env", "deep/b.py"):
        (folder / path).write_text(SOURCE)
    (folder / "link.py").symlink_to(folder / ".env")
    for path, text in rules.items():
        (folder / path).write_text(text)
    done = midfill(command, f"{name}:2:14", "--model", "fake:", "--json")
    assert done.returncode == (1 if refused else 0)
    assert ("it is secret by its name, or ignored" in done.stderr) is refused
    assert bool(done.stdout) is not refused


def test_index_says_what_it_has_read_and_forgets(folder: Path) -> None:
    assert midfill("index").stdout.startswith("1 files were read, 1 are known. ")
    (path,) = (folder / "state" / "index").glob("*.sqlite")
    assert b"other = alpha" in path.read_bytes()
    assert midfill("index", str(folder)).stdout.startswith("0 files were read, 1 are known. ")
    assert midfill("index", "--forget").stdout == "There is no index of this workspace now.\n"
    assert list((folder / "state" / "index").iterdir()) == []


def test_index_that_cannot_be_written_is_one_sentence(folder: Path) -> None:
    (folder / "state").write_text("no folder")
    done = midfill("index")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "The index cannot be written" in done.stderr


def test_demo_completes_and_explains(folder: Path) -> None:
    (folder / "b.py").write_text("def twice(number):\n    return double(number)\n" + SOURCE)
    done = midfill("demo", "b.py", "--model", "fake:text=(1)", "--count", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "b.py, completed by" in done.stdout
    assert done.stdout.count("one key later") == 3
    assert "b.py:1, explained without a model" in done.stdout
    assert "* Calls: `double`" in done.stdout


def test_demo_of_a_file_without_code(folder: Path) -> None:
    (folder / "empty.py").write_text("")
    done = midfill("demo", "empty.py", "--model", "fake:")
    assert (done.returncode, done.stderr) == (0, "")
    assert "explained" not in done.stdout
