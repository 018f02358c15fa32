"""Crash reports: where it happened, and not a word of what was in hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from midfill.engines import crashes
from midfill.engines.crashes import MAX_CRASHES, report_crash, report_end
from midfill.text import Document
from midfill_server.cli.doctor import markdown

SECRET = "hunter2_in_my_code"


def crash(secret: str = SECRET) -> Exception:
    """One in our own code, raised from another, with the secret in its message and in variables."""
    try:
        try:
            no_edit: Any = {secret: secret}  # A defect of whoever calls it.
            Document.of(secret, "python").edited([no_edit], 2, "utf-16")
        except Exception as inner:
            raise RuntimeError(f"in {secret}") from inner
    except RuntimeError as error:
        return error
    raise AssertionError


def written(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in folder.iterdir())


def test_it_says_where_and_not_what(tmp_path: Path) -> None:
    report_crash("server", crash().__cause__ or ValueError(), tmp_path)
    [found] = crashes.crashes(tmp_path)
    assert "midfill/text.py:" in found.stack[0]
    assert found.process == "server"
    assert any(version.startswith("midfill ") for version in found.versions)
    assert SECRET not in written(tmp_path)
    assert str(Path(crashes.__file__).parents[2]) not in written(tmp_path)


def test_the_kinds_of_a_chain_are_told_and_not_their_messages(tmp_path: Path) -> None:
    report_crash("host", crash(), tmp_path)
    [found] = crashes.crashes(tmp_path)
    assert found.what.startswith("RuntimeError from ")
    assert SECRET not in written(tmp_path) + markdown([], [found])
    assert "crash of the host" in markdown([], [found])


def test_it_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    report_crash("server", crash(), folder)
    [path] = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_same_crash_is_counted(tmp_path: Path) -> None:
    for n in (1, 2):
        report_crash("server", crash("another" * n), tmp_path)
        for path in tmp_path.iterdir():
            os.utime(path, (1, 1))
    [found] = crashes.crashes(tmp_path)
    assert found.n == 2


def test_a_crash_at_every_key_is_not_written_at_every_key(tmp_path: Path) -> None:
    for _ in range(5):
        report_crash("server", crash(), tmp_path)
    assert crashes.crashes(tmp_path)[0].n == 1


def test_their_number_is_bounded(tmp_path: Path) -> None:
    for n in range(MAX_CRASHES + 5):
        report_end(f"status {n}", "", tmp_path)
    assert len(list(tmp_path.iterdir())) == MAX_CRASHES


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report_crash("server", crash(), tmp_path / "file")


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"stack": 1, "versions": []}'])
def test_a_damaged_report_is_passed_over(tmp_path: Path, text: str) -> None:
    report_end("status 1", "", tmp_path)
    (tmp_path / "crash-0.json").write_text(text)
    assert len(crashes.crashes(tmp_path)) == 1


def test_what_a_signal_left_in_the_log_is_read(tmp_path: Path) -> None:
    said = (
        f"{SECRET}\n/build/ggml/src/ggml.c:123: GGML_ASSERT({SECRET}) failed\n"
        "Fatal Python error: Aborted\n\nCurrent thread 0x00007f (most recent call first):\n"
        '  File "/home/jane/lib/python3.11/site-packages/llama_cpp/_ctypes.py", line 7 in decode\n'
        '  File "/home/midfill/site-packages/midfill/engines/llama.py", line 12 in _step\n'
    )
    report_end("the host has ended", said, tmp_path)
    [found] = crashes.crashes(tmp_path)
    assert found.what == "the host has ended, Aborted, GGML_ASSERT at ggml.c:123"
    assert found.stack == ("(llama_cpp)", "midfill/engines/llama.py:12 _step")
    assert SECRET not in written(tmp_path)
    assert "jane" not in written(tmp_path)
