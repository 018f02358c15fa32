"""What was measured is remembered for one file on one machine, and nothing else is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from midfill.engines import tuned as tuned_module
from midfill.engines.tuned import Tuned, read_tuned, tuned_path, write_tuned

TUNED = Tuned(3, 2, n_batch=256, repack=False, ms={"1 token, 3 threads": 1.5})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    return path


def test_it_is_read_as_it_was_written(model: Path, tmp_path: Path) -> None:
    path = tuned_path(model, "1", tmp_path / "new")
    assert read_tuned(path) is None
    write_tuned(path, Tuned(1, 1))
    write_tuned(path, TUNED)
    assert read_tuned(path) == TUNED
    assert list(path.parent.iterdir()) == [path]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_another_file_library_or_processor_is_another_case(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {tuned_path(model, "1"), tuned_path(model, "2")}
    os.utime(model, ns=(5, 5))
    seen.add(tuned_path(model, "1"))
    model.write_bytes(b"xy")
    seen.add(tuned_path(model, "1"))
    seen.add(tuned_path(model.rename(model.with_name("n.gguf")), "1"))
    model.with_name("n.gguf").rename(model)
    monkeypatch.setattr(tuned_module, "n_cores", lambda: 99)
    seen.add(tuned_path(model, "1"))
    monkeypatch.setattr(tuned_module, "cpu_name", lambda: "another")
    seen.add(tuned_path(model, "1"))
    assert len(seen) == 7


def test_the_folder_is_the_environments_or_the_users_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "named"))
    assert tuned_path(model, "1").parent == tmp_path / "named"
    monkeypatch.delenv("MIDFILL_STATE_DIR")
    assert "midfill" in str(tuned_path(model, "1").parent)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="no object"),
        pytest.param('{"n_threads": 1}', id="a part"),
        pytest.param(json.dumps({**vars(TUNED), "n_threads": 0}), id="no threads"),
        pytest.param(json.dumps({**vars(TUNED), "n_threads": True}), id="no number"),
        pytest.param(json.dumps({**vars(TUNED), "n_batch": 10**9}), id="a batch too large"),
        pytest.param(json.dumps({**vars(TUNED), "repack": "no"}), id="no yes or no"),
        pytest.param(json.dumps({**vars(TUNED), "more": 1}), id="something unknown"),
        pytest.param("\x00\xff", id="noise"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_nonsense_is_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(text, "latin-1")
    assert read_tuned(path) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_tuned(tmp_path / "file" / "tuned.json", TUNED)
