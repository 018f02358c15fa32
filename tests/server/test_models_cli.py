"""`midfill models` as a person and an editor use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gguf_models import tiny_model
from hub_server import hub
from midfill.engines.fake import CHAT_TEMPLATE
from midfill.engines.fit import GIB, Machine
from midfill.engines.model_files import chosen_model, installed, read_records
from midfill.engines.ram import Ram
from midfill.errors import MidfillError, ModelError
from midfill.settings import EngineSettings
from midfill_server import model_choice, model_list, server
from midfill_server.checks import check_models
from midfill_server.cli import models, serve
from midfill_server.options import settings_from_client
from midfill_server.session import Session

NAME = "codellama-7b.Q4_K_M.gguf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MIDFILL_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    found = Machine(Ram(16 * GIB, 16 * GIB))
    for module in (models, model_list, model_choice):
        monkeypatch.setattr(module, "machine", lambda: found)
    return tmp_path / "models"


@pytest.fixture
def model(folder: Path) -> Path:
    """A file of the catalogue's name that is in the folder, as if it had been copied there by hand."""
    folder.mkdir()
    return tiny_model(folder / NAME)


def run(*arguments: str, text: str = "") -> Result:
    """What a command prints; what a person must mend is one sentence, as `main` prints it."""
    result = CliRunner().invoke(models.command, arguments, input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit | MidfillError):
        raise result.exception
    return result


def refused(*arguments: str) -> str:
    exception = run(*arguments).exception
    assert isinstance(exception, MidfillError)
    return str(exception)


def listed(*arguments: str) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(run("list", "--json", *arguments).stdout)}


class TestList:
    def test_the_catalogue(self, folder: Path) -> None:
        rows = listed()
        assert rows["codellama-7b"] == {
            "name": "codellama-7b",
            "title": "Code Llama 7B",
            "roles": ["completion"],
            "infill": True,
            "thinking": False,
            "licence": "llama2",
            "free": True,
            "context": 16384,
            "unconfirmed": [],
            "note": "",
            "files": [
                {
                    "file": f"codellama-7b.{quantization}.gguf",
                    "repository": "TheBloke/CodeLlama-7B-GGUF",
                    "quantization": quantization,
                    "size_bytes": size_bytes,
                    "size_is_exact": False,
                    "fits": True,
                    "where": "cpu",
                    "installed": False,
                    "path": None,
                    "chosen": [],
                    "confirmed": "hub listing",
                }
                for quantization, size_bytes in (("Q8_0", 7_160_000_000), ("Q4_K_M", 4_080_000_000))
            ],
        }
        assert not rows["codellama-70b"]["files"][0]["fits"]
        assert listed("--here") == {}

    def test_files_that_are_here(self, model: Path) -> None:
        tiny_model(model.parent / "my-own.gguf")
        run("use", "my-own.gguf")
        rows = listed("--here")
        assert sorted(rows) == ["codellama-7b", "my-own.gguf"]
        [file] = rows["codellama-7b"]["files"]
        assert (file["installed"], file["path"]) == (True, str(model))
        assert (file["size_bytes"], file["size_is_exact"]) == (model.stat().st_size, True)
        [own] = rows["my-own.gguf"]["files"]
        assert (rows["my-own.gguf"]["roles"], own["chosen"]) == (["completion"], ["completion"])
        # Whether it fits is told by its header.
        assert (own["fits"], own["where"]) == (True, "cpu")

    def test_a_file_of_which_nobody_knows_whether_it_fits(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "none.gguf").write_bytes(b"GGUF?")
        [file] = listed("--here")["none.gguf"]["files"]
        assert file["fits"] is None
        assert "too large" not in run("list", "--here").stdout

    def test_the_table(self, model: Path) -> None:
        run("use", "codellama-7b")
        text = run("list").stdout
        assert "codellama-7b " in text
        assert "yes, for completion" in text
        assert f"kept in {model.parent}" in text


class TestPull:
    @pytest.fixture
    def gguf(self, tmp_path: Path) -> bytes:
        return tiny_model(tmp_path / "any.gguf").read_bytes()

    @pytest.mark.parametrize("which", [("--quantization", "q4_k_m"), ("--file", NAME)])
    def test_a_name_of_the_catalogue(
        self, folder: Path, gguf: bytes, which: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with hub() as server:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            server.put(f"TheBloke/CodeLlama-7B-GGUF/{NAME}", gguf)
            result = run("pull", "codellama-7b", *which, "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert lines[0] == {"done": 0, "total": len(gguf)}
        assert lines[-2:] == [{"done": len(gguf), "total": len(gguf)}, {"path": str(folder / NAME)}]
        assert result.exit_code == 0

    def test_by_itself_it_takes_what_fits_best(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        with hub() as server:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            for ram_gib in (6, 64):
                found = Machine(Ram(ram_gib * GIB, 0))
                monkeypatch.setattr(models, "machine", lambda found=found: found)
                assert "has no TheBloke" in refused("pull", "codellama-7b")
                asked.append(server.requests[-1].path.rpartition("/")[2])
        assert asked == ["codellama-7b.Q4_K_M.gguf", "codellama-7b.Q8_0.gguf"]

    def test_errors_are_the_last_line_of_json(self, folder: Path) -> None:
        result = run("pull", "codellama-7b", "--quantization", "Q2_K", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {
            "error": "Code Llama 7B is in the catalogue as Q8_0, Q4_K_M, not as Q2_K."
        }

    def test_a_path(self, folder: Path, gguf: bytes) -> None:
        result = run("pull", "any.gguf")
        assert result.stdout == f"{folder / 'any.gguf'}\n"
        assert (folder / "any.gguf").read_bytes() == gguf


class TestAdd:
    def test_it_stays_where_it_is(self, folder: Path, tmp_path: Path) -> None:
        path = tiny_model(tmp_path / "my.gguf")
        assert run("add", "my.gguf").stdout == f"my.gguf is {path}.\n"
        assert installed(folder) == {"my.gguf": path}
        assert run("use", "my.gguf").exit_code == 0
        assert run("remove", "my.gguf", "--yes").stdout == "my.gguf is forgotten.\n"
        assert path.exists()
        assert (installed(folder), chosen_model("completion")) == ({}, "")

    def test_what_is_no_model(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(b"GGUFnonsense")
        assert "damaged" in refused("add", "bad.gguf")
        assert "cannot be read" in refused("add", "missing.gguf")
        assert "no GGUF file" in refused("add", "notes.txt")

    def test_another_of_that_name(self, model: Path, tmp_path: Path) -> None:
        tiny_model(tmp_path / NAME)
        assert "There is another" in refused("add", str(tmp_path / NAME))


class TestUse:
    def test_a_name(self, model: Path) -> None:
        assert run("use", "codellama-7b").stdout.splitlines()[0] == f"completion: {NAME}"
        assert chosen_model("completion") == NAME
        assert run("use").stdout == f"completion: {NAME}\ninstruct: none\n"

    def test_both_roles_of_one_file(self, model: Path) -> None:
        tiny_model(
            model.with_name("codellama-7b-instruct.Q4_K_M.gguf"), chat_template=CHAT_TEMPLATE
        )
        run("use", "codellama-7b-instruct")
        assert read_records(model.parent).chosen == {
            "completion": "codellama-7b-instruct.Q4_K_M.gguf",
            "instruct": "codellama-7b-instruct.Q4_K_M.gguf",
        }
        run("use", "none")
        run("use", "embedded")
        assert read_records(model.parent).chosen == {}

    @pytest.mark.parametrize(
        ("told", "completion", "instruct"),
        [
            ({}, NAME, "chat.gguf"),
            ({"engine": {"model": ""}, "instruct": {"model": ""}}, NAME, "chat.gguf"),
            ({"engine": {"model": "/own.gguf"}}, "/own.gguf", "chat.gguf"),
        ],
    )
    def test_an_editors_own_settings_go_before_it(
        self,
        model: Path,
        told: dict[str, Any],
        completion: str,
        instruct: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tiny_model(model.with_name("chat.gguf"), chat_template=CHAT_TEMPLATE)
        run("use", "codellama-7b")
        run("use", "chat.gguf", "--role", "instruct")
        sessions: list[Session] = []

        def no_server(session: Session) -> None:
            sessions.append(session)
            raise ModelError("enough")

        monkeypatch.setattr(server, "create_server", no_server)
        CliRunner().invoke(serve.command, [])
        settings, problems = settings_from_client(told, sessions[0].command_line)
        assert (settings.engine.model, settings.instruct.model) == (completion, instruct)
        assert problems == []

    def test_a_path(self, folder: Path, tmp_path: Path) -> None:
        path = tiny_model(tmp_path / "my.gguf")
        run("use", "./my.gguf")
        assert chosen_model("completion") == str(path)

    def test_the_wrong_role(self, model: Path) -> None:
        said = refused("use", "codellama-7b", "--role", "instruct")
        assert "trained to infill and not to talk" in said
        assert chosen_model("instruct") == ""

    def test_what_is_not_here(self, folder: Path) -> None:
        assert "midfill models pull codellama-13b" in refused("use", "codellama-13b")
        assert "cannot be read" in refused("use", "nothing.gguf")


class TestRemove:
    def test_it_asks(self, model: Path) -> None:
        run("use", "codellama-7b")
        assert run("remove", "codellama-7b", text="n\n").exit_code == 0
        assert model.exists()
        run("remove", "codellama-7b", text="y\n")
        assert not model.exists()
        assert (read_records(model.parent).files, chosen_model("completion")) == ({}, "")

    @pytest.mark.model
    def test_not_while_it_is_loaded(self, model: Path) -> None:
        run("use", "codellama-7b")
        host = subprocess.Popen(
            [sys.executable, "-m", "midfill_server", "host"], stdout=subprocess.PIPE, text=True
        )
        with host:
            try:
                assert host.stdout is not None
                assert host.stdout.readline().startswith("address:"), "it found the chosen one"
                assert f"is loaded by process {host.pid}" in refused("remove", NAME, "--yes")
                assert model.exists()
                run("remove", NAME, "--yes", "--force")
                assert not model.exists()
            finally:
                host.terminate()

    @pytest.mark.parametrize("name", ["../victim.gguf", "nobody.gguf", "models.json", "."])
    def test_nothing_outside_of_the_folder(self, model: Path, name: str) -> None:
        victim = model.parent.parent / "victim.gguf"
        victim.touch()
        run("use", "codellama-7b")
        assert refused("remove", name, "--yes") == f"There is no {name} in {model.parent}."
        assert victim.exists()
        assert (model.parent / "models.json").exists()


class TestCheck:
    def test_what_is_sound_and_what_not(self, model: Path, tmp_path: Path) -> None:
        for name in ("good", "worn", "cut"):
            run("pull", str(tiny_model(tmp_path / f"{name}.gguf")))
        data = bytearray((model.parent / "worn.gguf").read_bytes())
        data[-1] ^= 1
        (model.parent / "worn.gguf").write_bytes(data)
        (model.parent / "cut.gguf").write_bytes(data[:1000])
        result = run("check", "--json")
        told = {row["file"]: row for row in json.loads(result.stdout)}
        assert result.exit_code == 1
        assert {name: (row["sound"], row["checksum"]) for name, row in told.items()} == {
            NAME: (True, False),
            "good.gguf": (True, True),
            "worn.gguf": (False, True),
            "cut.gguf": (False, True),
        }
        assert "has changed" in told["worn.gguf"]["error"]
        assert run("check", "good.gguf").exit_code == 0
        assert run("check").stdout.splitlines()[0] == (
            f"{NAME}: sound, but no checksum of it is known"
        )
        assert "There is no other.gguf" in refused("check", "other.gguf")

    def test_a_name_with_braces_is_no_format(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")  # As a terminal, which gets a bar.
        tiny_model(model.parent / "a{b}[c].gguf")
        assert "a{b}[c].gguf: sound" in run("check", "a{b}[c].gguf").stdout

    def test_no_files(self, folder: Path) -> None:
        result = run("check")
        assert (result.exit_code, "There are no model files" in result.stdout) == (0, True)


def test_recommend(folder: Path) -> None:
    told = json.loads(run("recommend", "--json").stdout)
    assert [row["role"] for row in told] == ["completion", "instruct"]
    assert told[0] == {
        "role": "completion",
        "name": "qwen2.5-coder-1.5b",
        "title": "Qwen2.5-Coder 1.5B",
        "licence": "apache-2.0",
        "file": "qwen2.5-coder-1.5b-q8_0.gguf",
        "quantization": "Q8_0",
        "size_bytes": 1_650_000_000,
        "where": "cpu",
        "why": "It would be loaded on the CPU, 11264 tokens of context in f16.",
        "installed": False,
    }
    text = run("recommend").stdout
    assert "midfill models pull qwen2.5-coder-1.5b --quantization Q8_0" in text
    assert "midfill models use qwen2.5-coder-7b-instruct --role instruct" in text


@pytest.mark.parametrize("model_setting", ["", "/some.gguf"])
def test_the_doctor_names_models(model: Path, model_setting: str) -> None:
    [found] = check_models(model.parent, EngineSettings(model=model_setting))
    assert (found.level, found.details) == ("ok", (NAME,))
    assert ("midfill models recommend" in found.text) == (not model_setting)
