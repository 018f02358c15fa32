"""Which file a name in the settings means, and what is remembered of files."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest

from midfill.engines.model_files import (
    Record,
    Records,
    choose,
    chosen_model,
    installed,
    located,
    models_folder,
    read_records,
    record,
)
from midfill.errors import ModelError
from midfill_models import embedded_model

NAME = "codellama-7b.Q4_K_M.gguf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "models"
    found.mkdir()
    monkeypatch.setenv("MIDFILL_MODELS_DIR", str(found))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return found


class TestLocated:
    @pytest.mark.parametrize("name", ["", "fake:text=x"])
    def test_what_is_no_file_stays(self, folder: Path, name: str) -> None:
        assert located(name) == name

    def test_a_file_in_the_folder(self, folder: Path) -> None:
        (folder / NAME).touch()
        assert located(NAME) == str(folder / NAME)

    def test_it_goes_before_one_in_the_working_folder(self, folder: Path) -> None:
        """Which may be a project that somebody else wrote."""
        (folder / NAME).touch()
        Path(NAME).touch()
        assert located(NAME) == str(folder / NAME)

    def test_a_path_is_a_path(self, folder: Path) -> None:
        (folder / NAME).touch()
        Path(NAME).touch()
        assert located(f"./{NAME}") == str(Path.cwd() / NAME)
        assert located(f"~/{NAME}") == str(Path.home() / NAME)

    def test_a_name_of_the_catalogue(self, folder: Path) -> None:
        (folder / NAME).touch()
        assert located("codellama-7b") == located("CodeLlama-7B") == str(folder / NAME)
        (folder / "codellama-7b.Q8_0.gguf").touch()
        assert located("codellama-7b") == str(folder / "codellama-7b.Q8_0.gguf"), "the better one"

    def test_one_that_is_not_here(self, folder: Path) -> None:
        with pytest.raises(ModelError, match="midfill models pull codellama-7b"):
            located("codellama-7b")

    def test_the_embedded_one(self, folder: Path) -> None:
        assert located("embedded") == str(embedded_model())

    def test_one_that_was_added(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "far" / "my.gguf"
        path.parent.mkdir()
        path.touch()
        record(folder, "my.gguf", Record(path=str(path)))
        assert located("my.gguf") == str(path)
        path.unlink()
        assert installed(folder) == {}


class TestRecords:
    def test_they_are_kept(self, folder: Path) -> None:
        known = Record("a" * 64, 5, "someone/x:y.gguf")
        record(folder, "y.gguf", known)
        record(folder, "z.gguf", known)
        choose(folder, "instruct", "y.gguf")
        choose(folder, "completion", "z.gguf")
        choose(folder, "completion", "")
        record(folder, "z.gguf", None)
        assert read_records(folder) == Records({"y.gguf": known}, {"instruct": "y.gguf"})
        assert read_records(folder).files == {"y.gguf": known}
        assert read_records(folder).chosen == {"instruct": "y.gguf"}
        assert (chosen_model("instruct"), chosen_model("completion")) == ("y.gguf", "")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "3",
            "\xff",
            '{"files": 3, "chosen": []}',
            '{"files": {"a": 1, "b": {"nonsense": 1}, "c": {"size_bytes": "x"}}}',
            '{"chosen": {"completion": 3}}',
        ],
    )
    def test_what_makes_no_sense_is_passed_over(self, folder: Path, text: str) -> None:
        (folder / "models.json").write_bytes(text.encode("latin-1"))
        assert (read_records(folder).files, read_records(folder).chosen) == ({}, {})
        choose(folder, "completion", "a.gguf")
        assert chosen_model("completion") == "a.gguf"

    def test_nothing_is_lost_between_processes(self, folder: Path) -> None:
        threads = [
            Thread(target=record, args=(folder, f"{idx}.gguf", Record(size_bytes=idx)))
            for idx in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read_records(folder).files) == 16
        assert (
            json.loads((folder / "models.json").read_text())["files"]["7.gguf"]["size_bytes"] == 7
        )
        assert [path.name for path in folder.iterdir() if path.name.endswith(".gguf")] == []


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"MIDFILL_MODELS_DIR": "/a", "MIDFILL_STATE_DIR": "/b"}, "/a"),
        ({"MIDFILL_STATE_DIR": "/b"}, "/b/models"),
        ({"XDG_DATA_HOME": "/c"}, "/c/midfill/models"),
    ],
)
def test_the_folder(variables: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIDFILL_MODELS_DIR", "MIDFILL_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    assert models_folder().as_posix() == found
